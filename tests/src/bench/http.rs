//! A client of the cloud's FHIR operations, as small as one can be on hyper.

use std::net::SocketAddr;

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// What the cloud said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

impl Reply {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// What a person reads: the text of an `OperationOutcome`, else the body.
    pub fn text(&self) -> String {
        let json = self.json();
        json["issue"][0]["details"]["text"]
            .as_str()
            .map_or_else(|| self.body.clone(), Into::into)
    }

    /// The number of the push that a 202 names.
    pub fn push(&self) -> Option<u64> {
        self.text().split("push ").skip(1).find_map(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
    }
}

/// A caller that is logged in. Every request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Http {
    address: SocketAddr,
    token: String,
}

impl Http {
    /// Gets a token with client credentials.
    pub async fn log_in(address: SocketAddr, client: &str, secret: &str) -> anyhow::Result<Self> {
        let anonymous = Self {
            address,
            token: String::new(),
        };
        let form =
            format!("grant_type=client_credentials&client_id={client}&client_secret={secret}");
        let form_type = "application/x-www-form-urlencoded";
        let reply = anonymous
            .request(Method::POST, "/oauth2/token", form_type, form)
            .await?;
        let token = reply.json()["access_token"].as_str().map(str::to_owned);
        Ok(Self {
            token: token.with_context(|| format!("no token: {}", reply.text()))?,
            ..anonymous
        })
    }

    pub async fn read(&self, path: &str) -> anyhow::Result<Reply> {
        self.request(Method::GET, path, FHIR, String::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.request(Method::POST, path, FHIR, body.to_string())
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.request(Method::PUT, path, FHIR, body.to_string())
            .await
    }

    /// JSON Patch.
    pub async fn patch(&self, path: &str, steps: &Value) -> anyhow::Result<Reply> {
        let kind = "application/json-patch+json";
        self.request(Method::PATCH, path, kind, steps.to_string())
            .await
    }

    /// A body of any type.
    pub async fn post_as(&self, path: &str, kind: &str, body: &str) -> anyhow::Result<Reply> {
        self.request(Method::POST, path, kind, body.to_owned())
            .await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> anyhow::Result<Reply> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, kind);
        if !self.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token));
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
        let status = response.status().as_u16();
        let kind = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let content_type = kind.unwrap_or_default().to_owned();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(Reply {
            status,
            content_type,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// What `$push` takes, for a caller who waits.
pub fn waiting(destination: &str, content_type: &str, body: &str) -> Value {
    json!({
        "destination": destination, "contentType": content_type, "body": body,
        "waitForResponse": true, "waitTimeout": 20_000,
    })
}

/// What `$push` takes, for a caller who does not wait.
pub fn not_waiting(destination: &str, content_type: &str, body: &str) -> Value {
    json!({ "destination": destination, "contentType": content_type, "body": body })
}

const FHIR: &str = "application/fhir+json";

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Reply {
        Reply {
            status: 202,
            content_type: "text/plain".into(),
            body: body.into(),
        }
    }

    #[test]
    fn the_number_of_a_push_is_found_in_a_sentence() {
        assert_eq!(reply("queued: device away, push 17 waits").push(), Some(17));
        assert_eq!(
            reply("queued: behind push 16; this is push 17").push(),
            Some(16)
        );
        assert_eq!(reply("queued").push(), None);
    }

    #[test]
    fn the_text_of_an_outcome_is_read() {
        let outcome = json!({ "resourceType": "OperationOutcome", "issue": [{ "details": { "text": "Timeout" } }] });
        assert_eq!(reply(&outcome.to_string()).text(), "Timeout");
        assert_eq!(reply("plain").text(), "plain");
    }
}
