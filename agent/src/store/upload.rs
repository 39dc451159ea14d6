//! What goes up: written in the commit of its effect, sent until the cloud has it, then kept for a while.
//!
//! | column | holds |
//! |---|---|
//! | `kind` | 1 receipt, 2 alarm |
//! | `state` | 0 waits, 1 the cloud has it, 2 given up, 3 withdrawn: its kind is not wanted any more |
//! | `push` | the push that it is about |
//! | `reason` | why it was given up |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_core::alarm::Episode;
use agent_core::clock::Clock;
use agent_core::phi::Phi;
use agent_core::push::{PushId, Timestamp};
use agent_core::queue::{News, Receipts};
use agent_core::upload::{End, UploadId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use tracing::{error, warn};

use super::age::Old;
use super::database::sql;
use super::remove::{Left, Piece};
use super::writer::{Batch, Writer};
use super::{Lines, Request, Store, StoreError, alarm, off_worker, receipt};

/// One upload as it goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upload {
    pub id: UploadId,
    pub channel: String,
    /// Whose news it is.
    pub remote: String,
    pub content_type: String,
    pub body: Phi<String>,
}

/// Where receipts and alarms go, and who sends them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upward {
    /// The Agent channel; `None`: nothing is written.
    pub channel: Option<String>,
    /// `Agent.id`.
    pub agent: String,
    /// Uploads that may wait.
    pub limit: u64,
}

/// What an upload is. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Receipt = 1,
    Alarm = 2,
}

/// How many there are, for everyone to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct UploadsView {
    pub waiting: u64,
    /// Since the start of this process.
    pub given_up: u64,
    /// Since the start of this process: not written, because too many waited.
    pub lost: u64,
}

/// What the sender looks at without asking.
#[derive(Debug, Default)]
pub(super) struct Posted {
    newest: AtomicU64,
    /// Rises when what waits has another channel, or is another set.
    epoch: AtomicU64,
    waiting: AtomicU64,
    given_up: AtomicU64,
    lost: AtomicU64,
}

/// The writer's side of the table.
#[derive(Debug)]
pub(super) struct Uploads {
    pub(super) upward: Upward,
    origin: String,
    newest: u64,
    waiting: u64,
    given_up: u64,
    lost: u64,
    epoch: u64,
}

/// What becomes of the table in a request of its own.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Close(UploadId, End),
}

impl Uploads {
    pub(super) fn read(connection: &Connection, upward: Upward) -> rusqlite::Result<Self> {
        let origin = "SELECT value FROM meta WHERE key = 'origin'";
        let mut uploads = Self {
            upward,
            origin: connection.query_row(origin, [], |row| row.get(0))?,
            newest: 0,
            waiting: 0,
            given_up: 0,
            lost: 0,
            epoch: 0,
        };
        uploads.recount(connection)?;
        Ok(uploads)
    }

    /// Counts anew, after a start or a batch that came to nothing. Whoever sends must look anew, too.
    pub(super) fn recount(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let newest = "SELECT seq FROM sqlite_sequence WHERE name = 'upload'";
        let newest = connection.query_row(newest, [], |row| row.get(0));
        self.newest = newest.optional()?.unwrap_or(0);
        let waiting = "SELECT count(*) FROM upload WHERE state = 0";
        self.waiting = connection.query_row(waiting, [], |row| row.get(0))?;
        self.epoch += 1;
        Ok(())
    }

    /// Whether the queue must keep news.
    pub(super) fn receipts(&self) -> Receipts {
        match self.upward.channel {
            Some(_) => Receipts::On,
            None => Receipts::Off,
        }
    }

    /// What waits goes where receipts go now; where none are wanted any more it does not wait.
    pub(super) fn readdress(
        &mut self,
        connection: &Connection,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let changed = match &self.upward.channel {
            Some(channel) => connection.execute(
                "UPDATE upload SET channel = ?1 WHERE state = 0 AND channel != ?1",
                [channel],
            )?,
            None => connection.execute(
                "UPDATE upload SET state = 3, closed = ?1 WHERE state = 0",
                [now.0],
            )?,
        };
        if changed > 0 {
            self.recount(connection)?;
        }
        Ok(())
    }

    /// Writes the receipt of one piece of news into the running transaction.
    pub(super) fn news(
        &mut self,
        connection: &Connection,
        (news, clock): (&News, Clock),
    ) -> rusqlite::Result<()> {
        let Some((channel, id)) = self.next() else {
            return Ok(());
        };
        let sender = receipt::Sender {
            id: self.name(id),
            agent: &self.upward.agent,
            clock,
        };
        let Some(body) = receipt::body(connection, news, &sender)? else {
            return Ok(());
        };
        let row = NewUpload {
            channel: &channel,
            kind: Kind::Receipt,
            push: Some(news.push),
            at: news.at,
            body: &body,
        };
        self.insert(connection, &row)
    }

    /// Where the next upload goes and its number; `None` if it is not to be written.
    pub(super) fn next(&mut self) -> Option<(String, u64)> {
        let channel = self.upward.channel.clone()?;
        (!self.is_full()).then_some((channel, self.newest + 1))
    }

    /// What this episode of an alarm is called everywhere and for ever.
    pub(super) fn name_of_alarm(&self, episode: Episode) -> String {
        format!("{}-a{}", self.origin, episode.0)
    }

    /// What this upload is called everywhere and for ever.
    pub(super) fn name(&self, id: u64) -> String {
        format!("{}-{id}", self.origin)
    }

    /// An upload is not worth an order: where too many wait, what is new is left out, and that is told.
    fn is_full(&mut self) -> bool {
        if self.waiting < self.upward.limit {
            return false;
        }
        if self.lost == 0 {
            error!(
                waiting = self.waiting,
                "so many receipts and alarms wait for the cloud that new ones are not kept (limits.max_uploads)"
            );
        }
        self.lost += 1;
        true
    }

    /// Writes the one that [`Self::next`] has numbered.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        row: &NewUpload<'_>,
    ) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO upload (id, channel, kind, push, remote, content_type, body, at, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
            )?
            .execute(params![
                self.newest + 1,
                row.channel,
                row.kind as i64,
                row.push.map(|push| push.0),
                MYSELF,
                JSON,
                row.body.0.as_bytes(),
                row.at.0,
            ])?;
        self.newest += 1;
        self.waiting += 1;
        Ok(())
    }

    fn close(
        &mut self,
        connection: &Connection,
        (id, end): (UploadId, &End),
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let (state, reason) = match end {
            End::Taken => (1, None),
            End::GivenUp(why) => (2, Some(why)),
        };
        let closed = connection
            .prepare_cached(
                "UPDATE upload SET state = ?2, closed = ?3, reason = ?4 WHERE id = ?1 AND state = 0",
            )?
            .execute(params![id.0, state, now.0, reason])?;
        self.waiting = self.waiting.saturating_sub(closed as u64);
        if let (Some(why), 1) = (reason, closed) {
            warn!(upload = id.0, why, "an upload is given up");
            self.given_up += 1;
        }
        Ok(())
    }

    pub(super) fn post(&self, posted: &Posted) {
        posted.waiting.store(self.waiting, Ordering::Relaxed);
        posted.given_up.store(self.given_up, Ordering::Relaxed);
        posted.lost.store(self.lost, Ordering::Relaxed);
        posted.epoch.store(self.epoch, Ordering::Relaxed);
        posted.newest.store(self.newest, Ordering::Release);
    }
}

pub(super) struct NewUpload<'a> {
    pub(super) channel: &'a str,
    pub(super) kind: Kind,
    pub(super) push: Option<PushId>,
    pub(super) at: Timestamp,
    pub(super) body: &'a Phi<String>,
}

impl Posted {
    /// The newest upload, and which telling of all that wait this is.
    pub(super) fn newest(&self) -> (UploadId, u64) {
        let newest = self.newest.load(Ordering::Acquire);
        (UploadId(newest), self.epoch.load(Ordering::Relaxed))
    }

    pub(super) fn view(&self) -> UploadsView {
        UploadsView {
            waiting: self.waiting.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

impl Store {
    /// What waits to go up after `after`, oldest first: which, and on which channel.
    pub async fn uploads_after(
        &self,
        after: UploadId,
        limit: usize,
    ) -> Result<Vec<(UploadId, String)>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.uploads_after(after, limit)).await;
        self.judged(read).await
    }

    /// One that waits; `None` if it does not wait any more.
    pub async fn upload(&self, id: UploadId) -> Result<Option<Upload>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.upload(id)).await;
        self.judged(read).await
    }

    /// It waits no more.
    pub async fn close_upload(&self, id: UploadId, end: End) -> Result<(), StoreError> {
        self.send(Request::Upload(Change::Close(id, end))).await
    }

    /// The newest upload, and a number that rises when all that wait must be read anew.
    pub fn newest_upload(&self) -> (UploadId, u64) {
        self.shared.uploads.newest()
    }

    pub fn uploads(&self) -> UploadsView {
        self.shared.uploads.view()
    }
}

impl<L: Lines> Writer<L> {
    /// Counts what waits, and sends it where receipts go now.
    pub(super) fn begin_uploads(&mut self, now: Timestamp) -> Result<Receipts, StoreError> {
        self.uploads
            .recount(&self.connection)
            .and_then(|()| self.uploads.readdress(&self.connection, now))
            .and_then(|()| self.tell_open_alarms(now))
            .map_err(sql("count what waits to go up"))?;
        Ok(self.uploads.receipts())
    }

    /// The transaction begins with the first of its rows.
    pub(super) fn begin_rows(&self, batch: &Batch) -> rusqlite::Result<()> {
        match batch.rows {
            0 => self.connection.execute_batch("BEGIN IMMEDIATE"),
            _ => Ok(()),
        }
    }

    /// Carries out a change, in the transaction of the batch.
    pub(super) fn change_uploads(
        &mut self,
        change: &Change,
        now: Timestamp,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        self.begin_rows(batch)?;
        batch.rows += 1;
        match change {
            Change::Close(id, end) => self.uploads.close(&self.connection, (*id, end), now),
        }
    }

    /// Other wishes about receipts, in the transaction of the batch.
    pub(super) fn turn_upward(
        &mut self,
        upward: Upward,
        now: Timestamp,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        if upward == self.uploads.upward {
            return Ok(());
        }
        self.begin_rows(batch)?;
        batch.rows += 1;
        self.uploads.upward = upward;
        self.queue.keep_news(self.uploads.receipts());
        self.uploads.readdress(&self.connection, now)?;
        let at = (now, self.time.verdict());
        alarm::tell_open(&self.connection, &mut self.uploads, at)
    }
}

/// What waits after `after`, oldest first: which, and on which channel.
pub(super) fn waiting_after(
    connection: &Connection,
    after: UploadId,
    limit: usize,
) -> rusqlite::Result<Vec<(UploadId, String)>> {
    connection
        .prepare_cached(
            "SELECT id, channel FROM upload WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2",
        )?
        .query_map(params![after.0, limit as u64], |row| {
            Ok((UploadId(row.get(0)?), row.get(1)?))
        })?
        .collect()
}

/// One that waits.
pub(super) fn waiting(connection: &Connection, id: UploadId) -> rusqlite::Result<Option<Upload>> {
    connection
        .prepare_cached(
            "SELECT channel, remote, content_type, body FROM upload WHERE id = ?1 AND state = 0",
        )?
        .query_row([id.0], |row| {
            let body = row.get_ref(3)?.as_blob()?;
            Ok(Upload {
                id,
                channel: row.get(0)?,
                remote: row.get(1)?,
                content_type: row.get(2)?,
                body: Phi(String::from_utf8_lossy(body).into_owned()),
            })
        })
        .optional()
}

/// Removes a piece of what does not wait any more: first bodies, later rows. What waits stays however old it is.
pub(super) fn remove(connection: &Connection, words: Old, rows: Old) -> rusqlite::Result<Piece> {
    let bodies = connection.execute(
        "UPDATE upload SET body = NULL, reason = NULL WHERE id IN (SELECT id FROM upload
           WHERE closed < ?1 AND closed NOT NULL AND body NOT NULL ORDER BY closed LIMIT ?2)",
        params![words.before.0, PAGE],
    )?;
    let gone = connection.execute(
        "DELETE FROM upload WHERE id IN (SELECT id FROM upload
           WHERE closed < ?1 AND closed NOT NULL ORDER BY closed LIMIT ?2)",
        params![rows.before.0, PAGE],
    )?;
    let over = alarm::remove(connection, rows.before)?;
    let left = match bodies.max(gone) {
        0..PAGE => Left::Nothing,
        _ => Left::More,
    };
    Ok(Piece {
        removed: (bodies + gone + over) as u64,
        pushes: 0,
        left,
    })
}

/// Receipts and alarms come from the agent itself.
const MYSELF: &str = "device://self";
/// The server hands the Bot what it has parsed.
const JSON: &str = "application/json";
/// Removed in one commit: it must stay short, because pushes wait for it.
const PAGE: usize = 300;
