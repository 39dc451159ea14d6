//! The websocket of one session: text envelopes in, text envelopes out, each side bounded.
//!
//! One task owns both directions. What is to be sent is queued and leaves while that task waits for
//! the next frame, so neither direction ever waits for the other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agent_core::clock::CloudTime;
use agent_core::retry::AskedWait;
use futures_util::{Sink, SinkExt as _, Stream as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Position, Url};

use super::dial::{DialError, Dialler, Stream};
use super::{MAX_ENVELOPE, headers, quoted, told};
use crate::clock;

/// An open websocket and what waits to be sent on it.
pub(super) struct WebSocket {
    stream: WebSocketStream<Stream>,
    queue: VecDeque<Utf8Bytes>,
    queued_bytes: usize,
    room: Room,
    /// What time it was there when it opened.
    pub(super) time: Option<CloudTime>,
}

/// Whether more may be queued by those who can wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Room {
    Enough,
    /// [`Event::Room`] will tell.
    Awaited,
}

/// What the socket reports.
#[derive(Debug)]
pub(super) enum Event {
    Text(Utf8Bytes),
    /// Not a text frame: nothing that anybody sends.
    Binary,
    /// There is room in the queue again.
    Room,
    Ended(Ended),
}

/// How a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) why: String,
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The server said that a message of ours was too large (1009).
    TooLargeForServer,
    Other,
}

/// Why the websocket did not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server answered the websocket request with HTTP {status}{}", upgrade_hint(*status))]
    Http { status: u16, asked: AskedWait },
    #[error("what answers at {host} is no websocket server")]
    Handshake {
        host: String,
        source: Box<tungstenite::Error>,
    },
    #[error("{host} did not answer the websocket request within {} s", UPGRADE_TIMEOUT.as_secs())]
    TimedOut { host: String },
}

impl OpenError {
    /// For how long the server asked to be left alone.
    pub(super) fn asked(&self) -> AskedWait {
        match self {
            Self::Http { asked, .. } => *asked,
            Self::Dial(_) | Self::Handshake { .. } | Self::TimedOut { .. } => AskedWait::Nothing,
        }
    }
}

impl WebSocket {
    /// Opens `/ws/agent` at the base's host; the base's own path does not count.
    pub(super) async fn open(
        dialler: &Dialler,
        base: &Url,
        largest_message: usize,
    ) -> Result<Self, OpenError> {
        let url = websocket_url(base);
        let host = base.host_str().unwrap_or_default();
        let stream = dialler.dial(base).await?;
        let asked = clock::mono();
        let opening = client_async_with_config(url, stream, Some(limits(largest_message)));
        match timeout(UPGRADE_TIMEOUT, opening).await {
            Ok(Ok((stream, response))) => {
                let time = headers::time(headers::date(response.headers()), asked);
                Ok(Self::new(stream, time))
            }
            Ok(Err(tungstenite::Error::Http(response))) => Err(OpenError::Http {
                status: response.status().as_u16(),
                asked: headers::asked_wait(response.headers()),
            }),
            Ok(Err(error)) => Err(OpenError::Handshake {
                host: host.to_owned(),
                source: Box::new(error),
            }),
            Err(_) => Err(OpenError::TimedOut {
                host: host.to_owned(),
            }),
        }
    }

    fn new(stream: WebSocketStream<Stream>, time: Option<CloudTime>) -> Self {
        Self {
            stream,
            queue: VecDeque::new(),
            queued_bytes: 0,
            room: Room::Enough,
            time,
        }
    }

    /// Queues one envelope.
    pub(super) fn send(&mut self, envelope: String) {
        self.queued_bytes += envelope.len();
        self.queue.push_back(envelope.into());
        if self.queued_bytes >= FULL_BYTES || self.queue.len() >= FULL_COUNT {
            self.room = Room::Awaited;
        }
    }

    /// Whether those who can wait may queue more.
    pub(super) fn has_room(&self) -> bool {
        self.room == Room::Enough
    }

    /// Waits for the next event; sends what is queued meanwhile. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Takes a frame that is there already, without waiting.
    pub(super) async fn next_if_ready(&mut self) -> Option<Event> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    /// Says goodbye, after what is still queued, and does not insist.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            while let Some(envelope) = self.queue.pop_front() {
                self.stream.feed(Message::Text(envelope)).await?;
            }
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: Utf8Bytes::default(),
            };
            self.stream.send(Message::Close(Some(frame))).await
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.queued_bytes > OVERFULL_BYTES {
            return ended("the server does not read what we send");
        }
        let written = self.poll_write(cx);
        if self.room == Room::Awaited && self.queue.is_empty() {
            self.room = Room::Enough;
            return Poll::Ready(Event::Room);
        }
        // A server that closes says why, in a frame that is still to be read when a write fails.
        let event = self.poll_read(cx);
        match (event, written) {
            (Poll::Pending, Err(error)) => {
                ended(&format!("the connection broke: {}", told(&error)))
            }
            (event, _) => event,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), tungstenite::Error> {
        let mut stream = Pin::new(&mut self.stream);
        while !self.queue.is_empty() {
            match stream.as_mut().poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
            if let Some(envelope) = self.queue.pop_front() {
                self.queued_bytes -= envelope.len();
                stream.as_mut().start_send(Message::Text(envelope))?;
            }
        }
        match stream.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Text(text))) => return Poll::Ready(Event::Text(text)),
                Some(Ok(Message::Binary(Bytes { .. }))) => return Poll::Ready(Event::Binary),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(frame))) => return Poll::Ready(Event::Ended(closed(frame))),
                Some(Err(error)) => return ended(&broken(&error)),
                None => return ended("the server closed the connection"),
            }
        }
    }
}

fn ended(why: &str) -> Poll<Event> {
    Poll::Ready(Event::Ended(Ended {
        why: why.to_owned(),
        cause: Cause::Other,
    }))
}

fn closed(frame: Option<CloseFrame>) -> Ended {
    let Some(CloseFrame { code, reason }) = frame else {
        let why = "the server closed the connection without a reason".to_owned();
        return Ended {
            why,
            cause: Cause::Other,
        };
    };
    let (meaning, cause) = match code {
        CloseCode::Size => (
            "a message of ours is too large for it",
            Cause::TooLargeForServer,
        ),
        CloseCode::Away | CloseCode::Restart => ("it is going away", Cause::Other),
        CloseCode::Again => ("it is too busy", Cause::Other),
        CloseCode::Policy => ("its policy forbids the connection", Cause::Other),
        CloseCode::Normal => ("no fault", Cause::Other),
        _ => ("a fault of its own, or of ours", Cause::Other),
    };
    let why = format!(
        "the server closed the connection: {meaning} ({code}) {}",
        quoted(&reason)
    );
    Ended {
        why: why.trim_end().to_owned(),
        cause,
    }
}

fn broken(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Capacity(_) => {
            "the server sent a message above our limit; raise [limits] max_push_bytes if it was a push"
                .to_owned()
        }
        // The error's own words may hold what the server sent.
        tungstenite::Error::Utf8(_) => "the server sent a text that is not UTF-8".to_owned(),
        error => format!("the connection broke: {}", told(error)),
    }
}

fn websocket_url(base: &Url) -> String {
    let scheme = if matches!(base.scheme(), "https" | "wss") {
        "wss"
    } else {
        "ws"
    };
    format!(
        "{scheme}://{}/ws/agent",
        &base[Position::BeforeHost..Position::AfterPort]
    )
}

fn upgrade_hint(status: u16) -> &'static str {
    match status {
        200 | 300..=399 => "; is a captive portal in the way, or [cloud] url wrong?",
        401 | 403 | 407 => "; a proxy or firewall on the way forbids it",
        404 => "; is [cloud] url right?",
        429 => "; it wants fewer requests",
        500..=599 => "; it, or something before it, is not well",
        _ => "",
    }
}

fn limits(largest_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(LARGEST_WRITE_BUFFER)
        .max_message_size(Some(largest_message))
        .max_frame_size(Some(largest_message))
}

impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket")
            .field("queued", &self.queue.len())
            .field("queued_bytes", &self.queued_bytes)
            .finish_non_exhaustive()
    }
}

/// Allocated for the life of the session; some hundred pushes of usual size.
const READ_BUFFER: usize = 64 * 1024;
/// From this size on what is queued goes to the kernel before a flush asks for it.
const WRITE_BUFFER: usize = 64 * 1024;
/// The buffer grows past [`WRITE_BUFFER`] by one envelope at most, and by the pongs that the server asks for.
const LARGEST_WRITE_BUFFER: usize = WRITE_BUFFER + 4 * MAX_ENVELOPE;
/// From here on those who can wait must.
const FULL_BYTES: usize = 512 * 1024;
/// The same, for small envelopes: what one burst of answers should not exceed.
const FULL_COUNT: usize = 1_024;
/// Only a server that asks and does not read its answers gets here.
const OVERFULL_BYTES: usize = 8 * MAX_ENVELOPE;
/// From the request to the answer that makes it a websocket.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// A goodbye is a courtesy.
const GOODBYE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(base: &str) -> String {
        websocket_url(&Url::parse(base).unwrap())
    }

    #[test]
    fn the_path_of_the_base_is_replaced_and_its_port_kept() {
        assert_eq!(
            url_of("https://cloud.example/some/path?x=1"),
            "wss://cloud.example/ws/agent"
        );
        assert_eq!(
            url_of("http://127.0.0.1:8103/"),
            "ws://127.0.0.1:8103/ws/agent"
        );
        assert_eq!(
            url_of("https://user:pw@[fd00::1]:444"),
            "wss://[fd00::1]:444/ws/agent"
        );
    }

    #[test]
    fn a_close_code_is_told_in_words() {
        let frame = CloseFrame {
            code: CloseCode::Size,
            reason: "Max payload".into(),
        };
        let ended = closed(Some(frame));
        assert_eq!(ended.cause, Cause::TooLargeForServer);
        assert_eq!(
            ended.why,
            "the server closed the connection: a message of ours is too large for it (1009) Max payload"
        );
        assert_eq!(
            closed(None).why,
            "the server closed the connection without a reason"
        );
    }
}
