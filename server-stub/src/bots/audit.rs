//! The record of a run: one `AuditEvent`, as a real server writes it. It triggers nothing.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::warn;

use super::{Ended, Run, Success};
use crate::server::Server;
use crate::store::{Change, now_instant, text};

/// Writes the record, unless the Bot wants none.
pub(super) async fn record(server: &Arc<Server>, run: &Run, ended: &Ended, begun: String) {
    let unwanted = match text(&run.bot, "auditEventTrigger") {
        "never" => true,
        "on-error" => ended.success == Success::Yes,
        "on-output" => ended.log.is_empty(),
        _ => false,
    };
    if unwanted {
        return;
    }
    let event = event(run, ended, &begun);
    if let Err(outcome) = server.write(Change::Create(event)).await {
        let bot = text(&run.bot, "id");
        warn!(bot, why = outcome.text(), "a run is not recorded");
    }
}

fn event(run: &Run, ended: &Ended, begun: &str) -> Value {
    let now = now_instant();
    let bot = format!("Bot/{}", text(&run.bot, "id"));
    let entities = std::iter::once(&bot).chain(&run.about);
    let entity = |what: &String| json!({ "what": { "reference": what } });
    let requester = run.requester.as_ref();
    json!({
        "resourceType": "AuditEvent",
        "type": { "system": "https://medplum.com/CodeSystem/audit-event", "code": "execute" },
        "recorded": now,
        "period": { "start": begun, "end": now },
        "agent": [
            { "who": requester.map(|who| json!({ "reference": who })), "requestor": true },
            { "who": { "reference": run.caller.reference() }, "requestor": false },
        ],
        "source": { "observer": { "reference": bot } },
        "entity": entities.map(entity).collect::<Vec<_>>(),
        "outcome": match ended.success { Success::Yes => "0", Success::No => "4" },
        "outcomeDesc": tail(&ended.log),
    })
}

/// The end of a log: what went wrong stands there.
fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(LONGEST);
    let from = (from..=log.len()).find(|at| log.is_char_boundary(*at));
    from.and_then(|from| log.get(from..)).unwrap_or(log)
}

/// Bytes, as on a real server.
const LONGEST: usize = 10 * 1024;
