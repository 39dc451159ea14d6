//! TCP: connected within a limit, without delay, and kept alive so that a pulled cable is noticed.

use std::time::Duration;

use agent_core::route::HostPort;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::OpenError;
use super::names::{self, Whose};
use crate::config::Timing;

pub(super) async fn connect(to: &HostPort, timing: &Timing) -> Result<TcpStream, OpenError> {
    let late = || OpenError::Timeout {
        to: to.to_string(),
        seconds: timing.connect_timeout.as_secs(),
    };
    let stream = timeout(timing.connect_timeout, first_that_answers(to))
        .await
        .map_err(|_| late())??;
    prepare(&stream, timing).map_err(|error| OpenError::Connect {
        to: to.to_string(),
        error,
    })?;
    Ok(stream)
}

/// Tries every address of the host in turn.
async fn first_that_answers(to: &HostPort) -> Result<TcpStream, OpenError> {
    let refused = |error| OpenError::Connect {
        to: to.to_string(),
        error,
    };
    let addresses = names::addresses(Whose::Device, to.to_string())
        .await
        .map_err(|error| OpenError::Resolve {
            host: to.host.to_string(),
            error,
        })?;
    let mut last = std::io::Error::other("it has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(refused(last))
}

fn prepare(stream: &TcpStream, timing: &Timing) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(timing.keepalive)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Between probes of a silent connection, and how many may go unanswered.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
