//! The tables `kept` and `conflict`: pushes that are sent until they are answered, and their answers.

use rusqlite::{Connection, OptionalExtension, Row};

use super::resources::now_ms;

/// A push that is to be kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NewPush {
    pub(crate) callback: String,
    pub(crate) agent: String,
    pub(crate) remote: String,
    pub(crate) content_type: String,
    pub(crate) return_ack: Option<String>,
    pub(crate) body: String,
}

/// A kept push as it is on disk.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    pub seq: u64,
    pub callback: String,
    pub agent: String,
    pub remote: String,
    pub content_type: String,
    pub return_ack: Option<String>,
    pub body: String,
    /// How often it was handed to a socket.
    pub sent_times: u64,
    /// Its first answer.
    pub answer: Option<Answer>,
    /// How many answers came, equal ones included.
    pub answers: u64,
    /// How many answers differed from the first.
    pub conflicting: u64,
}

/// What an agent answered to one callback.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200 where the agent sent none, 400 for an `agent:error`.
    pub status: u16,
    /// `None` for an `agent:error` and for answers without a body of their own.
    pub content_type: Option<String>,
    pub body: String,
}

/// An answer as it came in.
pub(crate) struct Incoming {
    pub(crate) callback: String,
    /// The agents that the socket speaks for. Only a callback issued to one of them may be answered.
    pub(crate) agents: Vec<String>,
    pub(crate) answer: Answer,
}

/// What an answer turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// The first one; of the kept push with this number, if it is a kept one.
    First { agent: String, seq: Option<u64> },
    /// Equal to the first.
    Again,
    /// Different from the first.
    Conflict,
    /// For a callback that was not issued to this agent.
    Foreign,
}

pub(super) fn keep(db: &Connection, push: &NewPush) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "INSERT INTO kept (callback, agent, at, remote, content_type, return_ack, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING seq",
    )?
    .query_row(
        (
            &push.callback,
            &push.agent,
            now_ms(),
            &push.remote,
            &push.content_type,
            &push.return_ack,
            &push.body,
        ),
        |row| row.get(0),
    )
}

pub(super) fn sent(db: &Connection, pushes: &[u64]) -> rusqlite::Result<()> {
    let mut sent =
        db.prepare_cached("UPDATE kept SET sent_times = sent_times + 1 WHERE seq = ?1")?;
    for seq in pushes {
        sent.execute([seq])?;
    }
    Ok(())
}

pub(super) fn answer(db: &Connection, incoming: &Incoming) -> rusqlite::Result<Told> {
    let Some(kept) = by_callback(db, &incoming.callback)? else {
        return Ok(Told::Foreign);
    };
    if !incoming.agents.contains(&kept.agent) {
        return Ok(Told::Foreign);
    }
    let answer = &incoming.answer;
    match kept.answer {
        None => {
            first(db, kept.seq, answer)?;
            Ok(Told::First {
                agent: kept.agent,
                seq: Some(kept.seq),
            })
        }
        Some(earlier) if earlier == *answer => {
            db.prepare_cached("UPDATE kept SET answers = answers + 1 WHERE seq = ?1")?
                .execute([kept.seq])?;
            Ok(Told::Again)
        }
        Some(_) => {
            conflict(db, &kept.callback, answer)?;
            Ok(Told::Conflict)
        }
    }
}

fn first(db: &Connection, seq: u64, answer: &Answer) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE kept SET answered_at = ?2, answered_status = ?3, answered_type = ?4,
         answered_body = ?5, answers = answers + 1 WHERE seq = ?1",
    )?
    .execute((
        seq,
        now_ms(),
        answer.status,
        &answer.content_type,
        &answer.body,
    ))?;
    Ok(())
}

fn conflict(db: &Connection, callback: &str, answer: &Answer) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE kept SET answers = answers + 1, conflicting = conflicting + 1 WHERE callback = ?1",
    )?
    .execute([callback])?;
    db.prepare_cached(
        "INSERT INTO conflict (callback, at, status, type, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        callback,
        now_ms(),
        answer.status,
        &answer.content_type,
        &answer.body,
    ))?;
    Ok(())
}

pub(super) fn unanswered(db: &Connection) -> rusqlite::Result<Vec<Kept>> {
    select(
        db,
        "SELECT * FROM kept WHERE answered_at IS NULL ORDER BY seq",
    )
}

pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<Kept>> {
    select(db, "SELECT * FROM kept ORDER BY seq")
}

pub(super) fn answers(db: &Connection, callback: &str) -> rusqlite::Result<Vec<Answer>> {
    let first = by_callback(db, callback)?.and_then(|kept| kept.answer);
    let mut others = db.prepare_cached(
        "SELECT status, type, body FROM conflict WHERE callback = ?1 ORDER BY seq",
    )?;
    let others = others.query_map([callback], |row| {
        Ok(Answer {
            status: row.get(0)?,
            content_type: row.get(1)?,
            body: row.get(2)?,
        })
    })?;
    first.into_iter().map(Ok).chain(others).collect()
}

pub(super) fn conflicting(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row(
        "SELECT coalesce(sum(conflicting), 0) FROM kept",
        (),
        |row| row.get(0),
    )
}

fn by_callback(db: &Connection, callback: &str) -> rusqlite::Result<Option<Kept>> {
    db.prepare_cached("SELECT * FROM kept WHERE callback = ?1")?
        .query_row([callback], read)
        .optional()
}

fn select(db: &Connection, sql: &str) -> rusqlite::Result<Vec<Kept>> {
    db.prepare(sql)?.query_map((), read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        seq: row.get("seq")?,
        callback: row.get("callback")?,
        agent: row.get("agent")?,
        remote: row.get("remote")?,
        content_type: row.get("content_type")?,
        return_ack: row.get("return_ack")?,
        body: row.get("body")?,
        sent_times: row.get("sent_times")?,
        answer: read_answer(row)?,
        answers: row.get("answers")?,
        conflicting: row.get("conflicting")?,
    })
}

fn read_answer(row: &Row<'_>) -> rusqlite::Result<Option<Answer>> {
    let Some(status) = row.get("answered_status")? else {
        return Ok(None);
    };
    let (content_type, body) = (row.get("answered_type")?, row.get("answered_body")?);
    Ok(Some(Answer {
        status,
        content_type,
        body,
    }))
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("seq", &self.seq)
            .field("callback", &self.callback)
            .field("remote", &self.remote)
            .field("sent_times", &self.sent_times)
            .field("answer", &self.answer)
            .field("answers", &self.answers)
            .field("conflicting", &self.conflicting)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("[phi; {}]", self.body.len()))
            .finish()
    }
}
