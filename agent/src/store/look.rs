//! A look at the state directory from outside: it takes no lock, changes nothing in the database, and may go on beside a running
//! agent.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::statvfs;

use super::database::{refuse_the_future, sql};
use super::reserve::Reserve;
use super::{StoreError, examine};
use crate::clock;

/// What there is in a state directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Looked {
    /// Bytes free on its file system.
    pub free: u64,
    pub database: Database,
    pub reserve: ReserveFile,
    /// The longest of some syncs, as each push needs two.
    pub sync: Duration,
}

/// The database, as far as a moment shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Database {
    /// The agent has not run here yet.
    Absent,
    /// Bytes in use in it.
    Sound { used: u64 },
}

/// The file that is given up when the disk is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReserveFile {
    Whole,
    Missing,
}

/// Looks at it; `reserve` is what the reserve should have.
pub fn look(directory: &Path, reserve: u64) -> Result<Looked, StoreError> {
    let unusable = |source| StoreError::Directory {
        path: directory.display().to_string(),
        source,
    };
    let room = statvfs(directory).map_err(|errno| unusable(errno.into()))?;
    Ok(Looked {
        free: room.f_bavail.saturating_mul(room.f_frsize),
        database: database(&directory.join("wardpost.db"))?,
        reserve: if Reserve::new(directory, reserve).is_whole() {
            ReserveFile::Whole
        } else {
            ReserveFile::Missing
        },
        sync: syncs(directory).map_err(unusable)?,
    })
}

fn database(path: &Path) -> Result<Database, StoreError> {
    if !path.exists() {
        return Ok(Database::Absent);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(sql("open the database to read"))?;
    connection
        .busy_timeout(BUSY)
        .map_err(sql("set up the reading connection"))?;
    refuse_the_future(&connection, path)?;
    examine::newest(&mut connection)?;
    let used = used(&connection).map_err(sql("read the size of the database"))?;
    Ok(Database::Sound { used })
}

fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, u64>(0));
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    Ok(pages * number("PRAGMA page_size")?)
}

/// Writes and syncs a file of its own some times, and removes it.
fn syncs(directory: &Path) -> std::io::Result<Duration> {
    let path = directory.join(format!("doctor-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)?;
    let mut sync = || {
        let (synced, lasted) = clock::timed(|| {
            file.write_all(&[0; 4096])?;
            file.sync_data()
        });
        synced.map(|()| lasted)
    };
    let longest = (0..SYNCS).try_fold(Duration::ZERO, |longest, _| Ok(longest.max(sync()?)));
    std::fs::remove_file(&path)?;
    longest
}

const SYNCS: usize = 5;
const BUSY: Duration = Duration::from_secs(5);
