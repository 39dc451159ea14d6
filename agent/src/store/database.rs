//! Opening the database: pragmas that are read back, versions that only go up, numbers for devices.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use agent_core::push::DeviceNo;
use agent_core::queue::AgentSwitch;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use tracing::warn;

use super::StoreError;
use super::mutant::{self, Mutant};
use super::wal::{Checkpoint, Copied, checkpoint};

/// Every version of the schema, oldest first. A version is never edited once it was released.
const MIGRATIONS: [(u32, &str); 3] = [
    (1, include_str!("migrations/0001_first.sql")),
    (2, include_str!("migrations/0002_segments.sql")),
    (3, include_str!("migrations/0003_uploads.sql")),
];

/// Earlier ones can lose a commit when a reader meets a checkpoint (a race in the WAL code).
const OLDEST_SQLITE: i32 = 3_051_003;

pub(super) fn sql(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sql { doing, source }
}

pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(sql("open the database"))?;
    refuse_the_future(&connection, path)?;
    promise(&connection).map_err(sql("set up the database"))?;
    check_promise(&connection)?;
    if mutant::is(Mutant::SyncOff) {
        connection
            .pragma_update(None, "synchronous", "OFF")
            .map_err(sql("set up the database"))?;
    }
    migrate(&mut connection).map_err(sql("migrate the database"))?;
    // What the last process wrote and could not sync may be in memory alone: copied from there into the database and
    // synced, it is safe, and the log begins anew. Syncing the log once more would only seem to help.
    match checkpoint(&connection, Checkpoint::Restart) {
        Ok(Copied::All) => {}
        Ok(Copied::Behind) => {
            let path = path.display().to_string();
            return Err(StoreError::Read { path });
        }
        Err(error) => return Err(sql("bring the log into the database")(error)),
    }
    raise_fence(&connection).map_err(sql("count this start in the database"))?;
    Ok(connection)
}

/// The file exists with the right rights before `SQLite` sees it; its WAL inherits them.
///
/// A new file's name is synced too: a database that is gone after a power cut has acknowledged in vain.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let create = || {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    create().map_err(|source| StoreError::Directory {
        path: path.display().to_string(),
        source,
    })
}

pub(super) fn refuse_the_future(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection).map_err(sql("read the version of the database"))?;
    let known = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    if found > known {
        let path = path.display().to_string();
        return Err(StoreError::FromTheFuture { path, found, known });
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn promise(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA page_size = 4096")?;
    // Stepped to its end: it commits there, and a sync that fails must not leave the mode set in memory only.
    connection.pragma(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = OFF;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;",
    )?;
    // A WAL that is kept is overwritten, which syncs twice as fast as one that grows.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// A pragma that was not taken is silent, so each is read back.
fn check_promise(connection: &Connection) -> Result<(), StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(StoreError::Promise(format!(
            "SQLite {} is too old",
            rusqlite::version()
        )));
    }
    let read = |pragma: &str| {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| {
                row.get::<_, rusqlite::types::Value>(0)
            })
            .map_err(sql("read a pragma back"))
    };
    let text = |value| rusqlite::types::Value::Text(String::from(value));
    let number = rusqlite::types::Value::Integer;
    let promised = [
        ("journal_mode", text("wal")),
        ("synchronous", number(2)),
        ("secure_delete", number(1)),
    ];
    for (pragma, promised) in promised {
        let got = read(pragma)?;
        if got != promised {
            return Err(StoreError::Promise(format!(
                "{pragma} is {got:?} instead of {promised:?}"
            )));
        }
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (version, migration) in MIGRATIONS.iter().filter(|(version, _)| *version > from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {version}"))?;
        transaction.commit()?;
    }
    Ok(())
}

/// Every start raises the fencing number, so that whoever held the file before can be told from who holds it now.
///
/// On a full disk the old number stays, so that what is queued can still be settled; the lock file keeps a second owner
/// out all the same.
fn raise_fence(connection: &Connection) -> rusqlite::Result<()> {
    let raised = connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'fence'", []);
    match raised {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            warn!("the disk is full; this start is not counted");
            Ok(())
        }
        raised => raised.map(drop),
    }
}

pub(super) fn known_devices(
    connection: &Connection,
) -> Result<Vec<(DeviceNo, String)>, StoreError> {
    let read = || {
        connection
            .prepare("SELECT id, name FROM device WHERE id > 0 ORDER BY id")?
            .query_map([], |row| Ok((DeviceNo(row.get(0)?), row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(sql("read the devices of the database"))
}

pub(super) fn device_numbers(
    connection: &Connection,
    names: &[String],
) -> Result<HashMap<String, DeviceNo>, StoreError> {
    let numbered = |name: &String| Ok((name.clone(), number(connection, name)?));
    names
        .iter()
        .map(numbered)
        .collect::<rusqlite::Result<_>>()
        .map_err(sql("number the devices"))
}

/// The number of a device of this name; a new name gets a new one.
pub(super) fn number(connection: &Connection, name: &str) -> rusqlite::Result<DeviceNo> {
    connection.execute(
        "INSERT INTO device (name) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM device WHERE name = ?1)",
        params![name],
    )?;
    connection
        .query_row(
            "SELECT id FROM device WHERE name = ?1 AND id > 0",
            params![name],
            |row| row.get(0),
        )
        .map(DeviceNo)
}

/// Keeps what the cloud last said of `Agent.status`, so that an agent that was switched off stays off when it starts
/// without a network.
pub(super) fn remember_switch(connection: &Connection, agent: AgentSwitch) -> rusqlite::Result<()> {
    let off = agent == AgentSwitch::Off;
    connection
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('agent_off', ?1)",
            params![off],
        )
        .map(drop)
}

pub(super) fn last_switch(connection: &Connection) -> rusqlite::Result<AgentSwitch> {
    let off = connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'agent_off'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(if off == Some(true) {
        AgentSwitch::Off
    } else {
        AgentSwitch::On
    })
}

/// How long another program may have the database locked.
pub(super) const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
