//! Rows into the running transaction.
//!
//! | column | holds |
//! |---|---|
//! | `push.tried`, `event.next_kind` | 1 attempt, 2 completing |
//! | `push.callback_hash`, `content_hash` | first 8 bytes of a SHA-256; 0 where there is none |
//! | `push.order_key` | the order keys, LF between them |
//! | `event.level` | how far the device's yes has come; on a retry: which resend after an unknown outcome this is; on a release: 0 where a person sends it again, whatever its age |
//! | `event.status` | set: this event is the answer to the callback |
//! | `audit.reason` | the words; a blob is the SHA-256 of words that are not kept any more |
//! | `event.answer` | the answer's words; where `status` is empty, the device's words that nobody waited for |

use agent_core::phi::Phi;
use agent_core::push::{Print, PushId, State, Timestamp};
use agent_core::queue::{AuditRow, EventRow, Kind, PushRow, Row, Told};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::mutant::{self, Mutant};
use super::{Spoken, ToldBy, alarm};

/// The chain of audit rows: each carries the hash of its own words and of the row before.
#[derive(Clone, Debug, Default)]
pub(super) struct AuditChain(Vec<u8>);

impl AuditChain {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        connection
            .query_row(
                "SELECT hash FROM audit ORDER BY id DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .map(|hash| Self(hash.unwrap_or_default()))
    }

    fn link(&mut self, row: &AuditRow) -> Vec<u8> {
        let push = row.push.map_or(0, |push| push.0);
        let reason = row.reason.as_deref().map(reason_digest);
        self.extend([
            row.at.0.to_string().as_bytes(),
            row.who.as_bytes(),
            row.verb.as_bytes(),
            push.to_string().as_bytes(),
            reason.as_ref().map_or(&[], <[u8; 32]>::as_slice),
        ])
    }

    fn extend(&mut self, parts: [&[u8]; 5]) -> Vec<u8> {
        let mut hash = Sha256::new();
        hash.update(&self.0);
        for part in parts {
            // Lengths keep neighbours apart: "ab" and "c" must not read like "a" and "bc".
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        self.0 = hash.finalize().to_vec();
        self.0.clone()
    }
}

/// What stands for a reason in the chain, so that the reason itself can be removed before its row.
pub(super) fn reason_digest(reason: &str) -> [u8; 32] {
    Sha256::digest(reason.as_bytes()).into()
}

/// Whether every audit row carries the hash of itself and of the row before.
#[cfg(test)]
pub(super) fn audit_holds(connection: &Connection) -> rusqlite::Result<bool> {
    use rusqlite::types::Value;
    let anchor = connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'audit_anchor'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let mut chain = AuditChain(anchor.unwrap_or_default());
    let mut rows =
        connection.prepare("SELECT at, who, verb, push, reason, hash FROM audit ORDER BY id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let at = row.get::<_, i64>(0)?.to_string();
        let (who, verb): (String, String) = (row.get(1)?, row.get(2)?);
        let push = row.get::<_, Option<i64>>(3)?.unwrap_or(0).to_string();
        let reason = match row.get(4)? {
            Value::Text(reason) => reason_digest(&reason).to_vec(),
            Value::Blob(digest) => digest,
            _ => Vec::new(),
        };
        let parts = [&at, &who, &verb, &push].map(String::as_bytes);
        let linked = chain.extend([parts[0], parts[1], parts[2], parts[3], &reason]);
        if linked != row.get::<_, Vec<u8>>(5)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn write(
    connection: &Connection,
    row: &Row,
    chain: &mut AuditChain,
) -> rusqlite::Result<()> {
    match row {
        Row::Push(row) => write_push(connection, row),
        Row::Copy {
            id,
            from,
            at,
            expires,
        } => write_copy(connection, (*id, *from), *at, *expires),
        Row::Event(row) => write_event(connection, row),
        Row::Audit(row) => write_audit(connection, row, chain),
        // Becomes an upload, which has a number of its own.
        Row::News(_) => Ok(()),
    }
}

pub(super) fn number(print: Option<Print>) -> i64 {
    print.map_or(0, |print| print.0.cast_signed())
}

fn id(id: PushId) -> i64 {
    id.0.cast_signed()
}

fn write_push(connection: &Connection, row: &PushRow) -> rusqlite::Result<()> {
    let push = &row.push;
    if row.tried.is_none() && mutant::is(Mutant::KeepInMemory) {
        return Ok(());
    }
    let tried = row
        .tried
        .filter(|_| !mutant::is(Mutant::AttemptNotRecorded));
    let body = row.joins.is_none().then_some(push.body.0.as_bytes());
    connection
        .prepare_cached(
            "INSERT INTO push (id, device, at, tried, callback_hash, content_hash, callback,
               content_type, remote, return_ack, order_key, expires, joins, body_sha256, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            id(row.id),
            push.device.0,
            row.at.0,
            tried.map(|kind| kind as i64),
            number(push.callback.as_ref().map(|callback| callback.print)),
            number(push.content),
            push.callback.as_ref().map(|callback| &callback.text),
            push.content_type,
            push.remote,
            push.return_ack.map(|ack| ack as i64),
            push.order_keys.join("\n"),
            row.expires.map(|at| at.0),
            row.joins.map(id),
            push.body_sha256.as_slice(),
            body,
        ])
        .map(drop)
}

fn write_copy(
    connection: &Connection,
    (new, from): (PushId, PushId),
    at: Timestamp,
    expires: Option<Timestamp>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO push (id, device, at, callback_hash, content_hash, content_type, remote,
               return_ack, order_key, expires, body_sha256, body)
             SELECT ?1, device, ?3, 0, content_hash, content_type, remote, return_ack, order_key,
               ?4, body_sha256, body FROM push WHERE id = ?2",
        )?
        .execute(params![id(new), id(from), at.0, expires.map(|at| at.0)])
        .map(drop)
}

fn write_event(connection: &Connection, row: &EventRow) -> rusqlite::Result<()> {
    let forget = mutant::is(Mutant::AttemptNotRecorded);
    if forget && matches!(row.kind, Kind::Attempt | Kind::Completing) {
        return Ok(());
    }
    let next = row
        .next
        .filter(|_| !forget && !mutant::is(Mutant::ForgetMark));
    let level = row
        .level
        .map(|level| level as i64)
        .or(row.resend.map(i64::from));
    let (answer, who) = words(connection, row)?;
    if row.kind == Kind::Settled && row.who.is_none() {
        note_dead(connection, row)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO event (seq, push, device, at, kind, state, level, reason, who, status,
               next, next_kind, taken, answer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            row.seq.0.cast_signed(),
            id(row.push),
            row.device.0,
            row.at.0,
            row.kind as i64,
            row.state.map(|state| state as i64),
            level,
            row.reason,
            who,
            row.status,
            next.map(|(push, _)| id(push)),
            next.map(|(_, kind)| kind as i64),
            row.taken.map(|taken| taken.0.cast_signed()),
            answer.as_ref().map(|answer| answer.0.as_bytes()),
        ])
        .map(drop)
}

/// A push that the agent itself gave up or let expire must not be forgotten; one that a person ruled on is known.
fn note_dead(connection: &Connection, row: &EventRow) -> rusqlite::Result<()> {
    match row.state {
        Some(State::Dead | State::Expired) => {
            let (device, push, at) = (row.device, row.push, row.at);
            alarm::note_dead(connection, alarm::LastDead { device, push, at })
        }
        _ => Ok(()),
    }
}

/// The words of an event, and who stands behind them: a follower takes over both from the push it joined.
fn words(
    connection: &Connection,
    row: &EventRow,
) -> rusqlite::Result<(Option<Phi<String>>, Option<String>)> {
    Ok(match &row.answer {
        Told::Nothing => (None, row.who.clone()),
        Told::Device(words) => (Some(Phi(words.0.to_string())), row.who.clone()),
        Told::Sentence(text) => (Some(Phi(text.clone())), row.who.clone()),
        Told::SameAs(leader) => {
            let settled = settled_words(connection, *leader)?;
            (
                settled.as_ref().map(|s| Phi(s.text.clone())),
                settled.and_then(|s| s.who),
            )
        }
    })
}

struct Settled {
    text: String,
    who: Option<String>,
    state: i64,
}

fn settled_words(connection: &Connection, push: PushId) -> rusqlite::Result<Option<Settled>> {
    connection
        .prepare_cached(
            "SELECT answer, who, state FROM event WHERE push = ?1 AND kind = 3 AND answer NOT NULL",
        )?
        .query_row(params![id(push)], |row| {
            let text = String::from_utf8_lossy(row.get_ref(0)?.as_blob()?).into_owned();
            Ok(Settled {
                text,
                who: row.get(1)?,
                state: row.get(2)?,
            })
        })
        .optional()
}

/// What is said to whoever waits for `told`.
pub(super) fn spoken(connection: &Connection, told: &Told) -> rusqlite::Result<Spoken> {
    Ok(match told {
        Told::Nothing => Spoken {
            by: ToldBy::Agent,
            words: Phi("".into()),
        },
        Told::Device(words) => Spoken {
            by: ToldBy::Device,
            words: words.clone(),
        },
        Told::Sentence(text) => Spoken {
            by: ToldBy::Agent,
            words: Phi(text.as_str().into()),
        },
        Told::SameAs(leader) => {
            let settled = settled_words(connection, *leader)?;
            let by = settled
                .as_ref()
                .map_or(ToldBy::Agent, |s| told_by(s.state, s.who.as_deref()));
            Spoken {
                by,
                words: Phi(settled.map(|s| s.text).unwrap_or_default().into()),
            }
        }
    })
}

/// Whose words a settled event holds: the device's where it was delivered or rejected and no person ruled so.
pub(super) fn told_by(state: i64, who: Option<&str>) -> ToldBy {
    match (state, who) {
        (4 | 5, None) => ToldBy::Device,
        _ => ToldBy::Agent,
    }
}

fn write_audit(
    connection: &Connection,
    row: &AuditRow,
    chain: &mut AuditChain,
) -> rusqlite::Result<()> {
    if mutant::is(Mutant::UnwrittenAudit) {
        return Ok(());
    }
    let hash = chain.link(row);
    connection
        .prepare_cached(
            "INSERT INTO audit (at, who, verb, push, reason, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            row.at.0,
            row.who,
            row.verb,
            row.push.map(id),
            row.reason,
            hash
        ])
        .map(drop)
}
