//! The queue: which push goes when, to whom, and what its caller is told.
//!
//! Pure. The store's writer thread owns it, hands it one request after another, writes the rows it decides on, commits
//! once, and only then carries out the effects. Live state is changed as decisions are made; if the commit fails the
//! owner drops the queue and rebuilds it from disk.
//!
//! ```text
//!            accept                       pick                settle
//!  (new) ────────────► queued ────────────────────► sending ─────────► delivered | rejected | dead
//!            │          │  ▲ ▲                        │
//!            │ joins    │  │ └──── retry ─────────────┤
//!            ▼          │  └─ release, resend ──┐     │ unknown outcome
//!         (follows)     └──── hold, parked ──► held ◄─┘
//!                       └──── cancelled | expired ◄── held
//! ```
//!
//! Order: per device the lowest id that is not parked goes first; a push whose order key has an earlier held push is
//! parked behind it. One attempt a device at a time.

mod accept;
mod command;
mod device;
mod load;
mod report;
mod rows;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use accept::{Known, OwnAnswer, Suspects};
pub use command::{BodyKept, Command, CommandError, Done, Ended, Ruling, Verb};
pub use device::{DeviceConfig, Line, Reason};
pub use load::{EventFacts, Loader, PushFacts};
pub use report::{DeviceReport, Explained, Filter, QueueReport, WaitingPush};
pub use rows::{
    Answer, Attempted, AuditRow, Effect, EventRow, Kind, PushRow, ReplyTo, Row, Told, Turn,
};
pub use settle::{Connection, LateNews};

use crate::join::{Memory, Remembered};
use crate::push::{
    Completing, DeviceNo, Mono, Now, OnUncertain, Print, PushId, Seq, State, Timestamp,
};
use device::Device;

/// All pushes that are not final, and what is remembered of those that are.
#[derive(Debug)]
pub struct Queue {
    devices: BTreeMap<DeviceNo, Device>,
    live: HashMap<PushId, Live>,
    memory: Memory,
    last_push: PushId,
    last_seq: Seq,
    last_answer: Seq,
    taken: Seq,
    taken_on_disk: Seq,
    session: Session,
    agent: AgentSwitch,
    /// When a waiting caller must be told that the push is queued.
    answer_due: BTreeSet<(Mono, PushId)>,
    expiry: BTreeSet<(Timestamp, PushId)>,
    limit: usize,
}

/// Whether the cloud can hear us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    Live,
    Down,
}

/// `Agent.status`, as far as pushes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentSwitch {
    On,
    Off,
}

/// A push that is not final.
#[derive(Debug)]
struct Live {
    device: DeviceNo,
    phase: Phase,
    keys: Box<[Print]>,
    at: Timestamp,
    expires: Option<Timestamp>,
    /// Gone once the caller was answered, or if nobody waits.
    reply_to: Option<Box<ReplyTo>>,
    answer_by: Mono,
    /// Attempts that failed, for the pause before the next.
    failures: u32,
    resent: u8,
    /// An earlier attempt may have reached the device. Such a push is never said to be undelivered.
    traces: bool,
    followers: Vec<PushId>,
}

impl Live {
    fn new(seen: &Remembered, at: Timestamp) -> Self {
        Self {
            device: seen.device,
            phase: Phase::Waiting,
            keys: seen.keys.clone(),
            at,
            expires: None,
            reply_to: None,
            answer_by: Mono::default(),
            failures: 0,
            resent: 0,
            traces: false,
            followers: Vec::new(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Sending(Attempted),
    Parked,
    Uncertain(String),
    Operator(String),
    /// Joined this push and is settled with it.
    Follows(PushId),
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            devices: BTreeMap::new(),
            live: HashMap::new(),
            memory: Memory::default(),
            last_push: PushId(0),
            last_seq: Seq(0),
            last_answer: Seq(0),
            taken: Seq(0),
            taken_on_disk: Seq(0),
            session: Session::Down,
            agent: AgentSwitch::On,
            answer_due: BTreeSet::new(),
            expiry: BTreeSet::new(),
            limit,
        }
    }

    /// Applies the devices of a configuration. A device that is not among them keeps its queue and is off.
    pub fn configure(
        &mut self,
        devices: impl IntoIterator<Item = (DeviceNo, DeviceConfig)>,
        turn: &mut Turn,
    ) {
        for device in self.devices.values_mut() {
            device.config.enabled = false;
        }
        for (no, config) in devices {
            match self.devices.get_mut(&no) {
                Some(device) => device.config = config,
                None => drop(self.devices.insert(no, Device::new(config))),
            }
        }
        self.begin_everywhere(turn);
    }

    /// How many pushes may wait from now on; those that wait already stay.
    pub fn limit_to(&mut self, limit: usize) {
        self.limit = limit;
    }

    pub fn switch(&mut self, agent: AgentSwitch, turn: &mut Turn) {
        self.agent = agent;
        self.begin_everywhere(turn);
    }

    /// Looks at every device anew, after decisions that came to nothing.
    pub fn nudge(&mut self, turn: &mut Turn) {
        self.tick(turn);
        self.begin_everywhere(turn);
    }

    /// Whether this push is out with its line, as far as is decided.
    pub fn is_sending(&self, push: PushId) -> bool {
        self.live
            .get(&push)
            .is_some_and(|live| matches!(live.phase, Phase::Sending(_)))
    }

    /// The uplink's session began or ended. What is overdue is answered with the next [`Queue::tick`].
    pub fn session(&mut self, session: Session) {
        self.session = session;
    }

    /// Every answer up to `upto` has left the socket. Costs no commit: the mark rides on the next event.
    pub fn taken(&mut self, upto: Seq) {
        self.taken = self.taken.max(upto);
    }

    /// Writes the taken mark by itself, for when nothing else happens.
    pub fn flush_taken(&mut self, turn: &mut Turn) {
        if self.taken > self.taken_on_disk {
            let row = self.event(PushId(0), DeviceNo::SELF, Kind::Taken, turn.now);
            turn.rows.push(Row::Event(row));
        }
    }

    /// A line is connected and has nothing unanswered.
    pub fn line_ready(&mut self, no: DeviceNo, turn: &mut Turn) {
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        if device.sending.is_none() {
            device.line = Line::Ready;
        }
        self.begin(no, turn);
    }

    /// A line closed its connection on purpose and will connect when there is something to send.
    pub fn line_resting(&mut self, no: DeviceNo, turn: &mut Turn) {
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        if device.sending.is_none() {
            device.line = Line::Resting;
        }
        self.tell_wanted(no, turn);
    }

    /// A line has no usable connection. An attempt it still has comes back with its own outcome.
    pub fn line_away(&mut self, no: DeviceNo, why: String, turn: &mut Turn) {
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        device.line = Line::Away(why);
        self.refuse_unreachable(no, turn);
        self.tell_wanted(no, turn);
    }

    /// Does what time has brought: answers that are due, expiries, retries. At most `TICK_LIMIT` of each.
    pub fn tick(&mut self, turn: &mut Turn) {
        // Expiry first: whoever waits for a push that has just expired is told so, not that it goes on.
        self.expire_old(turn);
        self.answer_overdue(turn);
        let due: Vec<DeviceNo> = self
            .devices
            .iter()
            .filter(|(_, device)| {
                device
                    .retry
                    .as_ref()
                    .is_some_and(|retry| retry.at <= turn.now.mono)
            })
            .map(|(no, _)| *no)
            .collect();
        for no in due {
            self.begin(no, turn);
        }
    }

    /// When to call [`Queue::tick`] next if nothing happens first.
    ///
    /// `now` is when the last decision was made, not a moment later: what became due since then has not been seen yet.
    pub fn next_tick(&self, now: Now) -> Option<Mono> {
        let answers = match self.session {
            Session::Live => self.answer_due.first().map(|(at, _)| *at),
            Session::Down => None,
        };
        let expiry = self
            .expiry
            .first()
            .map(|(at, _)| now.mono.plus(at.since(now.utc)));
        let retries = self
            .devices
            .values()
            .filter_map(|device| device.retry.as_ref().map(|retry| retry.at))
            .filter(|at| *at > now.mono)
            .min();
        [answers, expiry, retries].into_iter().flatten().min()
    }

    pub fn last_answer(&self) -> Seq {
        self.last_answer
    }

    pub fn taken_mark(&self) -> Seq {
        self.taken
    }

    /// Begins the next attempt of a device if it can be begun, with a row of its own.
    fn begin(&mut self, no: DeviceNo, turn: &mut Turn) {
        if let Some((push, kind)) = self.pick(no, turn) {
            let row = self.event(push, no, kind.kind(), turn.now);
            turn.rows.push(Row::Event(row));
        }
        self.tell_wanted(no, turn);
    }

    fn begin_everywhere(&mut self, turn: &mut Turn) {
        let all: Vec<DeviceNo> = self.devices.keys().copied().collect();
        for no in all {
            self.begin(no, turn);
        }
    }

    /// Takes the next push of a device if everything allows it; whoever calls records the attempt.
    fn pick(&mut self, no: DeviceNo, turn: &mut Turn) -> Option<(PushId, Attempted)> {
        if self.devices.get(&no)?.line != Line::Ready {
            return None;
        }
        let head = self.head(no, turn)?;
        let device = self.devices.get_mut(&no)?;
        if !device.due(head, turn.now.mono) {
            return None;
        }
        let kind = match device.config.policy.completing {
            Completing::AtOnce => Attempted::Completing,
            Completing::Marked => Attempted::Attempt,
        };
        device.retry = None;
        device.waiting.remove(&head);
        device.sending = Some(head);
        device.line = Line::Busy;
        self.live.get_mut(&head)?.phase = Phase::Sending(kind);
        turn.effects.push(Effect::Attempt {
            push: head,
            device: no,
            kind,
        });
        Some((head, kind))
    }

    /// The lowest waiting push that is not behind a held one. Parks and expires what it meets on the way.
    fn head(&mut self, no: DeviceNo, turn: &mut Turn) -> Option<PushId> {
        if self.agent == AgentSwitch::Off || self.devices.get(&no)?.condition().is_some() {
            return None;
        }
        loop {
            let device = self.devices.get_mut(&no)?;
            let id = *device.waiting.first()?;
            let live = self.live.get_mut(&id)?;
            if live.expires.is_some_and(|expires| expires <= turn.now.utc) {
                self.expire(id, turn);
            } else if device.blocker(id, &live.keys).is_some() {
                device.waiting.remove(&id);
                device.block(id, &live.keys);
                live.phase = Phase::Parked;
            } else {
                return Some(id);
            }
        }
    }

    /// Tells the line whether there is work for it, if that changed.
    fn tell_wanted(&mut self, no: DeviceNo, turn: &mut Turn) {
        let head = self.head(no, turn);
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        let wanted =
            head.is_some_and(|head| device.due(head, turn.now.mono)) || device.sending.is_some();
        if device.wanted != Some(wanted) {
            device.wanted = Some(wanted);
            turn.effects.push(Effect::Wanted { device: no, wanted });
        }
    }

    fn answer_overdue(&mut self, turn: &mut Turn) {
        if self.session == Session::Down {
            return;
        }
        let due: Vec<PushId> = self
            .answer_due
            .iter()
            .take_while(|(at, _)| *at <= turn.now.mono)
            .take(TICK_LIMIT)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            self.answer_queued(id, turn);
        }
    }

    /// Tells a caller who has waited long enough that the push is kept.
    fn answer_queued(&mut self, id: PushId, turn: &mut Turn) {
        let (Some(reason), Some(live)) = (self.reason(id, turn.now), self.live.get(&id)) else {
            self.answer_due.retain(|(_, due)| *due != id);
            return;
        };
        let text = format!("queued: {reason}; push {id} is kept and goes on without you");
        let mut row = self.event(id, live.device, Kind::Answered, turn.now);
        row.reason = Some(reason.to_string());
        self.answer(&mut row, 202, Told::Sentence(text), turn);
        turn.rows.push(Row::Event(row));
    }

    /// Makes `row` the answer to its push's callback, if one still waits.
    fn answer(&mut self, row: &mut EventRow, status: u16, told: Told, out: &mut Turn) {
        row.answer = told.clone();
        let Some(live) = self.live.get_mut(&row.push) else {
            return;
        };
        let Some(to) = live.reply_to.take() else {
            return;
        };
        self.answer_due.remove(&(live.answer_by, row.push));
        row.status = Some(status);
        let prev = std::mem::replace(&mut self.last_answer, row.seq);
        let answer = Answer {
            seq: row.seq,
            prev,
            push: row.push,
            to: *to,
            status,
            told,
        };
        out.effects.push(Effect::Answer(answer));
    }

    fn expire_old(&mut self, turn: &mut Turn) {
        let due: Vec<(Timestamp, PushId)> = self
            .expiry
            .iter()
            .take_while(|(at, _)| *at <= turn.now.utc)
            .take(TICK_LIMIT)
            .copied()
            .collect();
        let mut touched = BTreeSet::new();
        for (at, id) in due {
            self.expiry.remove(&(at, id));
            let Some(live) = self.live.get(&id) else {
                continue;
            };
            // What is being sent is judged by its outcome; what is held as uncertain stays so.
            let kept = live.traces && matches!(live.phase, Phase::Operator(_));
            if !kept && !matches!(live.phase, Phase::Sending(_) | Phase::Uncertain(_)) {
                touched.insert(live.device);
                self.expire(id, turn);
            }
        }
        for no in touched {
            self.begin(no, turn);
        }
    }

    fn expire(&mut self, id: PushId, turn: &mut Turn) {
        if self.may_be_there(id) {
            self.hold_uncertain(
                id,
                "it became too old before it could be sent again".into(),
                turn,
            );
            return;
        }
        let why = "it became too old before the device could take it".to_owned();
        let text = format!("expired: push {id} was not sent, {why}");
        self.finish(id, settle::End::by_us(State::Expired, why, text), turn);
    }

    fn event(&mut self, push: PushId, device: DeviceNo, kind: Kind, now: Now) -> EventRow {
        self.last_seq = Seq(self.last_seq.0 + 1);
        let taken = (self.taken > self.taken_on_disk).then_some(self.taken);
        self.taken_on_disk = self.taken;
        EventRow {
            seq: self.last_seq,
            push,
            device,
            at: now.utc,
            kind,
            state: None,
            level: None,
            resend: None,
            reason: None,
            who: None,
            status: None,
            next: None,
            taken,
            answer: Told::Nothing,
        }
    }

    fn may_be_there(&self, id: PushId) -> bool {
        self.live.get(&id).is_some_and(|live| live.traces)
    }

    fn number(&mut self) -> PushId {
        self.last_push = PushId(self.last_push.0 + 1);
        self.last_push
    }

    /// Takes a push among the living. Its place in the device's queue is the caller's business.
    fn bear(&mut self, id: PushId, seen: Remembered, live: Live) {
        if live.reply_to.is_some() {
            self.answer_due.insert((live.answer_by, id));
        }
        if let Some(expires) = live.expires {
            self.expiry.insert((expires, id));
        }
        if let Some(device) = self.devices.get_mut(&live.device) {
            device.live += 1;
        }
        self.memory.learn(id, seen);
        self.live.insert(id, live);
    }

    fn on_uncertain(&self, no: DeviceNo) -> OnUncertain {
        self.devices
            .get(&no)
            .map_or(OnUncertain::Hold, |d| d.config.policy.on_uncertain)
    }
}

/// So much is done in one go, so that a flood of timers cannot stop deliveries.
const TICK_LIMIT: usize = 256;
