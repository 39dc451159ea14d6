//! Alarms on disk: each episode is a row, and its raise and its end go up as uploads of the same commit.
//!
//! | column | holds |
//! |---|---|
//! | `id` | the episode |
//! | `kind`, `subject` | which alarm; one open episode of each |
//! | `told` | the upload that told of it; empty where nobody was to be told |
//! | `ended` | when it was over |
//!
//! In `meta`, `dead N` has the newest push of device N that was given up or expired: when, and which.

use std::sync::Arc;

use agent_core::alarm::{Edge, Episode, Kind, Name};
use agent_core::clock::Clock;
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, Now, PushId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use tokio::sync::oneshot;

use super::upload::{self, NewUpload, Uploads};
use super::writer::{Batch, Writer};
use super::{Lines, Request, Store, StoreError, off_worker};
use crate::clock;

/// An episode that is not over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenAlarm {
    pub episode: Episode,
    pub name: Name,
    pub at: Timestamp,
    pub text: String,
}

/// The newest push of a device that was given up or expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastDead {
    pub device: DeviceNo,
    pub push: PushId,
    pub at: Timestamp,
}

/// Edges to be written down, and who is told when they are.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) edges: Vec<Edge>,
    pub(super) reply: oneshot::Sender<Vec<(Edge, Episode)>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    r#type: &'static str,
    version: u8,
    id: String,
    agent: &'a str,
    /// The episode: its raise and its end have the same one.
    alarm: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    state: &'static str,
    since: String,
    at: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clock_in_doubt: bool,
    text: &'a str,
}

impl Store {
    /// Writes edges down; gives each with its episode once it is durable.
    pub async fn alarms(&self, edges: Vec<Edge>) -> Result<Vec<(Edge, Episode)>, StoreError> {
        self.ask(|reply| Request::Alarms(Asked { edges, reply }))
            .await
    }

    /// What was raised and is not over.
    pub async fn open_alarms(&self) -> Result<Vec<OpenAlarm>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.read("read the alarms", open)).await;
        self.judged(read).await
    }

    /// The newest dead push of each device that ever had one.
    pub async fn last_dead(&self) -> Result<Vec<LastDead>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.read("read who died", last_dead)).await;
        self.judged(read).await
    }
}

impl<L: Lines> Writer<L> {
    pub(super) fn record_alarms(
        &mut self,
        Asked { edges, reply }: Asked,
        now: Now,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        self.begin_rows(batch)?;
        batch.rows += 1;
        let clock = self.time.verdict();
        let mut done = Vec::new();
        for edge in edges {
            let at = (now.utc, clock);
            let episode = match &edge {
                Edge::Raise { name, text } => {
                    raise(&self.connection, &mut self.uploads, (name, text), at)?
                }
                Edge::Recover { episode, .. } => {
                    recover(&self.connection, &mut self.uploads, *episode, at)?;
                    *episode
                }
            };
            done.push((edge, episode));
        }
        batch.reply(reply, done);
        Ok(())
    }
}

impl<L: Lines> Writer<L> {
    /// The same in a commit of its own, at a start.
    pub(super) fn tell_open_alarms(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let at = (now, self.time.verdict());
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        tell_open(&self.connection, &mut self.uploads, at)?;
        self.connection.execute_batch("COMMIT")
    }
}

/// Tells of what was raised while nobody was to be told.
pub(super) fn tell_open(
    connection: &Connection,
    uploads: &mut Uploads,
    at: (Timestamp, Clock),
) -> rusqlite::Result<()> {
    let mut untold = connection
        .prepare_cached("SELECT id FROM alarm WHERE ended IS NULL AND told IS NULL ORDER BY id")?;
    let untold = untold.query_map([], |row| row.get(0).map(Episode))?;
    for episode in untold.collect::<rusqlite::Result<Vec<_>>>()? {
        tell(connection, uploads, (episode, RAISED), at)?;
    }
    Ok(())
}

fn raise(
    connection: &Connection,
    uploads: &mut Uploads,
    (name, text): (&Name, &str),
    at: (Timestamp, Clock),
) -> rusqlite::Result<Episode> {
    let open = "SELECT id FROM alarm WHERE kind = ?1 AND subject = ?2 AND ended IS NULL";
    let open = connection.query_row(open, params![name.kind.word(), name.subject], |row| {
        row.get(0)
    });
    if let Some(open) = open.optional()? {
        return Ok(Episode(open));
    }
    connection
        .prepare_cached("INSERT INTO alarm (kind, subject, at, text) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![name.kind.word(), name.subject, at.0.0, text])?;
    let episode = Episode(connection.last_insert_rowid().cast_unsigned());
    tell(connection, uploads, (episode, RAISED), at)?;
    Ok(episode)
}

fn recover(
    connection: &Connection,
    uploads: &mut Uploads,
    episode: Episode,
    at: (Timestamp, Clock),
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE alarm SET ended = ?2 WHERE id = ?1 AND ended IS NULL")?
        .execute(params![episode.0, at.0.0])?;
    // Who was not told of its beginning is not told of its end.
    let told = "SELECT told FROM alarm WHERE id = ?1";
    let told = connection.query_row(told, [episode.0], |row| row.get::<_, Option<u64>>(0));
    match told.optional()?.flatten() {
        Some(_) => tell(connection, uploads, (episode, RECOVERED), at),
        None => Ok(()),
    }
}

fn tell(
    connection: &Connection,
    uploads: &mut Uploads,
    (episode, state): (Episode, &'static str),
    (now, clock): (Timestamp, Clock),
) -> rusqlite::Result<()> {
    let Some((channel, id)) = uploads.next() else {
        return Ok(());
    };
    let alarm = "SELECT kind, subject, at, text FROM alarm WHERE id = ?1";
    let alarm = connection.query_row(alarm, [episode.0], open_row)?;
    let message = Message {
        r#type: "wardpost-alarm",
        version: 1,
        id: uploads.name(id),
        agent: &uploads.upward.agent,
        alarm: uploads.name_of_alarm(episode),
        kind: alarm.name.kind.word(),
        subject: &alarm.name.subject,
        state,
        since: clock::rfc3339(alarm.at),
        at: clock::rfc3339(now),
        clock_in_doubt: !clock.is_sound(),
        text: &alarm.text,
    };
    let body = serde_json::to_string(&message).expect("names and texts are always JSON");
    let row = NewUpload {
        channel: &channel,
        kind: upload::Kind::Alarm,
        push: None,
        at: now,
        body: &Phi(body),
    };
    uploads.insert(connection, &row)?;
    connection
        .prepare_cached("UPDATE alarm SET told = ?2 WHERE id = ?1 AND told IS NULL")?
        .execute(params![episode.0, id])
        .map(drop)
}

fn open(connection: &Connection) -> rusqlite::Result<Vec<OpenAlarm>> {
    connection
        .prepare_cached("SELECT kind, subject, at, text, id FROM alarm WHERE ended IS NULL")?
        .query_map([], |row| {
            let episode = Episode(row.get(4)?);
            let alarm = open_row(row)?;
            Ok(OpenAlarm { episode, ..alarm })
        })?
        .collect()
}

fn open_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<OpenAlarm> {
    let kind = Kind::from_word(row.get_ref(0)?.as_str()?);
    Ok(OpenAlarm {
        episode: Episode(0),
        name: Name {
            kind: kind.ok_or(rusqlite::Error::InvalidQuery)?,
            subject: row.get(1)?,
        },
        at: Timestamp(row.get(2)?),
        text: row.get(3)?,
    })
}

/// Keeps in mind that a push of this device was given up or has expired.
pub(super) fn note_dead(
    connection: &Connection,
    LastDead { device, push, at }: LastDead,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
        .execute(params![
            format!("dead {}", device.0),
            format!("{} {push}", at.0)
        ])
        .map(drop)
}

fn last_dead(connection: &Connection) -> rusqlite::Result<Vec<LastDead>> {
    let marks = connection
        .prepare_cached("SELECT key, value FROM meta WHERE key >= 'dead ' AND key < 'dead!'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let parse = |(key, value): &(String, String)| {
        let (at, push) = value.split_once(' ')?;
        Some(LastDead {
            device: DeviceNo(key.strip_prefix("dead ")?.parse().ok()?),
            push: PushId(push.parse().ok()?),
            at: Timestamp(at.parse().ok()?),
        })
    };
    Ok(marks.iter().filter_map(parse).collect())
}

/// Removes a piece of what has been over for so long.
pub(super) fn remove(connection: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    connection.execute("DELETE FROM alarm WHERE ended < ?1", [before.0])
}

const RAISED: &str = "raised";
const RECOVERED: &str = "recovered";
