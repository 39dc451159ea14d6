//! The store's thread: takes what waits, does it in one transaction, commits once, then answers.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, error};
use uuid::Uuid;

use super::kept::{self, Answer, Incoming, Kept, NewPush, Told};
use super::resources::{self, Change, Name, Page, Refused, Version, Wrote};
use super::{Current, Database, Then};

/// What can be asked of the thread.
pub(super) enum Request {
    Write(Box<Change>, Then<Result<Wrote, Refused>>),
    Version(Name, String, Then<Option<Value>>),
    History(Name, Page, Then<Vec<Version>>),
    Keep(Arc<NewPush>, Then<u64>),
    Answer(Box<Incoming>, Then<Told>),
    Sent(Vec<u64>),
    After(Then<()>),
    Kept(Then<Vec<Kept>>),
    Answers(String, Then<Vec<Answer>>),
    Seeded,
    Stop,
}

pub(super) struct Writer {
    db: Connection,
    current: Arc<Current>,
    /// Pushes that were sent since the last commit. They are counted with the next one: a count is worth no fsync.
    sent: Vec<u64>,
}

/// What a file says when it is opened.
pub(super) struct Start {
    pub(super) current: Current,
    pub(super) token_key: Vec<u8>,
    pub(super) unseeded: bool,
    pub(super) unanswered: Vec<Kept>,
    pub(super) conflicting: u64,
}

/// What a request does after the commit.
type Effect = Box<dyn FnOnce() + Send>;

impl Writer {
    pub(super) fn new(db: Connection, current: Arc<Current>) -> Self {
        Self {
            db,
            current,
            sent: Vec::new(),
        }
    }

    /// Serves until it is told to stop, or cannot write. It never tries a failed commit again: nobody knows what the
    /// disk kept of it. Whoever waits then is told that the store has stopped.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = requests.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH
                && let Ok(next) = requests.try_recv()
            {
                batch.push(next);
            }
            match self.commit(&mut batch) {
                Ok(Go::On) => {}
                Ok(Go::Stop) => return,
                Err(error) => {
                    error!(%error, "the database cannot be written; the store stops");
                    return;
                }
            }
        }
    }

    fn commit(&mut self, batch: &mut Vec<Request>) -> rusqlite::Result<Go> {
        if batch
            .iter()
            .all(|request| matches!(request, Request::Sent(_)))
        {
            batch.drain(..).for_each(|request| self.note(request));
            return Ok(Go::On);
        }
        let mut go = Go::On;
        let mut effects = Vec::with_capacity(batch.len());
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        kept::sent(&tx, &self.sent)?;
        self.sent.clear();
        for request in batch.drain(..) {
            if matches!(request, Request::Stop) {
                go = Go::Stop;
            } else {
                effects.push(carry_out(&tx, request, &self.current)?);
            }
        }
        tx.commit()?;
        debug!(requests = effects.len(), "committed");
        for effect in effects {
            effect();
        }
        Ok(go)
    }

    fn note(&mut self, request: Request) {
        if let Request::Sent(pushes) = request {
            self.sent.extend(pushes);
        }
    }
}

enum Go {
    On,
    Stop,
}

fn carry_out(
    tx: &Transaction<'_>,
    request: Request,
    current: &Arc<Current>,
) -> rusqlite::Result<Effect> {
    Ok(match request {
        Request::Write(change, then) => write(tx, *change, current, then)?,
        Request::Version(name, version, then) => {
            after(resources::version(tx, &name, &version)?, then)
        }
        Request::History(name, page, then) => after(resources::history(tx, &name, page)?, then),
        Request::Keep(push, then) => after(kept::keep(tx, &push)?, then),
        Request::Answer(answer, then) => after(kept::answer(tx, &answer)?, then),
        Request::Sent(pushes) => {
            kept::sent(tx, &pushes)?;
            Box::new(|| {})
        }
        Request::After(then) => after((), then),
        Request::Kept(then) => after(kept::all(tx)?, then),
        Request::Answers(callback, then) => after(kept::answers(tx, &callback)?, then),
        Request::Seeded => {
            set_meta(tx, "seeded", "yes")?;
            Box::new(|| {})
        }
        Request::Stop => Box::new(|| {}),
    })
}

fn after<T: Send + 'static>(value: T, then: Then<T>) -> Effect {
    Box::new(move || then(value))
}

fn write(
    tx: &Transaction<'_>,
    change: Change,
    current: &Arc<Current>,
    then: Then<Result<Wrote, Refused>>,
) -> rusqlite::Result<Effect> {
    let current = Arc::clone(current);
    Ok(match resources::write(tx, change)? {
        Ok(written) => Box::new(move || {
            let wrote = Wrote {
                resource: Arc::clone(&written.resource),
                effect: written.effect,
            };
            current.apply(written);
            then(Ok(wrote));
        }),
        Err(refused) => Box::new(move || then(Err(refused))),
    })
}

/// Opens the file and makes its tables if it is new.
pub(super) fn open(database: &Database) -> rusqlite::Result<Connection> {
    let db = match database {
        Database::Memory => Connection::open_in_memory()?,
        Database::File(path) => Connection::open(path)?,
    };
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(64);
    let fresh: bool = db.query_row("SELECT count(*) = 0 FROM sqlite_schema", (), |row| {
        row.get(0)
    })?;
    if fresh {
        db.execute_batch(TABLES)?;
    }
    Ok(db)
}

pub(super) fn schema(db: &Connection) -> rusqlite::Result<i64> {
    let number = meta(db, "schema")?;
    Ok(number.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// Reads what the stub starts with.
pub(super) fn start(db: &Connection) -> rusqlite::Result<Start> {
    let token_key = match meta(db, "token-key")? {
        Some(key) => key,
        None => set_meta(
            db,
            "token-key",
            &format!("{}{}", Uuid::new_v4(), Uuid::new_v4()),
        )?,
    };
    Ok(Start {
        current: resources::load(db)?,
        token_key: token_key.into_bytes(),
        unseeded: meta(db, "seeded")?.is_none(),
        unanswered: kept::unanswered(db)?,
        conflicting: kept::conflicting(db)?,
    })
}

fn meta(db: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
        row.get(0)
    })
    .optional()
}

fn set_meta(db: &Connection, key: &str, value: &str) -> rusqlite::Result<String> {
    db.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
        [key, value],
    )?;
    Ok(value.to_owned())
}

/// One commit's worth of requests: enough to share an fsync, few enough to answer soon.
const BATCH: usize = 512;

/// A reader in another process may hold the file for a moment.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

const TABLES: &str = "
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO meta VALUES ('schema', '1');
CREATE TABLE resource (
    seq INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT);
CREATE INDEX resource_by_name ON resource (type, id, seq);
CREATE TABLE kept (
    seq INTEGER PRIMARY KEY, callback TEXT NOT NULL UNIQUE, agent TEXT NOT NULL, at INTEGER NOT NULL,
    remote TEXT NOT NULL, content_type TEXT NOT NULL, return_ack TEXT, body TEXT NOT NULL,
    sent_times INTEGER NOT NULL DEFAULT 0,
    answered_at INTEGER, answered_status INTEGER, answered_type TEXT, answered_body TEXT,
    answers INTEGER NOT NULL DEFAULT 0, conflicting INTEGER NOT NULL DEFAULT 0);
CREATE TABLE conflict (
    seq INTEGER PRIMARY KEY, callback TEXT NOT NULL REFERENCES kept (callback), at INTEGER NOT NULL,
    status INTEGER NOT NULL, type TEXT, body TEXT NOT NULL);
CREATE INDEX conflict_by_callback ON conflict (callback);
COMMIT;";
