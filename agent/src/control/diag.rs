//! `wardpost diag`: one JSON document that a person can read, and then send to whoever helps.
//!
//! It says what runs, how it is configured, how it fares and what it complained of. It holds no secret, no clinical
//! content, and nothing that a person typed as a reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use agent_core::queue::{Filter, Reason};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::{Control, look};
use crate::clock;
use crate::cloud::settings::Settings;
use crate::config::{self, Paths};
use crate::store::StoreError;
use crate::telemetry::LogRing;

/// What a bundle and the doctor need beside what every look needs.
#[derive(Clone, Debug)]
pub struct Sources {
    pub config: Paths,
    pub state: PathBuf,
    pub logs: LogRing,
    /// The way to the cloud that is in force.
    pub settings: watch::Receiver<Arc<Settings>>,
}

pub(super) async fn bundle(control: &Control) -> Result<Value, StoreError> {
    let sources = control.sources.clone();
    let files = tokio::task::spawn_blocking(move || config::shown(&sources.config))
        .await
        .map_err(|_| StoreError::Stopped)?;
    Ok(json!({
        "made": clock::rfc3339(clock::utc()),
        "uptime_s": clock::mono().0 / 1000,
        "versions": versions(),
        "process": process(),
        "status": look::status(control).await?,
        "waiting": waiting(control).await?,
        "configuration": files,
        "log": log(&control.sources.logs),
    }))
}

fn versions() -> Value {
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned());
    let kernel = rustix::system::uname();
    json!({
        "wardpost": env!("CARGO_PKG_VERSION"),
        "sqlite": crate::store::sqlite_version(),
        "machine": std::env::consts::ARCH,
        "kernel": kernel.release().to_string_lossy(),
        "system": os,
    })
}

/// What the kernel says of this process.
fn process() -> Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let shown = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| PROCESS.contains(name))
        .map(|(name, value)| (name.to_owned(), Value::from(value.trim())));
    let mut shown: Map<String, Value> = shown.collect();
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    shown.insert("open_files".into(), open.into());
    shown.into()
}

/// How many pushes wait, by device and kind of reason; the oldest of each. A reason's words stay here: a person may
/// have written them.
async fn waiting(control: &Control) -> Result<Value, StoreError> {
    let filter = Filter {
        device: None,
        state: None,
    };
    let pushes = control.store.list(filter, MOST_WAITING).await?;
    let mut groups: BTreeMap<(String, &'static str), (u64, u64, String)> = BTreeMap::new();
    for push in &pushes {
        let key = (push.device.clone(), kind(&push.explained.reason));
        let group = groups
            .entry(key)
            .or_insert_with(|| (0, push.id.0, clock::rfc3339(push.at)));
        group.0 += 1;
    }
    let groups: Vec<Value> = groups
        .into_iter()
        .map(|((device, why), (count, oldest, at))| {
            json!({ "device": device, "why": why, "count": count, "oldest": oldest, "at": at })
        })
        .collect();
    Ok(json!({ "looked_at": pushes.len(), "groups": groups }))
}

fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::AgentOff => "agent off",
        Reason::Clock(_) => "clock",
        Reason::DeviceOff => "device off",
        Reason::Paused => "paused",
        Reason::DeviceAway(_) => "device away",
        Reason::DeviceHeld => "device held",
        Reason::Retry(_) => "retry",
        Reason::Behind(_) => "behind another",
        Reason::Parked(_) => "behind a held one",
        Reason::Joined(_) => "joined",
        Reason::Uncertain(_) => "uncertain",
        Reason::Operator(_) => "held by an operator",
        Reason::Claim => "claim",
        Reason::Sending => "sending",
        Reason::Next => "next",
    }
}

/// The newest lines of the log, oldest first.
fn log(logs: &LogRing) -> Value {
    let (mut lines, _) = logs.page(LOG_LINES, None);
    lines.reverse();
    lines.into()
}

/// Fields of `/proc/self/status`.
const PROCESS: [&str; 5] = ["VmRSS", "VmHWM", "VmSize", "Threads", "FDSize"];
const MOST_WAITING: usize = 10_000;
const LOG_LINES: usize = 500;
