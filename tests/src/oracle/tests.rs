//! Every rule fires, and none fires on an honest run.

use super::snapshot::{HELD, SETTLED};
use super::*;

const DELIVERED: i64 = 4;
const REJECTED: i64 = 5;

/// A run on two devices: `chem` holds what is uncertain, `coag` gets it again.
#[derive(Default)]
struct Run(Story);

impl Run {
    fn new() -> Self {
        let mut story = Story::default();
        story.policies.insert("chem".into(), OnUncertain::Hold);
        story.policies.insert("coag".into(), OnUncertain::Resend);
        story.end.devices = [(1, "chem".into()), (2, "coag".into())].into();
        Self(story)
    }

    /// A push that the cloud kept and answered once, and the agent accepted and tried.
    fn push(&mut self, id: i64, device: &str, key: &str, bytes: &str) -> &mut Self {
        let number = if device == "chem" { 1 } else { 2 };
        let callback = format!("cb-{id}");
        self.0.kept.push(Kept {
            callback: callback.clone(),
            device: device.into(),
            sha256: bytes.into(),
            answers: 1,
            conflicting: 0,
        });
        let row = PushRow {
            id,
            device: number,
            callback: Some(callback.clone()),
            order_keys: vec![key.into()],
            ..PushRow::default()
        };
        self.0.end.pushes.insert(id, row);
        self.0.seen.insert(id, Some(callback));
        self
    }

    fn joined(&mut self, id: i64, to: i64) -> &mut Self {
        if let Some(push) = self.0.end.pushes.get_mut(&id) {
            push.joins = Some(to);
        }
        self
    }

    fn event(&mut self, push: i64, kind: i64, state: i64) -> &mut Self {
        let seq = self.0.end.events.last().map_or(1, |last| last.seq + 1);
        self.0.end.events.push(EventRow {
            seq,
            push,
            kind,
            state: Some(state),
            ..EventRow::default()
        });
        self
    }

    fn delivered(&mut self, push: i64) -> &mut Self {
        self.event(push, SETTLED, DELIVERED)
    }

    fn held(&mut self, push: i64) -> &mut Self {
        self.event(push, HELD, 3)
    }

    /// It reached a device, by an attempt that its row records.
    fn received(&mut self, device: &str, bytes: &str) -> &mut Self {
        for kept in self
            .0
            .kept
            .iter()
            .filter(|kept| kept.device == device && kept.sha256 == bytes)
        {
            let row = self
                .0
                .end
                .pushes
                .values_mut()
                .find(|row| row.callback.as_deref() == Some(&kept.callback));
            if let Some(row) = row {
                row.tried = Some(2);
            }
        }
        let no = self.0.received.len() as u64 + 1;
        self.0.received.push(Receipt {
            no,
            device: device.into(),
            sha256: bytes.into(),
        });
        self
    }

    fn killed_completing(&mut self, push: i64) -> &mut Self {
        self.0.kills.push(Kill {
            open: vec![OpenAttempt {
                push,
                completing: true,
            }],
        });
        self
    }

    fn breaks(&self, expected: &[Break]) {
        assert_eq!(at_end(&self.0, &[]).breaks, expected);
    }
}

#[test]
fn an_honest_run_breaks_nothing() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    run.push(2, "chem", "B", "b")
        .received("chem", "b")
        .killed_completing(2)
        .held(2);
    run.push(3, "chem", "B", "c")
        .push(4, "chem", "D", "d")
        .received("chem", "d")
        .delivered(4);
    run.push(5, "coag", "E", "e")
        .received("coag", "e")
        .killed_completing(5);
    run.received("coag", "e").delivered(5);
    run.push(6, "coag", "E", "e").joined(6, 5);
    let verdict = at_end(&run.0, &[]);
    assert_eq!(verdict.breaks, []);
    let counts = (
        verdict.held,
        verdict.parked,
        verdict.joined,
        verdict.allowed_duplicates,
    );
    assert_eq!(counts, (1, 1, 1, 1));
}

#[test]
fn a_push_that_is_gone_is_lost() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a");
    run.0.end.pushes.clear();
    run.breaks(&[Break::Lost { push: 1 }]);
}

#[test]
fn a_number_that_was_given_again_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    run.0.seen.insert(1, Some("cb-other".into()));
    run.breaks(&[Break::Renumbered { push: 1 }]);
}

#[test]
fn a_push_that_nobody_finished_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a");
    run.breaks(&[Break::Unfinished {
        push: 1,
        state: State::Queued,
    }]);
    assert_eq!(unfinished(&run.0.end), [(1, State::Queued)]);
}

#[test]
fn a_push_behind_a_held_one_of_another_key_is_unfinished() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .killed_completing(1)
        .held(1);
    run.push(2, "chem", "B", "b");
    run.breaks(&[Break::Unfinished {
        push: 2,
        state: State::Queued,
    }]);
}

#[test]
fn a_push_held_though_nothing_was_uncertain_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").held(1);
    run.breaks(&[Break::HeldWithoutCause { push: 1 }]);
}

#[test]
fn a_push_that_was_sent_on_a_guess_is_seen_even_if_the_guess_was_right() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .killed_completing(1)
        .received("chem", "a")
        .delivered(1);
    run.breaks(&[Break::NotHeld { push: 1 }]);
}

#[test]
fn a_second_copy_is_a_duplicate_where_the_policy_is_hold() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .killed_completing(1);
    run.received("chem", "a").delivered(1);
    let duplicate = Break::Duplicate {
        device: "chem".into(),
        pushes: vec![1],
        received: 2,
        allowed: 1,
    };
    run.breaks(&[duplicate, Break::NotHeld { push: 1 }]);
}

#[test]
fn a_second_copy_is_a_duplicate_where_nothing_was_completing_at_a_kill() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a")
        .received("coag", "a")
        .received("coag", "a")
        .delivered(1);
    let duplicate = Break::Duplicate {
        device: "coag".into(),
        pushes: vec![1],
        received: 2,
        allowed: 1,
    };
    run.breaks(&[duplicate]);
}

#[test]
fn an_answer_by_a_device_that_never_had_the_push_is_a_false_yes() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").delivered(1);
    run.breaks(&[Break::FalseYes { push: 1 }]);
}

#[test]
fn the_order_of_a_device_counts() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .push(2, "chem", "B", "b")
        .delivered(1)
        .delivered(2);
    run.received("chem", "b").received("chem", "a");
    run.breaks(&[Break::OutOfOrder {
        device: "chem".into(),
        key: None,
        push: 1,
        after: 2,
    }]);
}

#[test]
fn the_order_of_a_key_counts_even_for_what_was_parked() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a").push(2, "coag", "A", "b");
    run.killed_completing(1).held(1).delivered(1).delivered(2);
    run.received("coag", "a")
        .received("coag", "b")
        .received("coag", "a");
    let key = Some("A".into());
    run.breaks(&[Break::OutOfOrder {
        device: "coag".into(),
        key,
        push: 1,
        after: 2,
    }]);
}

#[test]
fn a_message_at_a_device_without_an_attempt_on_disk_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    if let Some(push) = run.0.end.pushes.get_mut(&1) {
        push.tried = None;
    }
    let without = |pushes| Break::SentWithoutRecord {
        device: "chem".into(),
        pushes,
    };
    run.breaks(&[without(vec![1])]);
    run.0.end = Snapshot {
        devices: run.0.end.devices.clone(),
        ..Snapshot::default()
    };
    run.0.seen.clear();
    run.breaks(&[without(vec![])]);
}

#[test]
fn bytes_that_nobody_pushed_to_this_device_are_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    run.received("coag", "a").received("chem", "altered");
    let foreign = |device: &str, no| Break::ForeignBytes {
        device: device.into(),
        no,
    };
    run.breaks(&[foreign("coag", 2), foreign("chem", 3)]);
}

#[test]
fn a_push_must_not_join_another_one() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    run.push(2, "chem", "A", "b").joined(2, 1);
    run.breaks(&[Break::WrongJoin { push: 2, joined: 1 }]);
}

#[test]
fn an_equal_push_has_to_join() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .push(2, "chem", "A", "a")
        .delivered(1)
        .delivered(2);
    run.received("chem", "a").received("chem", "a");
    run.breaks(&[Break::MissedJoin { push: 2, twin: 1 }]);
}

#[test]
fn a_refused_push_and_one_that_is_not_the_newest_absorb_nothing() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .event(1, SETTLED, REJECTED);
    run.push(2, "chem", "A", "a")
        .received("chem", "a")
        .delivered(2);
    run.push(3, "chem", "A", "b")
        .received("chem", "b")
        .delivered(3);
    run.push(4, "chem", "A", "a")
        .received("chem", "a")
        .delivered(4);
    run.breaks(&[]);
}

#[test]
fn a_callback_without_an_answer_or_with_two_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a")
        .received("chem", "a")
        .delivered(1);
    run.push(2, "chem", "B", "b")
        .received("chem", "b")
        .delivered(2);
    run.0.kept[0].answers = 0;
    run.0.kept[1].conflicting = 1;
    run.breaks(&[
        Break::AnswersDiffer {
            callback: "cb-2".into(),
        },
        Break::Unanswered {
            callback: "cb-1".into(),
        },
    ]);
}

#[test]
fn an_answer_outside_that_the_disk_does_not_have_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").push(2, "chem", "B", "b");
    run.0.end.events.push(EventRow {
        seq: 1,
        push: 1,
        kind: SETTLED,
        status: Some(200),
        answer: Some("MSA|AA|1".into()),
        ..EventRow::default()
    });
    let answer = |id: i64, body: &str| CloudAnswer {
        callback: format!("cb-{id}"),
        status: 200,
        body: body.into(),
    };
    let found = at_kill(
        &run.0,
        &[
            answer(1, "MSA|AA|1"),
            answer(2, "MSA|AA|2"),
            answer(1, "MSA|AE|1"),
        ],
    );
    let without = Break::AnswerWithoutRecord {
        callback: "cb-2".into(),
    };
    let unlike = Break::AnswerUnlikeRecord {
        callback: "cb-1".into(),
    };
    assert_eq!(found, [without, unlike]);
}

#[test]
fn what_was_promised_for_the_end_is_not_asked_for_at_a_kill() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").received("chem", "a");
    run.0.kept[0].answers = 0;
    assert_eq!(at_kill(&run.0, &[]), []);
    run.breaks(&[
        Break::Unfinished {
            push: 1,
            state: State::Sending,
        },
        Break::Unanswered {
            callback: "cb-1".into(),
        },
    ]);
}

#[test]
fn a_kill_shows_what_was_accepted_and_what_was_open() {
    let mut story = Story::default();
    let row = |id, tried| PushRow {
        id,
        tried,
        callback: Some(format!("cb-{id}")),
        ..PushRow::default()
    };
    let copy = |rows: Vec<PushRow>| Snapshot {
        pushes: rows.into_iter().map(|row| (row.id, row)).collect(),
        ..Snapshot::default()
    };
    story.add_kill(copy(vec![row(1, Some(2)), row(2, None)]));
    story.add_kill(copy(vec![row(1, Some(2))]));
    assert_eq!(story.completing(), [1].into());
    assert_eq!(at_kill(&story, &[]), [Break::Lost { push: 2 }]);
}
