//! What a reload did, in sentences.

use agent_core::queue::QueueReport;

use super::plan::{DeviceChange, LineChange, Plan, UplinkChange};
use super::{Refused, Report};

/// One sentence for each change. `waiting` is the queue as it was just before.
pub(super) fn changes(plan: &Plan, waiting: &QueueReport) -> Vec<String> {
    if plan.is_empty() {
        return vec!["nothing has changed".into()];
    }
    let mut said: Vec<String> = plan
        .added
        .iter()
        .map(|name| format!("{name} added"))
        .collect();
    for name in &plan.removed {
        let kept = kept(name, waiting);
        said.push(format!("{name} removed{kept}"));
    }
    for renamed in &plan.renamed {
        let (from, to) = (&renamed.from, &renamed.to);
        said.push(format!(
            "{to} has the address of {from}, which is gone: it is a new device, and what waits for {from} does not go \
             to it"
        ));
    }
    said.extend(plan.changed.iter().map(|change| changed(change, waiting)));
    if !plan.settings.is_empty() {
        said.push(format!("changed for all: {}", plan.settings.join(", ")));
    }
    if plan.settings.contains(&"limits.max_push_bytes") {
        said.push(
            "messages of the new size can be read from the next session with the cloud on".into(),
        );
    }
    if plan.uplink == UplinkChange::Reconnects {
        said.push("the session with the cloud ends, and another begins".into());
    }
    said
}

fn changed(change: &DeviceChange, waiting: &QueueReport) -> String {
    let (name, keys) = (&change.device, change.keys.join(", "));
    let then = match change.line {
        LineChange::Stays => "; its line stays as it is".to_owned(),
        LineChange::Exchanged => "; its line finishes its attempt and connects anew".to_owned(),
        LineChange::Starts => "; its line starts".to_owned(),
        LineChange::Ends => format!(
            "; its line finishes its attempt and ends{}",
            kept(name, waiting)
        ),
    };
    format!("{name} changed: {keys}{then}")
}

fn kept(name: &str, waiting: &QueueReport) -> String {
    let device = waiting.devices.iter().find(|device| device.name == name);
    match device.map_or(0, |device| device.waiting + device.held) {
        0 => String::new(),
        1 => "; 1 push for it is kept, held: device off".into(),
        count => format!("; {count} pushes for it are kept, held: device off"),
    }
}

/// The same on one line, without what is only of the moment.
pub(super) fn audited(plan: &Plan) -> String {
    let mut parts = Vec::new();
    let mut part = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            parts.push(format!("{what} {}", names.join(", ")));
        }
    };
    part("added", plan.added.clone());
    part("removed", plan.removed.clone());
    let keys = |change: &DeviceChange| format!("{} ({})", change.device, change.keys.join(", "));
    part("changed", plan.changed.iter().map(keys).collect());
    let settings = plan.settings.iter().map(ToString::to_string);
    part("settings", settings.collect());
    let mut text = parts.join("; ");
    if text.is_empty() {
        text = "nothing has changed".into();
    }
    text.truncate(text.floor_char_boundary(LONGEST_AUDITED));
    text
}

impl Report {
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": true, "changes": self.plan, "said": self.said })
    }
}

impl Refused {
    /// For who asked over the control socket or by push: everything.
    pub fn json(&self) -> serde_json::Value {
        let count = match self.problems.len() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        serde_json::json!({
            "error": format!("nothing was changed: the configuration has {count}"),
            "problems": self.problems,
        })
    }

    /// For the cloud's `agent:error`: the first few.
    pub fn sentence(&self) -> String {
        let first: Vec<&str> = self
            .problems
            .iter()
            .take(FIRST_PROBLEMS)
            .map(String::as_str)
            .collect();
        let more = match self.problems.len().saturating_sub(FIRST_PROBLEMS) {
            0 => String::new(),
            more => format!("; and {more} more, see the log of the agent"),
        };
        format!("nothing was changed: {}{more}", first.join("; "))
    }
}

const FIRST_PROBLEMS: usize = 5;
/// Names of a thousand changed devices belong into the log.
const LONGEST_AUDITED: usize = 2000;
