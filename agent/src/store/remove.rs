//! Removes what is old, a bounded piece at a time: first words, then rows.
//!
//! | mark in `meta` | up to which row |
//! | --- | --- |
//! | `swept_words` | of `event`: bodies, answers and reasons of the pushes that ended there are gone |
//! | `swept_rows` | of `event`: the pushes that ended there are gone with their events |
//! | `swept_reasons` | of `audit`: reasons are replaced by their digests |
//! | `swept_audit` | of `audit`: rows are gone; `audit_anchor` is the hash of the last of them |
//!
//! A push ends where it is settled, so walking along the events finds each push when it is due, and those that are not
//! final never. What a walk may not pass is its `until`.

use agent_core::push::{PushId, Timestamp};
use agent_core::queue::Kind;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::age::{Mark, Old, reach};
use super::rows;

/// What one piece has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Pushes of which something is gone, or rows of the audit. What came later for a push counts again.
    pub(super) removed: u64,
    /// Pushes that are over and gone, each once.
    pub(super) pushes: u64,
    pub(super) left: Left,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    More,
    Nothing,
}

/// One event as the walks see it.
struct Step {
    seq: i64,
    at: Timestamp,
    push: i64,
    kind: i64,
}

impl Step {
    /// Whether something of its push may be due here: its end, or later news about it.
    fn ends(&self) -> bool {
        self.push != 0 && (self.settles() || self.kind == Kind::Level as i64)
    }

    fn settles(&self) -> bool {
        self.kind == Kind::Settled as i64
    }
}

/// Whether a push is not final.
pub(super) type Live<'a> = &'a dyn Fn(PushId) -> bool;

/// Clears bodies, answers and reasons of pushes that are over, answered, and heard.
pub(super) fn words(connection: &Connection, old: Old, live: Live<'_>) -> rusqlite::Result<Piece> {
    let until = first_unheard(connection)?;
    let mut bytes = 0;
    walk(connection, "swept_words", (until, old), |step| {
        if live(PushId(step.push.cast_unsigned())) {
            return Ok(Walk::Past);
        }
        bytes += clear(connection, step)?;
        Ok(if bytes > BYTES {
            Walk::Enough
        } else {
            Walk::On
        })
    })
}

/// Deletes pushes and their events. Never a newest row, nor what a start reads.
pub(super) fn rows(connection: &Connection, old: Old, live: Live<'_>) -> rusqlite::Result<Piece> {
    let until = first_needed(connection)?;
    let newest: Option<i64> =
        connection.query_row("SELECT max(id) FROM push", [], |row| row.get(0))?;
    walk(connection, "swept_rows", (until, old), |step| {
        if Some(step.push) == newest {
            return Ok(Walk::Stop);
        }
        if live(PushId(step.push.cast_unsigned())) {
            return Ok(Walk::Past);
        }
        delete(connection, step, live)?;
        Ok(Walk::On)
    })
}

enum Walk {
    On,
    /// Nothing was removed for this one.
    Past,
    /// This is the last one of this piece.
    Enough,
    /// This one stays, and what is behind it.
    Stop,
}

/// Goes along the old events from the mark, hands out each that ends a push, and moves the mark.
fn walk(
    connection: &Connection,
    name: &str,
    (until, old): (i64, Old),
    mut at_end: impl FnMut(&Step) -> rusqlite::Result<Walk>,
) -> rusqlite::Result<Piece> {
    let mark = read_mark(connection, name)?;
    let steps = old_steps(connection, mark, (until, old))?;
    let (mut removed, mut pushes) = (0, 0);
    let mut done = 0;
    let mut last = Walk::On;
    for step in &steps {
        if step.ends() {
            last = at_end(step)?;
            if matches!(last, Walk::Stop) {
                break;
            }
            if !matches!(last, Walk::Past) {
                removed += 1;
                pushes += u64::from(step.settles());
            }
        }
        done += 1;
        if matches!(last, Walk::Enough) {
            break;
        }
    }
    let times = steps.iter().take(done).map(|step| (step.seq, step.at));
    let reached = reach(mark, times, old);
    if name == "swept_rows" {
        connection.execute(
            "DELETE FROM event WHERE push = 0 AND seq > ?1 AND seq <= ?2",
            params![mark.row, reached.row],
        )?;
    }
    write_mark(connection, name, reached)?;
    let left = match last {
        Walk::Stop => Left::Nothing,
        Walk::On | Walk::Past | Walk::Enough if reached.row == mark.row => Left::Nothing,
        Walk::On | Walk::Past | Walk::Enough => Left::More,
    };
    Ok(Piece {
        removed,
        pushes,
        left,
    })
}

/// The events that are surely old, a page of them; more where a long time of a wrong clock must be passed in one go.
fn old_steps(
    connection: &Connection,
    mark: Mark,
    (until, old): (i64, Old),
) -> rusqlite::Result<Vec<Step>> {
    let mut page = PAGE;
    loop {
        let mut steps = connection
            .prepare_cached(
                "SELECT seq, at, push, kind FROM event WHERE seq > ?1 AND seq < ?2
                 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![mark.row, until, page], |row| {
                Ok(Step {
                    seq: row.get(0)?,
                    at: Timestamp(row.get(1)?),
                    push: row.get(2)?,
                    kind: row.get(3)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let all = steps.len() < page;
        let reached = reach(mark, steps.iter().map(|step| (step.seq, step.at)), old);
        let stuck = reached.row == mark.row;
        let from_the_future = steps.iter().all(|step| step.at > old.now);
        if stuck && !all && from_the_future {
            page *= 4;
            continue;
        }
        steps.retain(|step| step.seq <= reached.row);
        return Ok(steps);
    }
}

/// Gives the size of what is cleared.
fn clear(connection: &Connection, step: &Step) -> rusqlite::Result<u64> {
    let bytes = connection
        .prepare_cached("SELECT length(body) FROM push WHERE id = ?1")?
        .query_row([step.push], |row| row.get::<_, Option<u64>>(0))
        .optional()?
        .flatten();
    connection
        .prepare_cached("UPDATE push SET body = NULL WHERE id = ?1 AND body NOT NULL")?
        .execute([step.push])?;
    connection
        .prepare_cached(
            "UPDATE event SET answer = NULL, reason = NULL
             WHERE push = ?1 AND seq <= ?2 AND (answer NOT NULL OR reason NOT NULL)",
        )?
        .execute([step.push, step.seq])?;
    Ok(bytes.unwrap_or(0))
}

fn delete(connection: &Connection, step: &Step, live: Live<'_>) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM push WHERE id = ?1")?
        .execute([step.push])?;
    let events = connection
        .prepare_cached("SELECT seq, next FROM event WHERE push = ?1 AND seq <= ?2")?
        .query_map([step.push, step.seq], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u64>>(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut remove = connection.prepare_cached("DELETE FROM event WHERE seq = ?1")?;
    for (seq, next) in events {
        // A row that records the attempt of a push that is still here belongs to that one.
        if !next.is_some_and(|next| live(PushId(next))) {
            remove.execute([seq])?;
        }
    }
    Ok(())
}

/// The first answer of which the disk does not say that it has left the socket.
fn first_unheard(connection: &Connection) -> rusqlite::Result<i64> {
    let heard: Option<i64> = newest_event(connection, "taken", "taken")?;
    connection
        .query_row(
            "SELECT seq FROM event WHERE seq > ?1 AND status NOT NULL ORDER BY seq LIMIT 1",
            [heard.unwrap_or(0)],
            |row| row.get(0),
        )
        .optional()
        .map(|first| first.unwrap_or(i64::MAX))
}

/// The first event that a start needs: a newest one of its kind, or one that no segment covers yet.
fn first_needed(connection: &Connection) -> rusqlite::Result<i64> {
    let segments: Option<i64> =
        connection.query_row("SELECT max(last_seq) FROM segment", [], |row| row.get(0))?;
    let needed = [
        newest_event(connection, "seq", "seq")?,
        newest_event(connection, "seq", "taken")?,
        newest_event(connection, "seq", "status")?,
        Some(read_mark(connection, "swept_words")?.row + 1),
        segments.map(|covered| covered + 1),
    ];
    Ok(needed.into_iter().flatten().min().unwrap_or(0))
}

fn newest_event(
    connection: &Connection,
    column: &str,
    filled: &str,
) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            &format!(
                "SELECT {column} FROM event WHERE {filled} NOT NULL ORDER BY seq DESC LIMIT 1"
            ),
            [],
            |row| row.get(0),
        )
        .optional()
}

/// Replaces reasons in the audit by their digests, which is all that its chain needs.
pub(super) fn reasons(connection: &Connection, old: Old) -> rusqlite::Result<Piece> {
    let mark = read_mark(connection, "swept_reasons")?;
    let reached = reach(mark, audit_rows(connection, mark, i64::MAX)?, old);
    let found = connection
        .prepare_cached("SELECT id, reason FROM audit WHERE id > ?1 AND id <= ?2")?
        .query_map([mark.row, reached.row], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Value>(1)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (id, reason) in found {
        if let Value::Text(reason) = reason {
            let digest = rows::reason_digest(&reason);
            connection.execute(
                "UPDATE audit SET reason = ?2 WHERE id = ?1",
                params![id, digest.as_slice()],
            )?;
        }
    }
    write_mark(connection, "swept_reasons", reached)?;
    Ok(piece(mark, reached))
}

/// Deletes rows of the audit, never the newest; the chain then begins at the hash of the last one deleted.
pub(super) fn audit(connection: &Connection, old: Old) -> rusqlite::Result<Piece> {
    let mark = read_mark(connection, "swept_audit")?;
    let newest: Option<i64> =
        connection.query_row("SELECT max(id) FROM audit", [], |row| row.get(0))?;
    let upto = newest.map_or(0, |newest| newest - 1);
    let reached = reach(mark, audit_rows(connection, mark, upto)?, old);
    if reached.row > mark.row {
        connection.execute(
            "INSERT OR REPLACE INTO meta (key, value)
             SELECT 'audit_anchor', hash FROM audit WHERE id = ?1",
            [reached.row],
        )?;
        connection.execute("DELETE FROM audit WHERE id <= ?1", [reached.row])?;
    }
    write_mark(connection, "swept_audit", reached)?;
    Ok(piece(mark, reached))
}

fn piece(mark: Mark, reached: Mark) -> Piece {
    let removed = (reached.row - mark.row).cast_unsigned();
    let left = if removed == 0 {
        Left::Nothing
    } else {
        Left::More
    };
    Piece {
        removed,
        pushes: 0,
        left,
    }
}

/// A page of the audit behind the mark, up to this row.
fn audit_rows(
    connection: &Connection,
    mark: Mark,
    upto: i64,
) -> rusqlite::Result<Vec<(i64, Timestamp)>> {
    connection
        .prepare_cached("SELECT id, at FROM audit WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3")?
        .query_map(params![mark.row, upto, PAGE], |row| {
            Ok((row.get(0)?, Timestamp(row.get(1)?)))
        })?
        .collect()
}

fn read_mark(connection: &Connection, name: &str) -> rusqlite::Result<Mark> {
    let read = |key: &str| {
        connection
            .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
            .query_row([key], |row| row.get::<_, i64>(0))
            .optional()
            .map(Option::unwrap_or_default)
    };
    Ok(Mark {
        row: read(name)?,
        at: Timestamp(read(&format!("{name}_at"))?),
    })
}

fn write_mark(connection: &Connection, name: &str, mark: Mark) -> rusqlite::Result<()> {
    let mut write =
        connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
    write.execute(params![name, mark.row])?;
    write.execute(params![format!("{name}_at"), mark.at.0])?;
    Ok(())
}

/// Rows looked at in one commit: it must stay short, because pushes wait for it.
const PAGE: usize = 300;
/// Bytes of bodies cleared in one commit, and at least one body.
const BYTES: u64 = 2 << 20;
