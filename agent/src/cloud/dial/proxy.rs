//! Through a proxy to a server: what is said to it, and in words why it does not go on.

use std::io;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::way::{Kind, Password, Proxy};
use super::{Target, http_connect, socks};
use crate::secret::SecretError;

/// Why a proxy that was reached is no way through. The sentence goes on after "no way through the proxy".
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("the password for it cannot be had")]
    Password { source: SecretError },
    #[error(
        "it closed the connection without an answer; does it speak this protocol at this port?"
    )]
    Closed,
    #[error("the connection with it broke")]
    Io { source: io::Error },
    #[error("it did not answer within {} s", limit.as_secs_f32())]
    TimedOut { limit: Duration },
    #[error("what answers there is no {0} proxy; is the port right?")]
    OtherProtocol(&'static str),
    #[error("its answer is longer than {} KiB", http_connect::HEAD_LIMIT >> 10)]
    TooLong,
    #[error(
        "it asks for a user and a password{}: write the user into [cloud] proxy, like http://USER@HOST:PORT, and give \
         the password as the credential proxy-password or in proxy_password_file",
        code(*status)
    )]
    WantsUser { status: u16 },
    #[error("it does not accept our user and password{}: correct [cloud] proxy and the password", code(*status))]
    BadLogin { status: u16 },
    #[error(
        "it accepts only {schemes} (407), and the agent has only user and password: have it let this box through \
         without, or put a relay in between that can do that"
    )]
    OtherLogin { schemes: String },
    #[error("it does not allow {target}{}: whoever runs it must let this box reach that host and port", code(*status))]
    Forbidden { target: String, status: u16 },
    #[error("it cannot reach {target}{}: {why}", code(*status))]
    Beyond {
        target: String,
        status: u16,
        why: &'static str,
    },
    #[error(
        "it answered {status} to CONNECT, so it makes no tunnel to {target}; is it a proxy for that?"
    )]
    Status { target: String, status: u16 },
    #[error("it answered with a code that means nothing ({0})")]
    UnknownReply(u8),
    #[error("user or password are longer than the 255 bytes that a SOCKS proxy takes")]
    LongLogin,
    #[error("the name of the host is longer than the 255 bytes that a SOCKS proxy takes")]
    LongName,
}

/// User and password, where there is a user.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: SecretString,
}

/// Asks the proxy at the other end of `stream` for a tunnel to `target`.
pub(super) async fn tunnel<S>(
    stream: &mut S,
    (proxy, password): (&Proxy, &Password),
    target: &Target,
    limit: Duration,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let login = login(proxy, password)?;
    let asking = async {
        match proxy.kind {
            Kind::Http | Kind::Https => http_connect::open(stream, login.as_ref(), target).await,
            Kind::Socks5 => socks::open(stream, login.as_ref(), target).await,
        }
    };
    match timeout(limit, asking).await {
        Ok(opened) => opened,
        Err(_) => Err(ProxyError::TimedOut { limit }),
    }
}

fn login(proxy: &Proxy, password: &Password) -> Result<Option<Login>, ProxyError> {
    let Some(user) = proxy.user.clone() else {
        return Ok(None);
    };
    let password = match password {
        Password::Given(password) => password.clone(),
        // A small file on a local disk, once a connection.
        Password::Kept(secret) => secret
            .read()
            .map_err(|source| ProxyError::Password { source })?,
    };
    Ok(Some(Login { user, password }))
}

impl From<io::Error> for ProxyError {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io { source }
        }
    }
}

/// SOCKS has no status that anybody would look up.
fn code(status: u16) -> String {
    if status == 0 {
        String::new()
    } else {
        format!(" ({status})")
    }
}
