//! What is known from outside the agent: copies of its database, the cloud's record, the devices' record.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags, Row};

use crate::bench::{Bench, url};
use crate::oracle::{
    Answers, CloudAnswer, Harm, Heard, Kept, Line, Receipt, Said, Snapshot, Trouble,
};
use crate::sim::{field, sha256};
use crate::wire::{self, AckState, Wire};

use super::Network;
use super::devices::{DEVICES, Spec};

/// Copies the database of an agent that does not run, and reads the copy: reading recovers, and would touch the file.
pub(crate) fn copy(bench: &Bench) -> anyhow::Result<Snapshot> {
    let folder = bench.path("copy");
    std::fs::create_dir_all(&folder)?;
    let database = bench.database();
    for ending in ["", "-wal", "-shm"] {
        let name = format!("wardpost.db{ending}");
        let (from, to) = (database.with_file_name(&name), folder.join(&name));
        if from.exists() {
            std::fs::copy(from, to)?;
        } else if to.exists() {
            std::fs::remove_file(to)?;
        }
    }
    Ok(Snapshot::read(&folder.join("wardpost.db"))?)
}

/// What the cloud keeps, read again after every kill; a body is summed once.
#[derive(Debug, Default)]
pub(super) struct CloudRecord {
    /// Callback, device and sum, in the order of `seq`, which has no gaps from 1.
    kept: Vec<Kept>,
}

impl CloudRecord {
    /// Everything the cloud kept, and every answer that it has.
    pub(super) fn read(&mut self, bench: &Bench) -> anyhow::Result<(Vec<Kept>, Vec<CloudAnswer>)> {
        let database = open(&bench.stub_database())?;
        self.read_new(bench, &database)?;
        let sql = "SELECT seq, callback, answers, conflicting, answered_status, answered_body, sent_times \
                   FROM kept ORDER BY seq";
        let mut statement = database.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut answers = Vec::new();
        for kept in &mut self.kept {
            // What was kept since the bodies were read is for the next time.
            let row = rows.next()?.context("the stub forgot a push")?;
            ensure!(
                row.get_ref(1)?.as_str()? == kept.callback,
                "the stub renumbered a push"
            );
            kept.answers = row.get(2)?;
            kept.conflicting = row.get(3)?;
            kept.sent = row.get(6)?;
            answers.extend(answer_of(row, &kept.callback)?);
        }
        Ok((self.kept.clone(), answers))
    }

    fn read_new(&mut self, bench: &Bench, database: &Connection) -> anyhow::Result<()> {
        let devices: HashMap<String, &str> = DEVICES
            .iter()
            .map(|spec| (url(bench.device(spec.name).address()), spec.name))
            .collect();
        let sql = "SELECT callback, remote, body, at FROM kept ORDER BY seq LIMIT -1 OFFSET ?1";
        let mut statement = database.prepare(sql)?;
        let rows = statement.query_map([self.kept.len()], |row| kept_of(row, &devices))?;
        for row in rows.collect::<Vec<_>>() {
            self.kept.push(row?);
        }
        Ok(())
    }
}

/// How many kept pushes have no answer yet.
pub(super) fn unanswered(bench: &Bench) -> anyhow::Result<u64> {
    let sql = "SELECT count(*) FROM kept WHERE answers = 0";
    Ok(open(&bench.stub_database())?.query_row(sql, [], |row| row.get(0))?)
}

/// Everything the devices received.
pub(crate) fn received(bench: &Bench) -> Vec<Receipt> {
    let all = bench.journal().all().into_iter();
    all.map(Receipt::from).collect()
}

/// What each device's line went through.
pub(super) fn lines(bench: &Bench) -> BTreeMap<String, Line> {
    let of = |spec: &Spec| {
        let patience = i64::try_from(spec.patience(Network::Faulty).as_millis());
        let line = line(bench.wire(spec.name), patience.unwrap_or(i64::MAX));
        (spec.name.to_owned(), line)
    };
    DEVICES.iter().map(of).collect()
}

fn line(wire: &Wire, patience: i64) -> Line {
    let mut heard = wire.heard();
    // A part of an acknowledgement, or a changed one, is an incident.
    heard.retain(|one| one.state == AckState::Whole);
    heard.sort_by_key(|one| one.from);
    let mut said = wire.said();
    said.sort_by_key(|one| one.at);
    Line {
        troubles: wire.incidents().into_iter().map(trouble).collect(),
        said: said.into_iter().map(said_of).collect(),
        heard: heard.into_iter().map(heard_of).collect(),
        patience,
        answers: Answers::AsItShould,
    }
}

fn trouble(one: wire::Incident) -> Trouble {
    let what = match one.kind {
        wire::Kind::Reset | wire::Kind::PeerAway => Harm::Dropped,
        wire::Kind::Fin => Harm::Ended,
        wire::Kind::Swallowed | wire::Kind::Corrupted => Harm::Spoilt,
    };
    Trouble {
        what,
        connection: one.connection,
        from: signed(one.from),
        until: signed(one.until),
    }
}

fn said_of(one: wire::Said) -> Said {
    Said {
        control_id: one.control_id,
        connection: one.connection,
        at: signed(one.at),
    }
}

fn heard_of(one: wire::Heard) -> Heard {
    Heard {
        about: one.about,
        connection: one.connection,
        from: signed(one.from),
        until: signed(one.until),
    }
}

/// UTC in milliseconds, as the agent stamps what it records.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn signed(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

pub(super) fn open(path: &Path) -> anyhow::Result<Connection> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(database)
}

fn kept_of(row: &Row<'_>, devices: &HashMap<String, &str>) -> rusqlite::Result<Kept> {
    let remote: String = row.get(1)?;
    let body: String = row.get(2)?;
    let device = devices.get(&remote).map_or(remote.as_str(), |name| *name);
    Ok(Kept {
        callback: row.get(0)?,
        device: device.to_owned(),
        sha256: sha256(body.as_bytes()),
        control_id: field(body.as_bytes(), "MSH", 10).unwrap_or_default(),
        at: row.get(3)?,
        sent: 0,
        answers: 0,
        conflicting: 0,
    })
}

fn answer_of(row: &Row<'_>, callback: &str) -> rusqlite::Result<Option<CloudAnswer>> {
    let Some(status) = row.get(4)? else {
        return Ok(None);
    };
    let body: Option<String> = row.get(5)?;
    let body = body.unwrap_or_default();
    Ok(Some(CloudAnswer {
        callback: callback.to_owned(),
        status,
        body,
    }))
}
