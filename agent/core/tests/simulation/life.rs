//! The life of a push, one story a test.

use std::time::Duration;

use agent_core::push::{HoldScope, OnUncertain, Policy, PushId, State, WhenUnreachable};
use agent_core::queue::{
    AgentSwitch, CommandError, Connection, Done, Effect, Kind, Queue, Ruling, Session, Turn, Verb,
};

use crate::world::{CHEM, HEMA, World, gone, new_push, no, policy, unknown, untouched, yes};

fn world() -> World {
    let mut world = World::new(policy(), policy());
    world.ready(CHEM);
    world.ready(HEMA);
    world
}

fn with(chem: Policy) -> World {
    let mut world = World::new(chem, policy());
    world.ready(CHEM);
    world
}

#[test]
fn a_push_to_a_ready_idle_device_is_accepted_and_attempted_in_one_row() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    assert!(world.facts(push).tried.is_some());
    assert!(world.disk.events.is_empty());
    world.deliver(CHEM);
    assert_eq!(world.state(push), State::Delivered);
    assert_eq!(world.answers(1), [(200, "MSA|AA".to_owned())]);
}

#[test]
fn the_event_that_settles_one_push_carries_the_attempt_of_the_next() {
    let mut world = world();
    let first = world.push(CHEM, 1, 1);
    let second = world.push(CHEM, 2, 2);
    world.deliver(CHEM);
    assert_eq!(world.disk.events.len(), 1);
    assert_eq!(world.disk.events[0].push, first);
    assert_eq!(
        world.disk.events[0].next.map(|(push, _)| push),
        Some(second)
    );
}

#[test]
fn a_refusal_is_the_devices_own_words_and_final() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    world.arrive(CHEM);
    world.settle(CHEM, no(), Connection::Usable);
    assert_eq!(world.state(push), State::Rejected);
    assert_eq!(world.answers(1), [(200, "MSA|AE".to_owned())]);
}

#[test]
fn a_caller_who_waited_long_enough_is_told_202_once_and_delivery_goes_on() {
    let mut world = world();
    world.act(|queue, turn| queue.line_away(CHEM, "connection refused".into(), turn));
    let push = world.push(CHEM, 1, 1);
    world.wait(Duration::from_secs(8));
    let answers = world.answers(1);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0, 202);
    assert!(
        answers[0]
            .1
            .starts_with("queued: device away: connection refused; push 1 ")
    );
    world.ready(CHEM);
    world.deliver(CHEM);
    assert_eq!(world.state(push), State::Delivered);
    assert_eq!(world.answers(1), answers);
}

#[test]
fn nobody_is_told_202_while_the_cloud_cannot_hear_it() {
    let mut world = with(Policy {
        paused: true,
        ..policy()
    });
    world.queue.session(Session::Down);
    world.push(CHEM, 1, 1);
    world.wait(Duration::from_mins(1));
    assert!(world.answers(1).is_empty());
    world.queue.session(Session::Live);
    world.wait(Duration::ZERO);
    assert_eq!(world.answers(1)[0].0, 202);
}

#[test]
fn the_same_callback_is_the_same_push_and_gets_the_same_answer_again() {
    let mut world = world();
    world.push_as(CHEM, 1, 1, 77);
    world.push_as(CHEM, 1, 1, 77);
    assert_eq!(world.disk.pushes.len(), 1);
    world.deliver(CHEM);
    let mut turn = Turn::at(world.now);
    let push = new_push(CHEM, 1, 1, 77);
    let known = agent_core::queue::Known::Callback(PushId(1));
    world.queue.accept(push.into(), known, &mut turn);
    assert!(matches!(turn.effects[..], [Effect::Again(PushId(1))]));
    assert!(turn.rows.is_empty());
}

#[test]
fn an_equal_push_joins_and_is_answered_with_the_one_it_joined() {
    let mut world = world();
    world.push_as(CHEM, 1, 1, 10);
    world.push_as(CHEM, 1, 1, 11);
    assert_eq!(world.facts(PushId(2)).joins, Some(PushId(1)));
    world.deliver(CHEM);
    assert_eq!(world.got[&CHEM].len(), 1);
    assert_eq!(world.answers(10), world.answers(11));
    assert_eq!(world.state(PushId(2)), State::Delivered);
    // A moment later it is still the same order.
    world.push_as(CHEM, 1, 1, 12);
    assert_eq!(world.answers(12), world.answers(10));
    // After the window it is a new one.
    world.wait(Duration::from_secs(601));
    world.push_as(CHEM, 1, 1, 13);
    assert_eq!(world.facts(PushId(4)).joins, None);
}

#[test]
fn what_failed_or_is_not_the_newest_of_its_order_absorbs_nothing() {
    let mut world = world();
    world.push_as(CHEM, 1, 1, 10);
    world.arrive(CHEM);
    world.settle(CHEM, no(), Connection::Usable);
    world.push_as(CHEM, 1, 1, 11);
    assert_eq!(world.facts(PushId(2)).joins, None);
    world.push_as(CHEM, 1, 2, 12);
    world.push_as(CHEM, 1, 1, 13);
    assert_eq!(world.facts(PushId(4)).joins, None, "a cancel came between");
}

#[test]
fn an_uncertain_push_is_held_parks_its_order_and_the_device_goes_on() {
    let mut world = world();
    let held = world.push(CHEM, 1, 1);
    let behind = world.push(CHEM, 1, 2);
    let other = world.push(CHEM, 2, 3);
    world.arrive(CHEM);
    world.settle(CHEM, unknown(), gone());
    assert_eq!(world.state(held), State::Held);
    world.ready(CHEM);
    assert_eq!(world.lines.get(&CHEM), Some(&other));
    world.deliver(CHEM);
    assert_eq!(world.state(behind), State::Queued);
    world
        .command(held, Verb::Settle(Ruling::Delivered))
        .unwrap();
    assert_eq!(world.state(held), State::Delivered);
    assert_eq!(world.lines.get(&CHEM), Some(&behind));
}

#[test]
fn with_device_scope_one_uncertain_push_stops_the_line() {
    let mut world = with(Policy {
        hold_scope: HoldScope::Device,
        ..policy()
    });
    let held = world.push(CHEM, 1, 1);
    world.push(CHEM, 2, 2);
    world.settle(CHEM, unknown(), gone());
    world.ready(CHEM);
    assert!(world.lines.is_empty());
    world
        .command(held, Verb::Settle(Ruling::NotDelivered))
        .unwrap();
    assert_eq!(world.state(held), State::Dead);
    assert!(world.lines.contains_key(&CHEM));
}

#[test]
fn a_device_that_recognises_repeats_gets_the_same_three_times_more_and_then_it_is_held() {
    let mut world = with(Policy {
        on_uncertain: OnUncertain::Resend,
        ..policy()
    });
    let push = world.push(CHEM, 1, 1);
    for _ in 0..3 {
        world.settle(CHEM, unknown(), gone());
        assert_eq!(world.state(push), State::Queued);
        world.ready(CHEM);
        world.wait(Duration::from_mins(1));
        assert_eq!(world.lines.get(&CHEM), Some(&push));
        // The count survives a failed commit and a restart of the process.
        world.rebuild();
    }
    world.settle(CHEM, unknown(), gone());
    assert_eq!(world.state(push), State::Held);
}

#[test]
fn an_attempt_of_which_nothing_left_goes_again_at_once_and_is_no_resend() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    for _ in 0..10 {
        world.settle(CHEM, untouched(), gone());
        world.ready(CHEM);
        assert_eq!(world.lines.get(&CHEM), Some(&push));
    }
    world.deliver(CHEM);
    assert_eq!(world.state(push), State::Delivered);
}

#[test]
fn a_crash_makes_what_was_completing_uncertain_and_nothing_else() {
    let mut world = world();
    let sent = world.push(CHEM, 1, 1);
    let queued = world.push(CHEM, 2, 2);
    let done = world.push(HEMA, 3, 3);
    world.deliver(HEMA);
    world.restart();
    assert_eq!(world.state(sent), State::Held);
    assert_eq!(world.state(queued), State::Queued);
    assert_eq!(world.state(done), State::Delivered);
    world.ready(CHEM);
    assert_eq!(world.lines.get(&CHEM), Some(&queued));
}

#[test]
fn a_failed_commit_loses_what_it_was_to_write_and_nothing_that_is_under_way() {
    let mut world = world();
    let sending = world.push(CHEM, 1, 1);
    let push = new_push(HEMA, 2, 2, 99);
    world.act_in_vain(|queue, turn| {
        queue.accept(push.into(), agent_core::queue::Known::No, turn);
    });
    assert_eq!(world.disk.pushes.len(), 1);
    world.deliver(CHEM);
    assert_eq!(world.state(sending), State::Delivered);
    // The line of the other device was never given the attempt, and takes the next one.
    let next = world.push(HEMA, 2, 2);
    assert_eq!(world.lines.get(&HEMA), Some(&next));
}

#[test]
fn old_pushes_expire_unless_they_may_be_at_the_device() {
    let age = Duration::from_mins(1);
    let mut world = with(Policy {
        expires: Some(age),
        ..policy()
    });
    let uncertain = world.push(CHEM, 1, 1);
    let parked = world.push(CHEM, 1, 2);
    world.settle(CHEM, unknown(), gone());
    let waiting = world.push(CHEM, 2, 3);
    world.wait(age);
    assert_eq!(world.state(uncertain), State::Held);
    assert_eq!(world.state(parked), State::Expired);
    assert_eq!(world.state(waiting), State::Expired);
    assert_eq!(world.answers(3)[0].0, 400);
}

#[test]
fn a_device_that_is_to_fail_when_unreachable_keeps_nothing() {
    let fail = Policy {
        when_unreachable: WhenUnreachable::Fail,
        ..policy()
    };
    let mut world = World::new(fail, policy());
    let push = world.push(CHEM, 1, 1);
    world.act(|queue, turn| queue.line_away(CHEM, "connection refused".into(), turn));
    assert_eq!(world.state(push), State::Dead);
    assert!(world.answers(1)[0].1.contains("connection refused"));
    world.push(CHEM, 2, 2);
    assert_eq!(world.refused, 1);
    assert_eq!(world.disk.pushes.len(), 1);
}

#[test]
fn a_full_queue_refuses_with_a_sentence() {
    let mut world = World::new(
        Policy {
            max_queued: 2,
            ..policy()
        },
        policy(),
    );
    world.push(CHEM, 1, 1);
    world.push(CHEM, 2, 2);
    let push = new_push(CHEM, 3, 3, 9);
    let mut turn = Turn::at(world.now);
    world
        .queue
        .accept(push.into(), agent_core::queue::Known::No, &mut turn);
    let [Effect::Refused { why, .. }] = &turn.effects[..] else {
        panic!("not refused")
    };
    assert!(why.contains("the queue of chem is full"), "{why}");
    assert!(turn.rows.is_empty());
}

#[test]
fn what_arrives_while_the_agent_is_off_is_kept_and_goes_when_it_is_on() {
    let mut world = world();
    world.act(|queue, turn| queue.switch(AgentSwitch::Off, turn));
    let push = world.push(CHEM, 1, 1);
    assert!(world.lines.is_empty());
    let waiting = world.waiting(push).unwrap();
    assert_eq!(waiting.explained.state, State::Held);
    world.act(|queue, turn| queue.switch(AgentSwitch::On, turn));
    assert_eq!(world.lines.get(&CHEM), Some(&push));
}

#[test]
fn an_operators_hold_keeps_the_order_and_release_puts_it_first_again() {
    let mut world = world();
    let first = world.push(CHEM, 1, 1);
    let held = world.push(CHEM, 2, 2);
    let behind = world.push(CHEM, 2, 3);
    let other = world.push(CHEM, 3, 4);
    assert_eq!(
        world.command(first, Verb::Hold),
        Err(CommandError::Sending(first))
    );
    world.command(held, Verb::Hold).unwrap();
    world.deliver(CHEM);
    assert_eq!(world.lines.get(&CHEM), Some(&other));
    world.command(held, Verb::Release).unwrap();
    world.deliver(CHEM);
    world.deliver(CHEM);
    world.deliver(CHEM);
    let order: Vec<_> = world.got[&CHEM].iter().map(|seen| seen.push).collect();
    assert_eq!(order, [first, other, held, behind]);
}

#[test]
fn commands_that_make_no_sense_are_refused_and_change_nothing() {
    let mut world = world();
    let done = world.push(CHEM, 1, 1);
    world.deliver(CHEM);
    let sending = world.push(CHEM, 2, 2);
    let queued = world.push(CHEM, 3, 3);
    world.push_as(CHEM, 3, 3, 50);
    let follower = PushId(4);
    let rows = world.disk.events.len();
    for (push, verb) in [
        (done, Verb::Hold),
        (done, Verb::Cancel),
        (sending, Verb::Cancel),
        (queued, Verb::Release),
        (queued, Verb::Resend),
        (queued, Verb::Settle(Ruling::Delivered)),
        (follower, Verb::Cancel),
    ] {
        assert!(world.command(push, verb).is_err(), "{push} {verb:?}");
    }
    assert_eq!(world.disk.events.len(), rows);
}

#[test]
fn resending_a_final_push_makes_a_new_one_without_a_caller() {
    let mut world = world();
    let old = world.push(CHEM, 1, 1);
    world.deliver(CHEM);
    let new = PushId(2);
    assert_eq!(
        world.command(old, Verb::Resend),
        Ok(Done::Again { old, new })
    );
    world.deliver(CHEM);
    assert_eq!(world.state(new), State::Delivered);
    assert_eq!(world.got[&CHEM].len(), 2);
}

#[test]
fn an_uncertain_push_can_be_sent_again_by_a_person_and_then_comes_first() {
    let mut world = world();
    let held = world.push(CHEM, 1, 1);
    world.settle(CHEM, unknown(), gone());
    let later = world.push(CHEM, 2, 2);
    assert_eq!(
        world.command(held, Verb::Release),
        Err(CommandError::Uncertain(held))
    );
    world.command(held, Verb::Resend).unwrap();
    world.ready(CHEM);
    world.deliver(CHEM);
    world.settle(CHEM, yes(), Connection::Usable);
    assert_eq!(world.state(held), State::Delivered);
    assert_eq!(world.state(later), State::Delivered);
    assert_eq!(world.got[&CHEM][0].push, held);
}

#[test]
fn the_mark_of_taken_answers_rides_on_the_next_event_and_survives() {
    let mut world = world();
    world.push(CHEM, 1, 1);
    world.deliver(CHEM);
    let first = world.last_seq();
    world.queue.taken(first);
    assert_eq!(world.disk.events.len(), 1, "no commit of its own");
    world.push(CHEM, 2, 2);
    world.deliver(CHEM);
    assert_eq!(world.disk.events[1].taken, Some(first));
    world.queue.taken(world.last_seq());
    world.act(Queue::flush_taken);
    assert_eq!(world.disk.events[2].kind, Kind::Taken);
    world.restart();
    assert_eq!(world.queue.taken_mark(), world.disk.events[1].seq);
}

#[test]
fn a_freed_push_with_two_orders_frees_those_it_kept_parked() {
    let mut world = world();
    world.several_keys = true;
    // Content 3 has one key, content 1 a second one besides.
    let held = world.push(CHEM, 1, 3);
    let both = world.push(CHEM, 1, 1);
    let last = world.push(CHEM, 2, 3);
    world.settle(CHEM, unknown(), gone());
    world.ready(CHEM);
    assert!(world.lines.is_empty(), "both are parked");
    world
        .command(held, Verb::Settle(Ruling::NotDelivered))
        .unwrap();
    world.deliver(CHEM);
    world.deliver(CHEM);
    assert_eq!(world.state(both), State::Delivered);
    assert_eq!(world.state(last), State::Delivered);
}

#[test]
fn what_may_be_at_the_device_is_never_said_to_be_undelivered() {
    let age = Duration::from_mins(1);
    let resend = Policy {
        on_uncertain: OnUncertain::Resend,
        ..policy()
    };
    let fail = WhenUnreachable::Fail;
    for policy in [
        Policy {
            expires: Some(age),
            ..resend.clone()
        },
        Policy {
            when_unreachable: fail,
            ..resend
        },
    ] {
        let mut world = with(policy);
        let push = world.push(CHEM, 1, 1);
        world.settle(CHEM, unknown(), gone());
        world.act(|queue, turn| queue.line_away(CHEM, "refused".into(), turn));
        world.restart();
        world.wait(age);
        world.act(|queue, turn| queue.line_away(CHEM, "refused".into(), turn));
        assert_eq!(world.state(push), State::Held);
        assert!(world.answers(1).iter().all(|(status, _)| *status != 400));
    }
}

#[test]
fn what_a_person_sends_again_goes_at_any_age_whatever_happens_to_the_process() {
    let age = Duration::from_mins(1);
    for uncertain in [true, false] {
        let mut world = with(Policy {
            expires: Some(age),
            ..policy()
        });
        if uncertain {
            world.push(CHEM, 1, 1);
            world.settle(CHEM, unknown(), gone());
        } else {
            world.act(|queue, turn| queue.line_away(CHEM, "no cable".into(), turn));
            world.push(CHEM, 1, 1);
            world.command(PushId(1), Verb::Hold).unwrap();
        }
        world.command(PushId(1), Verb::Resend).unwrap();
        world.restart();
        world.wait(age);
        world.rebuild();
        world.segment();
        world.restart();
        world.wait(age);
        assert_eq!(world.state(PushId(1)), State::Queued);
        world.ready(CHEM);
        world.deliver(CHEM);
        assert_eq!(world.state(PushId(1)), State::Delivered);
    }
}

#[test]
fn what_may_be_at_the_device_is_not_cancelled_but_settled_by_who_has_looked() {
    let resend = Policy {
        on_uncertain: OnUncertain::Resend,
        ..policy()
    };
    for (policy, state) in [(policy(), State::Held), (resend, State::Queued)] {
        for (ruling, end) in [
            (Ruling::Delivered, State::Delivered),
            (Ruling::NotDelivered, State::Dead),
        ] {
            let mut world = with(policy.clone());
            let push = world.push(CHEM, 1, 1);
            world.settle(CHEM, unknown(), gone());
            assert_eq!(world.state(push), state);
            assert_eq!(
                world.command(push, Verb::Cancel),
                Err(CommandError::Uncertain(push))
            );
            assert!(world.answers(1).is_empty(), "its caller still waits");
            world.command(push, Verb::Settle(ruling)).unwrap();
            assert_eq!(world.state(push), end);
        }
    }
}

#[test]
fn a_push_that_was_uncertain_and_is_held_by_a_person_is_not_cancelled_either() {
    let mut world = with(Policy {
        on_uncertain: OnUncertain::Resend,
        ..policy()
    });
    let push = world.push(CHEM, 1, 1);
    world.settle(CHEM, unknown(), gone());
    world.command(push, Verb::Hold).unwrap();
    world.restart();
    assert_eq!(
        world.command(push, Verb::Cancel),
        Err(CommandError::Uncertain(push))
    );
    let ruling = Verb::Settle(Ruling::NotDelivered);
    world.command(push, ruling).unwrap();
    assert_eq!(world.state(push), State::Dead);
}

#[test]
fn a_push_that_asks_for_a_longer_wait_keeps_it_over_a_failed_commit_and_a_restart() {
    for restarts in [false, true] {
        let mut world = world();
        world.act(|queue, turn| queue.line_away(CHEM, "no cable".into(), turn));
        world.push_waiting(CHEM, Duration::from_secs(28), 77);
        world.wait(Duration::from_secs(5));
        if restarts {
            world.restart();
        } else {
            // By the clock he has waited for an hour.
            world.now.utc = world.now.utc.plus(Duration::from_hours(1));
            world.rebuild();
        }
        world.wait(Duration::from_secs(22));
        assert!(world.answers(77).is_empty(), "after 27 s");
        world.wait(Duration::from_secs(1));
        assert_eq!(world.answers(77)[0].0, 202);
    }
}
