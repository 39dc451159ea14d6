//! Every way in which the way to the cloud fails, for a while: the same machine takes a push within 30 s of its end.

mod rows;

use super::secs;
use super::world::{Chance, Try, WELL, World};
use crate::push::Mono;
use crate::retry::Dice;
use rows::{Row, rows};
use std::time::Duration;

/// Where the fault finds the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begin {
    AtStart,
    InSession,
    /// And its session is cut, and its tokens are worth nothing any more.
    Cut,
}

const BEGINS: [Begin; 3] = [Begin::AtStart, Begin::InSession, Begin::Cut];
const LIMIT: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_hours(1);

fn failing(row: &Row, begin: Begin, chance: Chance) -> World {
    let mut world = World::new(WELL, chance);
    if begin != Begin::AtStart {
        world.run_for(secs(7));
        assert!(world.is_live());
    }
    (row.begin)(&mut world);
    if begin == Begin::Cut {
        world.revoke_tokens();
        world.hang_up("the server closed the connection: it is going away");
    }
    // Its answer is a long one, and nobody may be there to hear it.
    world.offer(secs(40));
    world
}

/// Lets the fault last, ends it, and says how long a push took after that.
fn recovery(row: &Row, begin: Begin, length: Duration, chance: Chance) -> Duration {
    let mut world = failing(row, begin, chance);
    world.run_for(length);
    world.heal();
    let push = world.offer(Duration::MAX);
    let case = || format!("{}, {begin:?}, {length:?}, {chance:?}", row.name);
    let Some(taken) = world.run_until_answered(push, secs(600)) else {
        panic!("{}: the push is never answered", case());
    };
    assert!(taken <= LIMIT, "{}: it takes {taken:?}", case());
    // And it stays well: no session of the outage comes back to end this one.
    world.run_for(secs(30));
    let tries = world.tries.len();
    world.run_for(secs(90));
    assert!(world.is_live(), "{}: {}", case(), world.last_words());
    assert_eq!(world.last_words(), "live", "{}", case());
    assert!(world.tries.len() <= tries + 1, "{}", case());
    taken
}

fn chances() -> [Chance; 3] {
    [
        Chance::Always(Dice(0)),
        Chance::Always(Dice(u32::MAX)),
        Chance::Seeded(4_711),
    ]
}

#[test]
fn after_any_fault_of_any_length_a_push_is_answered_within_thirty_seconds() {
    for row in rows() {
        for begin in BEGINS {
            for (length, chance) in [secs(1), secs(19), secs(75), 8 * HOUR]
                .into_iter()
                .zip(chances().into_iter().cycle())
            {
                recovery(&row, begin, length, chance);
            }
        }
    }
}

#[test]
fn the_moment_at_which_the_fault_ends_makes_no_difference() {
    let mut worst = (Duration::ZERO, "");
    for row in rows() {
        for begin in BEGINS {
            for step in 0..60 {
                let length = Duration::from_millis(200 + 1_733 * step);
                let taken = recovery(&row, begin, length, Chance::Always(Dice(u32::MAX)));
                worst = worst.max((taken, row.name));
            }
        }
    }
    println!("the longest recovery: {worst:?}");
}

#[test]
fn the_status_says_what_is_wrong() {
    for row in rows().iter().filter(|row| !row.words.is_empty()) {
        for begin in [Begin::AtStart, Begin::Cut] {
            let mut world = failing(row, begin, Chance::Seeded(7));
            world.run_for(secs(100));
            let said = world.told.iter().rev().take(6).any(|status| {
                status.words.contains(row.words) && status.next_try.is_none_or(|at| at > Mono(0))
            });
            assert!(said, "{}, {begin:?}: {:?}", row.name, world.told);
        }
    }
}

/// The tries of each whole minute after the first two.
fn minutes(row: &Row, begin: Begin, chance: Chance) -> Vec<usize> {
    let mut world = failing(row, begin, chance);
    let mut minutes = Vec::new();
    for minute in 0..30 {
        let before = world.tries.len();
        world.run_for(secs(60));
        let tries = world.tries.len() - before;
        assert!(tries <= 30, "{}, {begin:?}: {tries} in a minute", row.name);
        if minute >= 2 {
            minutes.push(tries);
        }
    }
    minutes
}

#[test]
fn during_any_fault_it_goes_on_trying_a_few_times_a_minute() {
    for row in rows() {
        for begin in [Begin::AtStart, Begin::Cut] {
            for chance in chances() {
                let minutes = minutes(&row, begin, chance);
                assert!(
                    minutes.iter().all(|tries| row.tries.contains(tries)),
                    "{}, {begin:?}, {chance:?}: {minutes:?}",
                    row.name
                );
            }
        }
    }
}

/// The waits between dials that fail at once, once they have grown.
fn waits(chance: Chance) -> Vec<u64> {
    let rows = rows();
    let row = rows.iter().find(|row| row.name == "no route").unwrap();
    let mut world = failing(row, Begin::AtStart, chance);
    world.run_for(secs(900));
    let at: Vec<Mono> = world.tries.iter().map(|(at, _)| *at).skip(12).collect();
    at.windows(2).map(|two| two[1].0 - two[0].0 - 5).collect()
}

#[test]
fn agents_that_lost_the_same_server_do_not_come_back_in_step() {
    assert!(
        waits(Chance::Always(Dice(0)))
            .iter()
            .all(|wait| *wait == 8_000)
    );
    let longest = waits(Chance::Always(Dice(u32::MAX)));
    assert!(longest.iter().all(|wait| *wait == 10_000));
    for seed in 0..20 {
        let waits = waits(Chance::Seeded(seed));
        assert!(waits.iter().all(|wait| (8_000..=10_000).contains(wait)));
        let (min, max) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(max - min > 1_000, "{waits:?}");
    }
}

#[test]
fn a_session_goes_on_through_faults_that_do_not_touch_it() {
    let untouched = [
        "502",
        "a revoked secret, 400",
        "no route",
        "the connect is refused",
    ];
    for row in rows().iter().filter(|row| untouched.contains(&row.name)) {
        let mut world = failing(row, Begin::InSession, Chance::Seeded(3));
        world.run_for(5 * HOUR);
        let push = world.offer(secs(5));
        let taken = world.run_until_answered(push, secs(5));
        assert!(taken.is_some(), "{}: {}", row.name, world.last_words());
        let dialled = world.tries.iter().filter(|(_, what)| *what == Try::Dial);
        assert_eq!(dialled.count(), 1, "{}", row.name);
    }
}

#[test]
fn a_session_whose_token_cannot_be_renewed_says_so_and_asks_more_often_once_it_is_dead() {
    let rows = rows();
    let row = rows.iter().find(|row| row.name == "502").unwrap();
    let mut world = failing(row, Begin::InSession, Chance::Always(Dice(u32::MAX)));
    world.run_for(2 * HOUR);
    let words =
        "live, but the token cannot be renewed: the server cannot give a token now (HTTP 502)";
    assert_eq!(world.last_words(), words);
    let before = world.tries.len();
    world.run_for(secs(60));
    assert!(world.tries.len() >= before + 5);
}

#[test]
fn a_slow_way_is_a_way() {
    for row in rows().iter().filter(|row| row.tries == (0..=0)) {
        let mut world = failing(row, Begin::AtStart, Chance::Seeded(1));
        world.run_for(secs(120));
        let push = world.offer(secs(60));
        let taken = world.run_until_answered(push, secs(60));
        assert!(taken.is_some(), "{}: {}", row.name, world.last_words());
    }
}

#[test]
fn a_connection_that_died_without_a_word_is_replaced_within_thirty_seconds_of_its_death() {
    for seed in 0..100 {
        let mut world = World::new(WELL, Chance::Seeded(seed));
        world.run_for(secs(7) + Duration::from_millis(311 * seed));
        world.lose_connections();
        let push = world.offer(Duration::MAX);
        let taken = world.run_until_answered(push, secs(600)).unwrap();
        assert!(taken <= LIMIT, "{seed}: {taken:?}");
    }
}

#[test]
fn an_answer_that_is_too_large_for_the_server_costs_one_session_and_not_the_others() {
    let rows = rows();
    let row = rows
        .iter()
        .find(|row| row.name.starts_with("1009"))
        .unwrap();
    let mut world = failing(row, Begin::InSession, Chance::Always(Dice(u32::MAX)));
    let small = world.offer(Duration::MAX);
    assert!(world.run_until_answered(small, LIMIT).is_some());
    world.run_for(HOUR);
    let dialled = world.tries.iter().filter(|(_, what)| *what == Try::Dial);
    assert_eq!(dialled.count(), 2);
}
