//! A small HTTP/1.1 client: one request, one answer, all of it bounded.
//!
//! A connection is for one request, but for those that come in numbers (`kept`).
//!
//! It follows no redirect: a server of ours sends none, a captive portal does.

mod kept;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent_core::push::Timestamp;
use agent_core::retry::AskedWait;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::timeout;
use url::{Position, Url};

use super::dial::{DialError, Dialler};
use super::{agent_version, headers};

/// Sends requests through one dialler.
#[derive(Clone, Debug)]
pub struct HttpClient {
    dialler: Arc<Dialler>,
    idle: kept::Idle,
}

/// One request of many to the same server, as the bearer of a token.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    pub method: Method,
    pub url: &'a Url,
    pub token: &'a SecretString,
    /// JSON of this media type.
    pub body: Option<(&'static str, String)>,
    /// Only if the resource still has this version.
    pub if_match: Option<&'a str>,
    /// Bytes of the answer that are read.
    pub limit: usize,
}

/// What a server answered, whatever the status.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// Where a redirect leads.
    pub location: Option<String>,
    pub content_type: String,
    pub asked: AskedWait,
    /// What time it was there.
    pub date: Option<Timestamp>,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("cannot write a request to {url}")]
    Unwritable {
        url: String,
        source: hyper::http::Error,
    },
    #[error("{host} broke the exchange off")]
    Exchange { host: String, source: hyper::Error },
    #[error("{host} sent more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
    #[error("{host} did not answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut { host: String },
}

impl HttpClient {
    pub fn new(dialler: Arc<Dialler>) -> Self {
        Self {
            dialler,
            idle: kept::Idle::default(),
        }
    }

    /// Posts an `application/x-www-form-urlencoded` body.
    pub async fn post_form(&self, url: &Url, form: String) -> Result<HttpAnswer, HttpError> {
        let request = request(Method::POST, url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::from(form));
        self.send(url, request).await
    }

    /// Reads what anybody may read.
    pub async fn get(&self, url: &Url) -> Result<HttpAnswer, HttpError> {
        let request = request(Method::GET, url).body(Full::default());
        self.send(url, request).await
    }

    /// Reads a resource as the bearer of a token.
    pub async fn read(&self, url: &Url, token: &SecretString) -> Result<HttpAnswer, HttpError> {
        let request = request(Method::GET, url)
            .header(AUTHORIZATION, bearer(token))
            .header(ACCEPT, "application/fhir+json")
            .body(Full::default());
        self.send(url, request).await
    }

    /// Replaces a resource as the bearer of a token.
    pub async fn put(
        &self,
        url: &Url,
        token: &SecretString,
        resource: &Value,
    ) -> Result<HttpAnswer, HttpError> {
        let request = request(Method::PUT, url)
            .header(AUTHORIZATION, bearer(token))
            .header(CONTENT_TYPE, "application/fhir+json")
            .header(ACCEPT, "application/fhir+json")
            .body(Full::from(resource.to_string()));
        self.send(url, request).await
    }

    async fn send(
        &self,
        url: &Url,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<HttpAnswer, HttpError> {
        let request = request.map_err(|source| HttpError::Unwritable {
            url: url.to_string(),
            source,
        })?;
        let host = url.host_str().unwrap_or_default();
        match timeout(REQUEST_TIMEOUT, self.exchange(url, request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::TimedOut {
                host: host.to_owned(),
            }),
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<HttpAnswer, HttpError> {
        let broken = |source| HttpError::Exchange {
            host: url.host_str().unwrap_or_default().to_owned(),
            source,
        };
        let stream = self.dialler.dial(url).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let work = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            collect(url, response, BODY_LIMIT).await
        };
        let mut work = pin!(work);
        tokio::select! {
            answer = &mut work => return answer,
            // The connection may end first, with the answer already in hand.
            _ = connection => {}
        }
        work.await
    }
}

async fn collect(
    url: &Url,
    response: hyper::Response<Incoming>,
    limit: usize,
) -> Result<HttpAnswer, HttpError> {
    let host = || url.host_str().unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let (asked, date) = (
        headers::asked_wait(response.headers()),
        headers::date(response.headers()),
    );
    let location = response.headers().get(LOCATION);
    let location = location
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok());
    let content_type = kind.unwrap_or_default().to_owned();
    let too_large = || HttpError::TooLarge {
        host: host(),
        limit,
    };
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(HttpAnswer {
            status,
            location,
            content_type,
            asked,
            date,
            body: body.to_bytes().into(),
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(source) => Err(HttpError::Exchange {
                host: host(),
                source: *source,
            }),
            Err(_) => Err(too_large()),
        },
    }
}

fn bearer(token: &SecretString) -> HeaderValue {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer unprintable"));
    bearer.set_sensitive(true);
    bearer
}

fn request(method: Method, url: &Url) -> hyper::http::request::Builder {
    lasting(method, url).header(CONNECTION, "close")
}

/// A request after which the connection stays.
fn lasting(method: Method, url: &Url) -> hyper::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(USER_AGENT, format!("wardpost/{}", agent_version()))
}

impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("location", &self.location)
            .field("content_type", &self.content_type)
            .field("asked", &self.asked)
            .field("date", &self.date)
            .field("body", &format_args!("[{} bytes]", self.body.len()))
            .finish()
    }
}

/// From the name lookup to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// Far above any Agent resource or token.
const BODY_LIMIT: usize = 4 << 20;

#[cfg(test)]
mod tests;
