//! Every rule fires, and none fires on an honest run.

mod answers;
mod attempts;
mod ends;
mod line;
mod order;
mod receipts;

use super::snapshot::{ANSWERED, COMPLETING, HELD, RELEASED, RETRY, SETTLED};
use super::*;

const HOLD: Policy = Policy {
    on_uncertain: OnUncertain::Hold,
    hold_scope: HoldScope::Order,
    when_unreachable: WhenUnreachable::Queue,
    expires: None,
};
const DEVICES: [(i64, &str, Policy); 4] = [
    (1, "chem", HOLD),
    (
        2,
        "coag",
        Policy {
            on_uncertain: OnUncertain::Resend,
            expires: Some(WAITS),
            ..HOLD
        },
    ),
    (
        3,
        "gas",
        Policy {
            hold_scope: HoldScope::Device,
            ..HOLD
        },
    ),
    (
        4,
        "poct",
        Policy {
            when_unreachable: WhenUnreachable::Fail,
            ..HOLD
        },
    ),
];

/// What `coag` is sent may wait so long.
const WAITS: i64 = 10_000;

/// A run on four devices: `chem` holds what is uncertain, `coag` gets it again, `gas` waits with everything, `poct`
/// fails what it cannot have at once. Each step takes 10 ms.
struct Run {
    story: Story,
    answers: Vec<CloudAnswer>,
    now: i64,
}

impl Run {
    fn new() -> Self {
        let mut story = Story::default();
        for (number, name, policy) in DEVICES {
            story.policies.insert(name.into(), policy);
            let patience = 500;
            let line = Line {
                patience,
                ..Line::default()
            };
            story.lines.insert(name.into(), line);
            story.end.devices.insert(number, name.into());
        }
        Self {
            story,
            answers: Vec::new(),
            now: 1_000,
        }
    }

    fn tick(&mut self) -> i64 {
        self.now += 10;
        self.now
    }

    /// A push that the cloud kept and answered once, and the agent accepted.
    fn push(&mut self, id: i64, device: &str, key: &str, bytes: &str) -> &mut Self {
        self.kept(id, device, bytes);
        let device = DEVICES.iter().find(|(_, name, _)| *name == device);
        let row = PushRow {
            id,
            device: device.map_or(0, |(number, ..)| *number),
            at: self.tick(),
            callback: Some(format!("cb-{id}")),
            order_keys: vec![key.into()],
            ..PushRow::default()
        };
        self.story.seen.insert(id, row.callback.clone());
        self.story.end.pushes.insert(id, row);
        self
    }

    fn kept(&mut self, id: i64, device: &str, bytes: &str) -> &mut Self {
        self.story.kept.push(Kept {
            callback: format!("cb-{id}"),
            device: device.into(),
            sha256: bytes.into(),
            control_id: format!("C-{bytes}"),
            at: self.now,
            sent: 1,
            answers: 1,
            conflicting: 0,
        });
        self
    }

    fn row(&mut self, id: i64) -> &mut PushRow {
        self.story.end.pushes.get_mut(&id).unwrap()
    }

    fn joined(&mut self, id: i64, to: i64) -> &mut Self {
        self.row(id).joins = Some(to);
        self
    }

    fn add(&mut self, event: EventRow) -> &mut Self {
        let seq = self.story.end.events.last().map_or(1, |last| last.seq + 1);
        let at = self.tick();
        self.story.end.events.push(EventRow { seq, at, ..event });
        self
    }

    fn event(&mut self, push: i64, kind: i64, state: i64) -> &mut Self {
        let state = Some(state);
        self.add(EventRow {
            push,
            kind,
            state,
            ..EventRow::default()
        })
    }

    /// The last event is what somebody had asked for.
    fn by_person(&mut self) -> &mut Self {
        let event = self.story.end.events.last_mut().unwrap();
        event.who = Some("uid 0".into());
        let verb = match (event.kind, event.state) {
            (HELD, _) => "hold",
            (RELEASED, _) => "release",
            (_, Some(4)) => "settle delivered",
            (_, Some(6)) => "cancel",
            _ => "settle not-delivered",
        };
        let (push, at) = (event.push, event.at - 5);
        let verb = verb.into();
        self.story.wishes.push(Wish { push, verb, at });
        self
    }

    /// Somebody was about to ask for this before all that is in the run.
    fn asked(&mut self, verb: &str, push: i64) -> &mut Self {
        let (verb, at) = (verb.into(), 0);
        self.story.wishes.push(Wish { push, verb, at });
        self
    }

    fn attempt(&mut self, push: i64) -> &mut Self {
        self.event(push, COMPLETING, 2)
    }

    /// An attempt whose message reached the device.
    fn sent(&mut self, push: i64) -> &mut Self {
        let row = self.row(push);
        let (number, callback) = (row.device, row.callback.clone());
        let kept = self.story.kept.iter();
        let kept = kept
            .clone()
            .find(|kept| Some(&kept.callback) == callback.as_ref());
        let sum = kept.map(|kept| kept.sha256.clone()).unwrap_or_default();
        let device = self.story.end.devices[&number].clone();
        self.attempt(push).received(&device, &sum)
    }

    fn received(&mut self, device: &str, bytes: &str) -> &mut Self {
        let no = self.story.received.len() as u64 + 1;
        let at = self.tick();
        self.story.received.push(Receipt {
            no,
            at,
            device: device.into(),
            sha256: bytes.into(),
            opened: 0,
            answers: vec![format!("MSH|\rMSA|AA|C-{bytes}\r")],
        });
        self
    }

    /// The device refuses what it got last.
    fn refused(&mut self) -> &mut Self {
        for words in &mut self.story.received.last_mut().unwrap().answers {
            *words = words.replace("AA", "AE");
        }
        self
    }

    fn delivered(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, 4)
    }

    fn rejected(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, 5)
    }

    fn expired(&mut self, push: i64) -> &mut Self {
        self.now += WAITS;
        self.row(push).expires = Some(self.now);
        self.event(push, SETTLED, 7)
    }

    fn dead(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, 8)
    }

    fn held(&mut self, push: i64) -> &mut Self {
        self.event(push, HELD, 3)
    }

    fn not_delivered(&mut self, push: i64) -> &mut Self {
        self.event(push, RETRY, 1)
    }

    fn resent(&mut self, push: i64, nth: i64) -> &mut Self {
        self.event(push, RETRY, 1);
        self.story.end.events.last_mut().unwrap().level = Some(nth);
        self
    }

    fn released(&mut self, push: i64) -> &mut Self {
        self.event(push, RELEASED, 1).by_person()
    }

    /// Killed as it is now.
    fn killed(&mut self) -> &mut Self {
        self.tick();
        self.story.add_kill(self.story.end.clone());
        self
    }

    /// The line to a device is cut.
    fn cut(&mut self, device: &str) -> &mut Self {
        let from = self.tick();
        let line = self.story.lines.get_mut(device).unwrap();
        line.troubles.push(Trouble {
            what: Harm::Dropped,
            connection: None,
            from,
            until: from,
        });
        self
    }

    fn answered(&mut self, push: i64, status: i64, body: &str) -> &mut Self {
        self.answers.push(CloudAnswer {
            callback: format!("cb-{push}"),
            status,
            body: body.into(),
        });
        self
    }

    fn verdict(&self) -> Verdict {
        at_end(&self.story, &self.answers)
    }

    fn breaks(&self, expected: &[Break]) {
        assert_eq!(self.verdict().breaks, expected);
    }
}

fn duplicate(device: &str, pushes: &[i64], received: usize, allowed: usize) -> Break {
    Break::Duplicate {
        device: device.into(),
        pushes: pushes.into(),
        received,
        allowed,
    }
}

#[test]
fn an_honest_run_breaks_nothing() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "B", "b").sent(2).killed().held(2);
    run.push(3, "chem", "B", "c");
    run.push(4, "chem", "D", "d").sent(4).delivered(4);
    run.push(5, "coag", "E", "e").sent(5).killed().resent(5, 1);
    run.sent(5).delivered(5);
    run.push(6, "coag", "E", "e").joined(6, 5);
    run.push(7, "chem", "F", "f").attempt(7).cut("chem").held(7);
    run.push(8, "chem", "G", "g")
        .attempt(8)
        .not_delivered(8)
        .sent(8);
    run.delivered(8);
    let verdict = run.verdict();
    assert_eq!(verdict.breaks, []);
    let expected = Tally {
        attempts: 8,
        uncertain_by_kill: 2,
        uncertain_by_line: 1,
        troubled: 1,
        held: 2,
        parked: 1,
        joined: 1,
        second_copies: 1,
        delivered: 4,
        ..Tally::default()
    };
    assert_eq!(verdict.tally, expected);
}

#[test]
fn a_push_that_is_gone_is_lost() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a");
    run.story.end.pushes.clear();
    run.breaks(&[Break::Lost { push: 1 }]);
}

#[test]
fn a_number_that_was_given_again_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.story.seen.insert(1, Some("cb-other".into()));
    run.breaks(&[Break::Renumbered { push: 1 }]);
}

#[test]
fn a_push_that_nobody_finished_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a");
    let state = State::Queued;
    run.breaks(&[Break::Unfinished { push: 1, state }]);
    assert_eq!(unfinished(&run.story.end), [(1, State::Queued)]);
}

#[test]
fn a_push_behind_a_held_one_of_another_key_is_unfinished() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.push(2, "chem", "B", "b");
    let state = State::Queued;
    run.breaks(&[Break::Unfinished { push: 2, state }]);
}

#[test]
fn what_was_promised_for_the_end_is_not_asked_for_at_a_kill() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1);
    run.story.kept[0].answers = 0;
    assert_eq!(at_kill(&run.story, &[]), []);
    let state = State::Sending;
    let callback = "cb-1".into();
    run.breaks(&[
        Break::Unfinished { push: 1, state },
        Break::Unanswered { callback },
    ]);
}

#[test]
fn a_kill_shows_what_was_accepted_and_what_was_open() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .push(2, "chem", "B", "b")
        .attempt(1)
        .killed();
    let kill = run.story.kills.last().unwrap();
    assert_eq!((kill.completing.as_slice(), kill.open), (&[(1, 0)][..], 1));
    run.story.end.pushes.remove(&2);
    let rest = run.story.end.clone();
    run.story.add(rest);
    assert_eq!(at_kill(&run.story, &[]), [Break::Lost { push: 2 }]);
}
