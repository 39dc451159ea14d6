//! One run of a Bot's code in an engine of its own, on a thread of its own.
//!
//! It ends when the handler's promise settles, when its time is over, when its memory is used up, or when the stub stops.
//! What stands in `prelude/` gives it console, timers, `@medplum/core` and a client; all of that ends in two functions of
//! the host: print a line, and carry out one request.

use std::sync::Arc;
use std::time::Duration;

use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Object, Promise, Runtime};
use serde::Deserialize;
use serde_json::Value;

use super::host::Host;

/// The code of a Bot, and what it is called in messages.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) text: String,
    pub(super) title: String,
}

/// How a run ended.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum End {
    /// `null` where the handler returned nothing.
    Value(Value),
    Failed(Failure),
}

/// Why a run failed, and where in the Bot's code.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) message: String,
    /// The frames of the Bot, each `at FUNCTION (FILE:LINE:COLUMN)`.
    #[serde(default)]
    pub(super) stack: String,
    /// What the error says as an `OperationOutcome`.
    #[serde(default)]
    pub(super) outcome: Option<Value>,
}

/// What `run` of the prelude comes to.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Report {
    Value(Value),
    Error(Failure),
}

/// Runs the code on this thread. `event` is the JSON that the handler gets.
pub(super) fn run(code: &Code, event: &str, host: &Arc<Host>) -> End {
    let ended = start(host).map(|context| {
        context.with(|ctx| match handle(&ctx, code, event, host) {
            Ok(report) => read(&report),
            Err(error) => End::Failed(failure(&error, code)),
        })
    });
    let ended = ended.unwrap_or_else(|error| End::Failed(Failure::new(error.to_string())));
    match ended {
        End::Failed(failure) => End::Failed(explain(failure, host)),
        value @ End::Value(_) => value,
    }
}

fn start(host: &Arc<Host>) -> rquickjs::Result<Context> {
    let runtime = Runtime::new()?;
    runtime.set_memory_limit(MEMORY);
    runtime.set_max_stack_size(STACK);
    let watched = Arc::clone(host);
    runtime.set_interrupt_handler(Some(Box::new(move || watched.is_over())));
    Context::full(&runtime)
}

/// Loads the prelude and the Bot, calls the handler and waits for what it comes to.
fn handle<'js>(
    ctx: &Ctx<'js>,
    code: &Code,
    event: &str,
    host: &Arc<Host>,
) -> Result<String, CaughtError<'js>> {
    let prelude = prelude(ctx, host).catch(ctx)?;
    let function = |name: &str| prelude.get::<_, Function<'js>>(name).catch(ctx);
    // On the first line, so that the Bot's lines keep their numbers.
    let wrapped = format!(
        "(function (exports, require, module, __filename, __dirname) {{{}\n}})",
        code.text
    );
    let body: Function<'js> = evaluate(ctx, wrapped, &code.title).catch(ctx)?;
    let () = function("load")?
        .call((body, code.title.as_str()))
        .catch(ctx)?;
    let promise: Promise<'js> = function("run")?.call((event,)).catch(ctx)?;
    let (until, fire) = (function("untilTimer")?, function("runTimer")?);
    loop {
        if let Some(report) = promise.result::<String>() {
            return report.catch(ctx);
        }
        if host.is_over() {
            return Ok(String::new());
        }
        if ctx.execute_pending_job() {
            continue;
        }
        let wait: f64 = until.call(()).catch(ctx)?;
        if wait < 0.0 {
            return Ok(NEVER_SETTLED.to_owned());
        }
        host.sleep(Duration::from_secs_f64(wait / 1000.0));
        let () = fire.call(()).catch(ctx)?;
    }
}

/// Evaluates all of the prelude; gives the functions of `run.js`.
fn prelude<'js>(ctx: &Ctx<'js>, host: &Arc<Host>) -> rquickjs::Result<Object<'js>> {
    let core = Object::new(ctx.clone())?;
    let functions = host_functions(ctx, host)?;
    let mut last = Object::new(ctx.clone())?;
    for (name, text) in PRELUDE {
        let module: Function<'js> = evaluate(ctx, (*text).to_owned(), name)?;
        let made: Option<Object<'js>> = module.call((core.clone(), functions.clone()))?;
        last = made.unwrap_or(last);
    }
    Ok(last)
}

fn host_functions<'js>(ctx: &Ctx<'js>, host: &Arc<Host>) -> rquickjs::Result<Object<'js>> {
    let functions = Object::new(ctx.clone())?;
    functions.set("baseUrl", host.base_url())?;
    let printing = Arc::clone(host);
    let print = move |line: String| printing.print(&line);
    functions.set("print", Function::new(ctx.clone(), print)?)?;
    let asking = Arc::clone(host);
    let request = move |method: String, path: String, headers: String, body: String| {
        asking.request(&method, &path, &headers, body)
    };
    functions.set("request", Function::new(ctx.clone(), request)?)?;
    let uuid = || uuid::Uuid::new_v4().to_string();
    functions.set("uuid", Function::new(ctx.clone(), uuid)?)?;
    Ok(functions)
}

fn evaluate<'js>(ctx: &Ctx<'js>, text: String, name: &str) -> rquickjs::Result<Function<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(name.to_owned());
    ctx.eval_with_options(text, options)
}

fn read(report: &str) -> End {
    match serde_json::from_str(report) {
        Ok(Report::Value(value)) => End::Value(value),
        Ok(Report::Error(failure)) => End::Failed(failure),
        Err(_) => End::Failed(Failure::new("The Bot came to nothing that is JSON")),
    }
}

/// An exception that the prelude did not see: in loading, or for want of memory or time.
fn failure(error: &CaughtError<'_>, code: &Code) -> Failure {
    let (message, stack, name) = match error {
        CaughtError::Exception(exception) => (
            exception.message(),
            exception.stack(),
            exception.get::<_, String>("name").ok(),
        ),
        CaughtError::Error(_) | CaughtError::Value(_) => (None, None, None),
    };
    let message = message.unwrap_or_else(|| format!("{} cannot be run: {error}", code.title));
    Failure {
        name: name.unwrap_or_else(|| "Error".into()),
        stack: stack.unwrap_or_default(),
        ..Failure::new(message)
    }
}

/// Says in words what the host knows better than the engine, and shows only the Bot's own frames.
fn explain(mut failure: Failure, host: &Host) -> Failure {
    let words = if host.is_stopping() {
        Some("The server stops".to_owned())
    } else if host.is_over() {
        Some(format!("The Bot did not end within {:?}", host.limit()))
    } else if failure.message.contains("out of memory") {
        Some(format!(
            "The Bot needs more than {} MiB of memory",
            MEMORY >> 20
        ))
    } else {
        None
    };
    if let Some(words) = words {
        failure.message = words;
        failure.outcome = None;
    }
    let frames = failure.stack.lines().map(str::trim);
    let own = frames.filter(|frame| !frame.is_empty() && !is_ours(frame));
    failure.stack = own.take(FRAMES).collect::<Vec<_>>().join("\n");
    failure
}

fn is_ours(frame: &str) -> bool {
    frame.contains("(native)") || PRELUDE.iter().any(|(name, _)| frame.contains(name))
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            name: "Error".into(),
            message: message.into(),
            stack: String::new(),
            outcome: None,
        }
    }
}

/// In this order: each uses what is above it.
const PRELUDE: &[(&str, &str)] = &[
    ("@medplum/core/globals", include_str!("prelude/globals.js")),
    ("@medplum/core/helpers", include_str!("prelude/core.js")),
    ("@medplum/core/hl7", include_str!("prelude/hl7.js")),
    ("@medplum/core/client", include_str!("prelude/client.js")),
    ("@medplum/core/run", include_str!("prelude/run.js")),
];

const NEVER_SETTLED: &str = r#"{"error":{"name":"Error","message":"The handler's promise never settles: it waits for something that cannot happen"}}"#;

/// What one run may use. A real server gives a Bot 1 GiB; ours must fit beside everything else on a developer's machine.
const MEMORY: usize = 128 << 20;
/// Of the engine; the thread has more.
const STACK: usize = 1 << 20;
/// Frames that are shown of a failure.
const FRAMES: usize = 10;
