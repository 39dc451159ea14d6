//! `cargo xtask demo`: the whole road of a push in one terminal, told line by line.

mod http;
mod process;
mod teller;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::run::{self, Profile, root};
use crate::setup;
use http::Answer;
use process::wait_until;
use teller::Teller;
use world::{AGENT, CLIENT, Device, SECRET, World};

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
    let mut teller = Teller::default();
    introduce(&world, &mut teller);
    answered_at_once(&world, &mut teller)?;
    switched_off(&mut world, &mut teller)?;
    let transcript = root().join("docs/demo-transcript.txt");
    match ending {
        Ending::Compare => teller.compare(&transcript),
        Ending::Bless => teller.bless(&transcript),
        Ending::Stay => {
            invite(&world, &mut teller);
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
}

fn answered_at_once(world: &World, teller: &mut Teller) -> Result<()> {
    teller.say("");
    teller.say("1. The cloud pushes an order to chem-1 and waits for the answer.");
    teller.say("");
    say_message(teller, &order(1001));
    let (answer, took) = push(world, &world.chem, 1001)?;
    ensure!(
        answer.status == 200,
        "the push was answered {}: {}",
        answer.status,
        answer.body
    );
    ensure!(
        answer.body.contains("MSA|AA|ORD-1001-1"),
        "this is no ACK: {}",
        answer.body
    );
    teller.say("");
    let story = wait_for_state(world, 1, "delivered")?;
    say_life(teller, &story);
    teller.say("");
    teller.say(format!(
        "  The caller got 200 after {}, in the device's own words:",
        in_words(took)
    ));
    teller.say("");
    say_message(teller, &answer.body);
    Ok(())
}

fn switched_off(world: &mut World, teller: &mut Teller) -> Result<()> {
    world.switch_hema_off()?;
    teller.say("");
    teller.say("2. hema-1 is switched off, and the cloud pushes an order to it.");
    teller.say("");
    let (answer, took) = push(world, &world.hema, 1002)?;
    ensure!(
        answer.status == 202,
        "the push was answered {}: {}",
        answer.status,
        answer.body
    );
    teller.say(format!("  The caller got 202 after {}:", in_words(took)));
    teller.say(format!("    {}", answer.body));
    world.switch_hema_on()?;
    teller.say("");
    teller.say("  Now hema-1 is switched on. Nobody pushes again.");
    teller.say("");
    let story = wait_for_state(world, 2, "delivered")?;
    say_life(teller, &story);
    teller.say("");
    ensure!(
        world.received()? == [1, 1],
        "a device did not get exactly one message"
    );
    teller.say("  Both orders reached their devices, each once, and each caller knows what became of its own.");
    world.check()
}

fn invite(world: &World, teller: &mut Teller) {
    teller.say("");
    teller.say("3. Your turn. Push another, from a second terminal:");
    teller.say("");
    teller.say(format!("  {}", curl(world)));
    teller.say("");
    teller.say("  The same order twice is delivered once: change ORD-1003 to push yet another.");
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
}

fn push(world: &World, device: &Device, order: u32) -> Result<(Answer, Duration)> {
    let start = Instant::now();
    let answer = world.cloud.post(&push_path(), &push_body(device, order))?;
    Ok((answer, start.elapsed()))
}

fn push_path() -> String {
    format!("/fhir/R4/Agent/{AGENT}/$push")
}

fn push_body(device: &Device, number: u32) -> Value {
    json!({
        "destination": format!("Device/{}", device.name),
        "contentType": "x-application/hl7-v2+er7",
        "body": order(number),
        "waitForResponse": true,
    })
}

/// A glucose order for a patient who does not exist.
fn order(number: u32) -> String {
    format!(
        "MSH|^~\\&|EHR|CLINIC|LAB|CLINIC|20260301081500||OML^O21^OML_O21|ORD-{number}-1|P|2.5.1\r\
         PID|1||900001||DOE^JANE||19800101|F\r\
         ORC|NW|ORD-{number}\r\
         OBR|1|ORD-{number}||GLU^Glucose^L\r"
    )
}

fn curl(world: &World) -> String {
    format!(
        "curl -u {CLIENT}:{SECRET} -H 'Content-Type: application/json' -d '{}' 'http://{}{}'",
        push_body(&world.chem, 1003),
        world.cloud.address,
        push_path()
    )
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

fn in_words(took: Duration) -> String {
    match took.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", took.as_secs_f64()),
    }
}
