//! Bots: code in resources, run when a Subscription, an agent's channel or a caller says so.
//!
//! A run has its own engine and thread, some time and some memory. What it did before it failed stays done.

mod audit;
mod deploy;
mod engine;
mod execute;
mod host;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

pub(crate) use deploy::create_with_membership;
pub(crate) use execute::route;

use crate::oauth::{self, Caller};
use crate::outcome::Outcome;
use crate::server::Server;
use crate::store::text;
use engine::{Code, End, Failure};
use host::{Counted, Host, Limit};

/// How many Bots run at a time.
pub(crate) struct Bots {
    running: Arc<Semaphore>,
    background: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

/// One run that somebody wants.
pub(crate) struct Run {
    pub(crate) bot: Arc<Value>,
    /// As whom it runs.
    pub(crate) caller: Arc<Caller>,
    /// The reference to who caused it.
    pub(crate) requester: Option<String>,
    pub(crate) content_type: String,
    /// Text for HL7 and everything that is no JSON.
    pub(crate) input: Value,
    pub(crate) headers: Option<Value>,
    /// References to what it is about, for the record.
    pub(crate) about: Vec<String>,
}

/// What a run came to.
pub(crate) struct Ended {
    pub(crate) success: Success,
    /// What the handler returned; of a failure, the outcome.
    pub(crate) value: Option<Value>,
    /// What it printed, and of a failure, why.
    pub(crate) log: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Success {
    Yes,
    No,
}

impl Default for Bots {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(AT_A_TIME)),
            background: Arc::new(Semaphore::new(IN_BACKGROUND)),
            admitted: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Bots {
    /// Runs a Bot in its turn, or refuses when too many wait already.
    pub(crate) async fn run(&self, server: &Arc<Server>, run: Run) -> Result<Ended, Outcome> {
        let _admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| Outcome::throttled())?;
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let turn = turn.map_err(|_| Outcome::failed())?;
        Ok(run.carry_out(server, turn).await)
    }

    /// Waits for the turn of a run that nobody waits for. These have their own, so that they keep no caller waiting.
    pub(crate) async fn background(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.background).acquire_owned().await.ok()
    }
}

impl Run {
    /// Runs, keeps a record of it, and says how it went.
    pub(crate) async fn carry_out(self, server: &Arc<Server>, turn: OwnedSemaphorePermit) -> Ended {
        let begun = crate::store::now_instant();
        let id = text(&self.bot, "id").to_owned();
        let limit = limit(&self.bot);
        let host = Arc::new(Host::new(server, Arc::clone(&self.caller), &id, limit));
        let end = match code(server, &self.bot) {
            Ok(code) => {
                let event = self.event(server).to_string();
                on_a_thread(code, event, Arc::clone(&host), turn).await
            }
            Err(why) => End::Failed(Failure::new(why)),
        };
        let ended = self.ended(end, &host);
        audit::record(server, &self, &ended, begun).await;
        ended
    }

    /// What the handler gets.
    fn event(&self, server: &Server) -> Value {
        let reference = |reference: &str| json!({ "reference": reference });
        let mut event = json!({
            "bot": reference(&format!("Bot/{}", text(&self.bot, "id"))),
            "requester": self.requester.as_deref().map(reference),
            "input": self.input,
            "contentType": self.content_type,
            "secrets": secrets(server),
            "traceId": uuid::Uuid::new_v4().to_string(),
        });
        if let Some(headers) = &self.headers {
            event["headers"] = headers.clone();
        }
        event
    }

    fn ended(&self, end: End, host: &Host) -> Ended {
        let bot = text(&self.bot, "id");
        match end {
            // A refusal that a Bot returns is one, as if it had been thrown.
            End::Value(value) if is_refusal(&value) => {
                warn!(bot, "a Bot returned a refusal");
                Ended::new(Success::No, Some(value), host.log())
            }
            End::Value(value) => {
                info!(bot, "a Bot has run");
                let value = Some(value).filter(|value| !value.is_null());
                Ended::new(Success::Yes, value, host.log())
            }
            End::Failed(failure) => {
                warn!(
                    bot,
                    error = failure.message,
                    at = failure.stack,
                    "a Bot failed"
                );
                failed(&failure, &host.log())
            }
        }
    }
}

impl Ended {
    fn new(success: Success, value: Option<Value>, log: String) -> Self {
        Self {
            success,
            value,
            log,
        }
    }
}

/// The outcome of a failure says what went wrong, and where in its diagnostics.
fn failed(failure: &Failure, log: &str) -> Ended {
    let plain = Outcome::invalid(failure.message.clone()).resource();
    let mut outcome = failure.outcome.clone().unwrap_or(plain);
    if let Some(issue) = outcome.pointer_mut("/issue/0")
        && issue.get("diagnostics").is_none()
        && !failure.stack.is_empty()
    {
        issue["diagnostics"] = json!(failure.stack);
    }
    let words = format!("{}: {}\n{}", failure.name, failure.message, failure.stack);
    let lines = [log, words.trim_end()];
    let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    Ended::new(Success::No, Some(outcome), lines.join("\n"))
}

fn is_refusal(value: &Value) -> bool {
    let id = text(value, "id");
    text(value, "resourceType") == "OperationOutcome" && !GOOD.contains(&id)
}

/// Runs the engine where it may block. The turn is over when the thread is, however long that takes.
async fn on_a_thread(
    code: Code,
    event: String,
    host: Arc<Host>,
    turn: OwnedSemaphorePermit,
) -> End {
    let (tell, mut told) = oneshot::channel();
    let watched = Arc::clone(&host);
    let started = thread::Builder::new()
        .name("bot".into())
        .stack_size(THREAD_STACK)
        .spawn(move || {
            let end = engine::run(&code, &event, &host);
            // Nobody waits any more for one that overran its time.
            let _ = tell.send(end);
            drop(turn);
        });
    if let Err(error) = started {
        return End::Failed(Failure::new(format!("No thread for a Bot: {error}")));
    }
    loop {
        match timeout(GRACE, &mut told).await {
            Ok(Ok(end)) => return end,
            Ok(Err(_)) => return End::Failed(Failure::new("The engine of the Bot broke down")),
            Err(_) if watched.overdue() > GRACE => {
                let why = "The Bot does not end and cannot be stopped";
                return End::Failed(Failure::new(why));
            }
            Err(_) => {}
        }
    }
}

/// The deployed code, or why there is none that can run.
fn code(server: &Server, bot: &Value) -> Result<Code, String> {
    match text(bot, "runtimeVersion") {
        "awslambda" | "vmcontext" => {}
        _ => return Err("Unsupported bot runtime".into()),
    }
    let member = |name: &str| bot.pointer(name).and_then(Value::as_str);
    let url = member("/executableCode/url").ok_or("No executable code")?;
    let id = url
        .rsplit_once("Binary/")
        .map(|(_, id)| id)
        .ok_or("Executable code is not a Binary")?;
    let binary = server
        .read("Binary", id)
        .map_err(|outcome| format!("The executable code cannot be read: {}", outcome.text()))?;
    let bytes = STANDARD.decode(text(&binary, "data")).unwrap_or_default();
    let title = member("/executableCode/title").unwrap_or("index.js");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if is_module(title, &text) {
        return Err(format!(
            "{title} is an ES module; compile the Bot to CommonJS"
        ));
    }
    Ok(Code {
        text,
        title: title.to_owned(),
    })
}

/// As a real server tells the kinds of code apart, but for words inside of other words and strings.
fn is_module(title: &str, code: &str) -> bool {
    let starts = |line: &str| line.starts_with("export ") || line.starts_with("import ");
    match title
        .rsplit_once('.')
        .map_or("", |(_, extension)| extension)
    {
        "mjs" => true,
        "cjs" => false,
        _ => code.lines().any(starts),
    }
}

/// The secrets of the project, by name.
fn secrets(server: &Server) -> Map<String, Value> {
    let project = oauth::project(server);
    let secrets = project.get("secret").and_then(Value::as_array);
    let named = |secret: &Value| (text(secret, "name").to_owned(), secret.clone());
    secrets.into_iter().flatten().map(named).collect()
}

/// How long a Bot may run, and whether waiting counts.
fn limit(bot: &Value) -> Limit {
    let seconds = bot.get("timeout").and_then(Value::as_f64);
    let seconds = seconds.filter(|seconds| (0.001..=LONGEST).contains(seconds));
    let of = match text(bot, "runtimeVersion") {
        "vmcontext" => Counted::OwnWork,
        _ => Counted::All,
    };
    Limit {
        time: Duration::from_secs_f64(seconds.unwrap_or(USUAL)),
        of,
    }
}

/// Outcomes that are none of refusal.
const GOOD: &[&str] = &["ok", "created", "accepted", "not-modified"];
/// Seconds.
const USUAL: f64 = 10.0;
const LONGEST: f64 = 900.0;
/// A few, since each may wait for a device; and each has a thread and up to 128 MiB.
const AT_A_TIME: usize = 8;
/// Runs that wait for their turn. Who comes then is told to come again.
const WAITING: usize = 1_000;
/// Of Subscriptions. They start in the order of the events, and overlap.
const IN_BACKGROUND: usize = 4;
/// The engine looks at the clock now and then only.
const GRACE: Duration = Duration::from_secs(5);
const THREAD_STACK: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_from_scripts() {
        assert!(is_module("a.mjs", ""));
        assert!(is_module("a.js", "export async function handler() {}"));
        assert!(!is_module("a.js", "exports.handler = () => 'export ';"));
        assert!(!is_module("a.cjs", "import x from 'y'"));
    }

    #[test]
    fn a_bot_may_run_as_long_as_it_says_up_to_a_quarter_of_an_hour() {
        let limit = |timeout: Value| limit(&json!({ "timeout": timeout })).time.as_secs();
        assert_eq!(limit(json!(30)), 30);
        for wrong in [json!(0), json!(901), json!("30"), Value::Null] {
            assert_eq!(limit(wrong), 10);
        }
    }
}
