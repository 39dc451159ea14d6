//! A TLS connection that says the truth about what has left, and says in words how it ended.
//!
//! The library takes bytes before the kernel does. Here a write counts only when the kernel has all of it: a record of
//! which a part is missing cannot be read by anybody, so what was not counted was not delivered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::fault::Handshake;

/// One TLS connection, from our side.
#[derive(Debug)]
pub struct Secured<S: AsyncRead + AsyncWrite + Unpin> {
    tls: TlsStream<S>,
    hand: Handshake,
    /// Bytes of the caller's that are encrypted and have not all left.
    leaving: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    pub(super) fn new(tls: TlsStream<S>, hand: Handshake) -> Self {
        Self {
            tls,
            hand,
            leaving: 0,
        }
    }

    /// The certificate that the other end has shown.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.get_ref().1.peer_certificates()?.first()
    }

    /// Waits a moment for what the other end makes of our certificate, if it asked for one.
    ///
    /// In TLS 1.3 it judges only after our side of the handshake is over. Nothing may be sent before: it would be lost
    /// in a connection that is being refused, and nobody could say so. Most send a ticket when they are content.
    pub(super) async fn verdict(&mut self) -> io::Result<()> {
        let version = self.tls.get_ref().1.protocol_version();
        if !self.hand.was_asked() || version != Some(ProtocolVersion::TLSv1_3) {
            return Ok(());
        }
        let content = std::future::poll_fn(|cx| {
            // Reading moves the connection on; what it brings stays in it.
            let read = Pin::new(&mut self.tls).poll_fill_buf(cx).map_ok(drop);
            match read {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending if self.tls.get_ref().1.tls13_tickets_received() > 0 => {
                    Poll::Ready(Ok(()))
                }
                Poll::Pending => Poll::Pending,
            }
        });
        timeout(VERDICT, content).await.unwrap_or(Ok(()))
    }

    fn named(&self, error: io::Error) -> io::Error {
        match self.hand.breakage(&error) {
            Some(words) if error.kind() == io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), words)
            }
            Some(words) => io::Error::new(error.kind(), format!("{words} ({error})")),
            None => error,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.tls).poll_read(cx, buffer));
        Poll::Ready(read.map_err(|error| self.named(error)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    /// After `Pending` it must be called again with the same bytes first, as everybody does who has not been told that
    /// they left.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.leaving == 0 {
            let record = bytes.get(..LARGEST_RECORD).unwrap_or(bytes);
            let taken = ready!(Pin::new(&mut self.tls).poll_write(cx, record));
            self.leaving = taken.map_err(|error| self.named(error))?;
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.leaving)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.tls).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.named(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Secured<S> {
    /// Says goodbye as TLS wants it, if that takes no waiting. Not where it would push out the rest of a record: its
    /// sender has been told by then that it did not leave.
    fn drop(&mut self) {
        if self.leaving == 0 {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = Pin::new(&mut self.tls).poll_shutdown(&mut cx);
        }
    }
}

/// What fits into one record (RFC 8446, 5.1).
const LARGEST_RECORD: usize = 16 * 1024;
/// A round trip and the check of a certificate; those who send no ticket cost this once a connection.
const VERDICT: Duration = Duration::from_secs(1);
