//! A server in miniature: token, Agent resource, websocket; each test plays its part by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agent_wire::{ToAgent, ToServer};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};
use url::Url;

/// What the HTTP side answers: status, header lines and body.
type HttpReply = (u16, String, String);

/// How the server answers what is not the websocket.
#[derive(Debug)]
struct Script {
    /// The next answers of the token endpoint; when used up, tokens `token-1`, `token-2`, …
    tokens: Vec<HttpReply>,
    given: u32,
    agent: HttpReply,
    agent_reads: u32,
}

/// The listening side. Websockets that agents open wait in `sessions`.
#[derive(Debug)]
pub(super) struct FakeServer {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    sessions: mpsc::Receiver<Session>,
}

/// One websocket of an agent, seen from the server.
#[derive(Debug)]
pub(super) struct Session(WebSocketStream<TcpStream>);

impl FakeServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = (200, String::new(), agent_resource("active"));
        let script = Script {
            tokens: Vec::new(),
            given: 0,
            agent,
            agent_reads: 0,
        };
        let script = Arc::new(Mutex::new(script));
        let (opened, sessions) = mpsc::channel(16);
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&shared), opened.clone()));
            }
        });
        Self {
            address,
            script,
            sessions,
        }
    }

    pub(super) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).unwrap()
    }

    /// The token endpoint will answer this before it gives the next token.
    pub(super) fn token_answers(&self, status: u16, body: &str) {
        self.token_says(status, "", body);
    }

    /// The same with header lines, each with its end.
    pub(super) fn token_says(&self, status: u16, headers: &str, body: &str) {
        let reply = (status, headers.to_owned(), body.to_owned());
        self.script.lock().unwrap().tokens.push(reply);
    }

    pub(super) fn agent_answers(&self, status: u16, body: String) {
        self.script.lock().unwrap().agent = (status, String::new(), body);
    }

    pub(super) fn agent_reads(&self) -> u32 {
        self.script.lock().unwrap().agent_reads
    }

    /// The next websocket that the agent opens.
    pub(super) async fn opened(&mut self) -> Session {
        self.sessions.recv().await.unwrap()
    }

    /// The next session, accepted. Gives the token it came with, too.
    pub(super) async fn session(&mut self) -> (Session, String) {
        let mut session = self.opened().await;
        let token = session.connect_request().await;
        session.send(&ToAgent::ConnectResponse).await;
        (session, token)
    }
}

impl Session {
    /// The next message of the agent.
    pub(super) async fn next(&mut self) -> ToServer {
        let text = self.next_text().await;
        ToServer::decode(&text).unwrap()
    }

    pub(super) async fn next_text(&mut self) -> String {
        match self.0.next().await.unwrap().unwrap() {
            Message::Text(text) => text.as_str().to_owned(),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// The next message that is no heartbeat request; those are answered.
    pub(super) async fn next_said(&mut self) -> ToServer {
        loop {
            match self.next().await {
                ToServer::HeartbeatRequest => self.answer_heartbeat().await,
                other => return other,
            }
        }
    }

    /// The callback and body of the next answer to a push.
    pub(super) async fn next_answer(&mut self) -> (String, String) {
        match self.next_said().await {
            ToServer::TransmitResponse(response) => (response.callback.unwrap(), response.body),
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    pub(super) async fn connect_request(&mut self) -> String {
        match self.next().await {
            ToServer::ConnectRequest {
                access_token: Some(token),
                agent_id,
            } => {
                assert_eq!(agent_id.as_deref(), Some("agent-1"));
                token
            }
            other => panic!("expected the connect request, got {other:?}"),
        }
    }

    pub(super) async fn answer_heartbeat(&mut self) {
        self.send(&ToAgent::HeartbeatResponse {
            version: Some("5.1.12-0000000".into()),
        })
        .await;
    }

    pub(super) async fn send(&mut self, message: &ToAgent) {
        self.send_frame(Message::Text(message.encode().into()))
            .await;
    }

    pub(super) async fn send_frame(&mut self, frame: Message) {
        self.0.send(frame).await.unwrap();
    }

    /// Closes with a code, and waits until the agent is gone.
    pub(super) async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        let _ = self.0.send(Message::Close(Some(frame))).await;
        self.ended().await;
    }

    /// Reads until the agent has gone.
    pub(super) async fn ended(mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

pub(super) fn agent_resource(status: &str) -> String {
    format!(r#"{{"resourceType":"Agent","id":"agent-1","name":"Ward 3","status":"{status}"}}"#)
}

async fn serve(mut tcp: TcpStream, script: Arc<Mutex<Script>>, opened: mpsc::Sender<Session>) {
    let mut head = [0; 64];
    loop {
        let peeked = tcp.peek(&mut head).await.unwrap_or(0);
        if peeked == 0 {
            return;
        }
        if head[..peeked]
            .windows(2)
            .filter(|pair| *pair == b" /")
            .count()
            > 0
            && peeked > 16
        {
            break;
        }
    }
    if head.starts_with(b"GET /ws/agent ") {
        if let Ok(socket) = accept_async(tcp).await {
            let _ = opened.send(Session(socket)).await;
        }
        return;
    }
    let request = read_request(&mut tcp).await;
    let (status, headers, body) = script.lock().unwrap().answer(&request);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} .\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    let _ = tcp.write_all(answer.as_bytes()).await;
}

/// Reads head and body of a small request.
async fn read_request(tcp: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        if tcp.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

impl Script {
    fn answer(&mut self, request: &str) -> HttpReply {
        if request.starts_with("POST /oauth2/token ") {
            assert!(
                request.ends_with("client_id=client-1&client_secret=s3cret"),
                "{request}"
            );
            return self.token();
        }
        assert!(
            request.starts_with("GET /fhir/R4/Agent/agent-1 "),
            "{request}"
        );
        assert!(
            request
                .to_ascii_lowercase()
                .contains("authorization: bearer token-"),
            "{request}"
        );
        self.agent_reads += 1;
        self.agent.clone()
    }

    fn token(&mut self) -> HttpReply {
        if !self.tokens.is_empty() {
            return self.tokens.remove(0);
        }
        self.given += 1;
        let body = format!(
            r#"{{"access_token":"token-{}","expires_in":3600}}"#,
            self.given
        );
        (200, String::new(), body)
    }
}
