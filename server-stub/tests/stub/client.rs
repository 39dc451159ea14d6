//! A world with one stub in it: a raw HTTP client, and an agent that says what a test wants.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use wardpost_cloud::{Cloud, Options, Seed};

pub(crate) const HL7: &str = "x-application/hl7-v2+er7";

/// A stub and a token for it.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) token: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// The agent's side of a websocket.
pub(crate) struct Peer {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl World {
    pub(crate) async fn forgetful() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn keeping() -> Self {
        Self::with(Options {
            keep_pushes: true,
            ..options()
        })
        .await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let cloud = Cloud::start(options).await.unwrap();
        let token = token(cloud.base_url()).await;
        Self { cloud, token }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.json(Method::POST, path, &[], body).await
    }

    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Reply {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/fhir+json"));
        self.send(method, path, &headers, body.to_string().into_bytes())
            .await
    }

    /// A request with the world's token.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = headers.to_vec();
        headers.push(("authorization", &bearer));
        let url = format!("{}{path}", self.cloud.base_url());
        request(method, &url, &headers, body).await
    }

    /// A push of one HL7 order that waits for its answer.
    pub(crate) async fn push_and_wait(&self) -> Reply {
        self.push(&order(&json!({ "waitForResponse": true }))).await
    }

    pub(crate) async fn push(&self, body: &Value) -> Reply {
        self.post("fhir/R4/Agent/a1/$push", body).await
    }

    /// A websocket that is open and no more.
    pub(crate) async fn open(&self) -> Peer {
        Peer::open(self.cloud.base_url(), "/ws/agent").await
    }

    /// A websocket that is connected as agent `a1`.
    pub(crate) async fn agent(&self) -> Peer {
        let mut peer = self.open().await;
        peer.send(&connect(&self.token)).await;
        assert_eq!(
            peer.next().await,
            json!({ "type": "agent:connect:response" })
        );
        self.until("connected", || self.cloud.connected("a1") > 0)
            .await;
        peer
    }

    /// Waits for a condition.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(PATIENCE, wait).await.is_ok(), "never {what}");
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The text of an `OperationOutcome`.
    pub(crate) fn text(&self) -> String {
        let outcome = self.json();
        assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
        outcome["issue"][0]["details"]["text"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Panics unless it is this refusal.
    pub(crate) fn refuses(&self, status: u16, text: &str) {
        assert_eq!(
            (self.status, self.text().as_str()),
            (status, text),
            "{self:?}"
        );
    }
}

impl Peer {
    pub(crate) async fn open(base_url: &str, path: &str) -> Self {
        Self::try_open(base_url, path).await.unwrap()
    }

    pub(crate) async fn try_open(
        base_url: &str,
        path: &str,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let host = host(base_url);
        let stream = TcpStream::connect(host).await.unwrap();
        let (socket, _) = client_async(format!("ws://{host}{path}"), stream).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next text message.
    pub(crate) async fn next(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    pub(crate) async fn next_message(&mut self) -> Message {
        let next = timeout(PATIENCE, self.socket.next())
            .await
            .expect("a message in time");
        next.expect("an open socket").expect("a sound socket")
    }

    /// The body of the next message, which must be an error without a callback.
    pub(crate) async fn next_refusal(&mut self) -> String {
        let message = self.next().await;
        assert_eq!(message["type"], "agent:error", "{message}");
        assert_eq!(message.get("callback"), None);
        message["body"].as_str().unwrap().to_owned()
    }

    /// Takes a push and answers it with an acknowledgement; gives its callback.
    pub(crate) async fn acknowledge(&mut self) -> String {
        let push = self.next().await;
        let callback = push["callback"].as_str().unwrap().to_owned();
        self.send(&response(&callback, 200, "MSA|AA|1")).await;
        callback
    }

    /// Sends a heartbeat and waits for its answer, by when all before it was taken.
    pub(crate) async fn settle(&mut self) {
        self.send(&json!({ "type": "agent:heartbeat:request" }))
            .await;
        assert_eq!(self.next().await["type"], "agent:heartbeat:response");
    }

    /// Reads to the end: the code of the close frame, `None` if the connection just ended.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match timeout(PATIENCE, self.socket.next())
                .await
                .expect("an end in time")
            {
                Some(Ok(Message::Close(frame))) => code = frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return code,
            }
        }
    }
}

pub(crate) fn options() -> Options {
    let heartbeat = Duration::from_hours(1);
    Options {
        heartbeat,
        seed: seed(),
        ..Options::default()
    }
}

/// What every world holds.
pub(crate) fn seed() -> Seed {
    serde_json::from_value(json!({
        "clients": [{ "id": "c1", "secret": "s3cret", "name": "Ward 3 agent" }],
        "resources": [
            { "resourceType": "Agent", "id": "a1", "name": "Ward 3", "status": "active",
              "identifier": [{ "system": "urn:site", "value": "A1" }],
              "channel": [
                { "name": "lab", "endpoint": { "reference": "Endpoint/e1" }, "targetReference": { "reference": "Bot/b1" } },
                { "name": "lost", "endpoint": { "reference": "Endpoint/e1" }, "targetReference": { "reference": "Bot/none" } },
              ] },
            { "resourceType": "Agent", "id": "a2", "name": "Ward 4", "status": "off" },
            { "resourceType": "Device", "id": "d1", "url": "mllp://127.0.0.1:2575", "status": "active" },
            { "resourceType": "Device", "id": "d2" },
            { "resourceType": "Bot", "id": "b1", "name": "lab", "runtimeVersion": "vmcontext",
              "executableCode": { "url": "Binary/acknowledge", "title": "acknowledge.js" } },
            { "resourceType": "Binary", "id": "acknowledge", "contentType": "text/javascript", "data": ACKNOWLEDGE },
        ],
    }))
    .unwrap()
}

/// `exports.handler = async (medplum, { input }) => input.buildAck?.();` in base64.
const ACKNOWLEDGE: &str =
    "ZXhwb3J0cy5oYW5kbGVyID0gYXN5bmMgKG1lZHBsdW0sIHsgaW5wdXQgfSkgPT4gaW5wdXQuYnVpbGRBY2s/LigpOw==";

pub(crate) fn connect(token: &str) -> Value {
    json!({ "type": "agent:connect:request", "accessToken": token, "agentId": "a1" })
}

/// An order for device `d1`, with some members more.
pub(crate) fn order(more: &Value) -> Value {
    let mut order =
        json!({ "destination": "Device/d1", "contentType": HL7, "body": "MSH|^~\\&|EHR||LAB" });
    for (name, value) in more.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

pub(crate) fn response(callback: &str, status: u16, body: &str) -> Value {
    json!({ "type": "agent:transmit:response", "callback": callback, "remote": "mllp://127.0.0.1:2575",
        "contentType": HL7, "statusCode": status, "body": body })
}

pub(crate) async fn token(base_url: &str) -> String {
    let form = "grant_type=client_credentials&client_id=c1&client_secret=s3cret";
    let reply = login(base_url, &[], form).await;
    reply.json()["access_token"].as_str().unwrap().to_owned()
}

pub(crate) async fn login(base_url: &str, headers: &[(&str, &str)], form: &str) -> Reply {
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/x-www-form-urlencoded"));
    let url = format!("{base_url}oauth2/token");
    request(Method::POST, &url, &headers, form.as_bytes().to_vec()).await
}

pub(crate) async fn request(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Reply {
    let host = host(url);
    let target = url.split_once(host).map_or("/", |(_, target)| target);
    let io = TokioIo::new(TcpStream::connect(host).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

pub(crate) fn host(url: &str) -> &str {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split('/').next().unwrap()
}

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
