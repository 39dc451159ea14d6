//! How bytes travel to a device. Opens connections; knows nothing of what they carry.

mod tcp;

use agent_core::route::HostPort;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::Timing;

/// One configured way to reach a device.
#[derive(Clone, Debug)]
pub enum Transport {
    Dial { to: HostPort, timing: Timing },
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
}

impl Transport {
    pub async fn open(&self) -> Result<Box<dyn Stream>, OpenError> {
        match self {
            Self::Dial { to, timing } => Ok(Box::new(tcp::connect(to, timing).await?)),
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
