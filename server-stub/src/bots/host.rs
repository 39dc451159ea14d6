//! What a running Bot can ask of the stub, and how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::info;

use crate::http::{self, Call};
use crate::oauth::Caller;
use crate::server::Server;

/// The stub as one run of a Bot sees it. Its functions block; they are for the Bot's own thread.
pub(super) struct Host {
    server: Arc<Server>,
    caller: Arc<Caller>,
    runtime: Handle,
    bot: String,
    limit: Limit,
    clock: Mutex<Clock>,
    log: Mutex<String>,
}

/// How long a Bot may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) of: Counted,
}

/// What counts as running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counted {
    /// Everything, as in a lambda.
    All,
    /// Its own work, as in a VM context: not what it waits for an answer.
    OwnWork,
}

/// When a run began, and what of its time does not count.
struct Clock {
    begun: Instant,
    waited: Duration,
    waits_since: Option<Instant>,
}

impl Clock {
    fn counted(&self) -> Duration {
        let now = self.waits_since.unwrap_or_else(Instant::now);
        now.duration_since(self.begun).saturating_sub(self.waited)
    }
}

impl Host {
    /// Time begins now.
    pub(super) fn new(server: &Arc<Server>, caller: Arc<Caller>, bot: &str, limit: Limit) -> Self {
        Self {
            server: Arc::clone(server),
            caller,
            runtime: Handle::current(),
            bot: bot.to_owned(),
            limit,
            clock: Mutex::new(Clock {
                begun: Instant::now(),
                waited: Duration::ZERO,
                waits_since: None,
            }),
            log: Mutex::default(),
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit.time
    }

    pub(super) fn base_url(&self) -> &str {
        &self.server.base_url
    }

    /// Whether the Bot must end.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping() || self.left().is_zero()
    }

    /// How far it is over its time.
    pub(super) fn overdue(&self) -> Duration {
        self.clock().counted().saturating_sub(self.limit.time)
    }

    fn left(&self) -> Duration {
        self.limit.time.saturating_sub(self.clock().counted())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.server.stop.is_cancelled()
    }

    /// All that was printed so far.
    pub(super) fn log(&self) -> String {
        self.lines().clone()
    }

    /// Adds a line to the run's log, and to the stub's.
    pub(super) fn print(&self, line: &str) {
        info!(bot = self.bot, "{}", beginning(line, SHOWN));
        let mut log = self.lines();
        if log.len() + line.len() > KEPT {
            return;
        }
        if !log.is_empty() {
            log.push('\n');
        }
        log.push_str(line);
    }

    /// Waits, but not longer than the Bot may run.
    pub(super) fn sleep(&self, time: Duration) {
        let time = time.min(self.left());
        self.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = self.server.stop.cancelled() => {}
            }
        });
    }

    /// Carries out one request as the Bot's membership. The answer is JSON of status, content type and body.
    pub(super) fn request(&self, method: &str, path: &str, headers: &str, body: String) -> String {
        let patience = match self.limit.of {
            Counted::All => self.left(),
            Counted::OwnWork => {
                self.waits(Some(Instant::now()));
                LONGEST_WAIT
            }
        };
        let work = async {
            tokio::select! {
                answer = timeout(patience, self.carry_out(method, path, headers, body)) => {
                    answer.unwrap_or_else(|_| refusal(504, "The Bot's time is over"))
                }
                () = self.server.stop.cancelled() => refusal(503, "The server stops"),
            }
        };
        let answer = self.runtime.block_on(work).to_string();
        self.waits(None);
        answer
    }

    async fn carry_out(&self, method: &str, path: &str, headers: &str, body: String) -> Value {
        let below = path.split('?').next().unwrap_or_default();
        let Some(below) = below.strip_prefix("/fhir/R4/") else {
            return refusal(404, "A Bot reaches what is below fhir/R4 only");
        };
        let mut request = Request::builder().method(method).uri(path);
        let headers: Map<String, Value> = serde_json::from_str(headers).unwrap_or_default();
        for (name, value) in &headers {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        let Ok(request) = request.body(Body::from(body)) else {
            return refusal(400, "The path or a header is not fit for HTTP");
        };
        let call = Call::of(Arc::clone(&self.caller), below, request);
        let response = http::answer(&self.server, call).await;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match Limited::new(body, LARGEST).collect().await {
            Ok(body) => json!({
                "status": parts.status.as_u16(),
                "type": kind,
                "body": String::from_utf8_lossy(&body.to_bytes()),
            }),
            Err(_) => refusal(500, "The answer is too large for a Bot"),
        }
    }

    /// Begins or ends a wait that may not count.
    fn waits(&self, since: Option<Instant>) {
        let mut clock = self.clock();
        if let Some(begun) = clock.waits_since.take() {
            clock.waited += begun.elapsed();
        }
        clock.waits_since = since;
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(status: u16, text: &str) -> Value {
    let outcome = json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": "error", "code": "exception", "details": { "text": text } }],
    });
    json!({ "status": status, "type": "application/fhir+json", "body": outcome.to_string() })
}

/// The first characters of a line.
fn beginning(line: &str, most: usize) -> &str {
    let end = line
        .char_indices()
        .nth(most)
        .map_or(line.len(), |(at, _)| at);
    line.get(..end).unwrap_or(line)
}

/// Characters of a printed line that the stub's log shows.
const SHOWN: usize = 1000;
/// Bytes of output that a run keeps; more is in the stub's log only.
const KEPT: usize = 64 * 1024;
/// For one answer, whatever counts: longer than a push can wait.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// Bytes of one answer.
const LARGEST: usize = 16 << 20;
