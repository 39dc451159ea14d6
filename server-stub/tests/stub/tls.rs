//! The binary behind TLS, with and without certificates of clients.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

/// Writes an authority, and a certificate with its key for `localhost`.
fn write_certificates(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(
        folder.join("ca.pem"),
        params.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}

/// Starts the stub with these flags; gives its port.
async fn start(folder: &Path, more: &[&str]) -> (Child, u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wardpost-cloud"))
        .current_dir(folder)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().unwrap();
    let address = ready.strip_prefix("wardpost-cloud listening on https://127.0.0.1:");
    (child, address.unwrap().parse().unwrap())
}

/// What a client shows of itself.
#[derive(Clone, Copy)]
enum Shows {
    Nothing,
    ItsCertificate,
}

/// Asks for the health of the stub; what it said, nothing if it said nothing.
async fn ask(folder: &Path, port: u16, shows: Shows) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        Shows::Nothing => builder.with_no_client_auth(),
        Shows::ItsCertificate => {
            let chain = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    let mut said = Vec::new();
    let request = b"GET /healthcheck HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    if tls.write_all(request).await.is_ok() {
        // A client that is not let in is told after its own side of the handshake: by an error here.
        let _ = tls.read_to_end(&mut said).await;
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn the_program_speaks_https_where_it_has_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let (_child, port) = start(folder.path(), &[]).await;
    let said = ask(folder.path(), port, Shows::Nothing).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_not_let_in_where_one_is_demanded() {
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path());
    let (_child, port) = start(folder.path(), &["--tls-client-ca", "ca.pem"]).await;
    assert_eq!(ask(folder.path(), port, Shows::Nothing).await, "");
    let said = ask(folder.path(), port, Shows::ItsCertificate).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}
