//! The queue as the rows tell it: at start, and after a failed commit.
//!
//! First comes what the newest segment says: the mark, the cold blocks, the open pushes. Then what came after it: pushes
//! in ascending order, then events in ascending order. Then [`Loader::start`] judges what was open: an `attempt` goes
//! again, a `completing` is uncertain. Without a segment all rows came after it.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use super::claim::MAILBOX;
use super::device::{Device, DeviceConfig, Line};
use super::news::Receipts;
use super::rows::{Attempted, Kind, ReplyTo, Row, Turn};
use super::segment::{ColdBlock, Mark, OpenAs};
use super::{IdHasher, Live, Phase, Queue};
use crate::delivery::{self, Outcome, Verdict};
use crate::join::{BLOCK, Remembered};
use crate::mutant::{self, Mutant};
use crate::options;
use crate::push::{DeviceNo, Mono, Now, Print, PushId, Seq, State, Timestamp};

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
    /// What is not final and more than cold, as far as is known.
    pushes: BTreeMap<PushId, Track>,
}

#[derive(Debug)]
struct Track {
    facts: PushFacts,
    phase: Fold,
    resent: u8,
    traces: bool,
    answered: bool,
    /// More has happened to it than that its caller was answered.
    touched: bool,
    /// The event by which a person let it go last.
    let_go: Option<Seq>,
}

#[derive(Debug)]
enum Fold {
    Waiting,
    Open(Attempted),
    Uncertain(String),
    Operator(String),
    Claim,
    Final,
}

impl Loader {
    pub fn new(limit: usize, devices: impl IntoIterator<Item = (DeviceNo, DeviceConfig)>) -> Self {
        let mut queue = Queue::new(limit);
        for (no, config) in devices {
            queue.devices.insert(no, Device::new(config));
        }
        let pushes = BTreeMap::new();
        Self { queue, pushes }
    }

    /// Keeps fewer of each device's next pushes whole than is usual.
    #[must_use]
    pub fn window(mut self, window: usize) -> Self {
        self.queue.window = window;
        self
    }

    /// Keeps news of pushes for the cloud, or none.
    #[must_use]
    pub fn receipts(mut self, receipts: Receipts) -> Self {
        self.queue.receipts = receipts;
        self
    }

    /// Begins at the newest segment instead of at the first row.
    pub fn begin_at(&mut self, mark: Mark) {
        self.queue.last_push = mark.push;
        self.queue.last_seq = mark.seq;
        self.queue.last_answer = mark.answer;
        self.queue.taken = mark.taken;
    }

    /// A block of pushes that only waited when the newest segment was written. Whether its bytes make sense.
    #[must_use]
    pub fn cold(&mut self, block: &ColdBlock) -> bool {
        let Some(waits) = block.decode() else {
            return false;
        };
        self.queue.floors.note(block.no, waits.floor);
        for (no, ids) in waits.ids {
            self.queue.total += ids.len();
            let device = self.queue.device_or_off(no);
            device.live += ids.len();
            for id in ids {
                device.cold.insert(id);
            }
        }
        true
    }

    /// A push to which more had happened when the newest segment was written, with its events up to then.
    pub fn open(&mut self, facts: PushFacts, events: Vec<EventFacts>, state: OpenAs) {
        let mut track = Track::new(facts);
        for event in events {
            track.fold(event);
        }
        track.stand(state);
        self.pushes.insert(track.facts.id, track);
    }

    /// Whether the row of this push must be given with [`Loader::warm`] before whatever names it.
    pub fn is_cold(&self, push: PushId) -> bool {
        self.queue.is_cold(push)
    }

    /// The row of a cold push that a row after the newest segment names.
    pub fn warm(&mut self, facts: PushFacts) {
        let device = self.queue.device_or_off(facts.device);
        if device.cold.remove(facts.id) {
            device.live -= 1;
            self.queue.total -= 1;
            let mut track = Track::new(facts);
            track.answered = true;
            self.pushes.insert(track.facts.id, track);
        }
    }

    /// A push after the newest segment. The one that it joins is not cold.
    pub fn push(&mut self, facts: PushFacts) {
        if !mutant::is(Mutant::ReuseId) {
            self.queue.last_push = self.queue.last_push.max(facts.id);
        }
        self.queue.changes.mark(facts.id);
        if let Some(leader) = facts.joins {
            self.queue.changes.mark(leader);
        }
        let leads = facts.joins.is_none() && facts.device != DeviceNo::SELF;
        let seen = Remembered {
            id: facts.id,
            device: facts.device,
            callback: facts.callback,
            keys: if leads {
                facts.keys.clone().into()
            } else {
                Box::default()
            },
        };
        self.queue.memory.learn(&seen, &[], |_| true);
        let mut track = Track::new(facts);
        if let Some(kind) = track.facts.tried {
            track.phase = Fold::Open(kind);
            track.touched = true;
        }
        self.pushes.insert(track.facts.id, track);
    }

    /// An event after the newest segment. The pushes that it names are not cold.
    pub fn event(&mut self, facts: EventFacts) {
        self.queue.last_seq = self.queue.last_seq.max(facts.seq);
        self.queue.changes.events += 1;
        if let Some(taken) = facts.taken {
            self.queue.taken = self.queue.taken.max(taken);
        }
        if facts.status.is_some() {
            self.queue.last_answer = facts.seq;
        }
        let (next, id, at) = (facts.next, facts.push, facts.at);
        if let Some(track) = self.pushes.get_mut(&id) {
            self.queue.changes.mark(id);
            track.fold(facts);
            if matches!(track.phase, Fold::Final) {
                self.pushes.remove(&id);
                self.queue.memory.ended(id, at);
            }
        }
        if let Some((push, kind)) = next
            && let Some(track) = self.pushes.get_mut(&push)
        {
            self.queue.changes.mark(push);
            track.phase = Fold::Open(kind);
            track.touched = true;
        }
    }

    /// The queue of a process that has just started, and what the crash has made of open attempts.
    pub fn start(self, turn: &mut Turn) -> Queue {
        let (mut queue, open) = self.fold(turn.now);
        queue.memory.recount(living(&queue.live, &queue.devices));
        for (id, kind) in open {
            queue.judge_open(id, kind, turn);
        }
        queue.plant_settle_unsent(turn);
        queue
    }

    /// The queue after a commit that failed while `old` was alive: open attempts are still with their lines.
    pub fn resume(self, old: Queue, now: Now) -> Queue {
        let (mut queue, open) = self.fold(now);
        queue.session = old.session;
        queue.agent = old.agent;
        queue.keep_doubt(&old.age);
        queue.keep_waits(&old);
        queue.taken = queue.taken.max(old.taken);
        queue.window = old.window;
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
        queue.memory.resume(old.memory);
        queue.memory.recount(living(&queue.live, &queue.devices));
        queue
    }

    fn fold(mut self, now: Now) -> (Queue, Vec<(PushId, Attempted)>) {
        self.queue.taken_on_disk = self.queue.taken;
        let mut open = Vec::new();
        for (id, track) in self.pushes {
            if let Fold::Open(kind) = track.phase {
                open.push((id, kind));
            }
            self.queue.enlist_again(track, now);
        }
        self.queue.cool_plain();
        (self.queue, open)
    }
}

/// Every push that is not final.
fn living<'a>(
    live: &'a HashMap<PushId, Live, BuildHasherDefault<IdHasher>>,
    devices: &'a BTreeMap<DeviceNo, Device>,
) -> impl Iterator<Item = PushId> + 'a {
    let cold = devices.values().flat_map(|device| device.cold.iter());
    live.keys().copied().chain(cold)
}

impl Track {
    fn new(facts: PushFacts) -> Self {
        Self {
            phase: Fold::Waiting,
            resent: 0,
            traces: false,
            answered: facts.reply_to.is_none(),
            touched: false,
            let_go: None,
            facts,
        }
    }

    /// Takes over where it stood. Its own events do not tell of an attempt that rode on another push's row.
    fn stand(&mut self, state: OpenAs) {
        self.touched |= state != OpenAs::Waiting;
        let phase = std::mem::replace(&mut self.phase, Fold::Waiting);
        self.phase = match (state, phase) {
            (OpenAs::Waiting, _) => Fold::Waiting,
            (OpenAs::Attempt, _) => Fold::Open(Attempted::Attempt),
            (OpenAs::Completing, _) => Fold::Open(Attempted::Completing),
            (OpenAs::Uncertain, Fold::Uncertain(why)) => Fold::Uncertain(why),
            (OpenAs::Uncertain, _) => Fold::Uncertain(String::new()),
            (OpenAs::Operator, Fold::Operator(why)) => Fold::Operator(why),
            (OpenAs::Operator, _) => Fold::Operator(String::new()),
            (OpenAs::Claim, _) => Fold::Claim,
        };
    }

    fn fold(&mut self, facts: EventFacts) {
        self.answered |= facts.status.is_some();
        self.touched |= facts.kind != Kind::Answered;
        match facts.kind {
            Kind::Retry => {
                if !mutant::is(Mutant::ForgetResends) {
                    self.resent = facts.resend.unwrap_or(self.resent);
                }
                self.traces |= facts.resend.is_some();
            }
            // That its Task is claimed says nothing of its age.
            Kind::Released if matches!(self.phase, Fold::Claim) => {}
            Kind::Released => {
                self.let_go = Some(facts.seq);
                self.traces |= matches!(self.phase, Fold::Uncertain(_));
                // Whoever sends again knows that it is old.
                self.facts.expires = self.facts.expires.filter(|_| facts.resend.is_none());
            }
            _ => {}
        }
        let reason = facts.reason.unwrap_or_default();
        self.phase = match facts.kind {
            Kind::Attempt => Fold::Open(Attempted::Attempt),
            Kind::Completing => Fold::Open(Attempted::Completing),
            Kind::Retry | Kind::Released => Fold::Waiting,
            Kind::Held => match facts.who {
                None => Fold::Uncertain(reason),
                Some(who) if who == MAILBOX => Fold::Claim,
                Some(_) if mutant::is(Mutant::SendHeld) => Fold::Waiting,
                Some(_) => Fold::Operator(reason),
            },
            Kind::Settled => Fold::Final,
            Kind::Level | Kind::Answered | Kind::Taken => return,
        };
    }
}

impl Queue {
    /// Takes one push back among the living.
    fn enlist_again(&mut self, track: Track, now: Now) {
        let facts = track.facts;
        let (id, no) = (facts.id, facts.device);
        // A follower takes no part in the order of its key: the push it joined stands for both.
        let keys = match facts.joins {
            None => facts.keys.into(),
            Some(_) => Box::default(),
        };
        let mut live = Live::new(no, keys, facts.at);
        live.expires = facts.expires;
        live.resent = track.resent;
        live.traces = track.traces;
        live.touched = track.touched;
        live.reply_to = facts.reply_to.filter(|_| !track.answered).map(Box::new);
        if let Some(to) = &live.reply_to {
            live.answer_by = self.answer_by_again((no, to), facts.at, now);
        }
        if let Some(seq) = track.let_go {
            self.age.let_go(id, seq);
        }
        self.device_or_off(no).live += 1;
        self.total += 1;
        self.enlist(id, live);
        self.place(id, facts.joins, track.phase);
    }

    /// Lets go of all but the number where that is enough; what is needed is asked for.
    fn cool_plain(&mut self) {
        let plain = self
            .live
            .iter()
            .filter(|(_, live)| live.phase == Phase::Waiting && live.is_plain());
        let mut plain: Vec<PushId> = plain.map(|(id, _)| *id).collect();
        plain.sort_unstable();
        for id in plain {
            let Some(live) = self.delist(id) else {
                continue;
            };
            self.floors.note(id.0 / BLOCK as u64, live.expires);
            let device = self.device_or_off(live.device);
            device.waiting.remove(id);
            device.cold.insert(id);
        }
        for device in self.devices.values_mut() {
            device.cold.shrink();
        }
    }

    /// A device that no configuration names keeps its queue and is off.
    fn device_or_off(&mut self, no: DeviceNo) -> &mut Device {
        self.devices
            .entry(no)
            .or_insert_with(|| Device::new(DeviceConfig::unnamed(no)))
    }

    /// A caller who waits since before the restart is told when he would have been, or now.
    fn answer_by_again(&self, (no, to): (DeviceNo, &ReplyTo), at: Timestamp, now: Now) -> Mono {
        let of_push = || options::parse(&to.content_type).ok()?.options.answer_within;
        let of_device = || Some(self.devices.get(&no)?.config.policy.answer_within);
        let within = of_push().or_else(of_device).unwrap_or_default();
        let waited = now.utc.since(at);
        now.mono.plus(within.saturating_sub(waited))
    }

    /// Whoever waits is answered when the queue before this one would have done it, whatever the clock shows.
    fn keep_waits(&mut self, old: &Self) {
        for (id, live) in &mut self.live {
            let (Some(before), Some(_)) = (old.live.get(id), &live.reply_to) else {
                continue;
            };
            self.answer_due.remove(&(live.answer_by, *id));
            live.answer_by = before.answer_by;
            self.answer_due.insert((live.answer_by, *id));
        }
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
            Fold::Waiting => device.waiting.insert(id),
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
            Fold::Claim => {
                live.phase = Phase::Claim;
                device.kept_back += 1;
                device.block(id, &live.keys);
            }
            Fold::Final => {}
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
