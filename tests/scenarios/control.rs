//! Looking and deciding: the commands, and the same verbs by push.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use rusqlite::{Connection, OpenFlags};
use scenarios::bench::{Bench, DeviceSetup, Setup, destination, wait_until, waiting};
use scenarios::cloud::AGENT;
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, always};
use serde_json::{Value, json};

use crate::{device_that, find, one_device, wait_for_state};

/// A bench with a push of order A of which nobody knows whether it arrived, and its number.
fn uncertain() -> (Bench, String) {
    let mut bench = Setup::new().device(device_that("chem", Kind::None)).start();
    bench.push_and_go("chem", &Order::new(1).of("A"));
    // Recorded is not yet sent.
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.kill_agent();
    bench.device("chem").follow(always(Kind::Aa));
    bench.start_agent();
    let push = wait_for_state(&bench, "A", State::Held);
    (bench, push.to_string())
}

/// A bench with a push of order A that waits for a device that is off, and its number.
fn waiting_push() -> (Bench, String) {
    let bench = one_device();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1).of("A"));
    let (push, _) = find(&bench, "A");
    (bench, push.to_string())
}

fn succeeds(bench: &Bench, words: &[&str]) -> String {
    let ran = bench.wardpost(words);
    assert_eq!(ran.code, 0, "wardpost {words:?}: {}", ran.said());
    ran.stdout
}

fn fails(bench: &Bench, words: &[&str]) -> String {
    let ran = bench.wardpost(words);
    assert_ne!(ran.code, 0, "wardpost {words:?}: {}", ran.said());
    ran.said()
}

/// Verbs and reasons of the audit, oldest first.
fn audit(bench: &Bench) -> rusqlite::Result<Vec<(String, String)>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(bench.database(), flags)?;
    let mut statement =
        database.prepare("SELECT verb, ifnull(reason, '') FROM audit ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn audited(bench: &Bench, verb: &str, reason: &str) {
    let audit = audit(bench).expect("the audit is read");
    let found = audit
        .iter()
        .any(|(did, why)| did.starts_with(verb) && why.contains(reason));
    assert!(found, "no {verb} because of {reason} in {audit:?}");
}

#[test]
fn a_person_can_look() {
    let (bench, push) = waiting_push();
    for words in [
        &["status"][..],
        &["devices"],
        &["queue"],
        &["queue", "--device", "chem"],
        &["why", &push],
    ] {
        assert!(!succeeds(&bench, words).trim().is_empty());
        assert!(!bench.wardpost_json(words).is_null());
    }
    assert!(succeeds(&bench, &["devices"]).contains("chem"));
    assert!(succeeds(&bench, &["queue"]).contains(&push));
    let why = succeeds(&bench, &["why", &push]);
    assert!(why.contains("queued") && why.contains("chem"), "{why}");
    let json = bench
        .wardpost_json(&["queue", "--state", "queued"])
        .to_string();
    assert!(json.contains("queued"), "{json}");
}

#[test]
fn what_is_looked_at_holds_no_patient() {
    let (bench, push) = waiting_push();
    for words in [&["status"][..], &["devices"], &["queue"], &["why", &push]] {
        let seen = bench.wardpost(words).said() + &bench.wardpost_json(words).to_string();
        assert!(!seen.contains("DOE"), "{seen}");
    }
    assert!(!bench.agent_log().contains("DOE"));
}

#[test]
fn a_push_that_does_not_exist_is_said_so() {
    let bench = one_device();
    assert!(fails(&bench, &["why", "4711"]).contains("4711"));
    assert!(fails(&bench, &["cancel", "4711", "--reason", "typing error"]).contains("4711"));
}

#[test]
fn a_command_without_an_agent_says_so() {
    let mut bench = one_device();
    bench.stop_agent();
    let said = fails(&bench, &["status"]);
    assert!(said.contains("control.sock"), "{said}");
}

#[test]
fn a_queued_push_is_held_and_released() {
    let (bench, push) = waiting_push();
    succeeds(&bench, &["hold", &push, "--reason", "wrong ward"]);
    bench.switch_on("chem");
    assert_eq!(bench.push("chem", &Order::new(2).of("B")).status, 200);
    assert_eq!(
        bench.control_ids("chem"),
        ["C2"],
        "what is held is not sent"
    );
    succeeds(&bench, &["release", &push, "--reason", "right after all"]);
    wait_for_state(&bench, "A", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C2", "C1"]);
    audited(&bench, "hold", "wrong ward");
    audited(&bench, "release", "right after all");
}

#[test]
fn a_queued_push_is_cancelled_and_its_caller_is_told() {
    let chem = DeviceSetup::new("chem");
    let bench = Setup::new().device(chem).start();
    bench.switch_off("chem");
    let caller = bench.pushing("chem", &Order::new(1).of("A"));
    let (push, _) = find(&bench, "A");
    succeeds(
        &bench,
        &[
            "cancel",
            &push.to_string(),
            "--reason",
            "patient was discharged",
        ],
    );
    let reply = bench.wait_on(caller).unwrap();
    assert_eq!(reply.status, 400, "{reply:?}");
    wait_for_state(&bench, "A", State::Cancelled);
    bench.switch_on("chem");
    assert_eq!(bench.push("chem", &Order::new(2).of("A")).status, 200);
    assert_eq!(bench.control_ids("chem"), ["C2"]);
    audited(&bench, "cancel", "patient was discharged");
}

#[test]
fn a_held_push_is_sent_again_on_demand() {
    let (bench, push) = uncertain();
    succeeds(
        &bench,
        &["resend", &push, "--reason", "the analyzer does not have it"],
    );
    wait_for_state(&bench, "A", State::Delivered);
    let received = bench.received("chem");
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].sha256, received[1].sha256);
    audited(&bench, "resend", "does not have it");
}

#[test]
fn an_uncertain_push_is_settled_as_delivered() {
    let (bench, push) = uncertain();
    bench.push_and_go("chem", &Order::new(2).of("A"));
    succeeds(
        &bench,
        &[
            "settle",
            &push,
            "delivered",
            "--reason",
            "seen on the analyzer",
        ],
    );
    wait_for_state(&bench, "A", State::Delivered);
    wait_until("what waited behind it to be sent", || {
        bench.control_ids("chem") == ["C1", "C2"]
    });
    audited(&bench, "settle", "seen on the analyzer");
}

#[test]
fn an_uncertain_push_is_settled_as_not_delivered() {
    let (bench, push) = uncertain();
    succeeds(
        &bench,
        &[
            "settle",
            &push,
            "not-delivered",
            "--reason",
            "not on the analyzer",
        ],
    );
    wait_for_state(&bench, "A", State::Dead);
    assert_eq!(
        bench.push("chem", &Order::new(1).of("A")).status,
        200,
        "a dead push absorbs nothing"
    );
    assert_eq!(bench.control_ids("chem"), ["C1", "C1"]);
}

#[test]
fn settling_needs_a_reason() {
    let (bench, push) = uncertain();
    fails(&bench, &["settle", &push, "delivered"]);
    assert_eq!(find(&bench, "A").1, State::Held);
}

#[test]
fn the_cloud_can_do_what_a_person_can() {
    let (bench, push) = uncertain();
    let number: u64 = push.parse().unwrap();
    let status = bench.command(&json!({ "verb": "status" }));
    assert_eq!(status.status, 200, "{status:?}");
    let why = bench.command(&json!({ "verb": "why", "push": number }));
    assert_eq!(why.status, 200, "{why:?}");
    assert!(why.body.contains("held"), "{why:?}");
    let settle = json!({ "verb": "settle", "push": number, "outcome": "delivered", "reason": "seen by phone" });
    let settled = bench.command(&settle);
    assert_eq!(settled.status, 200, "{settled:?}");
    wait_for_state(&bench, "A", State::Delivered);
    audited(&bench, "settle", "seen by phone");
}

fn refused_by_push(bench: &Bench, command: &Value) {
    let reply = bench.command(command);
    assert_eq!(reply.status, 400, "{command}: {reply:?}");
    assert!(!reply.text().is_empty());
}

#[test]
fn a_command_by_push_that_makes_no_sense_is_refused() {
    let bench = one_device();
    refused_by_push(&bench, &json!({ "verb": "format-the-disk" }));
    refused_by_push(&bench, &json!({ "verb": "why" }));
    refused_by_push(&bench, &json!({ "verb": "why", "push": 4711 }));
    refused_by_push(&bench, &json!("status"));
    let text = waiting(&destination("self"), agent_wire::COMMAND, "{not json");
    assert_eq!(bench.send(&text).status, 400);
    let order = waiting(&destination("self"), agent_wire::HL7, &Order::new(1).text());
    assert_eq!(bench.send(&order).status, 400, "the agent is no instrument");
}

#[test]
fn the_map_says_which_commands_the_cloud_may_give() {
    let setup = Setup::new()
        .set("cloud.commands", "[\"status\"]")
        .device(DeviceSetup::new("chem"));
    let bench = setup.start();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1).of("A"));
    let (push, _) = find(&bench, "A");
    assert_eq!(bench.command(&json!({ "verb": "status" })).status, 200);
    refused_by_push(
        &bench,
        &json!({ "verb": "cancel", "push": push, "reason": "because" }),
    );
    assert_eq!(find(&bench, "A").1, State::Queued);
    let operation = |name: &str| {
        let path = format!("/fhir/R4/Agent/{AGENT}/{name}");
        bench.wait_on(bench.http().read(&path)).unwrap().status
    };
    assert_eq!(operation("$stats"), 200);
    for name in ["$reload-config", "$fetch-logs"] {
        assert_eq!(operation(name), 400, "{name} goes round the map");
    }
}

#[test]
fn only_owner_and_group_reach_the_commands_and_only_the_owner_the_queue() {
    let bench = one_device();
    let mode = |name: &str| {
        let about = std::fs::metadata(bench.path(name)).unwrap();
        about.permissions().mode() & 0o777
    };
    assert_eq!(mode("control.sock"), 0o660);
    assert_eq!(mode("state/wardpost.db"), 0o600);
}

#[test]
fn callers_who_say_nothing_take_the_seats_of_others_but_never_the_agent() {
    let bench = one_device();
    let silent = || UnixStream::connect(bench.path("control.sock")).unwrap();
    let silent: Vec<UnixStream> = (0..SEATS).map(|_| silent()).collect();
    wait_until("the seats to be taken", || {
        let ran = bench.wardpost(&["status"]);
        ran.code != 0 && ran.said().contains("no room for another caller")
    });
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    drop(silent);
    wait_until("a seat to be free", || {
        bench.wardpost(&["status"]).code == 0
    });
}

#[test]
fn a_request_without_an_end_is_not_read_to_its_end() {
    let bench = one_device();
    let mut caller = UnixStream::connect(bench.path("control.sock")).unwrap();
    let endless = vec![b'x'; 4 << 20];
    // The agent stops reading, and closes: some of it cannot be written.
    assert!(caller.write_all(&endless).is_err());
    let mut answer = String::new();
    // What it said before may be lost with the connection; if it is here, it is a refusal.
    if caller.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
        assert!(answer.contains("not JSON"), "{answer}");
    }
    succeeds(&bench, &["status"]);
}

/// Callers that the control socket serves at once.
const SEATS: usize = 16;
