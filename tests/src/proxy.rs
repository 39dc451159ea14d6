//! A proxy on the way to the cloud: HTTP CONNECT and SOCKS5 at one port, told apart by their first byte, with users and
//! passwords if it has any. It knows names that nobody else does, so that who gets there by name came through it.
//!
//! Nothing of it is taken from the agent: what the two agree on, two implementations agree on.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    /// `HOST:PORT` as it is asked for, and where that is.
    names: HashMap<String, SocketAddr>,
    /// `USER:PASSWORD`; everybody, if there is none.
    login: Option<String>,
    /// What was asked for and granted.
    granted: Mutex<Vec<String>>,
    refusing: Mutex<Option<u16>>,
}

impl Proxy {
    pub async fn start(names: &[(&str, SocketAddr)], login: Option<&str>) -> io::Result<Self> {
        let names = names.iter().map(|(name, at)| ((*name).to_owned(), *at));
        let shared = Arc::new(Shared {
            names: names.collect(),
            login: login.map(str::to_owned),
            granted: Mutex::default(),
            refusing: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move { shared.serve(client).await });
            }
        });
        Ok(Self {
            address,
            shared,
            task: task.abort_handle(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers every HTTP request with this status, until it is told otherwise.
    pub fn refuses(&self, status: Option<u16>) {
        *self.shared.refusing() = status;
    }

    /// What it was asked for and granted, oldest first.
    pub fn granted(&self) -> Vec<String> {
        self.shared.granted().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn granted(&self) -> MutexGuard<'_, Vec<String>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusing(&self) -> MutexGuard<'_, Option<u16>> {
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let first = client.read_u8().await?;
        let Some(mut server) = (if first == 5 {
            self.socks(&mut client).await?
        } else {
            self.http(first, &mut client).await?
        }) else {
            return Ok(());
        };
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    /// The server, or nothing if there is none of this name.
    async fn reach(&self, name: String) -> io::Result<Option<TcpStream>> {
        let Some(at) = self.names.get(&name) else {
            return Ok(None);
        };
        let server = TcpStream::connect(at).await?;
        self.granted().push(name);
        Ok(Some(server))
    }

    async fn http(&self, first: u8, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let mut head = vec![first];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let refusing = *self.refusing();
        if let Some(status) = refusing {
            let refusal = format!("HTTP/1.1 {status} Not now\r\nContent-Length: 0\r\n\r\n");
            client.write_all(refusal.as_bytes()).await?;
            return Ok(None);
        }
        let known = self.login.as_ref().is_none_or(|login| {
            let expected = format!("proxy-authorization: basic {}", STANDARD.encode(login));
            head.lines()
                .any(|line| line.eq_ignore_ascii_case(&expected))
        });
        if !known {
            let refusal =
                "HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
            client.write_all(refusal.as_bytes()).await?;
            return Ok(None);
        }
        let name = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let server = self.reach(name).await?;
        let answer = match server {
            Some(_) => "HTTP/1.1 200 Go on\r\n\r\n",
            None => "HTTP/1.1 502 Unknown\r\nContent-Length: 0\r\n\r\n",
        };
        client.write_all(answer.as_bytes()).await?;
        Ok(server)
    }

    async fn socks(&self, client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
        let methods = counted(client).await?;
        let method = if self.login.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            client.write_all(&[5, 0xff]).await?;
            return Ok(None);
        }
        client.write_all(&[5, method]).await?;
        if let Some(login) = &self.login {
            client.read_u8().await?;
            let [user, password] = [counted(client).await?, counted(client).await?];
            let said = [user, password].join(&b':');
            let known = said == login.as_bytes();
            client.write_all(&[1, u8::from(!known)]).await?;
            if !known {
                return Ok(None);
            }
        }
        let mut request = [0; 4];
        client.read_exact(&mut request).await?;
        let name = match request {
            [5, 1, 0, 3] => String::from_utf8_lossy(&counted(client).await?).into_owned(),
            // An address would have been looked up elsewhere.
            _ => return Ok(None),
        };
        let port = client.read_u16().await?;
        let server = self.reach(format!("{name}:{port}")).await?;
        let reply = if server.is_some() { 0 } else { 4 };
        client
            .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
            .await?;
        Ok(server)
    }
}

/// A length and so many bytes.
async fn counted(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}
