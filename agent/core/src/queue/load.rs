//! The queue as the rows tell it: at start, and after a failed commit.
//!
//! Pushes are given in ascending order, then events in ascending order, then [`Loader::finish`] judges what was open:
//! an `attempt` goes again, a `completing` is uncertain.

use std::collections::HashMap;

use super::rows::{Attempted, Kind, ReplyTo, Row, Turn};
use super::{Live, Phase, Queue};
use crate::delivery::{self, Outcome, Verdict};
use crate::join::{Fate, Remembered};
use crate::push::{DeviceNo, Now, Print, PushId, Seq, State, Timestamp};
use crate::queue::device::{DeviceConfig, Line};

/// One row of the push table.
#[derive(Clone, Debug)]
pub struct PushFacts {
    pub id: PushId,
    pub device: DeviceNo,
    pub at: Timestamp,
    pub tried: Option<Attempted>,
    pub callback: Option<Print>,
    pub content: Option<Print>,
    pub keys: Vec<Print>,
    pub expires: Option<Timestamp>,
    pub joins: Option<PushId>,
    pub reply_to: Option<ReplyTo>,
}

/// One row of the event table, less its words.
#[derive(Clone, Debug)]
pub struct EventFacts {
    pub seq: Seq,
    pub push: PushId,
    pub at: Timestamp,
    pub kind: Kind,
    pub state: Option<State>,
    pub resend: Option<u8>,
    pub reason: Option<String>,
    /// A person; `None` where the agent itself decided.
    pub who: Option<String>,
    pub status: Option<u16>,
    pub next: Option<(PushId, Attempted)>,
    pub taken: Option<Seq>,
}

/// Folds rows into a queue.
#[derive(Debug)]
pub struct Loader {
    queue: Queue,
    pushes: HashMap<PushId, Track>,
    order: Vec<PushId>,
}

#[derive(Debug)]
struct Track {
    facts: PushFacts,
    phase: Fold,
    resent: u8,
    traces: bool,
    answered: bool,
}

#[derive(Debug)]
enum Fold {
    Waiting,
    Open(Attempted),
    Uncertain(String),
    Operator(String),
    Final(Fate),
}

impl Loader {
    pub fn new(limit: usize, devices: impl IntoIterator<Item = (DeviceNo, DeviceConfig)>) -> Self {
        let mut queue = Queue::new(limit);
        for (no, config) in devices {
            queue.devices.insert(no, super::Device::new(config));
        }
        Self {
            queue,
            pushes: HashMap::new(),
            order: Vec::new(),
        }
    }

    pub fn push(&mut self, facts: PushFacts) {
        self.queue.last_push = self.queue.last_push.max(facts.id);
        self.order.push(facts.id);
        let phase = facts.tried.map_or(Fold::Waiting, Fold::Open);
        let track = Track {
            phase,
            resent: 0,
            traces: false,
            answered: facts.reply_to.is_none(),
            facts,
        };
        self.pushes.insert(track.facts.id, track);
    }

    pub fn event(&mut self, facts: EventFacts) {
        self.queue.last_seq = self.queue.last_seq.max(facts.seq);
        if let Some(taken) = facts.taken {
            self.queue.taken = self.queue.taken.max(taken);
        }
        if facts.status.is_some() {
            self.queue.last_answer = facts.seq;
        }
        let next = facts.next;
        if let Some(track) = self.pushes.get_mut(&facts.push) {
            track.fold(facts);
        }
        if let Some((push, kind)) = next
            && let Some(track) = self.pushes.get_mut(&push)
        {
            track.phase = Fold::Open(kind);
        }
    }

    /// The queue of a process that has just started, and what the crash has made of open attempts.
    pub fn start(self, turn: &mut Turn) -> Queue {
        let (mut queue, open) = self.fold(turn.now);
        for (id, kind) in open {
            queue.judge_open(id, kind, turn);
        }
        queue
    }

    /// The queue after a commit that failed while `old` was alive: open attempts are still with their lines.
    pub fn resume(self, old: &Queue, now: Now) -> Queue {
        let (mut queue, open) = self.fold(now);
        queue.session = old.session;
        queue.agent = old.agent;
        queue.taken = queue.taken.max(old.taken);
        for (no, device) in &mut queue.devices {
            let Some(before) = old.devices.get(no) else {
                continue;
            };
            // Busy without an open attempt on disk: the attempt was decided on and never handed out.
            device.line = match &before.line {
                Line::Busy => Line::Ready,
                line => line.clone(),
            };
        }
        for (id, _) in open {
            queue.still_sending(id);
        }
        queue
    }

    fn fold(mut self, now: Now) -> (Queue, Vec<(PushId, Attempted)>) {
        self.queue.taken_on_disk = self.queue.taken;
        let mut open = Vec::new();
        for id in std::mem::take(&mut self.order) {
            let Some(track) = self.pushes.remove(&id) else {
                continue;
            };
            if let Fold::Open(kind) = track.phase {
                open.push((id, kind));
            }
            self.queue.recall(id, track, now);
        }
        (self.queue, open)
    }
}

impl Track {
    fn fold(&mut self, facts: EventFacts) {
        self.answered |= facts.status.is_some();
        self.resent = facts.resend.unwrap_or(self.resent);
        let was_uncertain = matches!(self.phase, Fold::Uncertain(_));
        self.traces |= facts.resend.is_some() || (was_uncertain && facts.kind == Kind::Released);
        let reason = facts.reason.unwrap_or_default();
        self.phase = match facts.kind {
            Kind::Attempt => Fold::Open(Attempted::Attempt),
            Kind::Completing => Fold::Open(Attempted::Completing),
            Kind::Retry | Kind::Released => Fold::Waiting,
            Kind::Held => match facts.who {
                None => Fold::Uncertain(reason),
                Some(_) => Fold::Operator(reason),
            },
            Kind::Settled => Fold::Final(match facts.state {
                Some(State::Delivered) => Fate::Delivered(facts.at),
                _ => Fate::Failed,
            }),
            Kind::Level if facts.state == Some(State::Rejected) => Fold::Final(Fate::Failed),
            Kind::Level | Kind::Answered | Kind::Taken => return,
        };
    }
}

impl Queue {
    /// Takes one push back among the living, or only remembers it.
    fn recall(&mut self, id: PushId, track: Track, now: Now) {
        let Track {
            facts,
            phase,
            resent,
            traces,
            answered,
        } = track;
        let seen = Remembered {
            device: facts.device,
            callback: facts.callback,
            content: facts.content.filter(|_| facts.joins.is_none()),
            keys: if facts.joins.is_none() {
                facts.keys.into()
            } else {
                Box::default()
            },
            fate: Fate::Open,
        };
        if let Fold::Final(fate) = phase {
            self.memory.learn(id, seen);
            self.memory.finish(id, fate);
            return;
        }
        let mut live = Live::new(&seen, facts.at);
        live.expires = facts.expires;
        live.resent = resent;
        live.traces = traces;
        live.reply_to = facts.reply_to.filter(|_| !answered).map(Box::new);
        live.answer_by = self.answer_by_again(facts.device, facts.at, now);
        self.bear(id, seen, live);
        self.place(id, facts.joins, phase);
    }

    /// A caller who waits since before the restart is told when he would have been, or now.
    fn answer_by_again(&self, no: DeviceNo, at: Timestamp, now: Now) -> crate::push::Mono {
        let within = self.devices.get(&no).map(|d| d.config.policy.answer_within);
        let waited = now.utc.since(at);
        now.mono
            .plus(within.unwrap_or_default().saturating_sub(waited))
    }

    /// Puts a recalled push where its events left it.
    fn place(&mut self, id: PushId, joins: Option<PushId>, phase: Fold) {
        if let Some(leader) = joins {
            self.follow_again(id, leader);
            return;
        }
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&live.device) else {
            return;
        };
        match phase {
            Fold::Waiting => drop(device.waiting.insert(id)),
            Fold::Open(kind) => live.phase = Phase::Sending(kind),
            Fold::Uncertain(why) => {
                live.phase = Phase::Uncertain(why);
                device.uncertain += 1;
                device.block(id, &live.keys);
            }
            Fold::Operator(why) => {
                live.phase = Phase::Operator(why);
                device.kept_back += 1;
                device.block(id, &live.keys);
            }
            Fold::Final(_) => {}
        }
    }

    fn follow_again(&mut self, id: PushId, leader: PushId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.phase = Phase::Follows(leader);
        }
        if let Some(leader) = self.live.get_mut(&leader) {
            leader.followers.push(id);
        }
    }

    fn still_sending(&mut self, id: PushId) {
        let Some(no) = self.live.get(&id).map(|live| live.device) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        device.sending = Some(id);
        device.line = Line::Busy;
    }

    /// Judges an attempt that was open when the process ended.
    fn judge_open(&mut self, id: PushId, kind: Attempted, turn: &mut Turn) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.phase = Phase::Waiting;
        let (no, resent) = (live.device, live.resent);
        let outcome = match kind {
            Attempted::Attempt => Outcome::NotDelivered {
                why: "the agent stopped before the completing part left".into(),
                left: delivery::Left::Nothing,
            },
            Attempted::Completing => Outcome::Unknown {
                why: "the agent stopped before the device answered".into(),
            },
        };
        match delivery::judge(outcome, self.on_uncertain(no), resent) {
            Verdict::Retry { after, why, resend } => {
                self.retry(id, after, (why, resend), turn);
            }
            Verdict::Hold { why } => self.hold_uncertain(id, why, turn),
            Verdict::Delivered { .. } | Verdict::Rejected { .. } | Verdict::Dead { .. } => {}
        }
        debug_assert!(
            turn.rows
                .iter()
                .any(|row| matches!(row, Row::Event(e) if e.push == id))
        );
    }
}
