//! Real sockets on 127.0.0.1, certificates made on the spot.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::authority::{Authority, Pair};
use super::*;
use crate::secret::Secret;

impl Authority {
    /// For 127.0.0.1.
    fn here(&self) -> Pair {
        self.sign(&here(2090))
    }
}

fn here(last_year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    params.not_after = date_time_ymd(last_year, 12, 31);
    params
}

fn named(name: &str, last_year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(last_year, 12, 31);
    params
}

fn self_signed(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().unwrap();
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// What a server asks of its clients.
enum Clients {
    Anybody,
    SignedBy(String),
}

fn acceptor(
    pair: &Pair,
    clients: &Clients,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::SignedBy(pem) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that says "yes" to each connection and ends it well.
async fn greeter(pair: &Pair, clients: Clients, versions: Versions) -> SocketAddr {
    let (listener, address) = listen().await;
    let acceptor = acceptor(pair, &clients, versions);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(tcp).await {
                let _ = tls.write_all(b"yes").await;
                let _ = tls.shutdown().await;
            }
        }
    });
    address
}

type Versions = &'static [&'static SupportedProtocolVersion];

const ANY: Versions = &[&rustls::version::TLS13, &rustls::version::TLS12];
const OLD: Versions = &[&rustls::version::TLS12];
const NEW: Versions = &[&rustls::version::TLS13];
const PATIENCE: Duration = Duration::from_secs(20);

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn trusting(file: &Path) -> Client {
    client(Proof::Signed(Trust::Only(file.to_owned())), None)
}

fn client(proof: Proof, identity: Option<Identity>) -> Client {
    Client::new(Settings {
        whom: Whom::Device("chem".into()),
        proof,
        identity,
    })
}

fn identity(dir: &TempDir, pair: &Pair) -> Identity {
    Identity {
        certificate: write(dir, "client.pem", &pair.certificate),
        key: Secret::File(write(dir, "client.key", &pair.key)),
    }
}

/// What the server at this address says to us, or why it says nothing.
async fn greeting(client: &Client, address: SocketAddr) -> Result<String, String> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::from(address.ip());
    let mut tls = client
        .connect(name, tcp, PATIENCE)
        .await
        .map_err(|error| told(&error))?;
    let mut text = String::new();
    tls.read_to_string(&mut text)
        .await
        .map_err(|error| error.to_string())?;
    Ok(text)
}

async fn check_fault(client: &Client, address: SocketAddr, words: &str) {
    let fault = greeting(client, address).await.unwrap_err();
    assert!(fault.contains(words), "{fault}");
}

#[tokio::test]
async fn a_device_is_known_by_its_address_and_the_signature_on_it() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let client = trusting(&write(&dir, "ca.pem", &authority.pem));
    for versions in [ANY, OLD, NEW] {
        let address = greeter(&authority.here(), Clients::Anybody, versions).await;
        assert_eq!(greeting(&client, address).await.unwrap(), "yes");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_with_the_key_that_mends_it() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let client = trusting(&write(&dir, "ca.pem", &ours.pem));
    for (pair, words) in [
        (
            theirs.here(),
            "signed by nobody we trust; name its authority in [tls] trust",
        ),
        (
            ours.sign(&here(2020)),
            "has expired, or the clock of this box is wrong",
        ),
        (
            ours.sign(&named("chem.lab", 2090)),
            "is for another name; write a name that is in it as [tls] server_name",
        ),
        (ours.sign(&named("chem.lab", 2090)), "chem.lab"),
    ] {
        let address = greeter(&pair, Clients::Anybody, ANY).await;
        check_fault(&client, address, words).await;
    }
    let mut params = here(2090);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pair = self_signed(&params);
    let client = trusting(&write(&dir, "itself.pem", &pair.certificate));
    let address = greeter(&pair, Clients::Anybody, ANY).await;
    check_fault(&client, address, "name it in [tls] pin instead of trust").await;
}

#[tokio::test]
async fn a_pinned_certificate_is_enough_whatever_its_name_and_dates() {
    let dir = TempDir::new().unwrap();
    let pair = self_signed(&named("factory-default", 2020));
    let address = greeter(&pair, Clients::Anybody, ANY).await;
    let file = write(&dir, "pin.pem", &pair.certificate);
    let by_file = client(Proof::Pinned(vec![Pin::File(file.clone())]), None);
    assert_eq!(greeting(&by_file, address).await.unwrap(), "yes");
    let print = Print::of(&trust::certificates(&file).unwrap()[0]);
    let by_print = client(Proof::Pinned(vec![Pin::Print(print)]), None);
    assert_eq!(greeting(&by_print, address).await.unwrap(), "yes");
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_shown_beside_it_and_a_new_file_is_enough() {
    let dir = TempDir::new().unwrap();
    let (expected, shown) = (self_signed(&here(2090)), self_signed(&here(2090)));
    let address = greeter(&shown, Clients::Anybody, ANY).await;
    let file = write(&dir, "pin.pem", &expected.certificate);
    let client = client(Proof::Pinned(vec![Pin::File(file.clone())]), None);
    let prints = [&shown, &expected].map(|pair| {
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
        Print::of(&der.unwrap())
    });
    let words = format!("it shows {}, and pinned is {}", prints[0], prints[1]);
    check_fault(&client, address, &words).await;
    check_fault(&client, address, "its certificate is not the pinned one").await;
    write(
        &dir,
        "pin.pem",
        &format!("{}{}", expected.certificate, shown.certificate),
    );
    assert_eq!(greeting(&client, address).await.unwrap(), "yes");
}

#[tokio::test]
async fn trust_and_pin_together_ask_for_both() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let pair = authority.sign(&named("chem.lab", 2090));
    let address = greeter(&pair, Clients::Anybody, ANY).await;
    let trust = Trust::Only(write(&dir, "ca.pem", &authority.pem));
    let pins = vec![Pin::File(write(&dir, "pin.pem", &pair.certificate))];
    let client = client(Proof::Both(trust, pins), None);
    check_fault(&client, address, "is for another name").await;
}

#[tokio::test]
async fn a_certificate_that_is_demanded_is_asked_for_and_one_that_is_refused_is_said_to_be() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let proof = || Proof::Signed(Trust::Only(write(&dir, "ca.pem", &theirs.pem)));
    for versions in [OLD, NEW] {
        let demands = Clients::SignedBy(theirs.pem.clone());
        let address = greeter(&theirs.here(), demands, versions).await;
        let nobody = client(proof(), None);
        let words =
            "it demands a client certificate, and we have none; set client_certificate in [tls]";
        check_fault(&nobody, address, words).await;
        let somebody = client(proof(), Some(identity(&dir, &ours.here())));
        check_fault(&somebody, address, "it refused our client certificate").await;
        // The renewed pair is read without a word from anybody.
        identity(&dir, &theirs.here());
        assert_eq!(greeting(&somebody, address).await.unwrap(), "yes");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_told_from_one_that_belongs_to_another_certificate() {
    let dir = TempDir::new().unwrap();
    let authority = Authority::new();
    let address = greeter(&authority.here(), Clients::Anybody, ANY).await;
    let proof = Proof::Signed(Trust::Only(write(&dir, "ca.pem", &authority.pem)));
    let pair = authority.here();
    let client = client(proof, Some(identity(&dir, &pair)));
    assert_eq!(greeting(&client, address).await.unwrap(), "yes");
    write(&dir, "client.key", &authority.here().key);
    check_fault(&client, address, "does not belong to the certificate in").await;
    write(
        &dir,
        "client.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    );
    check_fault(&client, address, "not encrypted").await;
    std::fs::remove_file(dir.path().join("client.key")).unwrap();
    check_fault(&client, address, "may the service's user read it?").await;
    write(&dir, "client.key", &pair.key);
    write(&dir, "client.pem", "nothing");
    check_fault(&client, address, "holds no certificate").await;
}

#[tokio::test]
async fn a_port_that_speaks_plain_mllp_is_never_spoken_to_in_plain() {
    let dir = TempDir::new().unwrap();
    let client = trusting(&write(&dir, "ca.pem", &Authority::new().pem));
    let ends: [(&[u8], &str); 3] = [
        (
            b"\x0bMSH|^~\\&|LAB\r\x1c\r",
            "does not speak TLS; if it speaks plain MLLP, its url is mllp://",
        ),
        (
            b"",
            "broke in the handshake; does it speak TLS at this port? Plain MLLP is mllp://",
        ),
        (
            b"\x15\x03\x01\x00\x02\x02\x46",
            "speaks neither TLS 1.2 nor 1.3",
        ),
    ];
    for (answer, words) in ends {
        let (listener, address) = listen().await;
        let (heard, mut hearing) = mpsc::channel(1);
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 4096];
            let length = tcp.read(&mut hello).await.unwrap();
            heard.send(hello[..length].to_vec()).await.unwrap();
            tcp.write_all(answer).await.unwrap();
        });
        check_fault(&client, address, words).await;
        let hello = hearing.recv().await.unwrap();
        assert_eq!(hello.first(), Some(&0x16), "a handshake and nothing else");
    }
}

#[tokio::test]
async fn a_port_that_says_nothing_is_given_up_in_time() {
    let dir = TempDir::new().unwrap();
    let client = trusting(&write(&dir, "ca.pem", &Authority::new().pem));
    let (_listener, address) = listen().await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let limit = Duration::from_millis(20);
    let connecting = client.connect(ServerName::from(address.ip()), tcp, limit);
    let fault = connecting.await.unwrap_err().to_string();
    let words =
        "the TLS handshake with 127.0.0.1 took longer than 0.02 s; does it speak TLS at this port?";
    assert!(fault.contains(words), "{fault}");
}

/// A connection, and the other end of it in the hands of the test.
async fn both_ends(
    dir: &TempDir,
) -> (
    Secured<TcpStream>,
    tokio_rustls::server::TlsStream<TcpStream>,
) {
    let authority = Authority::new();
    let client = trusting(&write(dir, "ca.pem", &authority.pem));
    let (listener, address) = listen().await;
    let acceptor = acceptor(&authority.here(), &Clients::Anybody, ANY);
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.unwrap()
    };
    let dialling = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::from(address.ip());
        client.connect(name, tcp, PATIENCE).await.unwrap()
    };
    tokio::join!(dialling, serving)
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_from_one_that_is_ended() {
    let dir = TempDir::new().unwrap();
    let (mut ours, mut theirs) = both_ends(&dir).await;
    theirs.shutdown().await.unwrap();
    assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    let (mut ours, mut theirs) = both_ends(&dir).await;
    theirs.get_mut().0.shutdown().await.unwrap();
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let words = "the connection was cut off without the end of TLS";
    assert!(error.to_string().starts_with(words), "{error}");
}

#[tokio::test]
async fn leaving_says_goodbye() {
    let dir = TempDir::new().unwrap();
    let (ours, mut theirs) = both_ends(&dir).await;
    drop(ours);
    assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn only_what_has_left_is_counted_and_nothing_leaves_afterwards() {
    let dir = TempDir::new().unwrap();
    let (mut ours, mut theirs) = both_ends(&dir).await;
    // Takes the other end's tickets in, too: a socket that is closed with something unread drops what it was to send.
    theirs.write_all(b"x").await.unwrap();
    ours.read_exact(&mut [0]).await.unwrap();
    let message = vec![7; 64 << 20];
    let mut left = 0;
    // The other end does not read, so that this ends with a record half out.
    while let Some(written) = now_or_never(ours.write(&message[left..])).await {
        left += written.unwrap();
    }
    assert!(left > 0 && left < message.len(), "{left}");
    drop(ours);
    let mut arrived = Vec::new();
    let _cut = theirs.read_to_end(&mut arrived).await;
    assert_eq!(arrived.len(), left);
}

#[tokio::test]
async fn a_message_arrives_whole_at_a_reader_that_begins_late() {
    let dir = TempDir::new().unwrap();
    let (mut ours, mut theirs) = both_ends(&dir).await;
    let message: Vec<u8> = (0..8_u32 << 20).map(|at| at.to_le_bytes()[0]).collect();
    let mut left = 0;
    while let Some(written) = now_or_never(ours.write(&message[left..])).await {
        left += written.unwrap();
    }
    let rest = message[left..].to_vec();
    let writing = tokio::spawn(async move {
        // `write` alone, as the line does it: never a flush.
        let mut from = 0;
        while from < rest.len() {
            from += ours.write(&rest[from..]).await.unwrap();
        }
        ours
    });
    let mut arrived = vec![0; message.len()];
    theirs.read_exact(&mut arrived).await.unwrap();
    assert!(arrived == message, "what arrived is what was sent");
    drop(writing.await.unwrap());
}

/// Polls once: the socket is full when it is not ready then.
async fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}
