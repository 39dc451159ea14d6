//! A receipt: what became of a push after its caller had stopped waiting, as the cloud gets it.
//!
//! `docs/schemas/receipt.schema.json` describes it. What is clinical stands in the member `clinical` and nowhere else.

use agent_core::clock::Clock;
use agent_core::phi::Phi;
use agent_core::push::{Level, State, is_task};
use agent_core::queue::{Kind, News};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::{ToldBy, answer_type, rows};
use crate::clock;
use crate::cloud::MAX_ENVELOPE;

/// Who sends it, under which name, and whether it knows what time it is.
pub(super) struct Sender<'a> {
    pub(super) id: String,
    pub(super) agent: &'a str,
    pub(super) clock: Clock,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    r#type: &'static str,
    version: u8,
    id: &'a str,
    agent: &'a str,
    push: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<String>,
    device: String,
    remote: String,
    at: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clock_in_doubt: bool,
    event: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    /// The push whose fate it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    joined: Option<u64>,
    /// The status that its caller got, and will not get another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    answered: Option<u16>,
    clinical: Clinical,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Clinical {
    order_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// Set where the answer is too large for the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_bytes: Option<usize>,
}

/// What the row of a push says of it.
#[derive(Default)]
struct Pushed {
    callback: Option<String>,
    content_type: String,
    remote: String,
    order_keys: Vec<String>,
    joined: Option<u64>,
    device: String,
    answered: Option<u16>,
}

/// Writes the receipt; its push may be in the same transaction. A push that is kept as a Task has none: the Task tells.
pub(super) fn body(
    connection: &Connection,
    news: &News,
    sender: &Sender<'_>,
) -> rusqlite::Result<Option<Phi<String>>> {
    // A push that was removed long ago can still be refused by its device.
    let pushed = pushed(connection, news)?.unwrap_or_default();
    if pushed.callback.as_deref().is_some_and(is_task) {
        return Ok(None);
    }
    let spoken = rows::spoken(connection, &news.answer)?;
    let by_device = spoken.by == ToldBy::Device && news.who.is_none();
    let answer = Some(spoken.words.0.to_string()).filter(|words| by_device && !words.is_empty());
    let mut receipt = Receipt {
        r#type: "wardpost-receipt",
        version: 1,
        id: &sender.id,
        agent: sender.agent,
        push: news.push.0,
        callback: pushed.callback,
        device: pushed.device,
        remote: pushed.remote,
        at: clock::rfc3339(news.at),
        clock_in_doubt: !sender.clock.is_sound(),
        event: event(news.kind),
        state: news.state.unwrap_or(State::Delivered).word(),
        level: news.level.map(Level::word),
        reason: news.reason.as_deref(),
        by: news.who.as_deref(),
        joined: pushed.joined,
        // This very event is the answer, and its row comes behind.
        answered: pushed
            .answered
            .or((news.kind == Kind::Answered).then_some(202)),
        clinical: Clinical {
            order_keys: pushed.order_keys,
            content_type: answer
                .as_ref()
                .map(|_| answer_type(ToldBy::Device, &pushed.content_type)),
            answer,
            answer_bytes: None,
        },
    };
    if !fits(&receipt) {
        let answer = receipt.clinical.answer.take();
        receipt.clinical.answer_bytes = answer.map(|answer| answer.len());
    }
    Ok(Some(Phi(json(&receipt))))
}

fn pushed(connection: &Connection, news: &News) -> rusqlite::Result<Option<Pushed>> {
    connection
        .prepare_cached(
            "SELECT callback, content_type, remote, order_key, joins, name,
               (SELECT status FROM event WHERE push = ?1 AND status NOT NULL ORDER BY seq LIMIT 1)
             FROM push LEFT JOIN device ON device.id = push.device WHERE push.id = ?1",
        )?
        .query_row(params![news.push.0], |row| {
            let keys: Option<String> = row.get(3)?;
            Ok(Pushed {
                callback: row.get(0)?,
                content_type: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                remote: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                order_keys: keys
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect(),
                joined: row.get(4)?,
                device: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                answered: row.get(6)?,
            })
        })
        .optional()
}

fn event(kind: Kind) -> &'static str {
    match kind {
        Kind::Held | Kind::Answered => "held",
        Kind::Released => "released",
        Kind::Level => "later",
        Kind::Settled | Kind::Attempt | Kind::Completing | Kind::Retry | Kind::Taken => "settled",
    }
}

/// Whether it goes into an envelope, where its text is escaped once more.
fn fits(receipt: &Receipt<'_>) -> bool {
    let escaped = serde_json::to_string(&json(receipt));
    escaped.is_ok_and(|text| text.len() + ENVELOPE <= MAX_ENVELOPE)
}

fn json(receipt: &Receipt<'_>) -> String {
    serde_json::to_string(receipt).expect("names and texts are always JSON")
}

/// More than all else in an envelope: the token, and names that are short.
const ENVELOPE: usize = 16 * 1024;
