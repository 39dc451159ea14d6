//! `cargo xtask demo`: the road of an order from the clinician to the device in one terminal, told line by line.

mod http;
mod orders;
mod process;
mod teller;
mod world;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::run::{self, Profile, root};
use crate::setup;
use orders::{Clinic, change, create, task_of};
use process::wait_until;
use teller::Teller;
use world::{CLIENT, SECRET, World};

/// Builds what it needs, then tells the story.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let ending = match words {
        [] => Ending::Stay,
        ["--once"] => Ending::Compare,
        ["--once", "--bless"] | ["--bless"] => Ending::Bless,
        _ => bail!("demo knows --once and --bless"),
    };
    setup::build_tools()?;
    play(run::build_binaries(Profile::Debug)?, ending)
}

/// Tells the story with the debug binaries that are built already.
pub(crate) fn once_as_built() -> Result<()> {
    play(run::binaries(Profile::Debug)?, Ending::Compare)
}

/// What happens after the last act.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Stay,
    Compare,
    Bless,
}

fn play(binaries: PathBuf, ending: Ending) -> Result<()> {
    let mut world = World::start(binaries)?;
    let clinic = Clinic::open(&world.cloud, &world.chem, &world.hema)?;
    let mut teller = Teller::default();
    introduce(&world, &mut teller);
    let order = ordered(&world, &clinic, &mut teller)?;
    changed(&world, &clinic, &order, &mut teller)?;
    away(&mut world, &clinic, &mut teller)?;
    let transcript = root().join("docs/demo-transcript.txt");
    match ending {
        Ending::Compare => teller.compare(&transcript),
        Ending::Bless => teller.bless(&transcript),
        Ending::Stay => {
            invite(&world, &clinic, &mut teller)?;
            world.stay()
        }
    }
}

fn introduce(world: &World, teller: &mut Teller) {
    teller.say("");
    teller.say("Wardpost: a cloud, an agent and two laboratory devices, all on this machine.");
    teller.say("");
    teller.say(format!("  cloud    http://{}", world.cloud.address));
    teller.say("  agent    Ward 3, connected; it listens on no port");
    for device in [&world.chem, &world.hema] {
        teller.say(format!(
            "  device   {}, HL7 over {}",
            device.name,
            device.url()
        ));
    }
    teller.say("  Bot      push-order: a ServiceRequest for chem-1 becomes HL7, which is pushed");
    teller.say("  Bot      task-order: one for hema-1 becomes a Task in the agent's mailbox");
}

fn ordered(world: &World, clinic: &Clinic, teller: &mut Teller) -> Result<Value> {
    teller.say("");
    teller.say("1. A clinician orders glucose from chem-1: a ServiceRequest is created.");
    teller.say("");
    let order = create(&world.cloud, &clinic.order(&world.chem)?)?;
    teller.say("  Its Subscription runs the Bot, the Bot pushes, and chem-1 gets:");
    teller.say("");
    say_message(teller, &world.wait_for_message(&world.chem, 1)?);
    teller.say("");
    say_life(teller, &wait_for_state(world, 1, "delivered")?);
    Ok(order)
}

fn changed(world: &World, clinic: &Clinic, order: &Value, teller: &mut Teller) -> Result<()> {
    teller.say("");
    teller.say(
        "2. The order is changed, the Bot is run once more by hand, and the order is revoked.",
    );
    teller.say("");
    let order = change(&world.cloud, order, "priority", "stat")?;
    let changed = world.wait_for_message(&world.chem, 2)?;
    let again = clinic.run_again(&world.cloud, &order)?;
    change(&world.cloud, &order, "status", "revoked")?;
    let revoked = world.wait_for_message(&world.chem, 3)?;
    teller.say("  chem-1 gets a change and a cancel of the same order:");
    teller.say("");
    for message in [changed, revoked] {
        let segments = message.split('\r');
        let common = segments.into_iter().find(|line| line.starts_with("ORC"));
        say_message(teller, common.unwrap_or_default());
    }
    teller.say("");
    teller.say("  What the Bot did by hand was the change again, which chem-1 has: it got nothing, and the Bot was told");
    teller.say(format!("    {again}"));
    Ok(())
}

fn away(world: &mut World, clinic: &Clinic, teller: &mut Teller) -> Result<()> {
    teller.say("");
    teller.say(
        "3. The box is switched off, and so is hema-1. A ServiceRequest for hema-1 is created.",
    );
    teller.say("");
    world.switch_agent_off()?;
    world.switch_hema_off();
    let order = create(&world.cloud, &clinic.order(&world.hema)?)?;
    say_task(world, &order, "requested", teller)?;
    world.switch_agent_on()?;
    teller.say("  The box is switched on, and takes it.");
    say_task(world, &order, "accepted", teller)?;
    world.switch_hema_on()?;
    teller.say("  hema-1 is switched on.");
    say_task(world, &order, "completed", teller)?;
    teller.say("");
    say_message(teller, &world.wait_for_message(&world.hema, 1)?);
    teller.say("");
    // Behind an order, its change, the change once more and its cancel.
    say_life(teller, &wait_for_state(world, 5, "delivered")?);
    teller.say("");
    ensure!(
        world.received()? == [3, 1],
        "a device got more than it should"
    );
    teller.say("  Every order reached its device, once, and the cloud knows what became of it.");
    world.check()
}

/// What the Task of an order says, once it has come that far.
fn say_task(world: &World, order: &Value, status: &str, teller: &mut Teller) -> Result<()> {
    wait_until(&format!("the Task to be {status}"), || {
        let task = task_of(&world.cloud, order)?;
        Ok(task.is_some_and(|task| task["status"] == status))
    })?;
    teller.say(format!("    its Task in the cloud is {status}"));
    Ok(())
}

fn invite(world: &World, clinic: &Clinic, teller: &mut Teller) -> Result<()> {
    teller.say("");
    teller.say("4. Your turn. Order another, from a second terminal:");
    teller.say("");
    teller.say(format!(
        "  curl -u {CLIENT}:{SECRET} -H 'Content-Type: application/json' -d '{}' 'http://{}/fhir/R4/ServiceRequest'",
        clinic.order(&world.chem)?,
        world.cloud.address,
    ));
    teller.say("");
    teller.say("  Ask the agent:");
    teller.say("");
    let (wardpost, control) = (world.binaries.join("wardpost"), world.control());
    let wardpost = wardpost.strip_prefix(root()).unwrap_or(&wardpost);
    for words in ["status", "devices", "queue", "why 2"] {
        teller.say(format!(
            "  {} --control {} {words}",
            wardpost.display(),
            control.display()
        ));
    }
    teller.say("");
    teller.say("Ctrl-C ends it.");
    Ok(())
}

/// The push as `wardpost why` tells it, once it has come that far.
fn wait_for_state(world: &World, push: u64, state: &str) -> Result<Value> {
    let mut story = Value::Null;
    wait_until(&format!("push {push} to be {state}"), || {
        story = world.ask_agent(&["why", &push.to_string()])?;
        Ok(story["state"] == state)
    })?;
    Ok(story)
}

fn say_life(teller: &mut Teller, story: &Value) {
    teller.say(format!(
        "  The life of push {}, from `wardpost why {0}`:",
        story["push"]
    ));
    teller.say("");
    let events = story["events"].as_array().map_or(&[][..], Vec::as_slice);
    let first = events.first().and_then(milliseconds).unwrap_or_default();
    for event in events {
        let time = event["at"]
            .as_str()
            .and_then(|at| at.get(11..23))
            .unwrap_or("?");
        let since = milliseconds(event)
            .unwrap_or_default()
            .saturating_sub(first);
        teller.say(format!(
            "    {time}  {since:>+6} ms  {}",
            event["text"].as_str().unwrap_or("?")
        ));
    }
    let of = |member: &str| story[member].as_str().unwrap_or("?").to_owned();
    teller.say("");
    teller.say(format!(
        "    state: {}, {} by {}",
        of("state"),
        of("level"),
        of("device")
    ));
}

/// Milliseconds of the day, from a time such as `2026-03-01T08:15:00.123Z`.
fn milliseconds(event: &Value) -> Option<i64> {
    let at = event["at"].as_str()?;
    let part = |from: usize, to: usize| {
        at.get(from..to)
            .and_then(|digits| digits.parse::<i64>().ok())
    };
    Some(((part(11, 13)? * 60 + part(14, 16)?) * 60 + part(17, 19)?) * 1000 + part(20, 23)?)
}

fn say_message(teller: &mut Teller, message: &str) {
    for segment in message
        .split(['\r', '\n'])
        .filter(|segment| !segment.is_empty())
    {
        teller.say(format!("    {segment}"));
    }
}
