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
//! A push that the cloud keeps as a Task begins as held, until the Task is claimed (`claim`).
//!
//! Order: per device the lowest id that is not parked goes first; a push whose order key has an earlier held push is
//! parked behind it. One attempt a device at a time.
//!
//! A push that waits its turn, and to which nothing has happened, is *cold*: no more than its number is kept, until it is
//! among the next of its device or somebody names it (`cold`). What must survive is in the rows; so that a start does
//! not read them all, `segment` says what else is written down from time to time.

mod accept;
mod answer;
mod claim;
mod cold;
mod command;
mod device;
mod doubt;
mod expire;
mod ids;
mod load;
mod news;
mod planted;
mod report;
mod rows;
mod segment;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

pub use accept::{Earlier, Known, OwnAnswer, Suspects};
pub use claim::{MAILBOX, Taken};
pub use cold::ColdFacts;
pub use command::{BodyKept, Command, CommandError, Done, Ended, Ruling, Verb};
pub use device::{DeviceConfig, Line, Reason};
pub use doubt::Before;
pub use load::{EventFacts, Loader, PushFacts};
pub use news::{News, Receipts};
pub use report::{DeviceReport, Explained, Filter, QueueReport, WaitingPush};
pub use rows::{
    Answer, Attempted, AuditRow, Effect, EventRow, Kind, PushRow, ReplyTo, Row, Told, Turn,
};
pub use segment::{ColdBlock, Mark, Open, OpenAs, Recall, Segment, Stretch};
pub use settle::{Connection, LateNews};

pub use crate::join::{Older, SavedPrints};

use crate::join::{Memory, Remembered};
use crate::mutant::{self, Mutant};
use crate::push::{Completing, DeviceNo, Mono, Now, OnUncertain, Print, PushId, Seq, Timestamp};
use device::Device;

/// All pushes that are not final, and what is remembered of those that are.
#[derive(Debug)]
pub struct Queue {
    devices: BTreeMap<DeviceNo, Device>,
    /// Those of which more than the number is kept.
    live: HashMap<PushId, Live, BuildHasherDefault<IdHasher>>,
    memory: Memory,
    last_push: PushId,
    last_seq: Seq,
    last_answer: Seq,
    taken: Seq,
    taken_on_disk: Seq,
    session: Session,
    agent: AgentSwitch,
    age: doubt::Age,
    receipts: Receipts,
    /// When a waiting caller must be told that the push is queued.
    answer_due: BTreeSet<(Mono, PushId)>,
    expiry: BTreeSet<(Timestamp, PushId)>,
    /// Which cold pushes may have become too old.
    floors: expire::Floors,
    /// Devices that cannot decide before cold pushes of theirs are read.
    hungry: BTreeSet<DeviceNo>,
    changes: segment::Changes,
    /// Pushes that are not final.
    total: usize,
    limit: usize,
    /// How many of a device's next pushes are kept with all that is known of them.
    window: usize,
}

/// Whether the cloud can hear us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {
    Live,
    Down,
}

/// `Agent.status`, as far as pushes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AgentSwitch {
    #[default]
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
    /// More has happened to it than that its caller was answered.
    touched: bool,
    followers: Vec<PushId>,
}

impl Live {
    fn new(device: DeviceNo, keys: Box<[Print]>, at: Timestamp) -> Self {
        Self {
            device,
            phase: Phase::Waiting,
            keys,
            at,
            expires: None,
            reply_to: None,
            answer_by: Mono::default(),
            failures: 0,
            resent: 0,
            traces: false,
            touched: false,
            followers: Vec::new(),
        }
    }

    /// Whether its number and its row say all that there is to say.
    fn is_plain(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Parked)
            && self.reply_to.is_none()
            && !self.touched
            && self.followers.is_empty()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Sending(Attempted),
    Parked,
    Uncertain(String),
    Operator(String),
    /// Found as a Task that is not claimed yet.
    Claim,
    /// Joined this push and is settled with it.
    Follows(PushId),
}

impl Queue {
    pub fn new(limit: usize) -> Self {
        Self {
            devices: BTreeMap::new(),
            live: HashMap::default(),
            memory: Memory::default(),
            last_push: PushId(0),
            last_seq: Seq(0),
            last_answer: Seq(0),
            taken: Seq(0),
            taken_on_disk: Seq(0),
            session: Session::Down,
            agent: AgentSwitch::On,
            age: doubt::Age::default(),
            receipts: Receipts::Off,
            answer_due: BTreeSet::new(),
            expiry: BTreeSet::new(),
            floors: expire::Floors::default(),
            hungry: BTreeSet::new(),
            changes: segment::Changes::default(),
            total: 0,
            limit,
            window: WINDOW,
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
        self.plant_dial_refused(no, &why, turn);
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        device.line = Line::Away(why);
        if mutant::is(Mutant::DropWhenAway) {
            device.waiting = ids::Waiting::default();
        }
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
            .next_expiry()
            .map(|at| now.mono.plus(at.since(now.utc)));
        let reads = (!self.hungry.is_empty()).then_some(now.mono);
        let retries = self
            .devices
            .values()
            .filter_map(|device| device.retry.as_ref().map(|retry| retry.at))
            .filter(|at| *at > now.mono)
            .min();
        [answers, expiry, retries, reads]
            .into_iter()
            .flatten()
            .min()
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
        let Head::Push(head) = self.head(no, turn) else {
            return None;
        };
        let low = self.window / 4;
        let device = self.devices.get_mut(&no)?;
        if !device.due(head, turn.now.mono) {
            return None;
        }
        let kind = match device.config.policy.completing {
            Completing::AtOnce => Attempted::Completing,
            Completing::Marked => Attempted::Attempt,
        };
        device.retry = None;
        device.waiting.remove(head);
        device.sending = Some(head);
        device.line = Line::Busy;
        if !device.has_ahead(low) {
            self.hungry.insert(no);
        }
        self.touch(head)?.phase = Phase::Sending(kind);
        turn.effects.push(Effect::Attempt {
            push: head,
            device: no,
            kind,
        });
        Some((head, kind))
    }

    /// The lowest waiting push that is not behind a held one. Parks and expires what it meets on the way.
    fn head(&mut self, no: DeviceNo, turn: &mut Turn) -> Head {
        if self.agent == AgentSwitch::Off {
            return Head::Nobody;
        }
        loop {
            let Some(device) = self.devices.get_mut(&no) else {
                return Head::Nobody;
            };
            if device.condition().is_some() {
                return Head::Nobody;
            }
            let Some(first) = device.first() else {
                return Head::Nobody;
            };
            if self.age.holds(first).is_some() {
                return Head::Nobody;
            }
            let Some(live) = self.live.get_mut(&first) else {
                self.hungry.insert(no);
                return Head::Unread;
            };
            if self.age.too_old(live.expires, turn.now) {
                self.expire(first, turn);
            } else if device.blocker(first, &live.keys).is_some() {
                device.waiting.remove(first);
                device.block(first, &live.keys);
                live.phase = Phase::Parked;
            } else {
                return Head::Push(first);
            }
        }
    }

    /// Tells the line whether there is work for it, if that changed.
    fn tell_wanted(&mut self, no: DeviceNo, turn: &mut Turn) {
        let head = self.head(no, turn);
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        let due = match head {
            Head::Nobody => false,
            Head::Push(head) => device.due(head, turn.now.mono),
            // Told when it is read, which is soon.
            Head::Unread if device.sending.is_none() => return,
            Head::Unread => true,
        };
        let wanted = due || device.sending.is_some();
        if device.wanted != Some(wanted) {
            device.wanted = Some(wanted);
            turn.effects.push(Effect::Wanted { device: no, wanted });
        }
    }

    fn event(&mut self, push: PushId, device: DeviceNo, kind: Kind, now: Now) -> EventRow {
        self.last_seq = Seq(self.last_seq.0 + 1);
        self.changes.events += 1;
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
        let traces = self.live.get(&id).is_some_and(|live| live.traces);
        traces && !mutant::is(Mutant::ForgetTraces)
    }

    fn number(&mut self) -> PushId {
        self.last_push = PushId(self.last_push.0 + 1);
        self.last_push
    }

    /// Takes a push among the living. Its place in the device's queue is the caller's business.
    fn bear(&mut self, seen: &Remembered, older: &[Older], live: Live) {
        let (id, device) = (seen.id, live.device);
        self.enlist(id, live);
        self.total += 1;
        self.changes.mark(id);
        if let Some(device) = self.devices.get_mut(&device) {
            device.live += 1;
        }
        let (live, devices) = (&self.live, &self.devices);
        let is_live =
            |id| live.contains_key(&id) || devices.values().any(|device| device.cold.contains(id));
        self.memory.learn(seen, older, is_live);
    }

    /// Keeps all that is known of a push, with its timers.
    fn enlist(&mut self, id: PushId, live: Live) {
        if live.reply_to.is_some() {
            self.answer_due.insert((live.answer_by, id));
        }
        if let Some(expires) = live.expires {
            self.expiry.insert((expires, id));
        }
        self.live.insert(id, live);
    }

    /// Ends that: the push is final, or its number is enough.
    fn delist(&mut self, id: PushId) -> Option<Live> {
        let live = self.live.remove(&id)?;
        self.answer_due.remove(&(live.answer_by, id));
        if let Some(expires) = live.expires {
            self.expiry.remove(&(expires, id));
        }
        Some(live)
    }

    /// More happens to this push than waiting.
    fn touch(&mut self, id: PushId) -> Option<&mut Live> {
        self.changes.mark(id);
        let live = self.live.get_mut(&id)?;
        live.touched = true;
        Some(live)
    }

    fn on_uncertain(&self, no: DeviceNo) -> OnUncertain {
        self.devices
            .get(&no)
            .map_or(OnUncertain::Hold, |d| d.config.policy.on_uncertain)
    }
}

/// What stands first in a device's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Head {
    Nobody,
    Push(PushId),
    /// One of which only the number is known; its row must be read first.
    Unread,
}

/// Spreads numbers that follow each other over a table.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// So much is done in one go, so that a flood of timers cannot stop deliveries.
const TICK_LIMIT: usize = 256;
/// So many of a device's next pushes are kept whole: enough for several commits, little beside what a push costs.
const WINDOW: usize = 64;
