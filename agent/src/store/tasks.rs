//! Pushes that the cloud keeps as Tasks: taken in, let go, withdrawn, and watched for news.
//!
//! Their answers go to no websocket: whoever reports on a Task is woken when something was recorded of its push, and then
//! asks how it stands.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::delivery::Words;
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, Level, NewPush, PushId, State};
use agent_core::queue::{Known, Reason, Row, Taken, Turn};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{Notify, oneshot};

use super::database::sql;
use super::read::Reader;
use super::writer::{Batch, Writer};
use super::{Lines, Request, Store, StoreError, ToldBy, off_worker, rows};

/// What the mailbox asks of the store.
pub(super) enum Asked {
    Take(Arc<NewPush>, oneshot::Sender<Taken>),
    Claimed(PushId, oneshot::Sender<()>),
    Withdraw(PushId, String, oneshot::Sender<()>),
    Unclaimed(oneshot::Sender<Vec<PushId>>),
}

/// How the push of a Task stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// `Task/ID/VERSION`, as it was when the push was made of it.
    pub callback: String,
    /// As it was pushed, with its parameters.
    pub content_type: String,
    pub device: DeviceNo,
    pub state: State,
    /// Why it is held, where it is.
    pub held: Option<HeldBy>,
    pub level: Option<Level>,
    pub reason: Option<String>,
    /// What the device said, where it was asked.
    pub words: Option<Words>,
}

/// What keeps a push that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeldBy {
    /// Its own claim.
    Claim,
    /// Nobody knows whether the device has it.
    Doubt,
    Person,
    /// Agent or device are off, or the clock is wrong.
    Condition,
}

/// The pushes of which somebody wants to hear.
#[derive(Debug, Default)]
pub(super) struct Watched {
    sets: Mutex<Sets>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Sets {
    watched: BTreeSet<PushId>,
    changed: BTreeSet<PushId>,
}

impl Watched {
    /// Which of these decisions somebody wants to hear of, once they are durable.
    pub(super) fn of(&self, turn: &Turn, heard: &mut Vec<PushId>) {
        let sets = self.sets();
        if sets.watched.is_empty() {
            return;
        }
        for row in &turn.rows {
            if let Row::Event(row) = row {
                let both = [Some(row.push), row.next.map(|(next, _)| next)];
                let both = both.into_iter().flatten();
                heard.extend(both.filter(|push| sets.watched.contains(push)));
            }
        }
    }

    pub(super) fn tell(&self, heard: Vec<PushId>) {
        if !heard.is_empty() {
            self.sets().changed.extend(heard);
            self.news.notify_one();
        }
    }

    /// Whoever panicked here has left no half-made change behind.
    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Keeps the push of a Task, held until the Task is claimed.
    pub async fn take_task(&self, push: NewPush) -> Result<Taken, StoreError> {
        let push = Arc::new(push);
        self.ask(|reply| Request::Task(Asked::Take(push, reply)))
            .await
    }

    /// Its Task is ours: it goes in its turn.
    pub async fn claimed(&self, push: PushId) -> Result<(), StoreError> {
        self.ask(|reply| Request::Task(Asked::Claimed(push, reply)))
            .await
    }

    /// Its Task is not ours, or is not wanted any more. What may have left stays what it is.
    pub async fn withdraw(&self, push: PushId, why: String) -> Result<(), StoreError> {
        self.ask(|reply| Request::Task(Asked::Withdraw(push, why, reply)))
            .await
    }

    /// Pushes whose Task may or may not be claimed, oldest first.
    pub async fn unclaimed(&self) -> Result<Vec<PushId>, StoreError> {
        self.ask(|reply| Request::Task(Asked::Unclaimed(reply)))
            .await
    }

    /// How the push of a Task stands; `None` where there is no such push.
    pub async fn standing(&self, push: PushId) -> Result<Option<Standing>, StoreError> {
        let waiting = self.explain(push).await?;
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.standing(push)).await;
        let Some(mut standing) = self.judged(read).await? else {
            return Ok(None);
        };
        if let Some(waiting) = waiting {
            let explained = waiting.explained;
            standing.state = explained.state;
            standing.held = (explained.state == State::Held).then(|| held_by(&explained.reason));
            standing.reason = Some(explained.reason.to_string());
            standing.words = None;
        }
        Ok(Some(standing))
    }

    /// From now on [`Store::task_news`] tells of this push.
    pub fn watch_task(&self, push: PushId) {
        self.shared.watched.sets().watched.insert(push);
    }

    pub fn forget_task(&self, push: PushId) {
        let mut sets = self.shared.watched.sets();
        sets.watched.remove(&push);
        sets.changed.remove(&push);
    }

    /// Waits until something was recorded of watched pushes, and names them. May be dropped and called again.
    pub async fn task_news(&self) -> Vec<PushId> {
        loop {
            let changed = std::mem::take(&mut self.shared.watched.sets().changed);
            if !changed.is_empty() {
                return changed.into_iter().collect();
            }
            self.shared.watched.news.notified().await;
        }
    }
}

fn held_by(reason: &Reason) -> HeldBy {
    match reason {
        Reason::Claim => HeldBy::Claim,
        Reason::Uncertain(_) => HeldBy::Doubt,
        Reason::Operator(_) => HeldBy::Person,
        Reason::AgentOff
        | Reason::Clock(_)
        | Reason::DeviceOff
        | Reason::Paused
        | Reason::DeviceAway(_)
        | Reason::DeviceHeld
        | Reason::Retry(_)
        | Reason::Behind(_)
        | Reason::Parked(_)
        | Reason::Joined(_)
        | Reason::Sending
        | Reason::Next => HeldBy::Condition,
    }
}

impl<L: Lines> Writer<L> {
    pub(super) fn task(
        &mut self,
        asked: Asked,
        turn: &mut Turn,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        match asked {
            Asked::Take(push, reply) => {
                let taken = self.take(push, turn)?;
                batch.reply(reply, taken);
            }
            Asked::Claimed(push, reply) => {
                self.queue.claimed(push, turn);
                batch.reply(reply, ());
            }
            Asked::Withdraw(push, why, reply) => {
                self.queue.withdraw(push, why, turn);
                batch.reply(reply, ());
            }
            Asked::Unclaimed(reply) => batch.reply(reply, self.queue.unclaimed()),
        }
        Ok(())
    }

    fn take(&mut self, push: Arc<NewPush>, turn: &mut Turn) -> rusqlite::Result<Taken> {
        let known = self.known(&push, turn.now)?;
        let (bytes, new) = (push.body.0.len(), !matches!(known, Known::Callback(_)));
        if new && let Some(why) = self.space.refusal(bytes, &self.connection, turn.now.mono)? {
            if let Known::Content(earlier) = known {
                self.queue.cool(earlier);
            }
            return Ok(Taken::Refused(why));
        }
        Ok(self.queue.accept_task(push, known, turn))
    }
}

impl Reader {
    fn standing(&self, push: PushId) -> Result<Option<Standing>, StoreError> {
        standing_of(&self.lock(), push).map_err(sql("read how the push of a Task stands"))
    }
}

fn standing_of(connection: &Connection, push: PushId) -> rusqlite::Result<Option<Standing>> {
    let id = push.0.cast_signed();
    let row = connection
        .prepare_cached("SELECT callback, content_type, device FROM push WHERE id = ?1")?
        .query_row(params![id], |row| {
            Ok(Standing {
                callback: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                content_type: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                device: DeviceNo(row.get(2)?),
                state: State::Queued,
                held: None,
                level: None,
                reason: None,
                words: None,
            })
        })
        .optional()?;
    let Some(mut standing) = row else {
        return Ok(None);
    };
    // Later news come after it and change what is known: the newest state counts, and the newest words.
    let mut events = connection.prepare_cached(
        "SELECT state, level, reason, who, answer FROM event
         WHERE push = ?1 AND kind IN (3, 7) ORDER BY seq",
    )?;
    let mut events = events.query(params![id])?;
    while let Some(row) = events.next()? {
        let number: Option<i64> = row.get(0)?;
        let level: Option<i64> = row.get(1)?;
        let who: Option<String> = row.get(3)?;
        standing.level = level.and_then(Level::from_number).or(standing.level);
        standing.reason = row.get::<_, Option<String>>(2)?.or(standing.reason);
        let Some(number) = number else { continue };
        standing.state = State::from_number(number).unwrap_or(standing.state);
        let by = rows::told_by(number, who.as_deref());
        let words = row.get_ref(4)?.as_blob_or_null()?;
        standing.words = words
            .filter(|_| by == ToldBy::Device)
            .map(|words| Phi(String::from_utf8_lossy(words).into()));
    }
    Ok(Some(standing))
}
