//! TLS in front of the stub: the certificate it shows, and, if asked to, whose certificates it demands.
//!
//! Handshakes run beside each other and within a limit, so that a client that says nothing keeps nobody waiting.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// The files of a stub that speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// PEM; with it every client must show a certificate that one of these has signed.
    pub client_ca: Option<PathBuf>,
}

/// Why the stub cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read {path}")]
    Read { path: PathBuf, source: pem::Error },
    #[error("use the certificate and key")]
    Unusable(#[from] rustls::Error),
    #[error("use the clients' authority")]
    ClientAuthority(#[from] rustls::server::VerifierBuilderError),
}

impl Tls {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable(&self.key))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(file)? {
                    roots.add(authority)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable(path))?;
    found.collect::<Result<_, _>>().map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::Read {
        path: path.to_owned(),
        source,
    }
}

/// Hands out connections whose handshake is done.
pub(crate) struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<()>,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let (done, ready) = mpsc::channel(READY);
        Self {
            listener,
            acceptor,
            handshakes: JoinSet::new(),
            done,
            ready,
        }
    }

    fn shake_hands(&mut self, tcp: TcpStream, from: SocketAddr) {
        // Answers are small and awaited; a connection that refuses this is slower, nothing else.
        let _ = tcp.set_nodelay(true);
        let (acceptor, done) = (self.acceptor.clone(), self.done.clone());
        self.handshakes.spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                Ok(Ok(tls)) => drop(done.send((tls, from)).await),
                Ok(Err(error)) => debug!(%error, "no TLS"),
                Err(_) => debug!("a client does not finish its handshake"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                // The listener holds a sender itself, so the channel stays open.
                Some(ready) = self.ready.recv() => return ready,
                (tcp, from) = Listener::accept(&mut self.listener) => self.shake_hands(tcp, from),
                Some(_) = self.handshakes.join_next() => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Handshakes that are done and wait to be served; the server takes them at once.
const READY: usize = 16;
const HANDSHAKE: Duration = Duration::from_secs(10);
