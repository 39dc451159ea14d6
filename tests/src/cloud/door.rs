//! The HTTP in front of the websocket: as much as an agent needs to get a token and to open it.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ws::{Bytes, Socket};
use super::{AGENT, CLIENT};

/// Answers one HTTP request and closes, or opens the websocket that it asks for.
pub async fn admit(mut stream: impl Bytes + 'static) -> io::Result<Option<Socket>> {
    let Some((head, rest)) = read_head(&mut stream).await? else {
        return Ok(None);
    };
    let mut words = head.split_ascii_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    if let (true, Some(key)) = (path == "/ws/agent", header(&head, "sec-websocket-key")) {
        stream.write_all(upgrade(key).as_bytes()).await?;
        return Ok(Some(Socket::new(stream, &rest)));
    }
    let (status, body) = respond(method, path);
    let body = body.to_string();
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Opens a websocket as an agent would. Only the null agent needs it.
pub async fn enter(mut stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let request = "GET /ws/agent HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let (_, rest) = read_head(&mut stream)
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Socket::new(stream, &rest))
}

fn respond(method: &str, path: &str) -> (&'static str, Value) {
    match (method, path) {
        ("POST", "/oauth2/token") => ("200 OK", token()),
        ("GET", "/auth/me") => (
            "200 OK",
            json!({ "profile": client(), "project": project() }),
        ),
        ("GET", path) if path.ends_with(&format!("/Agent/{AGENT}")) => {
            let agent = json!({ "resourceType": "Agent", "id": AGENT, "name": "Ward 3", "status": "active" });
            ("200 OK", agent)
        }
        _ => {
            let issue = json!([{ "severity": "error", "code": "not-found", "details": { "text": "Not found" } }]);
            (
                "404 Not Found",
                json!({ "resourceType": "OperationOutcome", "id": "not-found", "issue": issue }),
            )
        }
    }
}

fn token() -> Value {
    json!({
        "token_type": "Bearer", "expires_in": LIFETIME, "scope": "openid", "access_token": access_token(),
        "project": project(), "profile": client(),
    })
}

/// A JWT in form; its signature is nobody's.
fn access_token() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "ES256", "typ": "JWT", "kid": "fake" }));
    let claims = part(json!({
        "client_id": CLIENT, "sub": CLIENT, "login_id": "fake", "profile": format!("ClientApplication/{CLIENT}"),
        "iss": "fake", "iat": now, "nbf": now, "exp": now + LIFETIME,
    }));
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))
}

fn client() -> Value {
    json!({ "reference": format!("ClientApplication/{CLIENT}"), "id": CLIENT, "resourceType": "ClientApplication" })
}

fn project() -> Value {
    json!({ "reference": "Project/fake", "display": "Fake" })
}

fn upgrade(key: &str) -> String {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Head and what was read beyond head and body; `None` if the peer left without a word.
async fn read_head(stream: &mut impl Bytes) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            let head = String::from_utf8_lossy(&bytes).into_owned();
            let rest = without_body(stream, &head, rest).await?;
            return Ok(Some((head, rest)));
        }
        if bytes.len() > HEAD_LIMIT {
            return Err(io::Error::other("a request head without an end"));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

/// Reads the body and forgets it, so that closing does not reset the connection under the answer.
async fn without_body(
    stream: &mut impl Bytes,
    head: &str,
    mut rest: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let length = header(head, "content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while rest.len() < length {
        if stream.read_buf(&mut rest).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(rest.split_off(length))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

const LIFETIME: u64 = 3600;
const HEAD_LIMIT: usize = 64 * 1024;
