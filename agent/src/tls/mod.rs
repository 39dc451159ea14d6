//! TLS on every way out: to the cloud, to a proxy, to devices. Versions 1.2 and 1.3, by rustls; never anything less, and
//! never without.
//!
//! [`Client`] is one configured way to do it: how the other end proves who it is ([`Proof`]), and who we are
//! ([`Identity`]). The files behind it are read when first needed, again when one of them has changed, and again after
//! a handshake failed: a certificate that was renewed on disk needs no restart. What failed is said in words (`fault`).

#[cfg(test)]
pub(crate) mod authority;
mod expiry;
mod fault;
mod identity;
mod pin;
mod secured;
mod trust;
pub mod watch;

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use fault::{Handshake, Whom};
pub use identity::{Identity, IdentityError};
pub use pin::{NoPrint, Pin, Print};
pub use secured::Secured;
pub use trust::{Proof, Trust, TrustError};
pub use watch::{Ending, Watch};

/// One configured way to speak TLS. Plain data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub whom: Whom,
    pub proof: Proof,
    pub identity: Option<Identity>,
}

/// Makes TLS connections of plain ones.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    watch: Watch,
    known: Mutex<Option<Known>>,
}

/// What was read from the files, and how they were then.
#[derive(Clone, Debug)]
struct Known {
    config: Arc<ClientConfig>,
    pair: Option<Arc<CertifiedKey>>,
    stamps: Vec<Stamp>,
}

/// A file as it was when it was read; renewing it changes one of these.
type Stamp = (PathBuf, Option<(SystemTime, u64)>);

/// Why our side of TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("TLS cannot be set up")]
    Rustls { source: rustls::Error },
    #[error("stopped while reading certificates")]
    Stopped,
}

/// Why a connection did not become a TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("no TLS with {name}: {words}")]
    Handshake {
        name: String,
        words: String,
        source: io::Error,
    },
    #[error("the TLS handshake with {name} took longer than {} s{}", limit.as_secs_f32(), whom.when_silent())]
    TimedOut {
        name: String,
        limit: Duration,
        whom: Whom,
    },
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            watch: Watch::default(),
            known: Mutex::new(None),
        }
    }

    /// Tells there when the certificates of the other end will be over.
    #[must_use]
    pub fn watched_by(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the files anew before the next connection.
    pub fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Shakes hands over an open connection; `name` is who must be there.
    pub async fn connect<S>(
        &self,
        name: ServerName<'static>,
        stream: S,
        limit: Duration,
    ) -> Result<Secured<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shown = name.to_str().into_owned();
        let known = self.known().await?;
        match timeout(limit, self.handshake(&known, name, stream)).await {
            Ok(Ok(secured)) => {
                let leaf = secured.certificate();
                self.watch.saw(&self.settings.whom, &shown, leaf);
                Ok(secured)
            }
            Ok(Err((hand, source))) => {
                // The operator may be putting the right file in place just now.
                self.forget();
                Err(ConnectError::Handshake {
                    words: hand.fault(&source),
                    name: shown,
                    source: fault::readable(source),
                })
            }
            Err(_) => Err(ConnectError::TimedOut {
                name: shown,
                limit,
                whom: self.settings.whom.clone(),
            }),
        }
    }

    async fn handshake<S>(
        &self,
        known: &Known,
        name: ServerName<'static>,
        stream: S,
    ) -> Result<Secured<S>, (Handshake, io::Error)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let asked = Arc::new(AtomicBool::new(false));
        let mut config = (*known.config).clone();
        config.client_auth_cert_resolver = Arc::new(identity::Showing {
            pair: known.pair.clone(),
            asked: Arc::clone(&asked),
        });
        let hand = Handshake {
            whom: self.settings.whom.clone(),
            asked,
            has_identity: known.pair.is_some(),
        };
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let tls = match connecting.await {
            Ok(tls) => tls,
            Err(error) => return Err((hand, error)),
        };
        let mut secured = Secured::new(tls, hand.clone());
        match secured.verdict().await {
            Ok(()) => Ok(secured),
            Err(error) => Err((hand, error)),
        }
    }

    async fn known(&self) -> Result<Known, SetupError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let settings = self.settings.clone();
        let reading = tokio::task::spawn_blocking(move || match known {
            Some(known) if known.stamps == stamps(&settings) => Ok(known),
            Some(_) | None => read(&settings),
        });
        let known = reading.await.map_err(|_| SetupError::Stopped)??;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }
}

fn read(settings: &Settings) -> Result<Known, SetupError> {
    // Before reading: a file that changes meanwhile is read again.
    let stamps = stamps(settings);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = trust::verifier(&settings.proof, &provider)?;
    let pair = match &settings.identity {
        Some(identity) => Some(identity::load(identity, &provider)?),
        None => None,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| SetupError::Rustls { source })?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    // A resumed connection would be checked against what was true when the first one was made.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = settings.whom.protocols();
    Ok(Known {
        config: Arc::new(config),
        pair,
        stamps,
    })
}

fn stamps(settings: &Settings) -> Vec<Stamp> {
    let trust = settings.proof.trust().and_then(Trust::file);
    let pins = settings.proof.pins().iter().filter_map(|pin| match pin {
        Pin::File(path) => Some(path.as_path()),
        Pin::Print(_) => None,
    });
    let ours = settings.identity.as_ref();
    let certificate = ours.map(|identity| identity.certificate.as_path());
    let key = ours.and_then(|identity| identity.key.path());
    let files = trust.into_iter().chain(pins).chain(certificate);
    let stamp = |path: PathBuf| {
        let now = std::fs::metadata(&path);
        let now = now.and_then(|now| Ok((now.modified()?, now.len())));
        (path, now.ok())
    };
    files.map(PathBuf::from).chain(key).map(stamp).collect()
}

/// An error with everything beneath it, as one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(words, ": {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests;
