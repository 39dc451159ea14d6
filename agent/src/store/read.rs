//! Reading beside the writer: a connection of its own, read-only, in short transactions.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_core::phi::Phi;
use agent_core::push::{Level, PushId, Seq, State, Timestamp, is_task};
use agent_core::queue::Kind;
use agent_core::upload::UploadId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::database::sql;
use super::{StoreError, ToldBy, Upload, answer_type, rows, upload};
use crate::cloud::Answer;

/// What the disk knows of one push, less its clinical words.
#[derive(Clone, Debug)]
pub struct History {
    pub push: PushId,
    pub device: String,
    pub at: Timestamp,
    pub content_type: String,
    /// `Task/ID/VERSION`, where it was found as a Task.
    pub task: Option<String>,
    pub order_keys: Vec<String>,
    pub expires: Option<Timestamp>,
    pub joins: Option<PushId>,
    pub bytes: Option<u64>,
    pub tried: bool,
    pub events: Vec<HistoryEvent>,
}

#[derive(Clone, Debug)]
pub struct HistoryEvent {
    pub seq: Seq,
    pub at: Timestamp,
    /// Of another push: the attempt of this one rode on that row.
    pub carried: bool,
    pub kind: Kind,
    pub state: Option<State>,
    pub level: Option<Level>,
    pub reason: Option<String>,
    pub who: Option<String>,
    pub status: Option<u16>,
    /// Size of the words that came with it.
    pub bytes: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Reader(Mutex<Connection>);

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(sql("open the database to read"))?;
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .map_err(sql("set up the reading connection"))?;
        Ok(Self(Mutex::new(connection)))
    }

    /// A reader that panicked has left no transaction behind that could hurt the next.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answers_after(
        &self,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Answer>, StoreError> {
        let connection = self.lock();
        let read = || {
            connection
                .prepare_cached(
                    "SELECT event.seq, status, answer, state, who, callback, content_type, remote
                     FROM event JOIN push ON push.id = event.push
                     WHERE seq > ?1 AND status NOT NULL ORDER BY seq LIMIT ?2",
                )?
                .query_map(params![after.0.cast_signed(), limit as u64], answer)?
                .collect::<rusqlite::Result<Vec<Answer>>>()
        };
        let mut answers = read().map_err(sql("read answers"))?;
        let mut prev = after;
        for answer in &mut answers {
            answer.prev = std::mem::replace(&mut prev, answer.seq);
        }
        Ok(answers)
    }

    /// The recorded answer of one push.
    pub(super) fn answer_of(&self, push: PushId) -> Result<Option<Answer>, StoreError> {
        answer_of(&self.lock(), push).map_err(sql("read an answer"))
    }

    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        read: fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.lock()).map_err(sql(doing))
    }

    pub(super) fn uploads_after(
        &self,
        after: UploadId,
        limit: usize,
    ) -> Result<Vec<(UploadId, String)>, StoreError> {
        upload::waiting_after(&self.lock(), after, limit).map_err(sql("read what waits to go up"))
    }

    pub(super) fn upload(&self, id: UploadId) -> Result<Option<Upload>, StoreError> {
        upload::waiting(&self.lock(), id).map_err(sql("read an upload"))
    }

    pub(super) fn history(&self, push: PushId) -> Result<Option<History>, StoreError> {
        let connection = self.lock();
        let read = || {
            let Some(mut history) = history_of(&connection, push)? else {
                return Ok(None);
            };
            history.events = events_of(&connection, push)?;
            Ok(Some(history))
        };
        read().map_err(sql("read the history of a push"))
    }
}

fn answer_of(connection: &Connection, push: PushId) -> rusqlite::Result<Option<Answer>> {
    connection
        .prepare_cached(
            "SELECT event.seq, status, answer, state, who, callback, content_type, remote
             FROM event JOIN push ON push.id = event.push
             WHERE event.push = ?1 AND status NOT NULL ORDER BY seq LIMIT 1",
        )?
        .query_row(params![push.0.cast_signed()], answer)
        .optional()
}

fn answer(row: &Row<'_>) -> rusqlite::Result<Answer> {
    let status: u16 = row.get(1)?;
    let words = row.get_ref(2)?.as_blob_or_null()?;
    let state: Option<i64> = row.get(3)?;
    let who: Option<String> = row.get(4)?;
    let pushed: Option<String> = row.get(6)?;
    let by = match (words, state) {
        (Some(_), Some(state)) => rows::told_by(state, who.as_deref()),
        _ => ToldBy::Agent,
    };
    let seq = Seq(row.get(0)?);
    Ok(Answer {
        seq,
        prev: seq,
        callback: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
        remote: row.get::<_, Option<String>>(7)?.unwrap_or_default(),
        content_type: answer_type(by, pushed.as_deref().unwrap_or_default()),
        status,
        body: Phi(words
            .map_or(NOT_KEPT.into(), String::from_utf8_lossy)
            .into_owned()),
    })
}

fn history_of(connection: &Connection, push: PushId) -> rusqlite::Result<Option<History>> {
    connection
        .query_row(
            "SELECT device.name, push.at, content_type, order_key, expires, joins, length(body),
               tried IS NOT NULL, callback
             FROM push LEFT JOIN device ON device.id = push.device WHERE push.id = ?1",
            params![push.0.cast_signed()],
            |row| {
                let keys: Option<String> = row.get(3)?;
                Ok(History {
                    push,
                    device: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                    at: Timestamp(row.get(1)?),
                    content_type: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                    order_keys: keys
                        .unwrap_or_default()
                        .lines()
                        .map(str::to_owned)
                        .collect(),
                    expires: row.get::<_, Option<i64>>(4)?.map(Timestamp),
                    joins: row.get::<_, Option<u64>>(5)?.map(PushId),
                    bytes: row.get(6)?,
                    tried: row.get(7)?,
                    task: row
                        .get::<_, Option<String>>(8)?
                        .filter(|callback| is_task(callback)),
                    events: Vec::new(),
                })
            },
        )
        .optional()
}

fn events_of(connection: &Connection, push: PushId) -> rusqlite::Result<Vec<HistoryEvent>> {
    let mut own = connection
        .prepare_cached(
            "SELECT seq, at, 0, kind, state, level, reason, who, status, length(answer)
             FROM event WHERE push = ?1 ORDER BY seq",
        )?
        .query_map(params![push.0.cast_signed()], event)?
        .collect::<rusqlite::Result<Vec<HistoryEvent>>>()?;
    // An attempt that rode on another push's row is not indexed by this push, to keep the push path short of a page.
    // It was written not long before this push's own news, so a window before that is looked through.
    let newest = own.iter().map(|event| event.seq.0).max();
    let carried = connection
        .prepare_cached(
            "SELECT seq, at, 1, next_kind, NULL, NULL, NULL, NULL, NULL, NULL FROM event
             WHERE next = ?1 AND seq <= ?2
               AND seq > min(?2, (SELECT coalesce(max(seq), 0) FROM event)) - ?3",
        )?
        .query_map(
            params![
                push.0.cast_signed(),
                newest.map_or(i64::MAX, u64::cast_signed),
                WINDOW
            ],
            event,
        )?
        .collect::<rusqlite::Result<Vec<HistoryEvent>>>()?;
    own.extend(carried);
    own.sort_by_key(|event| (event.seq, event.carried));
    Ok(own)
}

fn event(row: &Row<'_>) -> rusqlite::Result<HistoryEvent> {
    let kind = Kind::from_number(row.get(3)?).ok_or(rusqlite::Error::InvalidQuery)?;
    let state: Option<i64> = row.get(4)?;
    let level: Option<i64> = row.get(5)?;
    Ok(HistoryEvent {
        seq: Seq(row.get(0)?),
        at: Timestamp(row.get(1)?),
        carried: row.get::<_, i64>(2)? == 1,
        kind,
        state: state.and_then(State::from_number),
        level: level
            .filter(|_| kind != Kind::Retry)
            .and_then(Level::from_number),
        reason: row.get(6)?,
        who: row.get(7)?,
        status: row.get(8)?,
        bytes: row.get(9)?,
    })
}

/// For a callback that comes again when the words of its answer have been removed; the status stays.
const NOT_KEPT: &str = "this push was answered before, in words that are not kept any more";
/// Events looked through for an attempt that rode on another push's row.
const WINDOW: i64 = 100_000;
