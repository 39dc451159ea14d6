//! Connections that are kept for the next request: with TLS, and through a proxy, each new one costs several round trips.
//!
//! Nobody watches over a connection that is kept. So it is looked at before it is used, and is not used once it is old: a
//! server may have closed it, and of a request that met the closing nobody would know whether it was carried out.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use agent_core::push::Mono;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use url::{Position, Url};

use super::{Call, HttpAnswer, HttpClient, HttpError, REQUEST_TIMEOUT, bearer, collect, lasting};
use crate::clock;

/// Connections without a request.
#[derive(Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Vec<Line>>>);

struct Line {
    /// Scheme, host and port.
    to: String,
    sender: SendRequest<Full<Bytes>>,
    connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
    since: Mono,
}

impl HttpClient {
    /// Sends one request of many.
    pub async fn call(&self, call: Call<'_>) -> Result<HttpAnswer, HttpError> {
        let host = call.url.host_str().unwrap_or_default().to_owned();
        timeout(REQUEST_TIMEOUT, self.over_kept(&call))
            .await
            .unwrap_or(Err(HttpError::TimedOut { host }))
    }

    async fn over_kept(&self, call: &Call<'_>) -> Result<HttpAnswer, HttpError> {
        let mut line = match self.idle.take(call.url) {
            Some(line) => line,
            None => self.open(call.url).await?,
        };
        let answer = line.exchange(call).await?;
        self.idle.keep(line);
        Ok(answer)
    }

    async fn open(&self, url: &Url) -> Result<Line, HttpError> {
        let stream = self.dialler.dial(url).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken(url))?;
        Ok(Line {
            to: end_of(url),
            sender,
            connection: Box::pin(connection),
            since: clock::mono(),
        })
    }
}

impl Line {
    async fn exchange(&mut self, call: &Call<'_>) -> Result<HttpAnswer, HttpError> {
        let request = call.request()?;
        let (sender, connection) = (&mut self.sender, &mut self.connection);
        let work = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(broken(call.url))?;
            collect(call.url, response, call.limit).await
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            answer = &mut work => return answer,
            // The connection may end first, with the answer already in hand.
            _ = connection => {}
        }
        work.await
    }
}

impl Call<'_> {
    fn request(&self) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let mut request = lasting(self.method.clone(), self.url)
            .header(AUTHORIZATION, bearer(self.token))
            .header(ACCEPT, "application/fhir+json, */*;q=0.1");
        if let Some(version) = self.if_match {
            request = request.header(IF_MATCH, format!("W/\"{version}\""));
        }
        let body = match &self.body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, *kind);
                Full::from(body.clone())
            }
            None => Full::default(),
        };
        request.body(body).map_err(|source| HttpError::Unwritable {
            url: self.url.to_string(),
            source,
        })
    }
}

impl Idle {
    /// One that is open as far as can be seen.
    fn take(&self, url: &Url) -> Option<Line> {
        let to = end_of(url);
        let now = clock::mono();
        loop {
            let mut line = self.lines().pop()?;
            let is_open = (&mut line.connection).now_or_never().is_none();
            if is_open
                && line.sender.is_ready()
                && line.to == to
                && now <= line.since.plus(LONGEST_IDLE)
            {
                return Some(line);
            }
        }
    }

    fn keep(&self, mut line: Line) {
        line.since = clock::mono();
        // Whether it can take another request shows when it has been polled.
        let is_open = (&mut line.connection).now_or_never().is_none();
        let mut lines = self.lines();
        if is_open && lines.len() < MOST_IDLE {
            lines.push(line);
        }
    }

    /// Whoever panicked here has left no half-made change behind.
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Idle({})", self.lines().len())
    }
}

fn end_of(url: &Url) -> String {
    url[Position::BeforeScheme..Position::AfterPort].to_owned()
}

fn broken(url: &Url) -> impl FnOnce(hyper::Error) -> HttpError + use<> {
    let host = url.host_str().unwrap_or_default().to_owned();
    move |source| HttpError::Exchange { host, source }
}

/// As many as are used at once.
const MOST_IDLE: usize = 8;
/// Servers keep an idle connection for five seconds and longer.
const LONGEST_IDLE: std::time::Duration = std::time::Duration::from_secs(3);
