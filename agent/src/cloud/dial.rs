//! Opens every connection that leaves the box for the cloud: proxy, name, TCP, TLS.
//!
//! The one place that knows how the way out looks. `Dialler::reach` comes to a byte stream to a host, through a proxy
//! where there is one; [`crate::tls`] makes TLS of it. Token, FHIR and websocket all come this way.

mod bypass;
mod http_connect;
mod proxy;
mod socks;
mod step;
mod way;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use crate::tls::{self, ConnectError, Watch, Whom};
use crate::transport::names::{self, Whose};

pub use proxy::ProxyError;
pub use step::Step;
pub use way::{BadEnvironment, BadProxy, CREDENTIAL, Kind, Proxy, ProxyRule, WayOut};

use way::{Environment, Password};

/// Bytes both ways, with or without TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// An open connection to the cloud.
pub type Stream = Box<dyn ByteStream>;

/// Opens connections.
#[derive(Debug)]
pub struct Dialler {
    way: Way,
}

/// The way out, ready to be used.
#[derive(Debug)]
struct Way {
    out: WayOut,
    environment: Environment,
    to_cloud: tls::Client,
    /// A proxy is not shown our certificate.
    to_proxy: tls::Client,
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
    TimedOut { what: String, step: Step },
    #[error(transparent)]
    Tls(#[from] ConnectError),
    #[error(transparent)]
    Environment(#[from] BadEnvironment),
    #[error("the proxy {proxy} cannot be reached")]
    ProxyAway {
        proxy: String,
        source: Box<DialError>,
    },
    #[error("no way through the proxy {proxy}")]
    Proxy { proxy: String, source: ProxyError },
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
    pub fn new(out: WayOut) -> Self {
        Self::watched_by(out, &Watch::default())
    }

    /// Tells there when the cloud's certificate will be over.
    pub fn watched_by(out: WayOut, watch: &Watch) -> Self {
        Self {
            way: Way::new(out, watch),
        }
    }

    /// Opens a connection to the host and port of a url.
    pub async fn dial(&self, url: &Url) -> Result<Stream, DialError> {
        let target = Target::of(url)?;
        let stream = self.way.reach(&target).await?;
        match target.security {
            Security::Plain => Ok(stream),
            Security::Tls => {
                let name = target.server_name()?;
                let tls = self
                    .way
                    .to_cloud
                    .connect(name, stream, STAGE_TIMEOUT)
                    .await?;
                Ok(Box::new(tls))
            }
        }
    }
}

impl Way {
    fn new(out: WayOut, watch: &Watch) -> Self {
        let client = |whom, identity| {
            let proof = tls::Proof::Signed(out.trust.clone());
            tls::Client::new(tls::Settings {
                whom,
                proof,
                identity,
            })
            .watched_by(watch.clone())
        };
        Self {
            environment: Environment::of_process(),
            to_cloud: client(Whom::Cloud, out.identity.clone()),
            to_proxy: client(Whom::Proxy, None),
            out,
        }
    }

    /// Comes to a byte stream to the target, directly or through a proxy.
    async fn reach(&self, target: &Target) -> Result<Stream, DialError> {
        match self.proxy(target)? {
            None => Ok(Box::new(connect(target).await?)),
            Some((proxy, password)) => self.through(&proxy, &password, target).await,
        }
    }

    fn proxy(&self, target: &Target) -> Result<Option<(Proxy, Password)>, BadEnvironment> {
        let kept = || Password::Kept(self.out.proxy_password.clone());
        match &self.out.proxy {
            ProxyRule::None => Ok(None),
            ProxyRule::Through(proxy) => Ok(Some((proxy.clone(), kept()))),
            ProxyRule::Environment => {
                let found = self
                    .environment
                    .proxy(target.security, &target.host, target.port)?;
                let with_password = |(proxy, given): (_, Option<_>)| {
                    (proxy, given.map_or_else(kept, Password::Given))
                };
                Ok(found.map(with_password))
            }
        }
    }

    async fn through(
        &self,
        proxy: &Proxy,
        password: &Password,
        target: &Target,
    ) -> Result<Stream, DialError> {
        let mut stream = self.to(proxy).await.map_err(|error| DialError::ProxyAway {
            proxy: proxy.to_string(),
            source: Box::new(error),
        })?;
        match proxy::tunnel(&mut stream, (proxy, password), target, STAGE_TIMEOUT).await {
            Ok(()) => Ok(stream),
            Err(source) => Err(DialError::Proxy {
                proxy: proxy.to_string(),
                source,
            }),
        }
    }

    /// A byte stream to the proxy itself.
    async fn to(&self, proxy: &Proxy) -> Result<Stream, DialError> {
        let target = Target {
            host: proxy.host.clone(),
            port: proxy.port,
            security: match proxy.kind {
                Kind::Https => Security::Tls,
                Kind::Http | Kind::Socks5 => Security::Plain,
            },
        };
        let tcp = connect(&target).await?;
        match target.security {
            Security::Plain => Ok(Box::new(tcp)),
            Security::Tls => {
                let name = target.server_name()?;
                let tls = self.to_proxy.connect(name, tcp, STAGE_TIMEOUT).await?;
                Ok(Box::new(tls))
            }
        }
    }
}

/// Connects by TCP to one of the target's addresses.
async fn connect(target: &Target) -> Result<TcpStream, DialError> {
    let addresses = resolve(target).await?;
    let patience = STAGE_TIMEOUT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = DialError::NoAddress {
        host: target.host.to_string(),
    };
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tune(tcp)),
            Ok(Err(source)) => failed = DialError::Connect { address, source },
            Err(_) => {
                failed = DialError::TimedOut {
                    what: format!("connecting to {address}"),
                    step: Step::Connection,
                }
            }
        }
    }
    Err(failed)
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
    match timeout(
        STAGE_TIMEOUT,
        names::addresses(Whose::Cloud, target.to_string()),
    )
    .await
    {
        Ok(Ok(mut addresses)) => {
            addresses.truncate(MOST_ADDRESSES);
            Ok(addresses)
        }
        Ok(Err(source)) => Err(DialError::Resolve {
            host: name.to_owned(),
            source,
        }),
        Err(_) => Err(DialError::TimedOut {
            what: format!("the name lookup of {name}"),
            step: Step::Name,
        }),
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

/// For the name, for TCP, for the proxy's answer, and for TLS, each.
const STAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Each address gets its share of the time for TCP; more of them than this would leave too little.
const MOST_ADDRESSES: usize = 4;
/// Idle time before TCP asks whether the other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Sent bytes that nobody acknowledges for so long end the connection, as the silence of the session would.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
