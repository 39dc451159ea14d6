//! Bytes, joins, and what callers are told.

use super::*;

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
    run.push(1, "chem", "A", "a").sent(1).refused().rejected(1);
    run.push(2, "chem", "A", "a").joined(2, 1);
    run.breaks(&[Break::WrongJoin { push: 2, joined: 1 }]);
}

#[test]
fn a_push_must_not_join_one_that_is_not_the_newest_of_its_order() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "b").sent(2).delivered(2);
    run.push(3, "chem", "A", "a").joined(3, 1);
    run.breaks(&[Break::WrongJoin { push: 3, joined: 1 }]);
    let row = run.row(1);
    row.order_keys = vec!["B".into()];
    run.row(3).order_keys = vec!["B".into()];
    run.breaks(&[]);
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
    run.push(1, "chem", "A", "a").sent(1).refused().rejected(1);
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
    settled.answer = Some("MSH|\rMSA|AA|C-a\r".into());
    run.answered(1, 200, "MSH|\rMSA|AA|C-a\r");
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
