//! The order of a device and of a key, and hands off what is held or over.

use super::*;

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
fn numbers_are_given_in_the_order_of_the_cloud() {
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").sent(1).delivered(1);
    run.push(2, "coag", "B", "b").sent(2).delivered(2);
    run.push(3, "chem", "C", "c").sent(3).delivered(3);
    run.story.kept.swap(0, 1);
    run.breaks(&[]);
    run.story.kept.swap(1, 2);
    run.breaks(&[Break::OutOfOrder {
        device: "chem".into(),
        key: None,
        push: 1,
        after: 3,
    }]);
}

#[test]
fn a_push_whose_refusal_was_lost_comes_again_behind_later_ones() {
    let behind = |device: &str, sent: u64| {
        let mut run = Run::new();
        run.push(1, device, "A", "a").sent(1).delivered(1);
        run.push(2, device, "B", "b").sent(2).delivered(2);
        run.story.kept.swap(0, 1);
        run.story.kept[0].sent = sent;
        run.verdict().breaks
    };
    assert_eq!(behind("poct", 2), []);
    assert_eq!(behind("poct", 1).len(), 1);
    assert_eq!(behind("chem", 2).len(), 1);
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
    run.push(1, "chem", "A", "a").received("chem", "a");
    let without = |pushes| Break::SentWithoutRecord {
        device: "chem".into(),
        pushes,
    };
    assert_eq!(at_kill(&run.story, &[]), [without(vec![1])]);
    run.story.end = Snapshot {
        devices: run.story.end.devices.clone(),
        ..Snapshot::default()
    };
    run.story.seen.clear();
    run.breaks(&[without(vec![])]);
}
