//! A clock that cannot be believed: what waits goes on waiting, and everything goes on by its true age afterwards.

use std::time::Duration;

use agent_core::clock::{Clock, ClockJudge, ClockMark, CloudTime, Doubt, Kept, Reading};
use agent_core::push::{PushId, State, Timestamp};
use agent_core::queue::{Before, Command, CommandError, Done, Verb};

use crate::world::{CHEM, World, policy};

const HOUR: Duration = Duration::from_hours(1);
const YEARS: i64 = 30 * 365 * 86_400_000;

fn doubt() -> Clock {
    Clock::Doubtful(Doubt::Backwards(HOUR))
}

/// The device is away; what is pushed waits.
fn world() -> World {
    let mut world = World::new(policy(), policy());
    world.act(|queue, turn| queue.line_away(CHEM, "no cable".into(), turn));
    world
}

/// The box was off for a while, and nobody knows for how long.
fn power_off(world: &mut World) {
    world.restart();
    let before = world.queue.newest();
    in_doubt(world, before);
}

fn in_doubt(world: &mut World, before: Before) {
    world.queue.here_before(before);
    world.act(|queue, turn| queue.judge_clock(doubt(), turn));
}

fn shown(world: &World, push: PushId) -> (State, String) {
    let waiting = world.waiting(push).expect("it is not final");
    let reason = waiting.explained.reason.to_string();
    (waiting.explained.state, reason)
}

#[test]
fn nothing_expires_by_a_clock_in_doubt_and_everything_does_by_a_sound_one() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    let truth = world.now;
    world.act(|queue, turn| queue.judge_clock(doubt(), turn));
    for wrong in [YEARS, -YEARS, YEARS] {
        world.now.utc = Timestamp(truth.utc.0 + wrong);
        world.wait(HOUR);
        assert_eq!(world.state(push), State::Queued);
        assert_eq!(
            world.queue.next_tick(world.now),
            None,
            "nobody wakes for it"
        );
    }
    world.now.utc = truth.utc.plus(3 * HOUR);
    world.act(|queue, turn| queue.judge_clock(Clock::Sound, turn));
    assert_eq!(world.state(push), State::Queued);
    world.wait(68 * HOUR);
    assert_eq!(world.state(push), State::Queued);
    world.wait(HOUR);
    assert_eq!(world.state(push), State::Expired);
}

#[test]
fn what_comes_up_while_the_clock_is_in_doubt_is_sent_however_old_it_seems() {
    let mut world = world();
    let pushes: Vec<_> = (0..300).map(|n| world.push_quietly(CHEM, n, n)).collect();
    world.act(|queue, turn| queue.judge_clock(doubt(), turn));
    world.now.utc = Timestamp(world.now.utc.0 + YEARS);
    world.ready(CHEM);
    for push in pushes {
        world.deliver(CHEM);
        assert_eq!(world.state(push), State::Delivered);
    }
}

#[test]
fn what_waited_across_a_power_cut_is_held_until_the_clock_is_sound() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    power_off(&mut world);
    let events = world.disk.events.len();
    let (state, reason) = shown(&world, push);
    assert_eq!(state, State::Held);
    assert!(reason.contains("set the clock, or release it"), "{reason}");
    world.ready(CHEM);
    assert!(world.lines.is_empty(), "it is not sent");
    assert_eq!(
        world.disk.events.len(),
        events,
        "and that is not written down"
    );
    let later = world.push(CHEM, 2, 2);
    assert_eq!(
        shown(&world, later),
        (State::Queued, "behind push 1".into())
    );
    world.act(|queue, turn| queue.judge_clock(Clock::Sound, turn));
    world.deliver(CHEM);
    world.deliver(CHEM);
    for push in [push, later] {
        assert_eq!(world.state(push), State::Delivered);
    }
}

#[test]
fn a_person_may_let_it_go() {
    let mut world = world();
    let (first, second) = (world.push(CHEM, 1, 1), world.push(CHEM, 2, 2));
    assert_eq!(
        world.command(first, Verb::Release),
        Err(CommandError::NotHeld(first))
    );
    power_off(&mut world);
    world.ready(CHEM);
    assert_eq!(world.command(first, Verb::Release), Ok(Done::Push(first)));
    world.deliver(CHEM);
    assert_eq!(world.state(first), State::Delivered);
    assert_eq!(shown(&world, second).0, State::Held);
    assert!(world.lines.is_empty());
    assert_eq!(world.command(second, Verb::Cancel), Ok(Done::Push(second)));
}

#[test]
fn what_a_person_let_go_goes_whatever_happens_to_the_process_until_the_box_is_off_again() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    power_off(&mut world);
    let before = world.queue.newest();
    world.command(push, Verb::Release).unwrap();
    world.rebuild();
    assert_eq!(shown(&world, push).0, State::Queued);
    world.segment();
    for _ in 0..2 {
        world.restart();
        in_doubt(&mut world, before);
        assert_eq!(shown(&world, push).0, State::Queued);
    }
    power_off(&mut world);
    assert_eq!(shown(&world, push).0, State::Held);
    world.command(push, Verb::Release).unwrap();
    world.ready(CHEM);
    world.deliver(CHEM);
    assert_eq!(world.state(push), State::Delivered);
}

#[test]
fn a_release_that_found_no_room_on_the_disk_lets_nothing_go() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    power_off(&mut world);
    let release = Command {
        push,
        verb: Verb::Release,
        who: "ana".into(),
        reason: None,
    };
    world.act_in_vain(|queue, turn| {
        queue.command(&release, turn).unwrap();
    });
    world.ready(CHEM);
    assert_eq!(shown(&world, push).0, State::Held);
    assert!(
        world.lines.is_empty(),
        "its caller was told that it is held"
    );
}

#[test]
fn so_is_a_queue_of_which_only_the_numbers_are_kept() {
    let mut world = world();
    let pushes: Vec<_> = (0..300).map(|n| world.push_quietly(CHEM, n, n)).collect();
    world.segment();
    power_off(&mut world);
    world.ready(CHEM);
    for push in [pushes[0], pushes[299]] {
        assert_eq!(shown(&world, push).0, State::Held);
    }
    world.now.utc = Timestamp(world.now.utc.0 + YEARS);
    world.wait(HOUR);
    world.now.utc = Timestamp(world.now.utc.0 - YEARS);
    world.act(|queue, turn| queue.judge_clock(Clock::Sound, turn));
    for push in pushes {
        world.deliver(CHEM);
        assert_eq!(world.state(push), State::Delivered);
    }
}

#[test]
fn a_failed_commit_does_not_forget_the_doubt() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    power_off(&mut world);
    world.rebuild();
    assert_eq!(shown(&world, push).0, State::Held);
}

/// The clock of the box differs by so much from the moment of delivery on. Whether an equal push joins after so long.
fn joins(wrong: i64, later: Duration) -> bool {
    let mut world = World::new(policy(), policy());
    world.now.utc = Timestamp(1_804_987_800_000);
    let mut judge = ClockJudge::new(Some(ClockMark {
        utc: world.now.utc,
        mono: world.now.mono,
    }));
    judge.heard(CloudTime {
        date: world.now.utc,
        asked: world.now.mono,
        answered: world.now.mono,
    });
    world.ready(CHEM);
    world.push(CHEM, 1, 1);
    world.deliver(CHEM);
    let start = world.now;
    world.now.mono = start.mono.plus(later);
    let judged = judge.look(Reading {
        mono: world.now.mono,
        utc: Timestamp(start.utc.plus(later).0 + wrong),
        kept: Kept::Unknown,
    });
    world.now.utc = judged.utc;
    world.act(|queue, turn| queue.judge_clock(judged.clock, turn));
    let again = world.push(CHEM, 1, 1);
    world.facts(again).joins == Some(PushId(1))
}

#[test]
fn twice_is_once_within_ten_minutes_however_the_clock_jumps_meanwhile() {
    for wrong in [0, YEARS, -YEARS, 86_400_000, -86_400_000] {
        assert!(joins(wrong, Duration::from_mins(9)), "{wrong}");
        assert!(!joins(wrong, Duration::from_mins(11)), "{wrong}");
    }
}
