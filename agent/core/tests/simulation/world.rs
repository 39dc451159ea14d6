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
    BodyKept, Command, CommandError, Connection, DeviceConfig, Done, Effect, Ended, EventFacts,
    EventRow, Known, Loader, PushFacts, Queue, ReplyTo, Row, Session, Told, Turn, Verb,
};

/// What a device has seen of one push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) push: PushId,
    pub(crate) keys: Vec<u64>,
}

pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) now: Now,
    pub(crate) pushes: Vec<PushFacts>,
    pub(crate) events: Vec<EventRow>,
    /// Attempts the lines hold, by device.
    pub(crate) lines: BTreeMap<DeviceNo, PushId>,
    pub(crate) got: BTreeMap<DeviceNo, Vec<Seen>>,
    /// Every answer that was ever let out, by callback.
    pub(crate) told: BTreeMap<String, BTreeSet<(u16, String)>>,
    pub(crate) refused: usize,
    /// Whether some orders name several keys.
    pub(crate) several_keys: bool,
    devices: Vec<(DeviceNo, DeviceConfig)>,
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
            pushes: Vec::new(),
            events: Vec::new(),
            lines: BTreeMap::new(),
            got: BTreeMap::new(),
            told: BTreeMap::new(),
            refused: 0,
            several_keys: false,
            devices,
            callbacks: 0,
        };
        world.restart();
        world
    }

    /// The process ends and begins again on the same disk.
    pub(crate) fn restart(&mut self) {
        self.lines.clear();
        let mut turn = Turn::at(self.now);
        self.queue = self.loader().start(&mut turn);
        self.commit(turn);
        self.queue.session(Session::Live);
    }

    /// A commit failed: the live state is dropped and rebuilt while the lines go on.
    pub(crate) fn rebuild(&mut self) {
        let old = std::mem::replace(&mut self.queue, Queue::new(0));
        self.queue = self.loader().resume(&old, self.now);
    }

    fn loader(&self) -> Loader {
        let mut loader = Loader::new(10_000, self.devices.clone());
        for push in &self.pushes {
            loader.push(push.clone());
        }
        for event in &self.events {
            loader.event(EventFacts {
                seq: event.seq,
                push: event.push,
                at: event.at,
                kind: event.kind,
                state: event.state,
                resend: event.resend,
                reason: event.reason.clone(),
                who: event.who.clone(),
                status: event.status,
                next: event.next,
                taken: event.taken,
            });
        }
        loader
    }

    pub(crate) fn act(&mut self, act: impl FnOnce(&mut Queue, &mut Turn)) {
        let mut turn = Turn::at(self.now);
        act(&mut self.queue, &mut turn);
        self.commit(turn);
    }

    /// Decides and then loses the commit.
    pub(crate) fn act_in_vain(&mut self, act: impl FnOnce(&mut Queue, &mut Turn)) {
        let mut turn = Turn::at(self.now);
        act(&mut self.queue, &mut turn);
        self.rebuild();
    }

    fn commit(&mut self, turn: Turn) {
        for row in turn.rows {
            self.write(row);
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
        let by_event = self.events.iter().any(|event| {
            (event.push == push && matches!(event.kind as i64, 1 | 2))
                || event.next.is_some_and(|(next, _)| next == push)
        });
        assert!(
            by_row || by_event,
            "push {push} was handed out without a record"
        );
    }

    fn write(&mut self, row: Row) {
        match row {
            Row::Push(row) => self.pushes.push(PushFacts {
                id: row.id,
                device: row.push.device,
                at: row.at,
                tried: row.tried,
                callback: row.push.callback.as_ref().map(|callback| callback.print),
                content: row.push.content,
                keys: row.push.key_prints.clone(),
                expires: row.expires,
                joins: row.joins,
                reply_to: row.push.callback.as_ref().map(|callback| ReplyTo {
                    callback: callback.text.clone(),
                    remote: row.push.remote.clone(),
                    content_type: row.push.content_type.clone(),
                }),
            }),
            Row::Copy {
                id,
                from,
                at,
                expires,
            } => {
                let facts = PushFacts {
                    id,
                    at,
                    expires,
                    tried: None,
                    callback: None,
                    joins: None,
                    reply_to: None,
                    ..self.facts(from).clone()
                };
                self.pushes.push(facts);
            }
            Row::Event(event) => {
                assert!(self.events.last().is_none_or(|last| last.seq < event.seq));
                self.events.push(event);
            }
            Row::Audit(_) => {}
        }
    }

    pub(crate) fn facts(&self, push: PushId) -> &PushFacts {
        self.pushes
            .iter()
            .find(|facts| facts.id == push)
            .expect("the push has a row")
    }

    fn words(&self, push: PushId, told: &Told) -> String {
        match told {
            Told::Nothing => String::new(),
            Told::Device(Phi(text)) => text.to_string(),
            Told::Sentence(text) => text.clone(),
            Told::SameAs(leader) => {
                assert_ne!(*leader, push);
                let settled = self
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
        PushId(self.pushes.last().map_or(0, |facts| facts.id.0))
    }

    pub(crate) fn push_as(&mut self, device: DeviceNo, key: u64, content: u64, callback: u64) {
        let mut push = new_push(device, key, content, callback);
        if self.several_keys {
            let more = (1..=content % 3).map(|n| Print((key + n) % 4));
            push.key_prints.extend(more);
        }
        let suspects = self.queue.suspects(&push, self.now);
        let known = match (suspects.callback, suspects.content) {
            (Some(earlier), _) => Known::Callback(earlier),
            (None, Some(earlier)) => Known::Content(earlier),
            (None, None) => Known::No,
        };
        self.act(|queue, turn| queue.accept(push.into(), known, turn));
    }

    pub(crate) fn ready(&mut self, device: DeviceNo) {
        self.act(|queue, turn| queue.line_ready(device, turn));
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

    pub(crate) fn settle(&mut self, device: DeviceNo, outcome: Outcome, connection: Connection) {
        let Some(push) = self.lines.remove(&device) else {
            return;
        };
        self.act(|queue, turn| queue.settle(push, outcome, connection, turn));
    }

    /// The device takes what is being sent and says yes.
    pub(crate) fn deliver(&mut self, device: DeviceNo) {
        self.arrive(device);
        self.settle(device, yes(), Connection::Usable);
    }

    pub(crate) fn wait(&mut self, wait: Duration) {
        self.now.mono = self.now.mono.plus(wait);
        self.now.utc = self.now.utc.plus(wait);
        self.act(Queue::tick);
    }

    pub(crate) fn command(&mut self, push: PushId, verb: Verb) -> Result<Done, CommandError> {
        let command = Command {
            push,
            verb,
            who: "ana".into(),
            reason: Some("test".into()),
        };
        let mut turn = Turn::at(self.now);
        let done = if self.queue.is_live(push) {
            self.queue.command(&command, &mut turn)
        } else {
            let facts = self.facts(push).clone();
            let ended = Ended {
                device: facts.device,
                keys: facts.keys,
                content: facts.content,
                state: self.state(push),
                joins: facts.joins,
                body: BodyKept::Yes,
            };
            self.queue.command_ended(&command, ended, &mut turn)
        };
        self.commit(turn);
        done
    }

    /// The state as the rows tell it.
    pub(crate) fn state(&self, push: PushId) -> State {
        let mut state = match self.facts(push).tried {
            Some(_) => State::Sending,
            None => State::Queued,
        };
        for event in &self.events {
            if event.push == push {
                state = match event.kind as i64 {
                    1 | 2 => State::Sending,
                    _ => event.state.unwrap_or(state),
                };
            }
            if event.next.is_some_and(|(next, _)| next == push) {
                state = State::Sending;
            }
        }
        state
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
        self.events.last().map_or(Seq(0), |event| event.seq)
    }
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
