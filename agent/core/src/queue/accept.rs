//! Taking a push in: recognised, refused, joined, queued, or sent at once.

use std::sync::Arc;

use super::rows::{Attempted, Effect, Kind, PushRow, ReplyTo, Row, Told, Turn};
use super::{Live, Phase, Queue};
use crate::delivery::Words;
use crate::join::{Fate, Remembered};
use crate::push::{Dedupe, DeviceNo, NewPush, Now, PushId, State, Timestamp, WhenUnreachable};
use crate::queue::device::Line;

/// Earlier pushes that this one may be a repetition of. The prints match; the caller compares the real thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Suspects {
    pub callback: Option<PushId>,
    pub content: Option<PushId>,
}

/// What the comparison of the suspects has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    No,
    /// That push has this very callback.
    Callback(PushId),
    /// That push is the same order to the same device with the same options.
    Content(PushId),
}

/// What the agent itself answers to a push to `device://self`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    pub status: u16,
    pub words: Words,
}

impl NewPush {
    /// Who waits for its answer, if anybody does.
    pub fn reply_to(&self) -> Option<ReplyTo> {
        self.callback.as_ref().map(|callback| ReplyTo {
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
    pub fn suspects(&self, push: &NewPush, now: Now) -> Suspects {
        let callback = push
            .callback
            .as_ref()
            .and_then(|callback| self.memory.by_callback(callback.print));
        let content = push
            .content
            .filter(|_| push.options.dedupe == Dedupe::On)
            .and_then(|content| {
                self.memory
                    .by_content(push.device, &push.key_prints, content)
            })
            .filter(|(_, fate)| self.absorbs(push.device, *fate, now))
            .map(|(id, _)| id);
        Suspects { callback, content }
    }

    /// Takes in one push whose suspects have been compared.
    pub fn accept(&mut self, push: Arc<NewPush>, known: Known, turn: &mut Turn) {
        if let Known::Callback(id) = known {
            self.remind(id, turn);
            return;
        }
        if let Some(why) = self.refusal(&push) {
            refuse(&push, why, turn);
            return;
        }
        match known {
            Known::Content(earlier) => self.follow(push, earlier, turn),
            Known::No | Known::Callback(_) => self.enqueue(push, turn),
        }
    }

    /// Takes in a push to the agent itself, which is answered in the same commit.
    pub fn accept_own(
        &mut self,
        push: Arc<NewPush>,
        known: Known,
        answer: OwnAnswer,
        turn: &mut Turn,
    ) {
        if let Known::Callback(id) = known {
            self.remind(id, turn);
            return;
        }
        let id = self.admit(
            &push,
            Start {
                phase: Phase::Waiting,
                expires: None,
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
        self.bury(id, Fate::Failed);
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

    fn refusal(&self, push: &NewPush) -> Option<String> {
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
        if self.live.len() >= self.limit {
            return Some(format!(
                "the agent's queue is full ({} pushes wait); push again when it has drained",
                self.live.len()
            ));
        }
        match (&device.line, policy.when_unreachable) {
            (Line::Away(why), WhenUnreachable::Fail) => {
                Some(format!("{name} cannot be reached: {why}"))
            }
            _ => None,
        }
    }

    fn absorbs(&self, device: DeviceNo, fate: Fate, now: Now) -> bool {
        match fate {
            Fate::Open => true,
            Fate::Failed => false,
            Fate::Delivered(at) => self
                .devices
                .get(&device)
                .is_some_and(|d| now.utc.since(at) <= d.config.policy.rejoin_window),
        }
    }

    fn enqueue(&mut self, push: Arc<NewPush>, turn: &mut Turn) {
        let no = push.device;
        let expires = self.expires(&push, turn.now);
        let id = self.admit(
            &push,
            Start {
                phase: Phase::Waiting,
                expires,
            },
            turn.now,
        );
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
    fn follow(&mut self, push: Arc<NewPush>, earlier: PushId, turn: &mut Turn) {
        let device = push.device;
        let id = self.admit(
            &push,
            Start {
                phase: Phase::Follows(earlier),
                expires: None,
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
        match self.live.get_mut(&earlier) {
            Some(leader) => leader.followers.push(id),
            // The earlier one was delivered a moment ago: its words are this one's answer too.
            None => self.settle_follower(id, device, earlier, turn),
        }
    }

    /// Gives a push its number and its place among the living.
    fn admit(&mut self, push: &NewPush, start: Start, now: Now) -> PushId {
        let id = self.number();
        let reply_to = push.reply_to().map(Box::new);
        // A follower takes no part in the order of its key: the push it joined stands for both.
        let leads = !matches!(start.phase, Phase::Follows(_));
        let seen = Remembered {
            device: push.device,
            callback: push.callback.as_ref().map(|callback| callback.print),
            content: push.content.filter(|_| leads),
            keys: if leads {
                push.key_prints.clone().into()
            } else {
                Box::default()
            },
            fate: Fate::Open,
        };
        let mut live = Live::new(&seen, now.utc);
        live.phase = start.phase;
        live.expires = start.expires;
        live.answer_by = now.mono.plus(self.answer_within(push));
        live.reply_to = reply_to;
        self.bear(id, seen, live);
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

    fn expires(&self, push: &NewPush, now: Now) -> Option<Timestamp> {
        let of_device = || self.devices.get(&push.device)?.config.policy.expires;
        push.options
            .expires
            .or_else(of_device)
            .map(|age| now.utc.plus(age))
    }
}

/// How a push begins.
struct Start {
    phase: Phase,
    expires: Option<Timestamp>,
}

/// Tells the caller that nothing was kept. Without a callback there is nobody to tell.
fn refuse(push: &NewPush, why: String, turn: &mut Turn) {
    let Some(to) = push.reply_to() else { return };
    turn.effects.push(Effect::Refused { to, why });
}
