//! Real sockets on 127.0.0.1, certificates made on the spot.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::secret::Secret;
use crate::tls::authority::Authority;
use crate::tls::{Trust, told};

/// Writes the authority's certificate where a configuration would name it.
fn file(authority: &Authority, dir: &TempDir) -> PathBuf {
    let path = dir.path().join("authority.pem");
    std::fs::write(&path, &authority.pem).unwrap();
    path
}

/// A server that says "yes" over TLS to each connection. Gives its url.
async fn tls_server(authority: &Authority, name: &str, last_year: i32) -> Url {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(last_year, 12, 31);
    let certificate = params
        .signed_by(&key, &authority.issuer)
        .unwrap()
        .der()
        .clone();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let _ = tls.write_all(b"yes").await;
                let _ = tls.shutdown().await;
            }
        }
    });
    Url::parse(&url).unwrap()
}

fn trusting(trust: Trust) -> Dialler {
    Dialler::new(WayOut {
        trust,
        proxy: ProxyRule::None,
        ..WayOut::default()
    })
}

async fn greeting(dialler: &Dialler, url: &Url) -> Result<String, String> {
    let mut stream = dialler.dial(url).await.map_err(|error| told(&error))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .await
        .map_err(|error| error.to_string())?;
    Ok(text)
}

#[tokio::test]
async fn a_server_signed_by_the_named_authority_is_trusted() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let url = tls_server(&authority, "localhost", 2090).await;
    let dialler = trusting(Trust::Only(file(&authority, &dir)));
    assert_eq!(greeting(&dialler, &url).await.unwrap(), "yes");
}

#[tokio::test]
async fn a_server_signed_by_somebody_else_is_not_and_mending_the_file_is_enough() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let url = tls_server(&theirs, "localhost", 2090).await;
    let dialler = trusting(Trust::Only(file(&ours, &dir)));
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(fault.contains("signed by nobody we trust"), "{fault}");
    file(&theirs, &dir);
    assert_eq!(greeting(&dialler, &url).await.unwrap(), "yes");
}

#[tokio::test]
async fn an_expired_certificate_and_a_foreign_name_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let dialler = trusting(Trust::Only(file(&authority, &dir)));
    let url = tls_server(&authority, "localhost", 2020).await;
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(
        fault.contains("has expired, or the clock of this box is wrong"),
        "{fault}"
    );
    let url = tls_server(&authority, "other.example", 2090).await;
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(fault.contains("is for another name"), "{fault}");
}

#[tokio::test]
async fn a_trust_file_that_is_missing_or_holds_no_certificate_is_named() {
    let dir = TempDir::new().unwrap();
    let url = tls_server(&Authority::new(), "localhost", 2090).await;
    let path = dir.path().join("site.pem");
    let dialler = trusting(Trust::Only(path.clone()));
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(
        fault.contains("cannot read the trusted certificates in"),
        "{fault}"
    );
    std::fs::write(&path, "nothing").unwrap();
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(fault.contains("holds no certificate"), "{fault}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_said_to_speak_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://127.0.0.1:{}/",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let dir = TempDir::new().unwrap();
    let dialler = trusting(Trust::Only(file(&Authority::new(), &dir)));
    let fault = greeting(&dialler, &Url::parse(&url).unwrap())
        .await
        .unwrap_err();
    assert!(fault.contains("does not speak TLS"), "{fault}");
}

#[tokio::test]
async fn a_closed_port_is_named_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let fault = greeting(&trusting(Trust::System), &url).await.unwrap_err();
    assert!(
        fault.starts_with(&format!("cannot connect to {address}: ")),
        "{fault}"
    );
}

#[test]
fn only_http_and_websocket_urls_lead_anywhere() {
    let target = |url: &str| Target::of(&Url::parse(url).unwrap());
    assert_eq!(
        target("https://cloud.example/x").unwrap().to_string(),
        "cloud.example:443"
    );
    assert_eq!(
        target("ws://[fd00::1]:81/").unwrap().to_string(),
        "[fd00::1]:81"
    );
    assert!(matches!(
        target("ftp://cloud.example/"),
        Err(DialError::BadUrl { .. })
    ));
    assert!(matches!(target("data:x"), Err(DialError::BadUrl { .. })));
}

/// A proxy that lets one connection through to where it is asked, and tells what it was asked.
async fn connect_proxy() -> (Proxy, tokio::sync::oneshot::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, hearing) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 8_192];
        let length = client.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let to = request.split(' ').nth(1).unwrap().to_owned();
        let _ = asked.send(request);
        let mut server = TcpStream::connect(to).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let (proxy, _) = Proxy::parse(&format!("http://ward@{address}")).unwrap();
    (proxy, hearing)
}

#[tokio::test]
async fn tls_goes_through_a_proxy_with_the_servers_certificate_and_the_proxys_password() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let url = tls_server(&authority, "localhost", 2090).await;
    let (proxy, asked) = connect_proxy().await;
    let password = dir.path().join("proxy-password");
    std::fs::write(&password, "geheim\n").unwrap();
    let dialler = Dialler::new(WayOut {
        trust: Trust::Only(file(&authority, &dir)),
        proxy: ProxyRule::Through(proxy),
        proxy_password: Secret::File(password),
        ..WayOut::default()
    });
    assert_eq!(greeting(&dialler, &url).await.unwrap(), "yes");
    let asked = asked.await.unwrap();
    let target = format!("CONNECT localhost:{} HTTP/1.1\r\n", url.port().unwrap());
    assert!(asked.starts_with(&target), "{asked}");
    assert!(asked.contains("Basic d2FyZDpnZWhlaW0="), "{asked}");
}

#[tokio::test]
async fn a_proxy_that_is_away_or_lacks_its_password_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = Url::parse("https://cloud.example/").unwrap();
    let through = |text: String| WayOut {
        proxy: ProxyRule::Through(Proxy::parse(&text).unwrap().0),
        proxy_password: Secret::File("/nowhere/proxy-password".into()),
        ..WayOut::default()
    };
    let dialler = Dialler::new(through(format!("http://ward@{address}")));
    let fault = greeting(&dialler, &url).await.unwrap_err();
    let words = format!(
        "no way through the proxy {address}: the password for it cannot be had: cannot read /nowhere/proxy-password"
    );
    assert!(fault.starts_with(&words), "{fault}");
    drop(listener);
    let away = through(format!("socks5://{address}"));
    let dialler = Dialler::new(away);
    let fault = greeting(&dialler, &url).await.unwrap_err();
    let words = format!("the proxy {address} cannot be reached: cannot connect to {address}: ");
    assert!(fault.starts_with(&words), "{fault}");
}

#[tokio::test]
async fn a_proxy_is_spoken_to_in_tls_where_its_url_says_so() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    // It says "yes" at once, which is no answer to CONNECT, but came out of TLS.
    let url = tls_server(&authority, "localhost", 2090).await;
    let (proxy, _) = Proxy::parse(url.as_str()).unwrap();
    let dialler = Dialler::new(WayOut {
        trust: Trust::Only(file(&authority, &dir)),
        proxy: ProxyRule::Through(proxy),
        ..WayOut::default()
    });
    let cloud = Url::parse("https://cloud.example/").unwrap();
    let fault = greeting(&dialler, &cloud).await.unwrap_err();
    assert!(
        fault.contains("what answers there is no HTTP proxy"),
        "{fault}"
    );
}
