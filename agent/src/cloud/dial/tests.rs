//! Real sockets on 127.0.0.1, certificates made on the spot.

use std::path::PathBuf;

use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::cloud::told;

/// An authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Writes the authority's certificate where a configuration would name it.
    fn file(&self, dir: &TempDir) -> PathBuf {
        let path = dir.path().join("authority.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }
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
    let dialler = Dialler::new(Trust::Only(authority.file(&dir)));
    assert_eq!(greeting(&dialler, &url).await.unwrap(), "yes");
}

#[tokio::test]
async fn a_server_signed_by_somebody_else_is_not_and_mending_the_file_is_enough() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let url = tls_server(&theirs, "localhost", 2090).await;
    let dialler = Dialler::new(Trust::Only(ours.file(&dir)));
    let fault = greeting(&dialler, &url).await.unwrap_err();
    assert!(fault.contains("signed by nobody we trust"), "{fault}");
    theirs.file(&dir);
    assert_eq!(greeting(&dialler, &url).await.unwrap(), "yes");
}

#[tokio::test]
async fn an_expired_certificate_and_a_foreign_name_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let dialler = Dialler::new(Trust::Only(authority.file(&dir)));
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
    let dialler = Dialler::new(Trust::Only(path.clone()));
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
    let dialler = Dialler::new(Trust::Only(Authority::new().file(&dir)));
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
    let fault = greeting(&Dialler::new(Trust::System), &url)
        .await
        .unwrap_err();
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
