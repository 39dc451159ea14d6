//! Room on the disk: new pushes are refused before it is full, and a reserve is given up when it is.
//!
//! ```text
//!        free < min_free, or in use > max_disk, or what had to be recorded found no room
//!   open ───────────────────────────────────────────────────────────────────────────────► refusing
//!        ◄───────────────────────────────────────────────────────────────────────────────
//!        free a quarter above, in use a twentieth below, the reserve whole again
//! ```
//!
//! What is here already goes on: settling, holds, answers, commands, the audit. A reserve that was given up is
//! remembered over a restart, by its empty file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_core::push::Mono;
use rusqlite::Connection;
use rustix::fs::statvfs;
use tracing::{error, info, warn};

use super::reserve::{Given, Reserve};

/// When new pushes are refused for lack of room; all in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// In use in the database.
    pub max_disk: u64,
    /// Free on its file system.
    pub min_free: u64,
    pub reserve: u64,
}

/// How the disk was found when it was looked at last; all in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Room {
    /// The database's file, without its log.
    pub file: u64,
    /// What of it is in use; the rest is used again.
    pub used: u64,
    pub free: u64,
    pub reserve: u64,
    /// Why new pushes are refused.
    pub refusing: Option<String>,
}

pub(super) struct Space {
    directory: PathBuf,
    bounds: Bounds,
    reserve: Reserve,
    /// After a reserve that could not be made: not before this.
    make_from: Mono,
    looked: Option<Mono>,
    /// Bytes of bodies taken since, which may not be in a file yet.
    taken: u64,
    lack: Option<Lack>,
    posted: Arc<Mutex<Room>>,
}

/// What there is too little of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lack {
    Free {
        least: u64,
    },
    Database {
        most: u64,
    },
    /// What had to be recorded found no room.
    Full,
    Unknown(String),
}

impl Space {
    pub(super) fn new(directory: &Path, bounds: Bounds, posted: Arc<Mutex<Room>>) -> Self {
        let mut space = Self {
            directory: directory.to_owned(),
            bounds,
            reserve: Reserve::new(directory, bounds.reserve),
            make_from: Mono(0),
            looked: None,
            taken: 0,
            lack: None,
            posted,
        };
        if space.reserve.is_given_up() {
            space.judged(Some(Lack::Full));
        }
        space
    }

    /// Other bounds from now on; the next look judges by them.
    pub(super) fn keep_within(&mut self, bounds: Bounds) {
        if bounds == self.bounds {
            return;
        }
        self.bounds = bounds;
        self.reserve = Reserve::new(&self.directory, bounds.reserve);
        self.make_from = Mono(0);
        self.looked = None;
    }

    /// Why a new push of this size is not taken. Looks at the disk only now and then.
    pub(super) fn refusal(
        &mut self,
        bytes: usize,
        connection: &Connection,
        now: Mono,
    ) -> rusqlite::Result<Option<String>> {
        self.taken = self.taken.saturating_add(bytes as u64);
        if self.taken >= LOOK_BYTES {
            self.measure(connection, now)?;
        } else {
            self.look(connection, now)?;
        }
        Ok(self.lack.as_ref().map(ToString::to_string))
    }

    /// Why not even a look by push is taken: what had to be recorded has found no room.
    pub(super) fn full(&self) -> Option<&'static str> {
        (self.lack == Some(Lack::Full)).then_some(FULL)
    }

    /// Looks at the disk unless that was done a moment ago.
    pub(super) fn look(&mut self, connection: &Connection, now: Mono) -> rusqlite::Result<()> {
        let fresh = self
            .looked
            .is_some_and(|at| now.0.saturating_sub(at.0) < LOOK_EVERY_MS);
        if fresh {
            return Ok(());
        }
        self.measure(connection, now)
    }

    /// What must be recorded has found no room: gives up the reserve, and takes no new push until there is room again.
    pub(super) fn out_of_room(&mut self) -> Given {
        let given = self.reserve.give_up();
        if self.lack != Some(Lack::Full) {
            error!(
                "the disk is full; new pushes are refused and the reserve is given up, so that what \
                 is here goes on"
            );
        }
        self.judged(Some(Lack::Full));
        self.post(|room| room.reserve = 0);
        given.unwrap_or_else(|error| {
            error!(%error, "the reserve could not be given up");
            Given::Nothing
        })
    }

    fn measure(&mut self, connection: &Connection, now: Mono) -> rusqlite::Result<()> {
        self.looked = Some(now);
        let free = match statvfs(&self.directory) {
            Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
            // A disk that was full, and cannot be looked at, is still full.
            Err(_) if self.lack == Some(Lack::Full) => return Ok(()),
            Err(errno) => {
                self.judged(Some(Lack::Unknown(errno.to_string())));
                return Ok(());
            }
        };
        let pages = |pragma| connection.query_row(pragma, [], |row| row.get::<_, u64>(0));
        let (all, unused) = (pages("PRAGMA page_count")?, pages("PRAGMA freelist_count")?);
        let page = pages("PRAGMA page_size")?;
        let used = all.saturating_sub(unused) * page;
        let kept = self.keep_reserve(free, now);
        let free = free.saturating_sub(if kept == Kept::Anew {
            self.reserve.bytes()
        } else {
            0
        });
        let lack = self.lacks(free.saturating_sub(self.taken), used, kept);
        // Until the batch is committed, what it took is in no file.
        if connection.is_autocommit() {
            self.taken = 0;
        }
        self.judged(lack);
        let reserve = if kept == Kept::No {
            0
        } else {
            self.reserve.bytes()
        };
        self.post(|room| {
            (room.file, room.used, room.free, room.reserve) = (all * page, used, free, reserve);
        });
        Ok(())
    }

    fn lacks(&self, free: u64, used: u64, kept: Kept) -> Option<Lack> {
        let Bounds {
            max_disk, min_free, ..
        } = self.bounds;
        let (least, most) = match self.lack {
            None => (min_free, max_disk),
            Some(_) => (enough(min_free), max_disk - max_disk / 20),
        };
        if self.lack == Some(Lack::Full) && kept == Kept::No {
            Some(Lack::Full)
        } else if free < least {
            Some(Lack::Free { least: min_free })
        } else if used > most {
            Some(Lack::Database { most: max_disk })
        } else {
            None
        }
    }

    /// Makes the reserve where there is room enough for it and for new pushes.
    fn keep_reserve(&mut self, free: u64, now: Mono) -> Kept {
        if self.reserve.is_whole() {
            return Kept::Yes;
        }
        if now < self.make_from
            || free < enough(self.bounds.min_free).saturating_add(self.reserve.bytes())
        {
            return Kept::No;
        }
        match self.reserve.make() {
            Ok(()) => {
                info!(
                    bytes = self.reserve.bytes(),
                    "a reserve on the disk is made"
                );
                Kept::Anew
            }
            Err(error) => {
                warn!(%error, "the reserve could not be made");
                self.make_from = now.plus(MAKE_AGAIN);
                Kept::No
            }
        }
    }

    fn judged(&mut self, lack: Option<Lack>) {
        match (&self.lack, &lack) {
            (None, Some(lack)) => warn!(why = %lack, "new pushes are refused"),
            (Some(_), None) => info!("there is room again, new pushes are taken"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        let refusing = lack.as_ref().map(ToString::to_string);
        self.lack = lack;
        self.post(|room| room.refusing = refusing);
    }

    fn post(&self, change: impl FnOnce(&mut Room)) {
        change(&mut self.posted.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Yes,
    Anew,
    No,
}

/// So much must be free before pushes are taken again: a quarter more, or they would be taken and refused by turns.
fn enough(min_free: u64) -> u64 {
    min_free.saturating_add(min_free / 4)
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free { least } => write!(
                f,
                "the agent's disk is nearly full (less than {} MiB are free, limits.min_free), so it \
                 could not store the push; make room on the box, then push again",
                least / MIB
            ),
            Self::Database { most } => write!(
                f,
                "the agent's database holds as much as it may ({} MiB, limits.max_disk), so it could \
                 not store the push; wait until the queue has drained, shorten [retention] or raise \
                 the limit, then push again",
                most / MIB
            ),
            Self::Full => f.write_str(FULL),
            Self::Unknown(why) => write!(
                f,
                "the agent cannot see how much room its disk has ({why}), so it could not store the \
                 push; look at the disk of the box, then push again"
            ),
        }
    }
}

pub(super) const FULL: &str = "the agent's disk is full, so it could not store the push; make room on the box, then push again";
const MIB: u64 = 1 << 20;
const LOOK_EVERY_MS: u64 = 1000;
/// What failed may have cost a whole reserve of writing.
const MAKE_AGAIN: Duration = Duration::from_mins(1);
/// Bodies taken between two looks at most.
const LOOK_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_reserve(reserve: u64) -> Bounds {
        Bounds {
            max_disk: u64::MAX,
            min_free: 0,
            reserve,
        }
    }

    fn refusal(space: &mut Space) -> Option<String> {
        let connection = Connection::open_in_memory().unwrap();
        space.refusal(1, &connection, Mono(0)).unwrap()
    }

    #[test]
    fn after_a_restart_a_reserve_that_was_given_up_still_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let start = || Space::new(folder.path(), with_reserve(u64::MAX / 4), Arc::default());
        assert_eq!(refusal(&mut start()), None, "it was never made");
        std::fs::write(folder.path().join("reserve"), "").unwrap();
        let mut space = start();
        assert_eq!(refusal(&mut space), Some(FULL.to_owned()));
        space.keep_within(with_reserve(1 << 20));
        assert_eq!(refusal(&mut space), None);
        assert!(space.reserve.is_whole());
    }

    #[test]
    fn a_full_disk_that_cannot_be_looked_at_is_still_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut space = Space::new(folder.path(), with_reserve(1 << 20), Arc::default());
        space.out_of_room();
        drop(folder);
        assert_eq!(refusal(&mut space), Some(FULL.to_owned()));
    }
}
