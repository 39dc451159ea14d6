//! A disk that is a list of rows, devices that are lists of what they got, and a clock that is a number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_core::delivery::{Left, Outcome};
use agent_core::phi::Phi;
use agent_core::push::{
    Callback, Completing, DeviceNo, HoldScope, Level, Mono, NewPush, Now, OnUncertain, Options,
    Policy, Print, PushId, Seq, State, Timestamp, WhenUnreachable,
};
use agent_core::queue::{
    BodyKept, Command, CommandError, Connection, DeviceConfig, Done, Earlier, Effect, Ended,
    Filter, Known, PushFacts, Queue, Session, Told, Turn, Verb, WaitingPush,
};

use crate::disk::Disk;

/// Whether a commit has a segment in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    Due,
    NotDue,
}

/// What a device has seen of one push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) push: PushId,
    pub(crate) keys: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) now: Now,
    pub(crate) disk: Disk,
    /// Attempts the lines hold, by device.
    pub(crate) lines: BTreeMap<DeviceNo, PushId>,
    pub(crate) got: BTreeMap<DeviceNo, Vec<Seen>>,
    /// Every answer that was ever let out, by callback.
    pub(crate) told: BTreeMap<String, BTreeSet<(u16, String)>>,
    pub(crate) refused: usize,
    /// Whether some orders name several keys.
    pub(crate) several_keys: bool,
    /// The next commit comes to nothing, and so does a segment if one belongs to it.
    pub(crate) commit_fails: Option<Segment>,
    callbacks: u64,
}

pub(crate) fn policy() -> Policy {
    Policy {
        answer_within: Duration::from_secs(8),
        when_unreachable: WhenUnreachable::Queue,
        rejoin_window: Duration::from_mins(10),
        on_uncertain: OnUncertain::Hold,
        hold_scope: HoldScope::Order,
        expires: Some(Duration::from_hours(72)),
        paused: false,
        max_queued: 1000,
        completing: Completing::AtOnce,
    }
}

pub(crate) const CHEM: DeviceNo = DeviceNo(1);
pub(crate) const HEMA: DeviceNo = DeviceNo(2);

impl World {
    pub(crate) fn new(chem: Policy, hema: Policy) -> Self {
        let config = |name: &str, policy| DeviceConfig {
            name: name.into(),
            policy,
            enabled: true,
        };
        let devices = vec![(CHEM, config("chem", chem)), (HEMA, config("hema", hema))];
        let mut world = Self {
            queue: Queue::new(10_000),
            now: Now {
                mono: Mono(1_000),
                utc: Timestamp(1_000_000),
                dice: 7,
            },
            disk: Disk::new(devices),
            lines: BTreeMap::new(),
            got: BTreeMap::new(),
            told: BTreeMap::new(),
            refused: 0,
            several_keys: false,
            commit_fails: None,
            callbacks: 0,
        };
        world.restart();
        world
    }

    /// The process ends and begins again on the same disk.
    pub(crate) fn restart(&mut self) {
        self.lines.clear();
        let mut turn = Turn::at(self.now);
        self.queue = self.disk.start(&mut turn);
        self.commit(turn);
        self.queue.session(Session::Live);
    }

    /// A commit failed: the live state is dropped and rebuilt while the lines go on.
    pub(crate) fn rebuild(&mut self) {
        let old = std::mem::replace(&mut self.queue, Queue::new(0));
        self.queue = self.disk.resume(old, self.now);
    }

    /// Writes down what makes the next start short.
    pub(crate) fn segment(&mut self) {
        let segment = self.queue.segment();
        self.disk.keep(segment);
    }

    pub(crate) fn act(&mut self, act: impl FnOnce(&mut Queue, &mut Turn)) {
        let mut turn = Turn::at(self.now);
        act(&mut self.queue, &mut turn);
        self.commit(turn);
    }

    /// Decides and commits; where the commit fails, all of it is done again, as the store does.
    fn request<T>(&mut self, decide: impl Fn(&mut Self, &mut Turn) -> T) -> T {
        let mut turn = Turn::at(self.now);
        if let Some(segment) = self.commit_fails.take() {
            decide(self, &mut turn);
            if segment == Segment::Due {
                drop(self.queue.segment());
            }
            self.rebuild();
            turn = Turn::at(self.now);
        }
        let decided = decide(self, &mut turn);
        self.commit(turn);
        decided
    }

    /// Decides and then loses the commit, in which there was a segment, too.
    pub(crate) fn act_in_vain(&mut self, act: impl FnOnce(&mut Queue, &mut Turn)) {
        let mut turn = Turn::at(self.now);
        act(&mut self.queue, &mut turn);
        drop(self.queue.segment());
        self.rebuild();
    }

    fn commit(&mut self, turn: Turn) {
        self.write(turn);
        // The rows that the queue wants are read in the same commit.
        loop {
            let wanted = self.queue.wants();
            if wanted.is_empty() {
                break;
            }
            let rows = wanted.into_iter().map(|id| self.disk.cold_row(id));
            let mut turn = Turn::at(self.now);
            self.queue.thaw(rows.collect(), &mut turn);
            self.write(turn);
        }
    }

    fn write(&mut self, turn: Turn) {
        for row in turn.rows {
            self.disk.write(row);
        }
        for effect in turn.effects {
            match effect {
                Effect::Attempt { push, device, .. } => {
                    let before = self.lines.insert(device, push);
                    assert_eq!(before, None, "two attempts on one line");
                    self.check_recorded(push);
                }
                Effect::Answer(answer) => {
                    let words = self.words(answer.push, &answer.told);
                    let told = self.told.entry(answer.to.callback).or_default();
                    told.insert((answer.status, words));
                }
                Effect::Refused { .. } => self.refused += 1,
                Effect::Again(_) | Effect::Wanted { .. } => {}
            }
        }
    }

    /// Nothing is handed to a line that the disk does not know as an attempt.
    fn check_recorded(&self, push: PushId) {
        let by_row = self.facts(push).tried.is_some();
        let by_event = self.disk.events.iter().any(|event| {
            (event.push == push && matches!(event.kind as i64, 1 | 2))
                || event.next.is_some_and(|(next, _)| next == push)
        });
        assert!(
            by_row || by_event,
            "push {push} was handed out without a record"
        );
    }

    pub(crate) fn facts(&self, push: PushId) -> &PushFacts {
        self.disk.facts(push).expect("the push has a row")
    }

    fn words(&self, push: PushId, told: &Told) -> String {
        match told {
            Told::Nothing => String::new(),
            Told::Device(Phi(text)) => text.to_string(),
            Told::Sentence(text) => text.clone(),
            Told::SameAs(leader) => {
                assert_ne!(*leader, push);
                let settled = self
                    .disk
                    .events
                    .iter()
                    .find(|e| e.push == *leader && e.kind as i64 == 3);
                self.words(
                    *leader,
                    &settled.expect("the leader is settled").answer.clone(),
                )
            }
        }
    }

    /// One order with the given key and content, pushed with a callback of its own.
    pub(crate) fn push(&mut self, device: DeviceNo, key: u64, content: u64) -> PushId {
        self.callbacks += 1;
        let callback = self.callbacks;
        self.push_as(device, key, content, callback);
        self.newest()
    }

    /// The same, and nobody waits for an answer.
    pub(crate) fn push_quietly(&mut self, device: DeviceNo, key: u64, content: u64) -> PushId {
        let mut push = new_push(device, key, content, 0);
        push.callback = None;
        self.take_in(push);
        self.newest()
    }

    /// One whose caller says how long to wait for its answer.
    pub(crate) fn push_waiting(&mut self, device: DeviceNo, within: Duration, callback: u64) {
        let mut push = new_push(device, callback, callback, callback);
        let seconds = within.as_secs();
        push.content_type = format!("{}; answer-within={seconds}", push.content_type);
        push.options.answer_within = Some(within);
        self.take_in(push);
    }

    fn newest(&self) -> PushId {
        PushId(self.disk.pushes.last().map_or(0, |facts| facts.id.0))
    }

    pub(crate) fn push_as(&mut self, device: DeviceNo, key: u64, content: u64, callback: u64) {
        self.take_in(new_push(device, key, content, callback));
    }

    fn take_in(&mut self, mut push: NewPush) {
        let content = push.content.map_or(0, |content| content.0);
        let key = push.key_prints[0].0;
        if self.several_keys {
            let more = (1..=content % 3).map(|n| Print((key + n) % 4));
            push.key_prints.extend(more);
        }
        let push = Arc::new(push);
        self.request(|world, turn| {
            let known = known(&world.queue, &world.disk, &push, world.now);
            if let Known::Content(earlier) = known {
                world.warm(earlier);
            }
            world.queue.accept(Arc::clone(&push), known, turn);
        });
    }

    fn warm(&mut self, push: PushId) {
        if self.queue.is_cold(push) {
            let row = self.disk.cold_row(push);
            self.queue.warm(row);
        }
    }

    pub(crate) fn ready(&mut self, device: DeviceNo) {
        self.request(|world, turn| world.queue.line_ready(device, turn));
    }

    pub(crate) fn away(&mut self, device: DeviceNo) {
        self.request(|world, turn| world.queue.line_away(device, "refused".into(), turn));
    }

    /// The bytes of the open attempt reach the device.
    pub(crate) fn arrive(&mut self, device: DeviceNo) -> Option<PushId> {
        let push = *self.lines.get(&device)?;
        let keys = self.facts(push).keys.iter().map(|key| key.0).collect();
        self.got
            .entry(device)
            .or_default()
            .push(Seen { push, keys });
        Some(push)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "whoever calls it has made them for it"
    )]
    pub(crate) fn settle(&mut self, device: DeviceNo, outcome: Outcome, connection: Connection) {
        let Some(push) = self.lines.remove(&device) else {
            return;
        };
        self.request(|world, turn| {
            let (outcome, connection) = (outcome.clone(), connection.clone());
            world.queue.settle(push, outcome, connection, turn);
        });
    }

    /// The device takes what is being sent and says yes.
    pub(crate) fn deliver(&mut self, device: DeviceNo) {
        self.arrive(device);
        self.settle(device, yes(), Connection::Usable);
    }

    pub(crate) fn wait(&mut self, wait: Duration) {
        self.now.mono = self.now.mono.plus(wait);
        self.now.utc = self.now.utc.plus(wait);
        self.request(|world, turn| world.queue.tick(turn));
        // What was due is done: nobody is woken for it again.
        let next = self.queue.next_tick(self.now);
        assert!(next.is_none_or(|at| at > self.now.mono), "it never rests");
    }

    pub(crate) fn command(&mut self, push: PushId, verb: Verb) -> Result<Done, CommandError> {
        let command = Command {
            push,
            verb,
            who: "ana".into(),
            reason: Some("test".into()),
        };
        self.request(|world, turn| {
            world.warm(push);
            if world.queue.is_live(push) {
                return world.queue.command(&command, turn);
            }
            let facts = world.facts(push).clone();
            let ended = Ended {
                device: facts.device,
                keys: facts.keys,
                state: world.state(push),
                joins: facts.joins,
                body: BodyKept::Yes,
            };
            world.queue.command_ended(&command, ended, turn)
        })
    }

    /// The state as the rows tell it.
    pub(crate) fn state(&self, push: PushId) -> State {
        self.disk.state(push)
    }

    pub(crate) fn waiting(&self, push: PushId) -> Option<WaitingPush> {
        waiting(&self.queue, &self.disk, push, self.now)
    }

    pub(crate) fn answers(&self, callback: u64) -> Vec<(u16, String)> {
        self.told
            .get(&callback.to_string())
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(crate) fn last_seq(&self) -> Seq {
        self.disk.events.last().map_or(Seq(0), |event| event.seq)
    }
}

/// Compares a push with its suspects, as the store does.
pub(crate) fn known(queue: &Queue, disk: &Disk, push: &NewPush, now: Now) -> Known {
    let suspects = queue.suspects(push);
    let print = push.callback.as_ref().map(|callback| callback.print);
    let same = |id: &PushId| disk.facts(*id).is_some_and(|facts| facts.callback == print);
    if let Some(id) = suspects.callback.into_iter().find(same) {
        return Known::Callback(id);
    }
    let mut newest = Vec::new();
    for (key, found) in push.key_prints.iter().zip(suspects.keys) {
        let has = |id: &PushId| {
            disk.facts(*id).is_some_and(|facts| {
                facts.joins.is_none() && facts.device == push.device && facts.keys.contains(key)
            })
        };
        newest.push(found.into_iter().find(has).map(|id| {
            Earlier {
                id,
                keys: disk
                    .facts(id)
                    .map_or_else(Vec::new, |facts| facts.keys.clone()),
                content: disk.facts(id).and_then(|facts| facts.content),
                last: disk.last_state(id),
            }
        }));
    }
    if let Some(id) = queue.may_join(push, &newest, now) {
        return Known::Content(id);
    }
    Queue::after(push, newest)
}

pub(crate) fn waiting(queue: &Queue, disk: &Disk, push: PushId, now: Now) -> Option<WaitingPush> {
    if queue.is_cold(push) {
        queue.waiting_cold(&disk.cold_row(push), now)
    } else {
        queue.waiting_push(push, now)
    }
}

/// Everything that waits in a queue, with its state, and how the queue counts it.
pub(crate) fn seen_from_outside(queue: &Queue, disk: &Disk, now: Now) -> Vec<(PushId, State)> {
    let all = queue.list(Filter::default(), usize::MAX);
    let report = queue.report();
    assert_eq!(report.live, all.len());
    for device in &report.devices {
        let filter = Filter {
            device: Some(device.no),
            state: None,
        };
        let sending = usize::from(device.sending.is_some());
        let counted = device.waiting + device.held + sending;
        assert_eq!(counted, queue.list(filter, usize::MAX).len());
    }
    all.into_iter()
        .map(|id| {
            let waiting = waiting(queue, disk, id, now).expect("what is listed can be explained");
            (id, waiting.explained.state)
        })
        .collect()
}

pub(crate) fn new_push(device: DeviceNo, key: u64, content: u64, callback: u64) -> NewPush {
    NewPush {
        device,
        callback: Some(Callback {
            text: callback.to_string(),
            print: Print(callback),
        }),
        content_type: "x-application/hl7-v2+er7".into(),
        remote: "mllp://device".into(),
        return_ack: None,
        order_keys: vec![key.to_string()],
        key_prints: vec![Print(key)],
        content: Some(Print(content)),
        body_sha256: [0; 32],
        body: Phi("MSH".into()),
        options: Options::default(),
    }
}

pub(crate) fn yes() -> Outcome {
    Outcome::Acknowledged {
        level: Level::Accepted,
        reply: words("MSA|AA"),
    }
}

pub(crate) fn no() -> Outcome {
    Outcome::Refused {
        reply: words("MSA|AE"),
    }
}

pub(crate) fn unknown() -> Outcome {
    Outcome::Unknown {
        why: "no answer within 30 s".into(),
    }
}

pub(crate) fn untouched() -> Outcome {
    Outcome::NotDelivered {
        why: "the connection was gone".into(),
        left: Left::Nothing,
    }
}

pub(crate) fn gone() -> Connection {
    Connection::Gone("closed".into())
}

fn words(text: &str) -> Phi<Arc<str>> {
    Phi(text.into())
}
