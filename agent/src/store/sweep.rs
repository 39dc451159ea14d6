//! The sweep: what is over for long enough is removed, piece by piece between the batches, and does not live on in the log.
//!
//! ```text
//!  words ─► rows ─► uploads ─► reasons of the audit ─► rows of the audit ─► log cut to nothing ─► done
//! ```
//!
//! It never touches the live queue, so a piece that fails is rolled back and forgotten until the next run.

use std::time::Duration;

use agent_core::clock::Clock;
use agent_core::push::{PushId, Timestamp};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::oneshot;
use tracing::warn;

use super::age::Old;
use super::database::{BUSY, sql};
use super::fault::{Fault, fault};
use super::remove::{self, Left, Piece};
use super::wal::{Checkpoint, Copied, checkpoint};
use super::writer::Writer;
use super::{Lines, StoreError, upload};

/// How long what is over is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub words: Duration,
    pub rows: Duration,
}

/// What is asked of the writer: to remove one piece of what is old now.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) now: Timestamp,
    pub(super) kept: Kept,
    pub(super) reply: oneshot::Sender<Result<Progress, String>>,
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    More,
    Done(Swept),
}

/// What a run has removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Pushes whose words are gone.
    pub words: u64,
    /// Pushes whose rows are gone.
    pub rows: u64,
}

/// The run under way.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub(super) asked: Option<Asked>,
    stage: Stage,
    swept: Swept,
    pages: OldPages,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Words,
    Rows,
    Uploads,
    Reasons,
    Audit,
    Log,
}

/// Whether the log may still hold what was removed. After a start nobody knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum OldPages {
    #[default]
    Perhaps,
    None,
}

impl<L: Lines> Writer<L> {
    /// Removes one piece, if that was asked for.
    pub(super) fn sweep(&mut self) -> Result<(), StoreError> {
        let Some(asked) = self.sweep.asked.take() else {
            return Ok(());
        };
        let done = match self.sweep_piece(&asked) {
            Ok(done) => done,
            Err(error) if fault(&error) == Fault::Broken => {
                return Err(sql("remove what is old")(error));
            }
            Err(error) => {
                self.roll_back()?;
                Err(error.to_string())
            }
        };
        if !matches!(done, Ok(Progress::More)) {
            self.sweep.begin_again();
        }
        // Whoever asked may be gone; the piece is removed all the same.
        let _ = asked.reply.send(done);
        Ok(())
    }

    fn sweep_piece(&mut self, asked: &Asked) -> rusqlite::Result<Result<Progress, String>> {
        if let Clock::Doubtful(doubt) = self.time.verdict() {
            return Ok(Err(format!("{doubt}, so nobody knows how old anything is")));
        }
        if newest_time(&self.connection)?.is_some_and(|newest| newest > asked.now) {
            return Ok(Err(
                "the clock shows a time before the newest record, so nobody knows how old anything is"
                    .into(),
            ));
        }
        if self.sweep.stage == Stage::Log {
            self.cut_log()?;
            return Ok(Ok(Progress::Done(self.sweep.swept)));
        }
        let piece = self.remove_piece(asked)?;
        self.sweep.count(piece);
        Ok(Ok(Progress::More))
    }

    fn remove_piece(&self, asked: &Asked) -> rusqlite::Result<Piece> {
        let older_than = |age: Duration| Old {
            before: Timestamp(asked.now.0.saturating_sub(millis(age))),
            now: asked.now,
        };
        let words = older_than(self.words_kept(asked.kept.words));
        let rows = older_than(asked.kept.rows.max(self.words_kept(asked.kept.words)));
        let live = |push: PushId| self.queue.is_live(push);
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let piece = match self.sweep.stage {
            Stage::Words => remove::words(&self.connection, words, &live),
            Stage::Rows => remove::rows(&self.connection, rows, &live),
            Stage::Uploads => upload::remove(&self.connection, words, rows),
            Stage::Reasons => remove::reasons(&self.connection, words),
            Stage::Audit | Stage::Log => remove::audit(&self.connection, rows),
        }?;
        self.connection.execute_batch("COMMIT")?;
        Ok(piece)
    }

    /// A push that comes again is recognised by the body of the first, so that must outlive the window for it.
    fn words_kept(&self, asked: Duration) -> Duration {
        let windows = self.wiring.devices.iter();
        let windows = windows.map(|(_, device)| device.policy.rejoin_window + MARGIN);
        windows.fold(asked, Duration::max)
    }

    /// Old pages live on in the log until it is cut.
    fn cut_log(&mut self) -> rusqlite::Result<()> {
        if self.sweep.pages == OldPages::None {
            return Ok(());
        }
        // A reader that does not go away must not keep pushes waiting.
        self.connection.busy_timeout(LOG_PATIENCE)?;
        let cut = checkpoint(&self.connection, Checkpoint::Truncate);
        self.connection.busy_timeout(BUSY)?;
        match cut? {
            Copied::All => self.sweep.pages = OldPages::None,
            Copied::Behind => warn!(
                "another program reads the database, so what was removed stays in its log until the \
                 next sweep"
            ),
        }
        Ok(())
    }
}

impl Sweep {
    fn count(&mut self, piece: Piece) {
        match self.stage {
            Stage::Words => self.swept.words += piece.pushes,
            Stage::Rows => self.swept.rows += piece.pushes,
            Stage::Uploads | Stage::Reasons | Stage::Audit | Stage::Log => {}
        }
        if piece.removed > 0 {
            self.pages = OldPages::Perhaps;
        }
        if piece.left == Left::Nothing {
            self.stage = match self.stage {
                Stage::Words => Stage::Rows,
                Stage::Rows => Stage::Uploads,
                Stage::Uploads => Stage::Reasons,
                Stage::Reasons => Stage::Audit,
                Stage::Audit | Stage::Log => Stage::Log,
            };
        }
    }

    fn begin_again(&mut self) {
        self.stage = Stage::Words;
        self.swept = Swept::default();
    }
}

fn newest_time(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection
        .query_row(
            "SELECT at FROM event ORDER BY seq DESC LIMIT 1",
            [],
            |row| row.get(0).map(Timestamp),
        )
        .optional()
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

/// A clock that is set back a little opens a window again that had just closed.
const MARGIN: Duration = Duration::from_hours(1);
const LOG_PATIENCE: Duration = Duration::from_millis(100);
