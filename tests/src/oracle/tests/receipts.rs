//! What a caller cannot know from its only answer.

use super::*;

/// A push that was told 202 and delivered after it.
fn told_too_early() -> Run {
    let mut run = Run::new();
    run.story.receipts = true;
    run.push(1, "chem", "A", "a").sent(1);
    run.told_202(1).delivered(1);
    run
}

impl Run {
    fn told_202(&mut self, push: i64) -> &mut Self {
        self.add(EventRow {
            push,
            kind: ANSWERED,
            status: Some(202),
            ..EventRow::default()
        })
    }

    fn receipts(&mut self, push: i64, count: usize) -> &mut Self {
        self.story.end.receipts.insert(push, count);
        self
    }
}

#[test]
fn what_became_of_a_push_after_its_202_has_one_receipt() {
    let mut run = told_too_early();
    let broken = |written| Break::Receipts {
        push: 1,
        wanted: 1,
        written,
    };
    run.breaks(&[broken(0)]);
    run.receipts(1, 1).breaks(&[]);
    run.receipts(1, 2).breaks(&[broken(2)]);
    run.story.receipts = false;
    run.breaks(&[]);
}

#[test]
fn a_push_that_was_answered_at_its_end_has_none() {
    let mut run = Run::new();
    run.story.receipts = true;
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.story.end.events.last_mut().unwrap().status = Some(200);
    run.breaks(&[]);
    run.receipts(1, 1).breaks(&[Break::Receipts {
        push: 1,
        wanted: 0,
        written: 1,
    }]);
}

#[test]
fn a_hold_is_told_once_its_caller_has_been_told_202() {
    let mut run = Run::new();
    run.story.receipts = true;
    run.push(1, "chem", "A", "a").sent(1).killed().held(1);
    run.breaks(&[]);
    run.told_202(1).receipts(1, 1).breaks(&[]);
}
