//! Devices that acknowledge at once, all on the thread that runs them, and watch that numbers ascend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::template::{Template, number};

/// What the devices saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) received: AtomicU32,
    /// Messages with a number that was not above the one before.
    pub(super) disordered: AtomicU32,
}

/// Starts that many devices on the current runtime.
pub(super) async fn start(count: usize, seen: &Arc<Seen>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(listen(listener, Arc::clone(seen)));
    }
    Ok(addresses)
}

async fn listen(listener: TcpListener, seen: Arc<Seen>) {
    let last = Arc::new(AtomicU32::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, last) = (Arc::clone(&seen), Arc::clone(&last));
        tokio::spawn(async move {
            // A peer that goes away ends its connection and nothing else.
            let _ = converse(stream, &seen, &last).await;
        });
    }
}

async fn converse(mut stream: TcpStream, seen: &Seen, last: &AtomicU32) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let ack = Template::ack();
    let (mut buffer, mut out) = (Vec::new(), Vec::new());
    loop {
        buffer.reserve(READ);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut done = 0;
        while let Some(length) = whole(buffer.get(done..).unwrap_or_default()) {
            let message = buffer.get(done..done + length).unwrap_or_default();
            let number =
                control_id(message).ok_or_else(|| io::Error::other("not one of our orders"))?;
            seen.received.fetch_add(1, Ordering::Relaxed);
            if last.swap(number, Ordering::Relaxed) >= number {
                seen.disordered.fetch_add(1, Ordering::Relaxed);
            }
            ack.write(number, &mut out);
            done += length;
        }
        buffer.drain(..done);
        stream.write_all(&out).await?;
        out.clear();
    }
}

/// Length of the first whole frame.
fn whole(bytes: &[u8]) -> Option<usize> {
    Some(bytes.iter().position(|byte| *byte == 0x1c)? + 2).filter(|length| *length <= bytes.len())
}

fn control_id(message: &[u8]) -> Option<u32> {
    number(message.split(|byte| *byte == b'|').nth(9)?)
}

const READ: usize = 16 * 1024;
