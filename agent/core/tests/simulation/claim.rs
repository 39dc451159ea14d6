//! A push whose Task in the cloud is not claimed yet: kept, held, and let go by nobody but the mailbox.

use std::sync::Arc;
use std::time::Duration;

use agent_core::push::{PushId, State, WhenUnreachable};
use agent_core::queue::{CommandError, Connection, Reason, Ruling, Taken, Verb};

use crate::world::{CHEM, World, known, new_push, policy, unknown, yes};

fn world() -> World {
    let mut world = World::new(policy(), policy());
    world.ready(CHEM);
    world
}

/// One Task's push, with the callback that Tasks have.
fn take(world: &mut World, key: u64, content: u64, task: u64) -> Taken {
    let mut push = new_push(CHEM, key, content, task);
    if let Some(callback) = &mut push.callback {
        callback.text = format!("Task/{task}/1");
    }
    let known = known(&world.queue, &world.disk, &push, world.now);
    let mut taken = None;
    world.act(|queue, turn| taken = Some(queue.accept_task(Arc::new(push), known, turn)));
    taken.expect("every push is judged")
}

fn kept(world: &mut World, key: u64, task: u64) -> PushId {
    let taken = take(world, key, key, task);
    let Taken::Kept(push) = taken else {
        unreachable!("it is taken: {taken:?}");
    };
    push
}

#[test]
fn it_waits_on_disk_until_its_task_is_claimed_and_then_goes_in_its_turn() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    let other = world.push(CHEM, 2, 2);
    let behind = world.push(CHEM, 1, 9);
    assert_eq!(world.lines.get(&CHEM), Some(&other));
    let waiting = world.waiting(push).unwrap();
    assert_eq!(waiting.explained.reason, Reason::Claim);
    assert_eq!(world.queue.unclaimed(), [push]);
    world.act(|queue, turn| queue.claimed(push, turn));
    for _ in 0..3 {
        world.deliver(CHEM);
    }
    let order: Vec<_> = world.got[&CHEM].iter().map(|seen| seen.push).collect();
    assert_eq!(order, [other, push, behind]);
    assert!(
        !world.told.contains_key("Task/100/1"),
        "nobody waits for it"
    );
}

#[test]
fn it_is_still_held_after_a_start_whether_or_not_a_segment_was_written() {
    for with_segment in [false, true] {
        let mut world = world();
        let push = kept(&mut world, 1, 100);
        if with_segment {
            world.segment();
        }
        world.restart();
        world.ready(CHEM);
        assert!(world.lines.is_empty());
        assert_eq!(world.queue.unclaimed(), [push]);
        world.act(|queue, turn| queue.line_resting(CHEM, turn));
        world.act(|queue, turn| queue.claimed(push, turn));
        world.restart();
        world.ready(CHEM);
        assert_eq!(world.lines.get(&CHEM), Some(&push));
        assert!(world.queue.unclaimed().is_empty());
    }
}

#[test]
fn a_claim_that_was_lost_cancels_it_unsent_and_frees_who_waited_behind() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    let behind = world.push(CHEM, 1, 9);
    assert!(world.lines.is_empty());
    world.act(|queue, turn| queue.withdraw(push, "somebody else has it".into(), turn));
    assert_eq!(world.state(push), State::Cancelled);
    assert_eq!(world.lines.get(&CHEM), Some(&behind));
    world.act(|queue, turn| queue.claimed(push, turn));
    assert_eq!(world.state(push), State::Cancelled);
}

#[test]
fn no_person_lets_it_go_but_one_may_cancel_it() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    for verb in [
        Verb::Hold,
        Verb::Release,
        Verb::Resend,
        Verb::Settle(Ruling::Delivered),
    ] {
        assert_eq!(
            world.command(push, verb),
            Err(CommandError::Unclaimed(push))
        );
    }
    world.command(push, Verb::Cancel).unwrap();
    assert_eq!(world.state(push), State::Cancelled);
}

#[test]
fn nothing_joins_it_because_it_may_never_go() {
    let mut world = world();
    kept(&mut world, 1, 100);
    world.push_as(CHEM, 1, 1, 7);
    assert_eq!(world.refused, 1);
    assert!(matches!(take(&mut world, 1, 1, 101), Taken::Refused(_)));
}

#[test]
fn the_same_task_and_version_is_the_same_push() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    assert_eq!(take(&mut world, 1, 1, 100), Taken::Kept(push));
    world.act(|queue, turn| queue.claimed(push, turn));
    world.deliver(CHEM);
    assert_eq!(take(&mut world, 1, 1, 100), Taken::Kept(push));
    assert_eq!(world.state(push), State::Delivered);
}

#[test]
fn a_task_of_an_order_that_is_under_way_shares_its_fate() {
    let mut world = world();
    let leader = world.push(CHEM, 1, 1);
    let follower = kept(&mut world, 1, 100);
    world.act(|queue, turn| queue.claimed(follower, turn));
    world.deliver(CHEM);
    assert_eq!(world.state(leader), State::Delivered);
    assert_eq!(world.state(follower), State::Delivered);
    assert_eq!(world.got[&CHEM].len(), 1);
}

#[test]
fn what_has_left_or_may_have_left_is_not_withdrawn() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    world.act(|queue, turn| queue.claimed(push, turn));
    world.act(|queue, turn| queue.withdraw(push, "cancelled in the cloud".into(), turn));
    assert_eq!(world.lines.get(&CHEM), Some(&push));
    world.arrive(CHEM);
    world.settle(CHEM, unknown(), Connection::Usable);
    world.act(|queue, turn| queue.withdraw(push, "cancelled in the cloud".into(), turn));
    assert_eq!(world.state(push), State::Held);
    world.command(push, Verb::Resend).unwrap();
    world.act(|queue, turn| queue.withdraw(push, "cancelled in the cloud".into(), turn));
    world.ready(CHEM);
    world.settle(CHEM, yes(), Connection::Usable);
    assert_eq!(world.state(push), State::Delivered);
}

#[test]
fn it_becomes_too_old_like_any_other_and_a_full_queue_leaves_the_task_alone() {
    let mut world = world();
    let push = kept(&mut world, 1, 100);
    world.wait(Duration::from_hours(73));
    assert_eq!(world.state(push), State::Expired);
    let mut small = policy();
    small.max_queued = 1;
    small.when_unreachable = WhenUnreachable::Queue;
    let mut world = World::new(small, policy());
    kept(&mut world, 1, 100);
    assert!(matches!(take(&mut world, 2, 2, 101), Taken::Refused(_)));
}
