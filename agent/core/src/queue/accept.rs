//! Taking a push in: recognised, refused, joined, queued, or sent at once.

use std::sync::Arc;

use super::rows::{Attempted, Effect, Kind, PushRow, ReplyTo, Row, Told, Turn};
use super::{Live, Phase, Queue};
use crate::delivery::Words;
use crate::join::{Older, Remembered};
use crate::mutant::{self, Mutant};
use crate::push::{
    Dedupe, DeviceNo, NewPush, Now, Print, PushId, State, Timestamp, WhenUnreachable, is_task,
};
use crate::queue::device::Line;

/// Earlier pushes that this one may be a repetition of, newest first. Prints match; the caller compares the real thing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Suspects {
    pub callback: Vec<PushId>,
    /// For each order key, those that may have it; empty where nobody may have any of them.
    pub keys: Vec<Vec<PushId>>,
}

/// The newest push of an order key, as its rows tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Earlier {
    pub id: PushId,
    pub keys: Vec<Print>,
    pub content: Option<Print>,
    /// Its last state, and since when.
    pub last: Option<(State, Timestamp)>,
}

/// What the comparison of the suspects has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    No,
    /// That push has this very callback.
    Callback(PushId),
    /// That push is the same order to the same device with the same options. It is not cold.
    Content(PushId),
    /// It comes after these, each the newest so far of that order key.
    After(Vec<Older>),
}

/// What the agent itself answers to a push to `device://self`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    pub status: u16,
    pub words: Words,
}

impl NewPush {
    /// Who waits at the websocket for its answer, if anybody does. A Task is told by a report.
    pub fn reply_to(&self) -> Option<ReplyTo> {
        let callback = self.callback.as_ref();
        let caller = callback.filter(|callback| !is_task(&callback.text));
        caller.map(|callback| ReplyTo {
            callback: callback.text.clone(),
            remote: self.remote.clone(),
            content_type: self.content_type.clone(),
        })
    }
}

impl OwnAnswer {
    /// For a command that came before and has its answer.
    pub fn empty() -> Self {
        Self {
            status: 200,
            words: crate::phi::Phi("".into()),
        }
    }
}

impl Queue {
    /// Finds what `push` may repeat, by its prints.
    pub fn suspects(&self, push: &NewPush) -> Suspects {
        let last = self.last_push;
        let callback = push.callback.as_ref();
        let callback = callback.map(|callback| self.memory.by_callback(callback.print, last));
        let by_key = |key: &Print| self.memory.by_key(push.device, *key, last);
        let any = push.key_prints.iter().any(|key| !by_key(key).is_empty());
        let keys = push.key_prints.iter().filter(|_| any).map(by_key);
        Suspects {
            callback: callback.unwrap_or_default(),
            keys: keys.collect(),
        }
    }

    /// A push that repeats nothing, by the newest push so far of each of its keys.
    pub fn after(push: &NewPush, newest: Vec<Option<Earlier>>) -> Known {
        let keys = push.key_prints.iter().zip(newest);
        let older = keys.filter_map(|(key, earlier)| {
            earlier.map(|Earlier { id, keys, .. }| Older {
                key: *key,
                id,
                keys,
            })
        });
        Known::After(older.collect())
    }

    /// Whether `push` is the same order as the newest one of each of its keys, as far as prints tell.
    pub fn may_join(&self, push: &NewPush, newest: &[Option<Earlier>], now: Now) -> Option<PushId> {
        if mutant::is(Mutant::JoinNever) {
            return None;
        }
        let content = push.content.filter(|_| push.options.dedupe == Dedupe::On)?;
        let first = newest.first()?.as_ref()?;
        let of_all = newest
            .iter()
            .all(|other| other.as_ref().is_some_and(|other| other.id == first.id));
        let same = of_all && first.content == Some(content);
        (same && self.absorbs(push.device, first, now)).then_some(first.id)
    }

    /// Takes in one push whose suspects have been compared.
    pub fn accept(&mut self, push: Arc<NewPush>, known: Known, turn: &mut Turn) {
        if let Known::Callback(id) = known {
            self.remind(id, turn);
            return;
        }
        if let Some(why) = self.refusal(&push).or_else(|| self.unclaimed_twin(&known)) {
            refuse(&push, why, turn);
            if let Known::Content(earlier) = known {
                self.cool(earlier);
            }
            return;
        }
        match known {
            Known::Content(earlier) => self.follow(push, earlier, turn),
            Known::After(older) => self.enqueue(push, &older, turn),
            Known::No | Known::Callback(_) => self.enqueue(push, &[], turn),
        }
    }

    /// Takes in a push to the agent itself, which is answered in the same commit.
    pub fn accept_own(
        &mut self,
        push: Arc<NewPush>,
        known: &Known,
        answer: OwnAnswer,
        turn: &mut Turn,
    ) {
        if let Known::Callback(id) = known {
            self.remind(*id, turn);
            return;
        }
        let id = self.admit(
            &push,
            Start {
                phase: Phase::Waiting,
                expires: None,
                older: &[],
            },
            turn.now,
        );
        let device = push.device;
        turn.rows.push(Row::Push(Box::new(PushRow {
            id,
            at: turn.now.utc,
            tried: None,
            expires: None,
            joins: None,
            push,
        })));
        let mut row = self.event(id, device, Kind::Settled, turn.now);
        row.state = Some(if answer.status < 400 {
            State::Delivered
        } else {
            State::Rejected
        });
        self.answer(&mut row, answer.status, Told::Device(answer.words), turn);
        turn.rows.push(Row::Event(row));
        self.bury(id, turn.now);
    }

    /// The callback came again: its answer goes out again, or comes when there is one.
    fn remind(&self, id: PushId, out: &mut Turn) {
        let waits = self
            .live
            .get(&id)
            .is_some_and(|live| live.reply_to.is_some());
        if !waits {
            out.effects.push(Effect::Again(id));
        }
    }

    pub(super) fn refusal(&self, push: &NewPush) -> Option<String> {
        let Some(device) = self.devices.get(&push.device) else {
            return Some("the device is not configured any more; look at devices.d".into());
        };
        let name = &device.config.name;
        let policy = &device.config.policy;
        let of_device = device.live;
        if of_device >= policy.max_queued {
            return Some(format!(
                "the queue of {name} is full ({of_device} pushes wait); push again when it has \
                 drained, or look at `wardpost queue --device {name}`"
            ));
        }
        if self.total >= self.limit {
            return Some(format!(
                "the agent's queue is full ({} pushes wait); push again when it has drained",
                self.total
            ));
        }
        match (&device.line, policy.when_unreachable) {
            (Line::Away(why), WhenUnreachable::Fail) => {
                Some(format!("{name} cannot be reached: {why}"))
            }
            _ => None,
        }
    }

    fn absorbs(&self, device: DeviceNo, earlier: &Earlier, now: Now) -> bool {
        match earlier.last {
            _ if self.is_live(earlier.id) => true,
            Some((State::Delivered, at)) => self
                .devices
                .get(&device)
                .is_some_and(|d| now.utc.since(at) <= d.config.policy.rejoin_window),
            // What failed never absorbs a new push.
            _ => mutant::is(Mutant::JoinAFailed),
        }
    }

    fn enqueue(&mut self, push: Arc<NewPush>, older: &[Older], turn: &mut Turn) {
        let no = push.device;
        let expires = self.expires(&push, turn.now);
        let start = Start {
            phase: Phase::Waiting,
            expires,
            older,
        };
        let id = self.admit(&push, start, turn.now);
        if let Some(device) = self.devices.get_mut(&no) {
            device.waiting.insert(id);
        }
        let row = PushRow {
            id,
            at: turn.now.utc,
            tried: None,
            expires,
            joins: None,
            push,
        };
        self.enqueue_row(row, turn);
        // Where nobody waits for an answer, its row is enough already.
        self.cool(id);
    }

    /// Writes the push, with its first attempt in the same row if it may go at once.
    fn enqueue_row(&mut self, mut row: PushRow, turn: &mut Turn) {
        let (no, id) = (row.push.device, row.id);
        let place = turn.rows.len();
        match self.pick(no, turn) {
            Some((next, kind)) if next == id => row.tried = Some(kind),
            Some((next, kind)) => self.record_attempt(next, no, kind, turn),
            None => {}
        }
        turn.rows.insert(place, Row::Push(Box::new(row)));
        self.tell_wanted(no, turn);
    }

    fn record_attempt(&mut self, push: PushId, no: DeviceNo, kind: Attempted, turn: &mut Turn) {
        let row = self.event(push, no, kind.kind(), turn.now);
        turn.rows.push(Row::Event(row));
    }

    /// Joins an earlier push: a row without body that is settled when the earlier one is.
    pub(super) fn follow(&mut self, push: Arc<NewPush>, earlier: PushId, turn: &mut Turn) {
        let device = push.device;
        let id = self.admit(
            &push,
            Start {
                phase: Phase::Follows(earlier),
                expires: None,
                older: &[],
            },
            turn.now,
        );
        turn.rows.push(Row::Push(Box::new(PushRow {
            id,
            at: turn.now.utc,
            tried: None,
            expires: None,
            joins: Some(earlier),
            push,
        })));
        match self.touch(earlier) {
            Some(leader) => leader.followers.push(id),
            // The earlier one was delivered a moment ago: its words are this one's answer too.
            None => self.settle_follower(id, device, earlier, turn),
        }
    }

    /// Gives a push its number and its place among the living.
    pub(super) fn admit(&mut self, push: &NewPush, start: Start<'_>, now: Now) -> PushId {
        let id = self.number();
        let reply_to = push.reply_to().map(Box::new);
        // A follower takes no part in the order of its key: the push it joined stands for both.
        let leads = !matches!(start.phase, Phase::Follows(_));
        let keys: Box<[Print]> = if leads {
            push.key_prints.clone().into()
        } else {
            Box::default()
        };
        let seen = Remembered {
            id,
            device: push.device,
            callback: push.callback.as_ref().map(|callback| callback.print),
            // Nothing joins a push to the agent itself.
            keys: match push.device {
                DeviceNo::SELF => Box::default(),
                _ => keys.clone(),
            },
        };
        let mut live = Live::new(push.device, keys, now.utc);
        live.phase = start.phase;
        live.expires = start.expires;
        live.answer_by = now.mono.plus(self.answer_within(push));
        live.reply_to = reply_to;
        self.bear(&seen, start.older, live);
        id
    }

    fn answer_within(&self, push: &NewPush) -> std::time::Duration {
        let of_device = || {
            self.devices
                .get(&push.device)
                .map(|d| d.config.policy.answer_within)
        };
        push.options
            .answer_within
            .or_else(of_device)
            .unwrap_or_default()
    }

    pub(super) fn expires(&self, push: &NewPush, now: Now) -> Option<Timestamp> {
        let of_device = || self.devices.get(&push.device)?.config.policy.expires;
        push.options.expires.or_else(of_device).map(|age| {
            let part = if mutant::is(Mutant::ExpireEarly) {
                4
            } else {
                1
            };
            now.utc.plus(age / part)
        })
    }
}

/// How a push begins.
pub(super) struct Start<'a> {
    pub(super) phase: Phase,
    pub(super) expires: Option<Timestamp>,
    /// The newest pushes so far of its order keys.
    pub(super) older: &'a [Older],
}

/// Tells the caller that nothing was kept. Without a callback there is nobody to tell.
fn refuse(push: &NewPush, why: String, turn: &mut Turn) {
    let Some(to) = push.reply_to() else { return };
    turn.effects.push(Effect::Refused { to, why });
}
