//! What is told of a push after its caller has stopped waiting: each piece once, and nothing else.

use std::time::Duration;

use agent_core::push::{Level, State};
use agent_core::queue::{Connection, EventRow, Kind, LateNews, Receipts, Ruling, Verb};

use crate::disk::Disk;
use crate::world::{CHEM, World, gone, policy, unknown, yes};

/// Whether the rows say that this event must be told.
fn must_be_told(disk: &Disk, event: &EventRow) -> bool {
    let heard = |own: &&EventRow| own.push == event.push && own.seq < event.seq;
    let caller = disk
        .facts(event.push)
        .is_some_and(|facts| facts.callback.is_some());
    let answered = disk
        .events
        .iter()
        .filter(heard)
        .any(|own| own.status.is_some());
    match event.kind {
        Kind::Settled => event.status.is_none(),
        Kind::Held | Kind::Released => !caller || answered,
        Kind::Answered => {
            let mut earlier = disk.events.iter().filter(heard).rev();
            earlier.find_map(|own| own.state) == Some(State::Held)
        }
        Kind::Level => true,
        Kind::Attempt | Kind::Completing | Kind::Retry | Kind::Taken => false,
    }
}

/// Every event that must be told is told once, in its commit.
pub(crate) fn check(disk: &Disk) {
    for event in &disk.events {
        let told = disk
            .news
            .iter()
            .filter(|news| news.seq == event.seq)
            .count();
        let must = usize::from(must_be_told(disk, event));
        assert_eq!(told, must, "{:?} of push {}", event.kind, event.push);
    }
}

fn told(world: &World) -> Vec<String> {
    check(&world.disk);
    let name = |state: State| state.word().to_owned();
    let news = world.disk.news.iter();
    news.map(|news| {
        let by = news
            .who
            .as_deref()
            .map_or(String::new(), |who| format!(" by {who}"));
        let level = news.level.map_or("", Level::word);
        format!(
            "{} {}{by} {level}",
            news.push,
            news.state.map_or("-".into(), name)
        )
        .trim()
        .to_owned()
    })
    .collect()
}

fn world() -> World {
    let mut world = World::new(policy(), policy());
    world.ready(CHEM);
    world
}

#[test]
fn a_push_that_is_answered_in_time_has_no_news() {
    let mut world = world();
    world.push(CHEM, 1, 1);
    world.deliver(CHEM);
    assert!(told(&world).is_empty());
}

#[test]
fn what_became_of_a_push_after_its_202_is_told_and_so_is_what_nobody_waited_for() {
    let mut world = world();
    world.push(CHEM, 1, 1);
    world.push_quietly(CHEM, 2, 2);
    world.wait(Duration::from_secs(9));
    world.deliver(CHEM);
    world.deliver(CHEM);
    assert_eq!(
        told(&world),
        ["1 delivered accepted", "2 delivered accepted"]
    );
}

#[test]
fn a_hold_is_told_when_the_caller_has_stopped_waiting_and_so_is_how_it_ends() {
    let mut world = world();
    world.push(CHEM, 1, 1);
    world.settle(CHEM, unknown(), gone());
    assert!(told(&world).is_empty(), "its caller still waits");
    world.wait(Duration::from_secs(9));
    assert_eq!(told(&world), ["1 held"]);
    world
        .command(agent_core::push::PushId(1), Verb::Resend)
        .unwrap();
    world.ready(CHEM);
    world.settle(CHEM, unknown(), gone());
    let ruling = Verb::Settle(Ruling::NotDelivered);
    world.command(agent_core::push::PushId(1), ruling).unwrap();
    assert_eq!(
        told(&world),
        ["1 held", "1 queued by ana", "1 held", "1 dead by ana"]
    );
}

#[test]
fn a_push_that_joined_another_has_its_own_news() {
    let mut world = world();
    world.push(CHEM, 1, 1);
    world.push(CHEM, 1, 1);
    world.wait(Duration::from_secs(9));
    world.deliver(CHEM);
    assert_eq!(told(&world), ["1 delivered accepted", "2 delivered"]);
}

#[test]
fn later_news_of_the_device_are_told_even_if_the_caller_was_answered() {
    let mut world = world();
    let push = world.push(CHEM, 1, 1);
    world.arrive(CHEM);
    world.settle(CHEM, yes(), Connection::Usable);
    let news = LateNews::Level(Level::Performed);
    world.act(|queue, turn| queue.late(push, CHEM, news, turn));
    assert_eq!(told(&world), ["1 - performed"]);
}

#[test]
fn what_a_crash_has_made_uncertain_is_told() {
    let mut world = world();
    world.push_quietly(CHEM, 1, 1);
    world.restart();
    assert_eq!(told(&world), ["1 held"]);
}

#[test]
fn where_nobody_is_to_be_told_nothing_is_written() {
    let mut world = world();
    world.queue.keep_news(Receipts::Off);
    world.push_quietly(CHEM, 1, 1);
    world.deliver(CHEM);
    assert!(world.disk.news.is_empty());
}
