//! The verbs that only look. Nothing they show is clinical: ids, sizes, states, times, reasons.

use agent_core::clock::Clock;
use agent_core::push::{PushId, State};
use agent_core::queue::{Explained, Filter, Kind};
use serde_json::{Value, json};

use super::verbs::Verb;
use super::{Control, diag, error};
use crate::clock;
use crate::store::{History, HistoryEvent, StoreError};

pub(super) async fn answer(control: &Control, verb: Verb) -> Result<Value, StoreError> {
    match verb {
        Verb::Status => status(control).await,
        Verb::Devices => {
            let status = status(control).await?;
            Ok(json!({ "devices": status.get("devices") }))
        }
        Verb::Queue {
            device,
            state,
            limit,
        } => queue(control, device.as_deref(), state.as_deref(), limit).await,
        Verb::Why { push } => why(control, PushId(push)).await,
        Verb::Diag => diag::bundle(control).await,
        Verb::Poll { target } => Ok(poll(control, target.as_deref())),
        Verb::Doctor
        | Verb::Reload
        | Verb::Hold { .. }
        | Verb::Release { .. }
        | Verb::Resend { .. }
        | Verb::Settle { .. }
        | Verb::Cancel { .. } => Ok(error("this is a change, not a question")),
    }
}

pub(crate) async fn status(control: &Control) -> Result<Value, StoreError> {
    let report = control.store.report().await?;
    let mut snapshot = control.board.snapshot(
        &report,
        &control.site.devices(),
        (&control.store.room_on_disk(), control.store.uploads()),
    );
    if let Clock::Doubtful(doubt) = control.store.clock() {
        let told = format!("{doubt}; until it is set, nothing expires and nothing old is removed");
        snapshot.problems.push(told);
    }
    Ok(serde_json::to_value(snapshot).unwrap_or_else(error))
}

/// Nobody is told what is found: that is the mailbox's own business, and takes a while.
fn poll(control: &Control, target: Option<&str>) -> Value {
    match target {
        None | Some("mailbox") if control.board.mailbox_is_on() => {
            control.mailbox.nudge();
            json!({ "ok": true })
        }
        None | Some("mailbox") => error("the mailbox is off; see [cloud] mailbox in wardpost.toml"),
        Some(_) => error("only the mailbox can be polled"),
    }
}

async fn queue(
    control: &Control,
    device: Option<&str>,
    state: Option<&str>,
    limit: Option<usize>,
) -> Result<Value, StoreError> {
    let devices = control.site.devices();
    let no = match device.map(|name| (name, devices.by_name(name))) {
        Some((name, None)) => return Ok(error(format!("there is no device {name}"))),
        Some((_, no)) => no,
        None => None,
    };
    let open = state.map(|state| OPEN_STATES.into_iter().find(|open| open.word() == state));
    if open == Some(None) {
        return Ok(error("a push in the queue is queued, sending or held"));
    }
    let limit = limit.unwrap_or(DEFAULT_ROWS).clamp(1, MOST_ROWS);
    let filter = Filter {
        device: no,
        state: open.flatten(),
    };
    let pushes = control.store.list(filter, limit).await?;
    let rows: Vec<Value> = pushes
        .iter()
        .map(|push| {
            json!({
                "push": push.id.0,
                "device": push.device,
                "state": push.explained.state.word(),
                "reason": push.explained.reason.to_string(),
                "at": clock::rfc3339(push.at),
                "expires": push.expires.map(clock::rfc3339),
            })
        })
        .collect();
    Ok(json!({ "pushes": rows }))
}

async fn why(control: &Control, push: PushId) -> Result<Value, StoreError> {
    let Some(history) = control.store.history(push).await? else {
        return Ok(error(format!("there is no push {push}")));
    };
    let waiting = control.store.explain(push).await?;
    Ok(explain(&history, waiting.map(|waiting| waiting.explained)))
}

fn explain(history: &History, now: Option<Explained>) -> Value {
    let last = history.events.iter().rev().find_map(|event| event.state);
    let level = history.events.iter().rev().find_map(|event| event.level);
    let (state, reason) = match now {
        Some(now) => (now.state, Some(now.reason.to_string())),
        None => (last.unwrap_or(State::Queued), last_reason(history)),
    };
    let mut events = vec![accepted(history)];
    if history.tried {
        events.push(json!({
            "at": clock::rfc3339(history.at),
            "kind": "attempt",
            "text": "attempt recorded, then sent",
        }));
    }
    events.extend(history.events.iter().flat_map(event));
    json!({
        "push": history.push.0,
        "device": history.device,
        "state": state.word(),
        "level": level.map(agent_core::push::Level::word),
        "reason": reason,
        "next": next_step(state, reason.as_deref(), history.push),
        "contentType": history.content_type,
        "task": history.task,
        "orderKeys": history.order_keys.len(),
        "bytes": history.bytes,
        "joined": history.joins.map(|push| push.0),
        "expires": history.expires.map(clock::rfc3339),
        "events": events,
    })
}

fn last_reason(history: &History) -> Option<String> {
    history
        .events
        .iter()
        .rev()
        .find_map(|event| event.reason.clone())
}

/// What a person can do about it.
fn next_step(state: State, reason: Option<&str>, push: PushId) -> String {
    match state {
        State::Queued | State::Sending => "nothing: it goes on by itself".into(),
        State::Held if reason.is_some_and(|reason| reason.starts_with("uncertain")) => format!(
            "look at the device whether it has the order, then `wardpost settle {push} delivered \
             --reason …` or `wardpost settle {push} not-delivered --reason …`; \
             `wardpost resend {push}` sends the same bytes again"
        ),
        State::Held if reason.is_some_and(|reason| reason.starts_with("its Task")) => format!(
            "nothing: the agent claims it; `wardpost status` says what keeps the mailbox, and \
             `wardpost cancel {push}` withdraws it"
        ),
        State::Held => {
            format!("`wardpost release {push}` lets it go, `wardpost cancel {push}` withdraws it")
        }
        State::Delivered => "nothing: the device has it".into(),
        State::Rejected => {
            "read the device's words in the answer, correct the order and push it again".into()
        }
        State::Cancelled | State::Expired | State::Dead => {
            format!("push it again if it is still needed, or `wardpost resend {push}`")
        }
    }
}

fn accepted(history: &History) -> Value {
    let text = match (history.joins, history.bytes) {
        (Some(leader), _) => format!("stored; the same as push {leader}, shares its fate"),
        (None, Some(bytes)) => format!("stored on disk, {bytes} bytes"),
        (None, None) => "stored on disk".to_owned(),
    };
    json!({ "at": clock::rfc3339(history.at), "kind": "stored", "text": text })
}

/// One event as lines of the story: what happened, and that the caller was told.
fn event(event: &HistoryEvent) -> Vec<Value> {
    let at = clock::rfc3339(event.at);
    let mut lines = Vec::new();
    if let Some(text) = happened(event) {
        lines.push(json!({ "at": at, "kind": kind(event), "text": text }));
    }
    if let Some(status) = event.status {
        let text = match event.bytes {
            Some(bytes) => format!("caller answered {status}, {bytes} bytes"),
            None => format!("caller answered {status}, in words that are not kept any more"),
        };
        lines.push(json!({ "at": at, "kind": "answered", "text": text }));
    }
    lines
}

fn kind(event: &HistoryEvent) -> &'static str {
    match event.kind {
        Kind::Attempt | Kind::Completing => "attempt",
        Kind::Settled => "settled",
        Kind::Retry => "retry",
        Kind::Held => "held",
        Kind::Released => "released",
        Kind::Level => "level",
        Kind::Answered => "answered",
        Kind::Taken => "taken",
    }
}

fn happened(event: &HistoryEvent) -> Option<String> {
    let by = event
        .who
        .as_ref()
        .map(|who| format!(" by {who}"))
        .unwrap_or_default();
    let why = event
        .reason
        .as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    let state = event.state.map_or("", State::word);
    let level = event
        .level
        .map(|level| format!(": {}", level.word()))
        .unwrap_or_default();
    match event.kind {
        Kind::Attempt | Kind::Completing => Some("attempt recorded, then sent".into()),
        Kind::Settled => Some(format!("{state}{level}{by}{why}")),
        Kind::Retry => Some(format!("will be tried again{why}")),
        Kind::Held if event.who.is_none() => Some(format!("held, uncertain{why}")),
        Kind::Held => Some(format!("held{by}{why}")),
        Kind::Released => Some(format!("released{by}{why}")),
        Kind::Level => Some(format!("later news from the device: {state}{level}{why}")),
        Kind::Answered | Kind::Taken => None,
    }
}

const OPEN_STATES: [State; 3] = [State::Queued, State::Sending, State::Held];
const DEFAULT_ROWS: usize = 100;
const MOST_ROWS: usize = 1000;
