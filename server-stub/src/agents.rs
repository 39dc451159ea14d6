//! The websocket that agents connect to: `/ws/agent`.
//!
//! A reader and a writer share one task. The reader takes messages in order; the writer sends what it is told, the outbox of
//! kept pushes, and heartbeats. A message above 1 MiB ends the connection with code 1009.

mod session;
mod upload;
mod writer;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{SplitSink, SplitStream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::http::MAX_JSON;
use crate::hub::{Link, Order};
use crate::outcome::Outcome;
use crate::server::Server;
use session::Session;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = SplitSink<Socket, Message>;
type Stream = SplitStream<Socket>;

/// Takes every path that is no HTTP route. A websocket is wanted if the request says so; which one, the second segment of
/// the path says, query and all.
pub(crate) async fn upgrade(State(server): State<Arc<Server>>, mut request: Request) -> Response {
    let target = request
        .uri()
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let segment = target.split('/').filter(|part| !part.is_empty()).nth(1);
    let Some(accept) = accept_key(request.headers()) else {
        return Outcome::not_found().into_response();
    };
    if segment != Some("agent") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let instead = server.faults().instead_of_websockets;
    if let Some(instead) = instead {
        return instead.answer(&server.stop).await;
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let owner = Arc::clone(&server);
    server
        .tasks
        .spawn(async move { serve(&owner, upgraded).await });
    switching_protocols(&accept)
}

fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let accept = derive_accept_key(key.as_bytes());
    upgrade
        .eq_ignore_ascii_case("websocket")
        .then(|| HeaderValue::from_str(&accept).ok())?
}

fn switching_protocols(accept: &HeaderValue) -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept.clone()),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

async fn serve(server: &Arc<Server>, upgraded: OnUpgrade) {
    let Ok(upgraded) = upgraded.await else {
        return debug!("a connection ended before it became a websocket");
    };
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(MAX_JSON);
    limits.max_frame_size = Some(MAX_JSON);
    let io = TokioIo::new(upgraded);
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    converse(server, socket).await;
}

/// Runs reader and writer until either ends, then lets the other one end well.
async fn converse(server: &Arc<Server>, socket: Socket) {
    let (orders, waiting) = mpsc::channel(WAITING_ORDERS);
    let link = Link {
        socket: server.next_socket(),
        orders,
        nudge: Arc::new(Notify::new()),
        abort: CancellationToken::new(),
    };
    let (sink, stream) = socket.split();
    let mut session = Session::new(Arc::clone(server), link.clone());
    let mut writer = pin!(writer::run(server, &link, sink, waiting));
    let mut reader = pin!(read(&mut session, &link, stream));
    tokio::select! {
        _ = &mut writer => {
            if !link.abort.is_cancelled() {
                // We said goodbye; the peer's own goodbye may still come.
                let _ = timeout(GOODBYE, reader).await;
            }
        }
        (stream, end) = &mut reader => {
            if end == End::TooLarge {
                warn!(socket = link.socket, "a message is too large; the connection is closed with 1009");
                let _ = link.orders.send(Order::Close(1009)).await;
                if let Ok(Some(sink)) = timeout(GOODBYE, writer).await {
                    drain(sink, stream).await;
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    TooLarge,
}

async fn read(session: &mut Session, link: &Link, mut stream: Stream) -> (Stream, End) {
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = link.abort.cancelled() => return (stream, End::Closed),
        };
        match message {
            Some(Ok(Message::Text(text))) => session.take(&text).await,
            Some(Ok(Message::Binary(bytes))) => {
                session.take(&String::from_utf8_lossy(&bytes)).await;
            }
            // After the peer's close frame the stream sends ours, then ends.
            Some(Ok(_)) => {}
            Some(Err(Error::Capacity(_))) => return (stream, End::TooLarge),
            Some(Err(error)) => {
                info!(socket = link.socket, %error, "a websocket breaks off");
                return (stream, End::Closed);
            }
            None => return (stream, End::Closed),
        }
    }
}

/// Reads what is still coming, so that the peer sees our close frame and not a reset.
async fn drain(sink: Sink, stream: Stream) {
    let Ok(mut socket) = sink.reunite(stream) else {
        return;
    };
    let mut waste = vec![0; 64 * 1024];
    let rest = async {
        while let Ok(Ok(1..)) = timeout(QUIET, socket.get_mut().read(&mut waste)).await {}
    };
    let _ = timeout(GOODBYE, rest).await;
}

/// Messages that may wait for a slow reader. What does not fit is lost, as everything is that nobody keeps.
const WAITING_ORDERS: usize = 4096;

/// After this long without a byte nothing more is coming.
const QUIET: Duration = Duration::from_millis(200);

/// How long a closing connection may take.
const GOODBYE: Duration = Duration::from_secs(2);
