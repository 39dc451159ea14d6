//! Opens every connection that leaves the box for the cloud: name, TCP, TLS.
//!
//! The one place that knows how the way out looks. `Dialler::reach` comes to a byte stream to a host,
//! which is where a proxy belongs; `trust::client_config` says whom we trust and who we are,
//! which is where a client certificate belongs.

mod trust;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

pub use trust::{Trust, TrustError};

/// Bytes both ways, with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open connection to the cloud.
pub type Stream = Box<dyn ByteStream>;

/// Opens connections; the trusted certificates are read when first needed, and again after TLS failed.
#[derive(Debug)]
pub struct Dialler {
    trust: Trust,
    tls: Mutex<Option<Arc<ClientConfig>>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot connect to {url}: it needs a host, and http, https, ws or wss before it")]
    BadUrl { url: String },
    #[error("cannot find the address of {host}: is the network up, and the name right?")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{what} took longer than {} s", STAGE_TIMEOUT.as_secs())]
    TimedOut { what: String },
    #[error("no TLS with {host}: {}", trust::tls_fault(source))]
    Tls { host: String, source: io::Error },
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Where a url leads.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Target {
    host: Host,
    port: u16,
    security: Security,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Security {
    Plain,
    Tls,
}

impl Dialler {
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            tls: Mutex::new(None),
        }
    }

    /// Opens a connection to the host and port of a url.
    pub async fn dial(&self, url: &Url) -> Result<Stream, DialError> {
        let target = Target::of(url)?;
        let tcp = self.reach(&target).await?;
        match target.security {
            Security::Plain => Ok(Box::new(tcp)),
            Security::Tls => self.secure(&target, tcp).await,
        }
    }

    /// Comes to a byte stream to the target. A proxy is another way to do just this.
    async fn reach(&self, target: &Target) -> Result<TcpStream, DialError> {
        let addresses = resolve(target).await?;
        let patience = STAGE_TIMEOUT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failed = DialError::NoAddress {
            host: target.host.to_string(),
        };
        for address in addresses {
            match timeout(patience, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tune(tcp)),
                Ok(Err(source)) => failed = DialError::Connect { address, source },
                Err(_) => failed = timed_out(format!("connecting to {address}")),
            }
        }
        Err(failed)
    }

    async fn secure(&self, target: &Target, tcp: TcpStream) -> Result<Stream, DialError> {
        let host = target.host.to_string();
        let config = self.config().await?;
        let connecting = TlsConnector::from(config).connect(target.server_name()?, tcp);
        match timeout(STAGE_TIMEOUT, connecting).await {
            Ok(Ok(tls)) => Ok(Box::new(tls)),
            Ok(Err(source)) => {
                // The operator may be putting the right file in place just now.
                self.forget();
                Err(DialError::Tls { host, source })
            }
            Err(_) => Err(timed_out(format!("the TLS handshake with {host}"))),
        }
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, DialError> {
        if let Some(config) = self.known() {
            return Ok(config);
        }
        let trust = self.trust.clone();
        let reading = tokio::task::spawn_blocking(move || trust::client_config(&trust));
        let config = Arc::new(reading.await.map_err(|_| TrustError::Stopped)??);
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&config));
        Ok(config)
    }

    fn known(&self) -> Option<Arc<ClientConfig>> {
        self.tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn forget(&self) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Target {
    fn of(url: &Url) -> Result<Self, DialError> {
        let security = match url.scheme() {
            "http" | "ws" => Some(Security::Plain),
            "https" | "wss" => Some(Security::Tls),
            _ => None,
        };
        let host = url.host().map(|host| host.to_owned());
        let (Some(security), Some(host), Some(port)) =
            (security, host, url.port_or_known_default())
        else {
            return Err(DialError::BadUrl {
                url: url.to_string(),
            });
        };
        Ok(Self {
            host,
            port,
            security,
        })
    }

    fn server_name(&self) -> Result<ServerName<'static>, DialError> {
        match &self.host {
            Host::Ipv4(address) => Ok(ServerName::IpAddress((*address).into())),
            Host::Ipv6(address) => Ok(ServerName::IpAddress((*address).into())),
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|_| DialError::BadUrl { url: name.clone() }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, DialError> {
    let name = match &target.host {
        Host::Ipv4(address) => return Ok(vec![SocketAddr::new((*address).into(), target.port)]),
        Host::Ipv6(address) => return Ok(vec![SocketAddr::new((*address).into(), target.port)]),
        Host::Domain(name) => name.as_str(),
    };
    match timeout(STAGE_TIMEOUT, lookup_host((name, target.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.take(MOST_ADDRESSES).collect()),
        Ok(Err(source)) => Err(DialError::Resolve {
            host: name.to_owned(),
            source,
        }),
        Err(_) => Err(timed_out(format!("the name lookup of {name}"))),
    }
}

/// Sets what a long-lived connection needs. An option that the system refuses is not worth a connection.
fn tune(tcp: TcpStream) -> TcpStream {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3)
        .with_retries(3);
    let socket = SockRef::from(&tcp);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

fn timed_out(what: String) -> DialError {
    DialError::TimedOut { what }
}

/// For the name, for TCP, and for TLS, each.
const STAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Each address gets its share of the time for TCP; more of them than this would leave too little.
const MOST_ADDRESSES: usize = 4;
/// Idle time before TCP asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Sent bytes that nobody acknowledges for so long end the connection, as the silence of the session would.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
