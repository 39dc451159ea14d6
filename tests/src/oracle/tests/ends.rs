//! What ends without an answer of its device, and what is said to have had one.

use super::*;

#[test]
fn a_yes_of_a_device_to_which_nothing_was_sent_is_a_false_yes() {
    let yes = Break::FalseYes { push: 1 };
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").delivered(1);
    run.breaks(std::slice::from_ref(&yes));
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.rejected(1).breaks(std::slice::from_ref(&yes));
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "a").joined(2, 1).delivered(2);
    run.breaks(&[]);
    run.delivered(1).breaks(&[yes]);
}

#[test]
fn a_command_to_the_agent_itself_is_answered_without_an_attempt() {
    let mut run = Run::new();
    run.push(1, "self", "A", "a").delivered(1);
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
    run.row(1).expires = Some(99_999);
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
fn expiry_is_counted_from_when_the_cloud_took_the_push_and_by_the_file_of_its_device() {
    let early = [Break::ExpiredEarly { push: 1 }];
    let mut run = Run::new();
    run.push(1, "coag", "A", "a");
    run.row(1).expires = Some(run.now);
    run.event(1, SETTLED, 7);
    run.breaks(&early);
    run.story.kept[0].at -= WAITS;
    run.breaks(&[]);
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").expired(1).breaks(&early);
}

#[test]
fn a_push_that_the_agent_gives_up_by_itself_is_lost() {
    for (state, number) in [(State::Dead, 8), (State::Cancelled, 6)] {
        let mut run = Run::new();
        run.push(1, "chem", "A", "a").event(1, SETTLED, number);
        let push = 1;
        run.breaks(&[Break::Dropped { push, state }]);
        run.by_person().breaks(&[]);
    }
}

#[test]
fn what_a_person_is_said_to_have_done_was_asked_for_before_and_as_often() {
    let nobody = [Break::NobodyAsked { push: 1 }];
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").held(1).by_person();
    run.breaks(&[]);
    run.story.wishes[0].at += 100;
    run.breaks(&nobody);
    run.story.wishes[0].at -= 100;
    run.released(1).held(1).by_person().breaks(&[]);
    run.story.wishes.pop();
    run.breaks(&nobody);
    run.asked("settle delivered", 1).breaks(&nobody);
    run.asked("hold", 1).breaks(&[]);
}

#[test]
fn a_copy_that_nobody_asked_for_is_seen() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "chem", "A", "a").sent(2).delivered(2);
    run.story.kept.pop();
    run.story.seen.clear();
    let row = run.row(2);
    (row.callback, row.sha256) = (None, Some("a".into()));
    let without_wish = run.verdict().breaks;
    assert!(without_wish.contains(&Break::NobodyAsked { push: 2 }));
    run.asked("resend", 1);
    assert!(
        !run.verdict()
            .breaks
            .contains(&Break::NobodyAsked { push: 2 })
    );
}
