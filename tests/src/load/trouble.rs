//! Devices that make trouble, for the question whether their neighbours notice.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What is wrong with a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// Refuses connections.
    Away,
    /// Reads and never answers.
    Silent,
    /// Closes every connection a moment after it was opened.
    Flaps,
}

/// The troubled devices of one system; they are there as long as this is.
#[derive(Debug, Default)]
pub(super) struct Troubled {
    pub(super) addresses: Vec<SocketAddr>,
    /// Bound and not listening, so that nobody else gets the port.
    closed: Vec<TcpSocket>,
}

impl Troubled {
    /// Adds `count` devices with this trouble, on the current runtime.
    pub(super) async fn add(&mut self, count: usize, trouble: Trouble) -> io::Result<()> {
        for _ in 0..count {
            let address = match trouble {
                Trouble::Away => self.closed_port()?,
                Trouble::Silent | Trouble::Flaps => open_port(trouble).await?,
            };
            self.addresses.push(address);
        }
        Ok(())
    }

    fn closed_port(&mut self) -> io::Result<SocketAddr> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = socket.local_addr()?;
        self.closed.push(socket);
        Ok(address)
    }
}

async fn open_port(trouble: Trouble) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, trouble));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream, trouble: Trouble) {
    match trouble {
        Trouble::Away => {}
        Trouble::Silent => {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        }
        Trouble::Flaps => {
            tokio::time::sleep(FLAP).await;
            // Whether the peer is still there is the peer's business.
            let _ = stream.shutdown().await;
        }
    }
}

const FLAP: Duration = Duration::from_millis(50);
