//! What is uncertain, what is sent again, and what a device may have twice.

use super::*;

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
fn the_resends_of_a_push_are_counted_and_not_only_read() {
    let mut run = Run::new();
    run.push(1, "coag", "A", "a");
    for _ in 0..2 {
        run.sent(1).cut("coag").resent(1, 1);
    }
    run.sent(1).delivered(1);
    run.breaks(&[Break::Miscounted { push: 1 }]);
    for _ in 0..2 {
        run.story.end.events.pop();
    }
    for nth in [3, 1] {
        run.sent(1).cut("coag").resent(1, nth);
    }
    run.sent(1).delivered(1);
    let breaks = run.verdict().breaks;
    assert!(
        breaks.contains(&Break::ResentTooOften { push: 1 }),
        "{breaks:?}"
    );
}

#[test]
fn a_message_on_a_connection_that_is_younger_than_the_end_is_not_of_that_attempt() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").attempt(1).cut("chem").held(1);
    run.received("chem", "a").breaks(&[]);
    run.story.received[0].opened = run.now + 500;
    run.breaks(&[duplicate("chem", &[1], 1, 0)]);
}

#[test]
fn what_is_held_outside_an_attempt_is_too_old_or_its_device_is_away() {
    let cause = [Break::UncertainWithoutCause { push: 1 }];
    let resent = |device: &str| {
        let mut run = Run::new();
        run.push(1, device, "A", "a").sent(1).killed();
        run.held(1).released(1);
        run
    };
    resent("chem").held(1).breaks(&cause);
    resent("coag").held(1).breaks(&cause);
    resent("poct").held(1).breaks(&[]);
    let mut run = resent("coag");
    run.now += WAITS;
    run.held(1).breaks(&[]);
}

#[test]
fn a_yes_that_was_a_no_and_words_that_the_device_never_said_are_seen() {
    let lie = [Break::NotItsWords { push: 1 }];
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).refused();
    run.delivered(1).breaks(&lie);
    run.story.end.events.pop();
    run.rejected(1).breaks(&[]);
    run.story.end.events[1].answer = Some("MSH|\rMSA|AR|C-a\r".into());
    run.breaks(&lie);
    run.story.received[0].answers.clear();
    run.story.end.events[1].answer = None;
    run.breaks(&lie);
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
    run.asked("resend", 1);
    run.story.seen.clear();
    let copy = Break::NobodyAsked { push: 2 };
    run.breaks(&[duplicate("chem", &[1], 2, 1), copy]);
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
    let push = 1;
    run.breaks(&[Break::NotItsWords { push }, Break::AnswerToAnother { push }]);
    run.story.end.events[1].answer = Some("MSH|\rMSA|AA|C-a\r".into());
    run.breaks(&[]);
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
