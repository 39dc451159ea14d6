//! A look at the database before it is trusted, bounded in time: what is damaged must not be found out by a wrong answer.

use agent_core::push::PushId;
use rusqlite::{Connection, ErrorCode};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::database::sql;
use crate::clock;

/// Checks as much of the structure as a moment allows, and that the newest pushes are what was stored.
pub(super) fn newest(connection: &mut Connection) -> Result<(), StoreError> {
    structure(connection)?;
    bodies(connection)
}

/// The whole of a small database, the beginning of a large one.
fn structure(connection: &mut Connection) -> Result<(), StoreError> {
    let until = clock::mono().plus(PATIENCE);
    let tired = move || clock::mono() >= until;
    let doing = "look at the structure of the database";
    connection
        .progress_handler(STEPS, Some(tired))
        .map_err(sql(doing))?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection
        .progress_handler(0, None::<fn() -> bool>)
        .map_err(sql(doing))?;
    match found {
        Ok(found) if found == "ok" => Ok(()),
        // One sentence is one line.
        Ok(found) => Err(StoreError::Damaged(found.replace('\n', " "))),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(sql(doing)(error)),
    }
}

fn bodies(connection: &Connection) -> Result<(), StoreError> {
    let read = || {
        connection
            .prepare(
                "SELECT id, body, body_sha256 FROM push
                 WHERE id > (SELECT max(id) FROM push) - ?1
                   AND body NOT NULL AND length(body) <= ?2",
            )?
            .query_map((NEWEST, LARGEST), |row| {
                let same = Sha256::digest(row.get_ref(1)?.as_bytes()?).as_slice()
                    == row.get_ref(2)?.as_bytes()?;
                Ok((PushId(row.get(0)?), same))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    let found = read().map_err(sql("read the newest pushes"))?;
    match found.into_iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((push, _)) => Err(StoreError::Damaged(format!(
            "push {push} is not what was stored"
        ))),
    }
}

/// A start has a fifth of a second for everything.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(50);
/// Pages and instructions between two looks at the clock.
const STEPS: i32 = 64;
const NEWEST: u32 = 16;
const LARGEST: u32 = 64 * 1024;
