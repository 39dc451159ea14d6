//! Rows into a queue: at start, and after a failed commit.

use agent_core::push::{DeviceNo, Print, PushId, Seq, State, Timestamp, is_task};
use agent_core::queue::{
    Attempted, BodyKept, ColdBlock, ColdFacts, DeviceConfig, Ended, EventFacts, Kind, Loader,
    OpenAs, PushFacts, ReplyTo,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::segment;

/// What [`push_facts`] reads.
const PUSH: &str =
    "id, device, at, tried, callback_hash, content_hash, callback, content_type, remote,
    order_key, expires, joins";
/// What [`event_facts`] reads.
const EVENT: &str =
    "seq, push, at, kind, state, level, reason, who, status, next, next_kind, taken";

/// Reads what the newest segment says, and every row after it.
pub(super) fn load(
    connection: &Connection,
    limit: usize,
    devices: Vec<(DeviceNo, DeviceConfig)>,
) -> rusqlite::Result<Loader> {
    let mut loader = Loader::new(limit, devices);
    let mark = segment::mark(connection)?;
    if let Some(mark) = mark {
        loader.begin_at(mark);
        load_cold(connection, &mut loader)?;
        load_open(connection, &mut loader, mark.seq)?;
    }
    let (push, seq) = mark.map_or((0, 0), |mark| (mark.push.0, mark.seq.0));
    let mut pushes = connection.prepare(&format!(
        "SELECT {PUSH} FROM push WHERE id > ?1 ORDER BY id"
    ))?;
    let mut rows = pushes.query([push])?;
    while let Some(row) = rows.next()? {
        let facts = push_facts(row)?;
        warm(connection, &mut loader, facts.joins)?;
        loader.push(facts);
    }
    let mut events = connection.prepare(&format!(
        "SELECT {EVENT} FROM event WHERE seq > ?1 ORDER BY seq"
    ))?;
    let mut rows = events.query([seq])?;
    while let Some(row) = rows.next()? {
        let facts = event_facts(row)?;
        warm(connection, &mut loader, Some(facts.push))?;
        warm(connection, &mut loader, facts.next.map(|(push, _)| push))?;
        loader.event(facts);
    }
    Ok(loader)
}

fn load_cold(connection: &Connection, loader: &mut Loader) -> rusqlite::Result<()> {
    let mut blocks = connection.prepare("SELECT block, bytes FROM cold ORDER BY block")?;
    let mut rows = blocks.query([])?;
    while let Some(row) = rows.next()? {
        let block = ColdBlock {
            no: row.get(0)?,
            bytes: row.get(1)?,
        };
        if !loader.cold(&block) {
            return Err(rusqlite::Error::InvalidQuery);
        }
    }
    Ok(())
}

fn load_open(connection: &Connection, loader: &mut Loader, upto: Seq) -> rusqlite::Result<()> {
    for (push, state) in open_states(connection)? {
        let own = connection
            .prepare_cached(&format!(
                "SELECT {EVENT} FROM event WHERE push = ?1 AND seq <= ?2 ORDER BY seq"
            ))?
            .query_map(params![push.0, upto.0], event_facts)?
            .collect::<rusqlite::Result<_>>()?;
        loader.open(facts(connection, push)?, own, state);
    }
    Ok(())
}

pub(super) fn open_states(connection: &Connection) -> rusqlite::Result<Vec<(PushId, OpenAs)>> {
    connection
        .prepare("SELECT push, state FROM open ORDER BY push")?
        .query_map([], |row| {
            let state = OpenAs::from_number(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?;
            Ok((PushId(row.get(0)?), state))
        })?
        .collect()
}

fn warm(
    connection: &Connection,
    loader: &mut Loader,
    push: Option<PushId>,
) -> rusqlite::Result<()> {
    if let Some(push) = push.filter(|push| loader.is_cold(*push)) {
        loader.warm(facts(connection, push)?);
    }
    Ok(())
}

/// The row of a push that waits, so it must be there.
fn facts(connection: &Connection, push: PushId) -> rusqlite::Result<PushFacts> {
    connection
        .prepare_cached(&format!("SELECT {PUSH} FROM push WHERE id = ?1"))?
        .query_row([push.0], push_facts)
}

/// The row of a cold push; it waits, so it must be there.
pub(super) fn cold_row(connection: &Connection, push: PushId) -> rusqlite::Result<ColdFacts> {
    connection
        .prepare_cached("SELECT device, at, expires, order_key FROM push WHERE id = ?1")?
        .query_row([push.0], |row| {
            Ok(ColdFacts {
                id: push,
                device: DeviceNo(row.get(0)?),
                at: Timestamp(row.get(1)?),
                expires: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                keys: prints_of(row.get_ref(3)?.as_str_or_null()?),
            })
        })
}

/// What a command must know of a push that the queue does not have.
pub(super) fn ended(connection: &Connection, push: PushId) -> rusqlite::Result<Option<Ended>> {
    let found = connection
        .query_row(
            "SELECT device, order_key, joins, body IS NOT NULL,
               (SELECT state FROM event WHERE push = ?1 AND state NOT NULL ORDER BY seq DESC LIMIT 1)
             FROM push WHERE id = ?1",
            params![push.0.cast_signed()],
            |row| {
                let state: Option<i64> = row.get(4)?;
                Ok(Ended {
                    device: DeviceNo(row.get(0)?),
                    keys: prints_of(row.get_ref(1)?.as_str_or_null()?),
                    state: state.and_then(State::from_number).unwrap_or(State::Queued),
                    joins: row.get::<_, Option<u64>>(2)?.map(PushId),
                    body: if row.get(3)? { BodyKept::Yes } else { BodyKept::No },
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

pub(super) fn prints_of(keys: Option<&str>) -> Vec<Print> {
    keys.unwrap_or_default().lines().map(print_of).collect()
}

pub(super) fn print(number: i64) -> Option<Print> {
    (number != 0).then(|| Print(number.cast_unsigned()))
}

fn push_facts(row: &Row<'_>) -> rusqlite::Result<PushFacts> {
    let callback: Option<String> = row.get(6)?;
    let tried: Option<i64> = row.get(3)?;
    let remote = row.get::<_, Option<String>>(8)?.unwrap_or_default();
    let content_type = row.get::<_, Option<String>>(7)?.unwrap_or_default();
    // A Task is told by a report.
    let caller = callback.filter(|callback| !is_task(callback));
    let reply_to = caller.map(|callback| ReplyTo {
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
        keys: prints_of(row.get_ref(9)?.as_str_or_null()?),
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
        resend: match kind {
            Kind::Retry | Kind::Released => row.get(5)?,
            _ => None,
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
