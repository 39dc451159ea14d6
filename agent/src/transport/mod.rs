//! How bytes travel to a device. Opens connections; knows nothing of what they carry.

pub(crate) mod names;
mod tcp;

use std::sync::Arc;

use agent_core::route::HostPort;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{DeviceTls, Timing};
use crate::tls::{self, ConnectError, Watch, Whom, told};

/// One configured way to reach a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    Dial {
        to: HostPort,
        timing: Timing,
        /// Spoken on the connection before anything else, and never left out.
        tls: Option<Tls>,
    },
}

/// TLS with one device.
#[derive(Clone, Debug)]
pub struct Tls {
    client: Arc<tls::Client>,
    name: ServerName<'static>,
}

/// One open connection, whatever it runs on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why a connection could not be opened, as a sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot find the address of {host}: {error}")]
    Resolve { host: String, error: std::io::Error },
    #[error("cannot connect to {to}: {error}")]
    Connect { to: String, error: std::io::Error },
    #[error("{to} did not answer within {seconds} s")]
    Timeout { to: String, seconds: u64 },
    #[error("{}", told(error))]
    Tls { error: ConnectError },
}

/// Equal where the settings are: what was read from files does not count.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        (self.client.settings(), &self.name) == (other.client.settings(), &other.name)
    }
}

impl Eq for Tls {}

impl Tls {
    pub fn new(device: &str, settings: &DeviceTls) -> Self {
        let client = tls::Client::new(tls::Settings {
            whom: Whom::Device(device.to_owned()),
            proof: settings.proof.clone(),
            identity: settings.identity.clone(),
        });
        Self {
            client: Arc::new(client),
            name: settings.name.clone(),
        }
    }

    fn watched_by(self, watch: Watch) -> Self {
        let client = tls::Client::new(self.client.settings().clone());
        Self {
            client: Arc::new(client.watched_by(watch)),
            ..self
        }
    }
}

impl Transport {
    /// Tells there when the certificates that are shown to it will be over.
    #[must_use]
    pub fn watched_by(self, watch: &Watch) -> Self {
        match self {
            Self::Dial { to, timing, tls } => Self::Dial {
                to,
                timing,
                tls: tls.map(|tls| tls.watched_by(watch.clone())),
            },
        }
    }

    pub async fn open(&self) -> Result<Box<dyn Stream>, OpenError> {
        match self {
            Self::Dial {
                to,
                timing,
                tls: None,
            } => Ok(Box::new(tcp::connect(to, timing).await?)),
            Self::Dial {
                to,
                timing,
                tls: Some(tls),
            } => {
                let tcp = tcp::connect(to, timing).await?;
                let limit = timing.connect_timeout;
                let secured = tls.client.connect(tls.name.clone(), tcp, limit).await;
                Ok(Box::new(secured.map_err(|error| OpenError::Tls { error })?))
            }
        }
    }

    pub fn timing(&self) -> &Timing {
        match self {
            Self::Dial { timing, .. } => timing,
        }
    }
}

/// Opens and closes a connection, to see whether somebody is there.
pub async fn knock(to: &HostPort, timing: &Timing) -> Result<(), OpenError> {
    tcp::connect(to, timing).await.map(drop)
}
