//! Every rule fires, and none fires on an honest run.

use super::snapshot::{COMPLETING, HELD, RELEASED, RETRY, SETTLED};
use super::*;

/// The caller was answered while the push goes on.
const ANSWERED: i64 = 8;

const HOLD: Policy = Policy {
    on_uncertain: OnUncertain::Hold,
    hold_scope: HoldScope::Order,
    when_unreachable: WhenUnreachable::Queue,
};
const DEVICES: [(i64, &str, Policy); 4] = [
    (1, "chem", HOLD),
    (
        2,
        "coag",
        Policy {
            on_uncertain: OnUncertain::Resend,
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

    fn by_person(&mut self) -> &mut Self {
        self.story.end.events.last_mut().unwrap().who = Some("uid 0".into());
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
        });
        self
    }

    fn delivered(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, 4)
    }

    fn rejected(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, 5)
    }

    fn expired(&mut self, push: i64) -> &mut Self {
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
        line.troubles.push(Trouble { from, until: from });
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
fn a_push_held_though_nothing_was_uncertain_is_seen() {
    let cause = Break::UncertainWithoutCause { push: 1 };
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").held(1);
    run.breaks(std::slice::from_ref(&cause));
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).held(1);
    run.breaks(&[cause]);
}

#[test]
fn trouble_on_another_line_or_at_another_time_excuses_nothing() {
    let cause = Break::UncertainWithoutCause { push: 1 };
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).cut("coag").held(1);
    run.breaks(std::slice::from_ref(&cause));
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .cut("chem")
        .sent(1)
        .held(1)
        .cut("chem");
    run.breaks(std::slice::from_ref(&cause));
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").sent(1).resent(1, 1).sent(1);
    run.delivered(1).breaks(&[cause]);
}

#[test]
fn an_answer_that_comes_too_late_excuses_and_one_in_time_does_not() {
    for (after, expected) in [
        (600, vec![]),
        (100, vec![Break::UncertainWithoutCause { push: 1 }]),
    ] {
        let mut run = Run::new();
        run.push(1, "chem", "A", "a").sent(1);
        let line = run.story.lines.get_mut("chem").unwrap();
        line.heard.push(Heard {
            about: "C-a".into(),
            from: run.now + after,
            until: run.now + after + 5,
        });
        run.now += 700;
        run.held(1).breaks(&expected);
    }
}

#[test]
fn a_late_answer_to_another_message_is_not_the_one_that_is_waited_for() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1);
    let line = run.story.lines.get_mut("chem").unwrap();
    line.heard.push(Heard {
        about: "C-b".into(),
        from: run.now,
        until: run.now + 1,
    });
    run.now += 700;
    run.held(1).breaks(&[]);
}

#[test]
fn an_agent_that_does_not_wait_long_enough_has_no_excuse() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1);
    run.now += 300;
    run.held(1)
        .breaks(&[Break::UncertainWithoutCause { push: 1 }]);
}

#[test]
fn a_push_that_was_sent_on_a_guess_is_seen_even_if_the_guess_was_right() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").attempt(1).killed();
    run.not_delivered(1).sent(1).delivered(1);
    run.breaks(&[Break::NotHeld { push: 1 }]);
}

#[test]
fn a_push_that_is_sent_again_by_itself_where_the_policy_is_hold_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed();
    run.resent(1, 1).sent(1).delivered(1);
    run.breaks(&[Break::NotHeld { push: 1 }]);
}

#[test]
fn a_fourth_resend_is_one_too_many() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a");
    for nth in 1..=4 {
        run.sent(1).cut("coag").resent(1, nth);
    }
    run.sent(1).delivered(1);
    run.breaks(&[Break::ResentTooOften { push: 1 }]);
}

#[test]
fn a_copy_of_an_attempt_that_is_called_not_delivered_is_a_duplicate() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).not_delivered(1);
    run.sent(1).delivered(1);
    run.breaks(&[duplicate("chem", &[1], 2, 1)]);
}

#[test]
fn two_messages_of_one_attempt_are_a_duplicate() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").sent(1).received("coag", "a");
    run.delivered(1).breaks(&[duplicate("coag", &[1], 2, 1)]);
}

#[test]
fn a_push_that_somebody_has_sent_again_after_its_end_is_a_push_of_its_own() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "-")
        .attempt(2)
        .received("chem", "a");
    run.delivered(2);
    run.story.kept.pop();
    run.row(2).callback = None;
    run.story.seen.clear();
    run.breaks(&[duplicate("chem", &[1], 2, 1)]);
    run.row(2).sha256 = Some("a".into());
    run.breaks(&[]);
}

#[test]
fn a_message_that_comes_after_its_push_was_answered_is_a_duplicate() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.received("chem", "a")
        .breaks(&[duplicate("chem", &[1], 2, 1)]);
}

#[test]
fn an_uncertain_message_may_arrive_late_and_is_then_out_of_nobodys_order() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").attempt(1).cut("chem").held(1);
    run.push(2, "chem", "B", "b").sent(2).delivered(2);
    run.received("chem", "a").breaks(&[]);
}

#[test]
fn an_answer_by_a_device_that_never_had_the_push_is_a_false_yes() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").attempt(1).delivered(1);
    run.breaks(&[Break::FalseYes { push: 1 }]);
}

#[test]
fn a_first_copy_is_no_excuse_for_a_second_attempt_that_never_arrived() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").sent(1).killed().resent(1, 1);
    run.attempt(1).delivered(1);
    run.breaks(&[Break::FalseYes { push: 1 }]);
}

#[test]
fn an_answer_to_another_message_settles_nothing() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.story.end.events[1].answer = Some("MSH|\rMSA|AA|C-b\r".into());
    run.breaks(&[Break::AnswerToAnother { push: 1 }]);
    run.story.end.events[1].answer = Some("MSH|\rMSA|AA|C-a\r".into());
    run.breaks(&[]);
}

#[test]
fn what_may_be_there_is_not_said_to_have_expired() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a")
        .sent(1)
        .cut("coag")
        .resent(1, 1);
    run.expired(1);
    let state = State::Expired;
    run.breaks(&[Break::FalseNo { push: 1, state }]);
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").attempt(1).not_delivered(1);
    run.expired(1).breaks(&[]);
}

#[test]
fn a_push_that_is_too_young_does_not_expire() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").expired(1);
    run.row(1).expires = Some(9_999);
    run.breaks(&[Break::ExpiredEarly { push: 1 }]);
}

#[test]
fn a_push_that_fails_because_its_device_is_away_was_never_there() {
    let mut run = Run::new();
    run.push(1, "poct", "A", "a").dead(1);
    run.breaks(&[]);
    run.push(2, "poct", "B", "b")
        .sent(2)
        .cut("poct")
        .held(2)
        .dead(2);
    let state = State::Dead;
    run.breaks(&[Break::FalseNo { push: 2, state }]);
}

#[test]
fn a_device_that_fails_what_it_cannot_have_may_refuse_without_a_row() {
    let mut run = Run::new();
    run.kept(1, "poct", "a")
        .answered(1, 400, "poct cannot be reached");
    let verdict = run.verdict();
    assert_eq!((verdict.breaks, verdict.tally.refused), (vec![], 1));
    let mut run = Run::new();
    run.kept(1, "chem", "a")
        .answered(1, 400, "chem cannot be reached");
    let callback = "cb-1".into();
    run.breaks(&[Break::AnswerWithoutRecord { callback }]);
}

#[test]
fn the_order_of_a_device_counts() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").push(2, "chem", "B", "b");
    run.sent(2).delivered(2).sent(1).delivered(1);
    run.breaks(&[Break::OutOfOrder {
        device: "chem".into(),
        key: None,
        push: 1,
        after: 2,
    }]);
}

#[test]
fn the_order_of_a_key_counts_even_for_what_was_held() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").push(2, "chem", "A", "b");
    run.held(1).by_person().released(1);
    run.sent(2).delivered(2).sent(1).delivered(1);
    run.breaks(&[Break::OutOfOrder {
        device: "chem".into(),
        key: Some("A".into()),
        push: 1,
        after: 2,
    }]);
}

#[test]
fn what_was_held_is_out_of_the_order_of_its_device() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .push(2, "chem", "B", "b")
        .push(3, "chem", "A", "c");
    run.held(1).by_person().sent(2).delivered(2).released(1);
    run.sent(1).delivered(1).sent(3).delivered(3);
    run.breaks(&[]);
}

#[test]
fn nothing_overtakes_a_held_push_of_the_same_order() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.push(2, "chem", "A", "b").sent(2).delivered(2);
    run.breaks(&[Break::Overtook { push: 2, held: 1 }]);
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.push(2, "chem", "A", "b").delivered(1).by_person();
    run.sent(2).delivered(2).breaks(&[]);
}

#[test]
fn nor_does_the_first_attempt_that_rides_on_the_row_of_its_push() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.push(2, "chem", "A", "b")
        .received("chem", "b")
        .delivered(2);
    run.row(2).tried = Some(COMPLETING);
    run.breaks(&[Break::Overtook { push: 2, held: 1 }]);
}

#[test]
fn a_device_that_waits_with_everything_is_sent_nothing() {
    let mut run = Run::new();
    run.push(1, "gas", "A", "a").sent(1).killed().held(1);
    run.push(2, "gas", "B", "b").sent(2).delivered(2);
    run.breaks(&[Break::Overtook { push: 2, held: 1 }]);
}

#[test]
fn what_is_held_or_has_ended_is_not_touched() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").held(1).by_person();
    run.sent(1).delivered(1);
    run.breaks(&[Break::Touched { push: 1 }]);
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .event(1, SETTLED, 6)
        .by_person();
    run.sent(1);
    assert_eq!(at_kill(&run.story, &[]), [Break::Touched { push: 1 }]);
}

#[test]
fn a_command_that_was_said_to_be_done_is_on_disk() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .event(1, SETTLED, 6)
        .by_person();
    let command = Commanded {
        push: 1,
        verb: "cancel",
        sent: run.now - 10,
        told: run.now,
    };
    run.story.commands.push(command);
    let verb = "cancel";
    run.breaks(&[Break::CommandLost { push: 1, verb }]);
    run.story.end.audit.push(AuditRow {
        at: run.now,
        verb: "cancel".into(),
        push: Some(1),
    });
    run.breaks(&[]);
}

#[test]
fn a_message_at_a_device_without_an_attempt_on_disk_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    let without = |pushes| Break::SentWithoutRecord {
        device: "chem".into(),
        pushes,
    };
    run.breaks(&[without(vec![1])]);
    run.story.end = Snapshot {
        devices: run.story.end.devices.clone(),
        ..Snapshot::default()
    };
    run.story.seen.clear();
    run.breaks(&[without(vec![])]);
}

#[test]
fn bytes_that_nobody_pushed_to_this_device_are_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.received("coag", "a");
    let no = 2;
    run.breaks(&[Break::ForeignBytes {
        device: "coag".into(),
        no,
    }]);
}

#[test]
fn a_push_must_not_join_another_one() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "b").joined(2, 1);
    run.breaks(&[Break::WrongJoin { push: 2, joined: 1 }]);
}

#[test]
fn a_push_must_not_join_one_that_has_failed() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).rejected(1);
    run.push(2, "chem", "A", "a").joined(2, 1);
    run.breaks(&[Break::WrongJoin { push: 2, joined: 1 }]);
}

#[test]
fn an_equal_push_has_to_join() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "a").sent(2).delivered(2);
    run.breaks(&[Break::MissedJoin { push: 2, twin: 1 }]);
}

#[test]
fn a_refused_push_and_one_that_is_not_the_newest_absorb_nothing() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).rejected(1);
    run.push(2, "chem", "A", "a").sent(2).delivered(2);
    run.push(3, "chem", "A", "b").sent(3).delivered(3);
    run.push(4, "chem", "A", "a").sent(4).delivered(4);
    run.breaks(&[]);
}

#[test]
fn a_callback_without_an_answer_or_with_two_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "B", "b").sent(2).delivered(2);
    run.story.kept[0].answers = 0;
    run.story.kept[1].conflicting = 1;
    let callback = |id| format!("cb-{id}");
    run.breaks(&[
        Break::AnswersDiffer {
            callback: callback(2),
        },
        Break::Unanswered {
            callback: callback(1),
        },
    ]);
}

#[test]
fn a_callback_with_two_recorded_answers_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1);
    run.add(EventRow {
        push: 1,
        kind: ANSWERED,
        status: Some(202),
        ..EventRow::default()
    });
    run.delivered(1);
    run.breaks(&[]);
    run.story.end.events.last_mut().unwrap().status = Some(200);
    let callback = "cb-1".into();
    run.breaks(&[Break::AnswersDiffer { callback }]);
}

#[test]
fn an_answer_outside_that_the_disk_does_not_have_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .push(2, "chem", "B", "b")
        .sent(1)
        .delivered(1);
    let settled = run.story.end.events.last_mut().unwrap();
    settled.status = Some(200);
    settled.answer = Some("MSA|AA|C-a".into());
    run.answered(1, 200, "MSA|AA|C-a");
    run.answered(2, 200, "MSA|AA|C-b")
        .answered(1, 200, "MSA|AE|C-a");
    let callback = |id| format!("cb-{id}");
    let without = Break::AnswerWithoutRecord {
        callback: callback(2),
    };
    let unlike = Break::AnswerUnlikeRecord {
        callback: callback(1),
    };
    assert_eq!(at_kill(&run.story, &run.answers), [without, unlike]);
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
