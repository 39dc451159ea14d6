//! Any sequence of pushes, answers, losses, commands, failed commits and crashes keeps the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_core::push::{DeviceNo, OnUncertain, Policy, Print, PushId, State};
use agent_core::queue::{Connection, Known, Queue, Ruling, Turn, Verb};
use proptest::prelude::*;

use crate::disk::Disk;
use crate::world::{
    CHEM, HEMA, Segment, World, gone, known, new_push, no, policy, seen_from_outside, unknown,
    untouched,
};

#[derive(Clone, Debug)]
enum Step {
    Push {
        device: DeviceNo,
        key: u64,
        content: u64,
    },
    SameCallback {
        device: DeviceNo,
        key: u64,
        content: u64,
        callback: u64,
    },
    Ready(DeviceNo),
    Away(DeviceNo),
    Settle {
        device: DeviceNo,
        how: u8,
    },
    /// The bytes arrive, and the process dies before the answer is stored.
    ArriveAndCrash(DeviceNo),
    Crash,
    /// A push that came to nothing with its commit, and is not tried again.
    LostPush {
        device: DeviceNo,
        key: u64,
        content: u64,
    },
    /// The step's commit fails, and what it was for is done again.
    FailedCommit(Segment, Box<Step>),
    Command {
        push: u64,
        verb: u8,
    },
    Wait(u64),
    /// Nobody waits for its answer.
    Quiet {
        device: DeviceNo,
        key: u64,
        content: u64,
    },
    Segment,
}

fn device() -> impl Strategy<Value = DeviceNo> {
    prop_oneof![Just(CHEM), Just(HEMA)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => request(),
        2 => (segment(), request()).prop_map(|(segment, step)| Step::FailedCommit(segment, Box::new(step))),
        2 => other(),
    ]
}

/// What ends in one commit.
fn request() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => order().prop_map(|(device, key, content)| Step::Push { device, key, content }),
        1 => (order(), 1..9_u64).prop_map(|((device, key, content), callback)| {
            Step::SameCallback { device, key, content, callback }
        }),
        5 => device().prop_map(Step::Ready),
        1 => device().prop_map(Step::Away),
        8 => (device(), 0..8_u8).prop_map(|(device, how)| Step::Settle { device, how }),
        2 => (1..30_u64, 0..6_u8).prop_map(|(push, verb)| Step::Command { push, verb }),
        2 => (0..100_u64).prop_map(Step::Wait),
        4 => order().prop_map(|(device, key, content)| Step::Quiet { device, key, content }),
    ]
}

fn other() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => device().prop_map(Step::ArriveAndCrash),
        1 => Just(Step::Crash),
        1 => order().prop_map(|(device, key, content)| Step::LostPush { device, key, content }),
        2 => Just(Step::Segment),
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![Just(Segment::Due), Just(Segment::NotDue)]
}

fn order() -> impl Strategy<Value = (DeviceNo, u64, u64)> {
    (device(), 0..4_u64, 0..6_u64)
}

/// What the world outside knows: which pushes may lawfully be seen twice.
#[derive(Default)]
struct Law {
    may_repeat: BTreeMap<PushId, usize>,
    commanded: BTreeSet<PushId>,
}

fn run(steps: &[Step], after_each: fn(&mut World)) {
    let resend = Policy {
        on_uncertain: OnUncertain::Resend,
        ..policy()
    };
    let mut world = World::new(policy(), resend);
    world.several_keys = true;
    // So few are kept whole that most pushes grow cold.
    world.disk.keep_whole(2);
    world.restart();
    let mut law = Law::default();
    for step in steps {
        perform(&mut world, &mut law, step);
        check(&world, &law);
        after_each(&mut world);
    }
    drain(&mut world, &mut law);
    check(&world, &law);
    crate::news::check(&world.disk);
    nothing_is_lost(&world);
}

/// Whenever the process ended now, the next one would have the same queue by the newest segment as by all rows, and the
/// same as the living one if only a commit had failed.
fn a_start_is_right(world: &mut World) {
    let start = |by: fn(&Disk, &mut Turn) -> Queue| {
        let mut turn = Turn::at(world.now);
        let queue = by(&world.disk, &mut turn);
        // Wait with reasons: what is parked is found out as soon as the queue looks at it.
        let seen = seen_from_outside(&queue, &world.disk, world.now);
        let marks = (queue.last_answer(), queue.taken_mark());
        (
            format!("{:?}", turn.rows),
            seen,
            marks,
            recognised(&queue, world),
        )
    };
    assert_eq!(start(Disk::start), start(Disk::start_from_all_rows));
    let living = seen_from_outside(&world.queue, &world.disk, world.now);
    let known = recognised(&world.queue, world);
    let rebuilt = world.disk.look(&mut world.queue, world.now);
    assert_eq!(rebuilt, living);
    assert_eq!(recognised(&world.queue, world), known);
}

/// What each push that could come next would be taken for.
fn recognised(queue: &Queue, world: &World) -> Vec<Known> {
    let mut found = Vec::new();
    for device in [CHEM, HEMA] {
        for key in 0..4 {
            for content in 0..3 {
                let mut push = new_push(device, key, content, key * 6 + content);
                let more = (1..=content % 3).map(|n| Print((key + n) % 4));
                push.key_prints.extend(more);
                found.push(known(queue, &world.disk, &push, world.now));
            }
        }
    }
    found
}

fn perform(world: &mut World, law: &mut Law, step: &Step) {
    match *step {
        Step::Push {
            device,
            key,
            content,
        } => drop(world.push(device, key, content)),
        Step::SameCallback {
            device,
            key,
            content,
            callback,
        } => {
            world.push_as(device, key, content, callback);
        }
        Step::Ready(device) => world.ready(device),
        Step::Away(device) => world.away(device),
        Step::Settle { device, how } => settle(world, law, device, how),
        Step::ArriveAndCrash(device) => {
            if let Some(push) = world.arrive(device) {
                allow_repeat(law, device, push);
            }
            world.restart();
        }
        Step::Crash => world.restart(),
        Step::FailedCommit(segment, ref step) => {
            world.commit_fails = Some(segment);
            perform(world, law, step);
            // A step that had nothing to ask for has committed nothing.
            world.commit_fails = None;
        }
        Step::LostPush {
            device,
            key,
            content,
        } => {
            let push = new_push(device, key, content, 1_000_000);
            world.act_in_vain(|queue, turn| {
                queue.accept(push.into(), agent_core::queue::Known::No, turn);
            });
        }
        Step::Command { push, verb } => command(world, law, PushId(push), verb),
        Step::Quiet {
            device,
            key,
            content,
        } => drop(world.push_quietly(device, key, content)),
        Step::Segment => world.segment(),
        Step::Wait(seconds) => world.wait(Duration::from_secs(seconds)),
    }
}

fn settle(world: &mut World, law: &mut Law, device: DeviceNo, how: u8) {
    match how {
        0..=3 => world.deliver(device),
        4 => {
            world.arrive(device);
            world.settle(device, no(), Connection::Usable);
        }
        5 => {
            if let Some(push) = world.arrive(device) {
                allow_repeat(law, device, push);
            }
            world.settle(device, unknown(), gone());
        }
        6 => world.settle(device, unknown(), gone()),
        _ => world.settle(device, untouched(), gone()),
    }
}

fn allow_repeat(law: &mut Law, device: DeviceNo, push: PushId) {
    // Only the second device is documented to recognise a repetition.
    if device == HEMA {
        *law.may_repeat.entry(push).or_default() += 1;
    }
}

fn command(world: &mut World, law: &mut Law, push: PushId, verb: u8) {
    if !world.disk.pushes.iter().any(|facts| facts.id == push) {
        return;
    }
    let verb = match verb {
        0 => Verb::Hold,
        1 => Verb::Release,
        2 => Verb::Resend,
        3 => Verb::Settle(Ruling::Delivered),
        4 => Verb::Settle(Ruling::NotDelivered),
        _ => Verb::Cancel,
    };
    if world.command(push, verb).is_ok() && verb == Verb::Resend {
        law.commanded.insert(push);
    }
}

fn check(world: &World, law: &Law) {
    for (device, got) in &world.got {
        let mut times: BTreeMap<PushId, usize> = BTreeMap::new();
        for seen in got {
            *times.entry(seen.push).or_default() += 1;
        }
        for (push, times) in times {
            let allowed = 1 + law.may_repeat.get(&push).copied().unwrap_or(0);
            let commanded = law.commanded.contains(&push);
            assert!(
                commanded || times <= allowed,
                "{device:?} got push {push} {times} times"
            );
        }
        order_holds(got, law);
    }
    for (callback, answers) in &world.told {
        assert_eq!(
            answers.len(),
            1,
            "callback {callback} was told different things"
        );
    }
}

/// The first arrivals of one order key ascend, unless a person sent one again.
fn order_holds(got: &[crate::world::Seen], law: &Law) {
    let mut newest: BTreeMap<u64, PushId> = BTreeMap::new();
    let mut seen_before = BTreeSet::new();
    for seen in got {
        if law.commanded.contains(&seen.push) || !seen_before.insert(seen.push) {
            continue;
        }
        for key in &seen.keys {
            if let Some(before) = newest.insert(*key, seen.push) {
                assert!(
                    before < seen.push,
                    "push {} of order {key} after {before}",
                    seen.push
                );
            }
        }
    }
}

/// Lets everything go that nobody holds.
fn drain(world: &mut World, law: &mut Law) {
    for _ in 0..200 {
        for device in [CHEM, HEMA] {
            world.ready(device);
            if world.lines.contains_key(&device) {
                settle(world, law, device, 0);
            }
        }
        world.wait(Duration::from_secs(61));
    }
}

fn nothing_is_lost(world: &World) {
    for facts in &world.disk.pushes {
        let state = world.state(facts.id);
        let waiting = world.waiting(facts.id);
        match waiting {
            None => assert!(
                state.is_final(),
                "push {} is {state:?} and nobody has it",
                facts.id
            ),
            Some(waiting) => {
                let reason = waiting.explained.reason.to_string();
                let kept = ["uncertain", "held", "the same as"]
                    .iter()
                    .any(|w| reason.contains(w));
                assert!(
                    kept && !state.is_final(),
                    "push {} {state:?}: {reason}",
                    facts.id
                );
                assert_ne!(state, State::Sending);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_push_is_lost_doubled_or_crossed(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps, |_| ());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_start_by_the_newest_segment_is_a_start_by_all_rows(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps, a_start_is_right);
    }
}
