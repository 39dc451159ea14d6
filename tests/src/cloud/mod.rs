//! A fake cloud: one token endpoint and one websocket, for what a well-behaved server never sends.
//!
//! It answers `agent:connect:request` and heartbeats by itself, keeps everything else an agent says, and sends what
//! a test tells it to, however wrong. It stores nothing and checks no secret.

mod door;
mod ws;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use agent_wire::{PushRequest, ToAgent, ToServer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use door::{admit, enter};
pub use ws::{Bytes, Frames, Opcode, Side, Socket, write_frame};

/// The one Agent it knows.
pub const AGENT: &str = "2b6e7c50-0000-4000-8000-000000000001";
/// The client that the Agent logs in with; any secret will do.
pub const CLIENT: &str = "7c2e1a90-0000-4000-8000-000000000002";

/// A fake cloud that runs until it is dropped.
#[derive(Debug)]
pub struct Cloud {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct State {
    sessions: usize,
    said: Vec<Value>,
    /// To the session that connected last.
    wire: Option<mpsc::Sender<Order>>,
}

#[derive(Debug)]
enum Order {
    Send(String),
    Cut,
}

impl Cloud {
    pub async fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    pub async fn start_at(at: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let state = Arc::default();
        let task = tokio::spawn(listen(listener, Arc::clone(&state))).abort_handle();
        Ok(Self {
            address,
            state,
            task,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many times an agent has connected so far.
    pub fn sessions(&self) -> usize {
        locked(&self.state).sessions
    }

    /// Everything an agent said, but connecting and heartbeats, oldest first.
    pub fn said(&self) -> Vec<Value> {
        locked(&self.state).said.clone()
    }

    /// Everything an agent said with this callback.
    pub fn answers(&self, callback: &str) -> Vec<Value> {
        self.said()
            .into_iter()
            .filter(|message| message["callback"] == callback)
            .collect()
    }

    /// Sends one text frame, whatever is in it. False if no agent is connected.
    pub async fn send(&self, text: impl Into<String>) -> bool {
        self.order(Order::Send(text.into())).await
    }

    /// Ends the websocket without a closing word.
    pub async fn cut(&self) -> bool {
        self.order(Order::Cut).await
    }

    async fn order(&self, order: Order) -> bool {
        let wire = locked(&self.state).wire.clone();
        match wire {
            Some(wire) => wire.send(order).await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The text of an ordinary push.
pub fn push(callback: &str, remote: &str, body: &str) -> String {
    push_for(Some(callback), remote, body)
}

/// The text of a push; without a callback nobody waits for its answer.
pub fn push_for(callback: Option<&str>, remote: &str, body: &str) -> String {
    ToAgent::TransmitRequest(PushRequest {
        remote: Some(remote.into()),
        content_type: Some(agent_wire::HL7.into()),
        body: Some(body.into()),
        callback: callback.map(Into::into),
        return_ack: None,
    })
    .encode()
}

async fn listen(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // A peer that goes away ends its session and nothing else.
            let _ = serve(stream, &state).await;
        });
    }
}

async fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(mut socket) = admit(stream).await? else {
        return Ok(());
    };
    let (wire, mut orders) = mpsc::channel(ORDERS);
    loop {
        while let Some((opcode, payload)) = socket.frames().next_frame()? {
            let mut out = Vec::new();
            match opcode {
                Opcode::Text => heard(&String::from_utf8_lossy(payload), state, &wire, &mut out),
                Opcode::Ping => {
                    write_frame(&mut out, Side::Server, Opcode::Pong, payload);
                }
                Opcode::Pong => {}
                Opcode::Close => return Ok(()),
            }
            socket.write(&out).await?;
        }
        tokio::select! {
            more = socket.fill() => if !more? { return Ok(()) },
            Some(order) = orders.recv() => match order {
                Order::Cut => return Ok(()),
                Order::Send(text) => {
                    let mut out = Vec::new();
                    write_frame(&mut out, Side::Server, Opcode::Text, text.as_bytes());
                    socket.write(&out).await?;
                }
            },
        }
    }
}

fn heard(text: &str, state: &Mutex<State>, wire: &mpsc::Sender<Order>, out: &mut Vec<u8>) {
    let mut say = |message: ToAgent| {
        write_frame(out, Side::Server, Opcode::Text, message.encode().as_bytes());
    };
    match ToServer::decode(text) {
        Ok(ToServer::ConnectRequest { .. }) => {
            let mut state = locked(state);
            state.sessions += 1;
            state.wire = Some(wire.clone());
            say(ToAgent::ConnectResponse);
        }
        Ok(ToServer::HeartbeatRequest) => say(ToAgent::HeartbeatResponse {
            version: Some(VERSION.into()),
        }),
        Ok(ToServer::HeartbeatResponse { .. }) => {}
        _ => locked(state)
            .said
            .push(serde_json::from_str(text).unwrap_or(Value::Null)),
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

const VERSION: &str = "5.1.12-b1681e9";
/// A test sends a few messages at a time and may wait for the socket.
const ORDERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(socket: &mut Socket) -> String {
        loop {
            if let Some((Opcode::Text, payload)) = socket.frames().next_frame().unwrap() {
                return String::from_utf8(payload.to_vec()).unwrap();
            }
            assert!(socket.fill().await.unwrap(), "the cloud closed");
        }
    }

    async fn say(socket: &mut Socket, message: &ToServer) {
        let mut out = Vec::new();
        write_frame(
            &mut out,
            Side::Client,
            Opcode::Text,
            message.encode().as_bytes(),
        );
        socket.write(&out).await.unwrap();
    }

    #[tokio::test]
    async fn an_agent_connects_is_pushed_to_and_is_heard() {
        let cloud = Cloud::start().await.unwrap();
        let mut agent = enter(TcpStream::connect(cloud.address).await.unwrap())
            .await
            .unwrap();
        say(
            &mut agent,
            &ToServer::ConnectRequest {
                access_token: None,
                agent_id: Some(AGENT.into()),
            },
        )
        .await;
        assert_eq!(
            ToAgent::decode(&text(&mut agent).await).unwrap(),
            ToAgent::ConnectResponse
        );
        assert_eq!(cloud.sessions(), 1);

        assert!(cloud.send(push("cb-1", "mllp://127.0.0.1:1", "MSH|")).await);
        let ToAgent::TransmitRequest(request) = ToAgent::decode(&text(&mut agent).await).unwrap()
        else {
            unreachable!("only a push was sent");
        };
        assert_eq!(request.callback.as_deref(), Some("cb-1"));

        let error = ToServer::Error {
            callback: Some("cb-1".into()),
            body: "no such device".into(),
        };
        say(&mut agent, &error).await;
        say(&mut agent, &ToServer::HeartbeatRequest).await;
        text(&mut agent).await;
        assert_eq!(cloud.answers("cb-1")[0]["body"], "no such device");
    }

    #[tokio::test]
    async fn a_token_has_three_parts_and_an_end() {
        let token = access_token_of(&Cloud::start().await.unwrap()).await;
        assert_eq!(token.split('.').count(), 3);
    }

    async fn access_token_of(cloud: &Cloud) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = TcpStream::connect(cloud.address).await.unwrap();
        let body = "grant_type=client_credentials&client_id=a&client_secret=b";
        let request = format!(
            "POST /oauth2/token HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (_, json) = reply.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(json).unwrap()["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}
