//! Rows into a queue: at start, and after a failed commit.

use agent_core::push::{DeviceNo, Print, PushId, Seq, State, Timestamp};
use agent_core::queue::{
    Attempted, BodyKept, DeviceConfig, Ended, EventFacts, Kind, Loader, PushFacts, ReplyTo,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

/// Reads every push and every event into a loader.
pub(super) fn load(
    connection: &Connection,
    limit: usize,
    devices: Vec<(DeviceNo, DeviceConfig)>,
) -> rusqlite::Result<Loader> {
    let mut loader = Loader::new(limit, devices);
    let mut pushes = connection.prepare(
        "SELECT id, device, at, tried, callback_hash, content_hash, callback, content_type, remote,
           order_key, expires, joins FROM push ORDER BY id",
    )?;
    let mut rows = pushes.query([])?;
    while let Some(row) = rows.next()? {
        loader.push(push_facts(row)?);
    }
    let mut events = connection.prepare(
        "SELECT seq, push, at, kind, state, level, reason, who, status, next, next_kind, taken
         FROM event ORDER BY seq",
    )?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        loader.event(event_facts(row)?);
    }
    Ok(loader)
}

/// What a command must know of a push that the queue does not have.
pub(super) fn ended(connection: &Connection, push: PushId) -> rusqlite::Result<Option<Ended>> {
    let found = connection
        .query_row(
            "SELECT device, order_key, content_hash, joins, body IS NOT NULL,
               (SELECT state FROM event WHERE push = ?1 AND state NOT NULL ORDER BY seq DESC LIMIT 1)
             FROM push WHERE id = ?1",
            params![push.0.cast_signed()],
            |row| {
                let keys: String = row.get::<_, Option<String>>(1)?.unwrap_or_default();
                let state: Option<i64> = row.get(5)?;
                Ok(Ended {
                    device: DeviceNo(row.get(0)?),
                    keys: keys.lines().map(print_of).collect(),
                    content: print(row.get(2)?),
                    state: state.and_then(State::from_number).unwrap_or(State::Queued),
                    joins: row.get::<_, Option<u64>>(3)?.map(PushId),
                    body: if row.get(4)? { BodyKept::Yes } else { BodyKept::No },
                })
            },
        )
        .optional()?;
    Ok(found)
}

/// The print of an order key or a callback.
pub(crate) fn print_of(text: &str) -> Print {
    print_of_digest(&Sha256::digest(text.as_bytes()).into())
}

/// The first eight bytes; zero is kept for "none".
pub(crate) fn print_of_digest(digest: &[u8; 32]) -> Print {
    let first = digest.first_chunk().copied().unwrap_or_default();
    Print(u64::from_be_bytes(first).max(1))
}

fn print(number: i64) -> Option<Print> {
    (number != 0).then(|| Print(number.cast_unsigned()))
}

fn push_facts(row: &Row<'_>) -> rusqlite::Result<PushFacts> {
    let callback: Option<String> = row.get(6)?;
    let keys: Option<String> = row.get(9)?;
    let tried: Option<i64> = row.get(3)?;
    let remote = row.get::<_, Option<String>>(8)?.unwrap_or_default();
    let content_type = row.get::<_, Option<String>>(7)?.unwrap_or_default();
    let reply_to = callback.map(|callback| ReplyTo {
        callback,
        remote,
        content_type,
    });
    Ok(PushFacts {
        id: PushId(row.get(0)?),
        device: DeviceNo(row.get(1)?),
        at: Timestamp(row.get(2)?),
        tried: tried.and_then(Attempted::from_number),
        callback: print(row.get(4)?),
        content: print(row.get(5)?),
        keys: keys.unwrap_or_default().lines().map(print_of).collect(),
        expires: row.get::<_, Option<i64>>(10)?.map(Timestamp),
        joins: row.get::<_, Option<u64>>(11)?.map(PushId),
        reply_to,
    })
}

fn event_facts(row: &Row<'_>) -> rusqlite::Result<EventFacts> {
    let kind = Kind::from_number(row.get(3)?).ok_or(rusqlite::Error::InvalidQuery)?;
    let state: Option<i64> = row.get(4)?;
    let next: Option<u64> = row.get(9)?;
    let next_kind: Option<i64> = row.get(10)?;
    Ok(EventFacts {
        seq: Seq(row.get(0)?),
        push: PushId(row.get(1)?),
        at: Timestamp(row.get(2)?),
        kind,
        state: state.and_then(State::from_number),
        resend: if kind == Kind::Retry {
            row.get(5)?
        } else {
            None
        },
        reason: row.get(6)?,
        who: row.get(7)?,
        status: row.get(8)?,
        next: next
            .map(PushId)
            .zip(next_kind.and_then(Attempted::from_number)),
        taken: row.get::<_, Option<u64>>(11)?.map(Seq),
    })
}
