//! The agent's database as rows, read from a file that the agent may have left in mid-commit.
//!
//! Only what the judge needs; which number means what is in the schema's comments.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

/// One row of `push`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushRow {
    pub id: i64,
    pub device: i64,
    /// UTC in milliseconds.
    pub at: i64,
    pub expires: Option<i64>,
    pub tried: Option<i64>,
    pub callback: Option<String>,
    pub order_keys: Vec<String>,
    pub joins: Option<i64>,
    /// Of the body, in hexadecimal digits.
    pub sha256: Option<String>,
}

/// One row of `event`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRow {
    pub seq: i64,
    pub push: i64,
    /// UTC in milliseconds.
    pub at: i64,
    pub kind: i64,
    pub state: Option<i64>,
    /// On a retry: which resend after an unknown outcome this is.
    pub level: Option<i64>,
    /// A person; nobody where the agent itself decided.
    pub who: Option<String>,
    pub status: Option<i64>,
    pub next: Option<i64>,
    pub next_kind: Option<i64>,
    /// The answer's text, or the words a push was settled with.
    pub answer: Option<String>,
}

/// One row of `audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRow {
    pub at: i64,
    pub verb: String,
    pub push: Option<i64>,
}

/// All of it, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub devices: BTreeMap<i64, String>,
    /// By id, ascending.
    pub pushes: BTreeMap<i64, PushRow>,
    /// By `seq`, ascending.
    pub events: Vec<EventRow>,
    pub audit: Vec<AuditRow>,
    /// How many receipts were written, by push.
    pub receipts: BTreeMap<i64, usize>,
}

/// Where a push is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Queued,
    Sending,
    Held,
    Delivered,
    Rejected,
    Cancelled,
    Expired,
    Dead,
}

impl State {
    const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::Held,
        Self::Delivered,
        Self::Rejected,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
    ];

    pub(super) fn of(number: i64) -> Option<Self> {
        Self::ALL
            .get(usize::try_from(number).ok()?.checked_sub(1)?)
            .copied()
    }

    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Held)
    }

    /// The device had it and said so.
    pub fn is_answered_by_the_device(self) -> bool {
        matches!(self, Self::Delivered | Self::Rejected)
    }

    /// A push that ended so does not absorb an equal one.
    pub fn has_failed(self) -> bool {
        matches!(
            self,
            Self::Rejected | Self::Cancelled | Self::Expired | Self::Dead
        )
    }
}

impl Snapshot {
    /// Reads a database. One that does not exist yet, or has no tables yet, is empty.
    pub fn read(path: &Path) -> rusqlite::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.busy_timeout(std::time::Duration::from_secs(5))?;
        if !has_tables(&database)? {
            return Ok(Self::default());
        }
        // One transaction, so that pushes and events are of one moment; it ends with the connection.
        let database = database.unchecked_transaction()?;
        let devices = rows(&database, "SELECT id, name FROM device", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let pushes = rows(
            &database,
            "SELECT id, device, tried, callback, order_key, joins, at, expires, lower(hex(body_sha256)) FROM push ORDER BY id",
            |row| push_of(row).map(|push| (push.id, push)),
        )?;
        let events = rows(
            &database,
            "SELECT seq, push, kind, state, status, next, next_kind, \
             CASE WHEN status IS NOT NULL OR kind = 3 THEN answer END, at, level, who FROM event ORDER BY seq",
            event_of,
        )?;
        let audit = rows(
            &database,
            "SELECT at, verb, push FROM audit ORDER BY id",
            |row| {
                Ok(AuditRow {
                    at: row.get(0)?,
                    verb: row.get(1)?,
                    push: row.get(2)?,
                })
            },
        )?;
        let receipts = rows(
            &database,
            "SELECT push, count(*) FROM upload WHERE kind = 1 AND push IS NOT NULL GROUP BY push",
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            devices: devices.into_iter().collect(),
            pushes: pushes.into_iter().collect(),
            events,
            audit,
            receipts: receipts.into_iter().collect(),
        })
    }

    /// The state of every push, from its row and its events alone.
    pub fn states(&self) -> BTreeMap<i64, State> {
        let begun = |push: &PushRow| {
            if push.tried.is_some() {
                State::Sending
            } else {
                State::Queued
            }
        };
        let mut states: BTreeMap<i64, State> = self
            .pushes
            .values()
            .map(|push| (push.id, begun(push)))
            .collect();
        for event in &self.events {
            if let Some(state) = event.state.and_then(State::of).or(implied(event.kind)) {
                states.insert(event.push, state);
            }
            if let Some(next) = event.next {
                states.insert(next, State::Sending);
            }
        }
        for push in self.pushes.values() {
            if let Some(state) = states.get(&self.root(push.id)).copied() {
                states.insert(push.id, state);
            }
        }
        states.retain(|push, _| self.pushes.contains_key(push));
        states
    }

    /// The push that this one joined in the end; itself if it joined none.
    pub fn root(&self, push: i64) -> i64 {
        let mut root = push;
        // A joiner has a smaller number to join, so this ends.
        while let Some(joins) = self
            .pushes
            .get(&root)
            .and_then(|row| row.joins)
            .filter(|joins| *joins < root)
        {
            root = joins;
        }
        root
    }

    /// Name of the device a push is for.
    pub fn device_of(&self, push: &PushRow) -> &str {
        self.devices.get(&push.device).map_or("", String::as_str)
    }
}

fn implied(kind: i64) -> Option<State> {
    match kind {
        ATTEMPT | COMPLETING => Some(State::Sending),
        RETRY | RELEASED => Some(State::Queued),
        HELD => Some(State::Held),
        _ => None,
    }
}

fn has_tables(database: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema \
               WHERE name IN ('push', 'event', 'device', 'audit', 'upload')";
    Ok(database.query_row(sql, [], |row| row.get::<_, i64>(0))? == 5)
}

fn rows<T>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    database.prepare(sql)?.query_map([], read)?.collect()
}

fn push_of(row: &Row<'_>) -> rusqlite::Result<PushRow> {
    let keys: Option<String> = row.get(4)?;
    Ok(PushRow {
        id: row.get(0)?,
        device: row.get(1)?,
        tried: row.get(2)?,
        callback: row.get(3)?,
        order_keys: keys
            .map(|keys| keys.split('\n').map(Into::into).collect())
            .unwrap_or_default(),
        joins: row.get(5)?,
        at: row.get(6)?,
        expires: row.get(7)?,
        sha256: row.get(8)?,
    })
}

fn event_of(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let answer = match row.get_ref(7)? {
        rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        _ => None,
    };
    Ok(EventRow {
        seq: row.get(0)?,
        push: row.get(1)?,
        kind: row.get(2)?,
        state: row.get(3)?,
        status: row.get(4)?,
        next: row.get(5)?,
        next_kind: row.get(6)?,
        answer,
        at: row.get(8)?,
        level: row.get(9)?,
        who: row.get(10)?,
    })
}

pub(super) const ATTEMPT: i64 = 1;
pub(super) const COMPLETING: i64 = 2;
pub(super) const SETTLED: i64 = 3;
pub(super) const RETRY: i64 = 4;
pub(super) const HELD: i64 = 5;
pub(super) const RELEASED: i64 = 6;
/// The device's yes has come further, or it refuses after all.
pub(super) const LEVEL: i64 = 7;
/// The caller was answered while the push goes on.
pub(super) const ANSWERED: i64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent's schema, as far as it is read here.
    const SCHEMA: &str = "
        PRAGMA journal_mode = WAL;
        CREATE TABLE push (id INTEGER PRIMARY KEY, device INTEGER NOT NULL, at INTEGER NOT NULL, tried INTEGER,
            callback_hash INTEGER NOT NULL, content_hash INTEGER NOT NULL, callback TEXT, content_type TEXT,
            remote TEXT, return_ack INTEGER, order_key TEXT, expires INTEGER, joins INTEGER, body_sha256 BLOB,
            body BLOB);
        CREATE TABLE event (seq INTEGER PRIMARY KEY, push INTEGER NOT NULL, device INTEGER NOT NULL,
            at INTEGER NOT NULL, kind INTEGER NOT NULL, state INTEGER, level INTEGER, reason TEXT, who TEXT,
            status INTEGER, next INTEGER, next_kind INTEGER, taken INTEGER, answer BLOB);
        CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT, done INTEGER, sending INTEGER);
        CREATE TABLE audit (id INTEGER PRIMARY KEY, at INTEGER, who TEXT, verb TEXT, push INTEGER, reason TEXT, hash BLOB);
        CREATE TABLE upload (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, push INTEGER);
        INSERT INTO upload (kind, push) VALUES (1, 2), (2, NULL), (1, 2);
        INSERT INTO audit (at, who, verb, push) VALUES (5, 'uid 0', 'hold', 2);
        INSERT INTO device (id, name) VALUES (0, 'self'), (1, 'chem');
        INSERT INTO push (id, device, at, tried, callback_hash, content_hash, callback, order_key, joins) VALUES
            (1, 1, 0, 2, 0, 0, 'cb-1', 'A', NULL), (2, 1, 0, NULL, 0, 0, 'cb-2', 'A' || char(10) || 'B', NULL),
            (3, 1, 0, NULL, 0, 0, 'cb-3', 'A', 2), (4, 1, 0, NULL, 0, 0, NULL, 'C', NULL);
        INSERT INTO event (seq, push, device, at, kind, state, status, next, next_kind, answer) VALUES
            (1, 1, 1, 0, 3, 4, 200, 2, 2, 'MSA|AA|1'), (2, 2, 1, 0, 5, 3, NULL, 4, 1, NULL),
            (3, 3, 1, 0, 8, NULL, 202, NULL, NULL, CAST('queued' AS BLOB));";

    fn snapshot() -> Snapshot {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wardpost.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(SCHEMA)
            .unwrap();
        Snapshot::read(&path).unwrap()
    }

    #[test]
    fn states_follow_from_rows_and_events_and_a_joiner_has_that_of_the_push_it_joined() {
        let states: Vec<State> = snapshot().states().into_values().collect();
        assert_eq!(
            states,
            [State::Delivered, State::Held, State::Held, State::Sending]
        );
    }

    #[test]
    fn several_order_keys_are_read_apart_and_answers_as_text() {
        let snapshot = snapshot();
        assert_eq!(snapshot.pushes[&2].order_keys, ["A", "B"]);
        assert_eq!(snapshot.receipts, BTreeMap::from([(2, 2)]));
        let answers: Vec<_> = snapshot
            .events
            .iter()
            .map(|event| event.answer.as_deref())
            .collect();
        assert_eq!(answers, [Some("MSA|AA|1"), None, Some("queued")]);
        assert_eq!(snapshot.device_of(&snapshot.pushes[&1]), "chem");
        assert_eq!(snapshot.audit[0].verb, "hold");
    }

    #[test]
    fn a_database_that_does_not_exist_yet_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wardpost.db");
        assert!(Snapshot::read(&path).unwrap().pushes.is_empty());
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 0)
            .unwrap();
        assert!(Snapshot::read(&path).unwrap().pushes.is_empty());
    }
}
