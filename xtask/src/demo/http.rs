//! Just enough HTTP/1.1 to call the cloud stub on this machine: one request a connection, Basic login.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// A server on this machine, and who calls it.
pub(super) struct Server {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    pub(super) client: String,
    pub(super) secret: String,
}

impl Server {
    pub(super) fn get(&self, path: &str) -> Result<Answer> {
        self.call("GET", path, "")
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call("POST", path, &body.to_string())
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call("PUT", path, &body.to_string())
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)
            .with_context(|| format!("cannot reach {}", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let login = base64(format!("{}:{}", self.client, self.secret).as_bytes());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {login}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .context("the server did not finish its answer")?;
        read(&String::from_utf8_lossy(&answer))
    }
}

/// Longer than any answer that the demo waits for.
const PATIENCE: Duration = Duration::from_secs(30);

fn read(answer: &str) -> Result<Answer> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the server's answer has no head")?;
    if head
        .to_ascii_lowercase()
        .contains("\r\ntransfer-encoding: chunked")
    {
        bail!("the server answered in chunks, which this small client cannot read");
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("the server's answer has no status")?;
    Ok(Answer {
        status,
        body: body.into(),
    })
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        let sextet = |at: usize| char::from(ALPHABET[bits >> (18 - 6 * at) & 63]);
        (0..4)
            .map(|at| if at <= chunk.len() { sextet(at) } else { '=' })
            .collect::<String>()
    };
    bytes.chunks(3).map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_what_does_not_divide_by_three() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn an_answer_is_its_status_and_its_body() {
        let answer =
            read("HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\n\r\nqueued: x").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (202, "queued: x"));
    }
}
