//! A busy run to be recorded: devices of every temper, repetitions, large bodies, late answers, stops and starts.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::ensure;

use super::heard::Streams;
use super::record::{Event, read};
use crate::bench::{Bench, DeviceSetup, Setup, url, wait_until};
use crate::oracle::{
    Answers, CloudAnswer, HoldScope, Kept, Line, OnUncertain, Policy, Receipt, Story,
    WhenUnreachable,
};
use crate::shim::{Plan, Shim};
use crate::sim::{Kind, Order, Received, always, field, sha256};

/// What happened, and what is known of it from outside.
#[derive(Debug)]
pub struct Recording {
    pub events: Vec<Event>,
    /// Messages to devices and answers to the cloud, each with the number of the event with which it began to leave.
    pub received: Vec<(usize, Receipt)>,
    pub answers: Vec<(usize, CloudAnswer)>,
    /// The pushes, and what is known of the devices.
    pub frame: Story,
    /// The files as they were in the end.
    pub left: super::disk::Image,
}

/// Runs the agent and pushes so much, in a few lives.
pub fn record(pushes: usize) -> anyhow::Result<Recording> {
    let shim = Shim::new()?;
    let mut bench = shim.around(setup()).start_without_agent();
    shim.follow(&Plan::on(&bench.path("state")).recording())?;
    let mut kept = Vec::new();
    for life in 0..LIVES {
        bench.start_agent();
        for batch in 0..pushes / LIVES / BATCH {
            let from = (life * (pushes / LIVES / BATCH) + batch) * BATCH;
            kept.extend((from..from + BATCH).map(|number| push(&bench, number)));
            wait_for_answers(&bench, &kept);
        }
        ensure!(bench.stop_agent().success(), "the agent did not end well");
    }
    let events = read(&std::fs::read(shim.record())?)?;
    let (received, answers) = heard(&bench, &events);
    let frame = Story {
        policies: policies(),
        lines: lines(),
        kept,
        ..Story::default()
    };
    Ok(Recording {
        events,
        received,
        answers,
        frame,
        left: left(&bench)?,
    })
}

/// The bench of the recorded run, and of the agents that are started on what was left of it.
pub(super) fn setup() -> Setup {
    let device = |name| {
        DeviceSetup::new(name)
            .text("delivery.answer_within", "80ms")
            .text("delivery.on_uncertain", policy_of(name))
    };
    let slow = Kind::Aa.after(Duration::from_millis(120));
    Setup::new()
        .fake_cloud()
        .device(device("chem").text("delivery.answer_within", "8s"))
        .device(device("coag").text("delivery.answer_within", "8s"))
        .device(device("immuno").doing(always(Kind::Ae)))
        .device(device("urine").text("transport.connection", "per-message"))
        .device(device(SLOW).doing(always(slow)))
        .device(
            device(MUTE)
                .text("hl7.ack_timeout", &format!("{MUTE_FOR}ms"))
                .doing(always(Kind::None)),
        )
}

fn policy_of(name: &str) -> &'static str {
    if name == "coag" { "resend" } else { "hold" }
}

fn policies() -> BTreeMap<String, Policy> {
    let policy = |name: &str| Policy {
        on_uncertain: if policy_of(name) == "hold" {
            OnUncertain::Hold
        } else {
            OnUncertain::Resend
        },
        hold_scope: HoldScope::Order,
        when_unreachable: WhenUnreachable::Queue,
        expires: None,
    };
    NAMES.map(|name| (name.to_owned(), policy(name))).into()
}

/// The mute device's pushes are held since no answer comes; nothing else is wrong with any line.
fn lines() -> BTreeMap<String, Line> {
    let mute = Line {
        patience: i64::from(MUTE_FOR),
        answers: Answers::Never,
        ..Line::default()
    };
    [(MUTE.to_owned(), mute)].into()
}

/// Makes the push of this number, which decides everything about it.
fn push(bench: &Bench, number: usize) -> Kept {
    let device = match number % 24 {
        1 => MUTE,
        5 | 17 => SLOW,
        at => ["chem", "coag", "immuno", "urine"][at % 4],
    };
    // Some come twice, and some belong to the order of an earlier one.
    let (name, key) = match number % 12 {
        11 if number % 24 == 23 => (number - 4, number - 4),
        7 => (number, number - 4),
        _ => (number, number),
    };
    let note = if name % 10 == 3 { 20_000 } else { name % 300 };
    let order = Order::new(name).of(format_args!("P{key}"));
    let text = order.noting("x".repeat(note)).text();
    let callback = format!("cb-{number}");
    let message = crate::cloud::push(&callback, &url(bench.device(device).address()), &text);
    bench.say(&message);
    Kept {
        callback,
        device: device.to_owned(),
        sha256: sha256(text.as_bytes()),
        control_id: field(text.as_bytes(), "MSH", 10).unwrap_or_default(),
        ..Kept::default()
    }
}

fn wait_for_answers(bench: &Bench, kept: &[Kept]) {
    wait_until("every push to be answered", || {
        let said = bench.fake().said();
        let answered: HashSet<&str> = said
            .iter()
            .filter_map(|message| message["callback"].as_str())
            .collect();
        kept.iter()
            .all(|push| answered.contains(push.callback.as_str()))
    });
}

type Heard = (Vec<(usize, Receipt)>, Vec<(usize, CloudAnswer)>);

fn heard(bench: &Bench, events: &[Event]) -> Heard {
    let mut streams = Streams::default();
    let mut device_of = BTreeMap::new();
    for (number, event) in events.iter().enumerate() {
        if let Event::Sent { own, other, bytes } = event {
            let connection = format!("{own}-{other}");
            streams.push(&connection, number, bytes);
            device_of.insert(connection, *other);
        }
    }
    let ports: BTreeMap<u16, &str> = NAMES
        .iter()
        .map(|name| (bench.device(name).address().port(), *name))
        .collect();
    let mut journal = bench.journal().all();
    let mut received: Vec<(usize, Receipt)> = Vec::new();
    let mut frames = streams.to_devices();
    frames.sort_by_key(|frame| frame.at);
    for frame in frames {
        let device = device_of
            .get(&frame.connection)
            .and_then(|port| ports.get(port));
        let sum = sha256(&frame.bytes);
        let is_it = |one: &Received| Some(&&*one.device) == device && one.sha256 == sum;
        let found = journal.iter().position(is_it).map(|at| journal.remove(at));
        let before = received.last().map_or(0, |(_, before)| before.at);
        // One that was cut off reached no device.
        let cut_off = || Receipt {
            at: before,
            device: device.copied().unwrap_or_default().to_owned(),
            sha256: sum,
            ..Receipt::default()
        };
        let receipt = Receipt {
            no: received.len() as u64 + 1,
            ..found.map_or_else(cut_off, Receipt::from)
        };
        received.push((frame.at, receipt));
    }
    let answers = streams.to_cloud().into_iter();
    let answers = answers.filter_map(|frame| Some((frame.at, answer(&frame.bytes)?)));
    (received, answers.collect())
}

/// An answer with a yes; a refusal is recorded nowhere.
fn answer(bytes: &[u8]) -> Option<CloudAnswer> {
    let message: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let status = message["statusCode"]
        .as_i64()
        .filter(|status| *status < 300)?;
    Some(CloudAnswer {
        callback: message["callback"].as_str()?.to_owned(),
        status,
        body: message["body"].as_str().unwrap_or_default().to_owned(),
    })
}

fn left(bench: &Bench) -> anyhow::Result<super::disk::Image> {
    let mut left = super::disk::Image::new();
    for name in ["wardpost.db", "wardpost.db-wal"] {
        left.insert(
            name.to_owned(),
            std::fs::read(bench.path("state").join(name))?,
        );
    }
    Ok(left)
}

const NAMES: [&str; 6] = ["chem", "coag", "immuno", "urine", SLOW, MUTE];
const SLOW: &str = "haem";
const MUTE: &str = "micro";
/// The agent waits so long for the answers of the mute device, in milliseconds.
const MUTE_FOR: u32 = 100;
const LIVES: usize = 2;
/// Few at a time make many commits, so that the log fills and is copied into the database while pushes flow.
const BATCH: usize = 4;
