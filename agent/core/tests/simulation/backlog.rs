//! Backlogs larger than what is kept whole: most pushes are no more than a number until they come up.

use std::time::Duration;

use agent_core::push::{Policy, PushId, State, WhenUnreachable};
use agent_core::queue::{CommandError, DeviceConfig, Filter, Verb};

use crate::world::{CHEM, World, gone, policy, seen_from_outside, unknown};

/// So many wait that nobody waits for, of orders 1, 2, 3 and so on.
fn backlog(pushes: u64, chem: Policy) -> World {
    let mut world = World::new(chem, policy());
    world.disk.keep_whole(4);
    world.restart();
    for n in 1..=pushes {
        world.push_quietly(CHEM, 10 + n, n);
    }
    world
}

fn delivered(world: &World) -> Vec<u64> {
    world.got[&CHEM].iter().map(|seen| seen.push.0).collect()
}

#[test]
fn a_backlog_goes_in_order_across_segments_and_restarts() {
    let mut world = backlog(100, policy());
    let cold = (1..=100).filter(|id| world.queue.is_cold(PushId(*id)));
    assert_eq!(cold.count(), 96);
    for n in 0..100 {
        match n % 20 {
            7 => world.segment(),
            13 => world.rebuild(),
            19 => {
                world.segment();
                world.restart();
            }
            _ => {}
        }
        world.ready(CHEM);
        world.deliver(CHEM);
    }
    // A restart while nothing is open loses nothing, one with an open attempt would hold it.
    let held = world.queue.list(Filter::default(), 200);
    let all = [delivered(&world), held.iter().map(|id| id.0).collect()].concat();
    assert!(delivered(&world).is_sorted());
    assert_eq!(
        all.into_iter().collect::<std::collections::BTreeSet<_>>(),
        (1..=100).collect()
    );
}

#[test]
fn a_push_grows_cold_once_its_caller_was_answered() {
    let mut world = backlog(10, policy());
    let push = world.push(CHEM, 1, 99);
    assert!(world.queue.is_hot(push));
    world.wait(Duration::from_secs(8));
    assert_eq!(world.answers(1)[0].0, 202);
    assert!(world.queue.is_cold(push));
    let waiting = world.waiting(push).unwrap();
    assert_eq!(waiting.explained.state, State::Queued);
    assert_eq!(waiting.explained.reason.to_string(), "behind push 1");
    assert!(waiting.expires.is_some());
}

#[test]
fn an_equal_push_joins_a_cold_one_and_shares_its_words() {
    let mut world = backlog(20, policy());
    world.push_as(CHEM, 10 + 15, 15, 7);
    assert_eq!(world.facts(PushId(21)).joins, Some(PushId(15)));
    assert!(world.queue.is_hot(PushId(15)), "somebody waits for it now");
    world.segment();
    world.restart();
    world.ready(CHEM);
    for _ in 0..20 {
        world.deliver(CHEM);
    }
    assert_eq!(delivered(&world), (1..=20).collect::<Vec<_>>());
    assert_eq!(world.answers(7), [(200, "MSA|AA".to_owned())]);
    // What came between makes it a new one.
    let mut world = backlog(20, policy());
    world.push_quietly(CHEM, 10 + 15, 99);
    world.push_as(CHEM, 10 + 15, 15, 7);
    assert_eq!(world.facts(PushId(22)).joins, None);
}

#[test]
fn a_command_reaches_a_cold_push_and_a_refused_one_leaves_it_cold() {
    let mut world = backlog(20, policy());
    let (held, cancelled, other) = (PushId(10), PushId(12), PushId(14));
    world.command(held, Verb::Hold).unwrap();
    world.command(cancelled, Verb::Cancel).unwrap();
    assert_eq!(
        world.command(other, Verb::Release),
        Err(CommandError::NotHeld(other))
    );
    assert!(world.queue.is_cold(other));
    world.segment();
    world.restart();
    assert_eq!(world.state(cancelled), State::Cancelled);
    world.ready(CHEM);
    for _ in 0..16 {
        world.deliver(CHEM);
    }
    world.command(held, Verb::Release).unwrap();
    for _ in 0..3 {
        world.deliver(CHEM);
    }
    let order = delivered(&world);
    assert_eq!(order.len(), 19);
    assert_eq!(
        order[17], 10,
        "released, it goes first: after the one being sent"
    );
}

#[test]
fn cold_pushes_of_a_held_order_are_parked_as_they_come_up() {
    let mut world = backlog(3, policy());
    for n in 0..20 {
        // Every other one is of the first one's order.
        world.push_quietly(CHEM, if n % 2 == 0 { 11 } else { 50 + n }, 100 + n);
    }
    world.ready(CHEM);
    world.settle(CHEM, unknown(), gone());
    world.segment();
    world.rebuild();
    world.ready(CHEM);
    for _ in 0..12 {
        world.deliver(CHEM);
    }
    let of_order = |world: &World| {
        world.got[&CHEM]
            .iter()
            .filter(|seen| seen.keys == [11])
            .count()
    };
    assert_eq!((delivered(&world).len(), of_order(&world)), (12, 0));
    let ruling = agent_core::queue::Ruling::Delivered;
    world.command(PushId(1), Verb::Settle(ruling)).unwrap();
    for _ in 0..10 {
        world.deliver(CHEM);
    }
    assert_eq!(of_order(&world), 10);
}

#[test]
fn cold_pushes_are_recorded_as_expired_while_their_device_is_away() {
    let age = Duration::from_hours(1);
    let mut world = backlog(
        50,
        Policy {
            expires: Some(age),
            ..policy()
        },
    );
    world.wait(age / 2);
    for n in 0..20 {
        world.push_quietly(CHEM, 500 + n, 500 + n);
    }
    world.segment();
    world.restart();
    world.wait(age / 2);
    world.wait(Duration::from_mins(1));
    let expired = (1..=50).filter(|id| world.state(PushId(*id)) == State::Expired);
    assert_eq!(expired.count(), 50);
    assert_eq!(
        seen_from_outside(&world.queue, &world.disk, world.now).len(),
        20
    );
    world.wait(age / 2);
    assert!(seen_from_outside(&world.queue, &world.disk, world.now).is_empty());
}

#[test]
fn a_cold_push_that_is_too_old_when_it_comes_up_is_not_sent() {
    let age = Duration::from_mins(1);
    let mut world = backlog(
        20,
        Policy {
            expires: Some(age),
            ..policy()
        },
    );
    // No tick in between: the first that happens is that the device is there.
    world.now.utc = world.now.utc.plus(age);
    world.now.mono = world.now.mono.plus(age);
    world.ready(CHEM);
    assert!(world.lines.is_empty());
    assert_eq!(world.state(PushId(20)), State::Expired);
}

#[test]
fn a_device_that_no_longer_waits_when_unreachable_refuses_its_whole_backlog() {
    let mut world = backlog(50, policy());
    let fail = DeviceConfig {
        name: "chem".into(),
        enabled: true,
        policy: Policy {
            when_unreachable: WhenUnreachable::Fail,
            ..policy()
        },
    };
    world.act(|queue, turn| queue.configure([(CHEM, fail)], turn));
    world.act(|queue, turn| queue.line_away(CHEM, "connection refused".into(), turn));
    for _ in 0..20 {
        world.wait(Duration::ZERO);
    }
    assert_eq!(world.queue.report().live, 0);
    assert_eq!(world.state(PushId(50)), State::Dead);
}

#[test]
fn cold_pushes_count_against_the_limits() {
    let mut world = backlog(
        20,
        Policy {
            max_queued: 20,
            ..policy()
        },
    );
    world.push(CHEM, 1, 1);
    assert_eq!(world.refused, 1);
    assert_eq!(world.queue.report().devices[0].waiting, 20);
    world.segment();
    world.restart();
    world.push(CHEM, 1, 1);
    assert_eq!(world.refused, 2);
}
