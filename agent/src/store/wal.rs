//! The write-ahead log back into the database, by ourselves.
//!
//! `SQLite` would do it after a commit and keep silent about a failure. A sync of the database that failed must end the
//! process, a full disk must be told from it, and neither must look like a failure of the commit, which is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use agent_core::push::Mono;
use rusqlite::Connection;

/// How long the log is, as of the last commit.
#[derive(Debug)]
pub(super) struct Wal {
    pages: Arc<AtomicI32>,
    /// After a disk without room: not before this.
    pub(super) not_before: Mono,
}

/// How much is done, and what is left of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checkpoint {
    /// What no reader needs; the log is written over from its beginning later.
    Passive,
    /// Everything, so that the next commit begins the log anew.
    Restart,
    /// Everything, and the log is cut to nothing.
    Truncate,
}

/// Whether all of the log is in the database now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copied {
    All,
    /// A reader was in the way.
    Behind,
}

impl Wal {
    /// Takes the place of the automatic checkpoint.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            seen.store(count, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self {
            pages,
            not_before: Mono(0),
        })
    }

    pub(super) fn is_long(&self, now: Mono) -> bool {
        self.pages.load(Ordering::Relaxed) >= LONG && self.not_before <= now
    }
}

pub(super) fn checkpoint(connection: &Connection, how: Checkpoint) -> rusqlite::Result<Copied> {
    let pragma = match how {
        Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Checkpoint::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    connection.query_row(pragma, [], |row| {
        let (busy, log, copied): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(if busy == 0 && log == copied {
            Copied::All
        } else {
            Copied::Behind
        })
    })
}

/// Pages, 4 KiB each. Longer logs were measured to be slower, shorter ones to be copied too often.
const LONG: i32 = 1000;
