//! Mistakes in files, and what else keeps an agent from starting.

use std::path::Path;

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_until};
use scenarios::sim::Order;

use crate::{device_that, one_device};
use scenarios::sim::Kind;

/// A bench of which only the files exist.
fn files(chem: DeviceSetup) -> Bench {
    Setup::new().device(chem).prepare()
}

/// `wardpost check` fails and says all of this.
fn check_says(bench: &Bench, words: &[&str]) {
    let ran = bench.check(&[]);
    assert_ne!(ran.code, 0, "{}", ran.said());
    for word in words {
        assert!(
            ran.said().contains(word),
            "{word} is not in:\n{}",
            ran.said()
        );
    }
    let json = bench.check(&["--json"]);
    assert_ne!(json.code, 0);
    let problems: serde_json::Value =
        serde_json::from_str(&json.stdout).expect("--json prints JSON");
    assert!(
        problems
            .as_array()
            .is_some_and(|problems| !problems.is_empty()),
        "{problems}"
    );
}

fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).expect("the file is there");
    std::fs::write(path, format!("{old}{text}")).expect("the file is written");
}

#[test]
fn good_files_have_no_problems() {
    let ran = files(DeviceSetup::new("chem")).check(&[]);
    assert_eq!(ran.code, 0, "{}", ran.said());
}

#[test]
fn a_misspelt_key_is_found_with_its_place_and_the_right_spelling() {
    let bench = files(DeviceSetup::new("chem").text("delivery.anser_within", "8s"));
    check_says(&bench, &["chem.toml:", "anser_within", "answer_within"]);
}

#[test]
fn every_mistake_is_found_at_once() {
    let bench = files(
        DeviceSetup::new("chem")
            .text("delivery.expires", "soon")
            .set("enabled", "\"yes\""),
    );
    append(
        &bench.path("wardpost.toml"),
        "[limits]\nmax_push_bites = 3\n",
    );
    check_says(
        &bench,
        &[
            "wardpost.toml:",
            "max_push_bites",
            "chem.toml:",
            "expires",
            "enabled",
        ],
    );
}

#[test]
fn a_key_that_is_missing_is_named() {
    let bench = files(DeviceSetup::new("chem"));
    std::fs::write(
        bench.path("wardpost.toml"),
        "[cloud]\nurl = \"http://127.0.0.1:1/\"\n",
    )
    .unwrap();
    check_says(&bench, &["wardpost.toml:", "agent", "client"]);
}

#[test]
fn a_value_that_this_version_cannot_do_is_refused_with_a_reason() {
    let bench = files(DeviceSetup::new("chem").text("delivery.on_uncertain", "query-first"));
    check_says(&bench, &["on_uncertain", "query-first"]);
    let bench = files(DeviceSetup::new("chem"));
    let dicom = "name = \"ct\"\nurl = \"dicom://CT1@192.0.2.7:104\"\n";
    std::fs::write(bench.path("devices.d/ct.toml"), dicom).unwrap();
    check_says(&bench, &["ct.toml:", "cannot speak"]);
}

#[test]
fn an_agent_does_not_start_on_a_file_with_a_mistake() {
    let bench = files(DeviceSetup::new("chem"));
    append(&bench.path("wardpost.toml"), "[cluod]\n");
    let ran = bench.run(&mut bench.agent_command());
    assert_ne!(ran.code, 0);
    assert!(ran.said().contains("cluod"), "{}", ran.said());
    assert!(!bench.database().exists(), "nothing was touched");
}

#[test]
fn a_bad_device_file_disables_that_device_and_no_other() {
    let setup = Setup::new()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("coag"));
    let mut bench = setup.start_without_agent();
    append(&bench.path("devices.d/coag.toml"), "[delivary]\n");
    bench.start_agent();
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    let reply = bench.push("coag", &Order::new(2));
    assert_ne!(reply.status, 200, "{reply:?}");
    assert!(bench.received("coag").is_empty());
    let status = bench.wardpost(&["status"]);
    assert!(status.said().contains("coag"), "{}", status.said());
}

#[test]
fn a_second_agent_on_the_same_state_says_who_is_there_and_ends() {
    let mut bench = one_device();
    let ran = bench.run(&mut bench.agent_command());
    assert_ne!(ran.code, 0, "{}", ran.said());
    let id = bench.agent().id().to_string();
    assert!(
        ran.said().contains(&id),
        "{} names no process {id}",
        ran.said()
    );
    assert_eq!(
        bench.push("chem", &Order::new(1)).status,
        200,
        "the first one goes on"
    );
    assert_eq!(
        bench.wardpost(&["status"]).code,
        0,
        "and is still reached by commands"
    );
}

#[test]
fn a_database_from_a_newer_version_is_left_alone() {
    let mut bench = one_device();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    crate::find(&bench, "P1");
    assert!(bench.stop_agent().success());
    let version = |version: u32| {
        let database = rusqlite::Connection::open(bench.database()).unwrap();
        database
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    let database = rusqlite::Connection::open(bench.database()).unwrap();
    let ours: u32 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    drop(database);
    version(9_999);
    let ran = bench.run(&mut bench.agent_command());
    assert_ne!(ran.code, 0, "{}", ran.said());
    assert!(ran.said().contains("newer"), "{}", ran.said());
    version(ours);
    bench.switch_on("chem");
    bench.start_agent();
    wait_until("what was in it to be delivered", || {
        bench.control_ids("chem") == ["C1"]
    });
}

#[test]
fn a_paused_device_keeps_and_does_not_send() {
    let chem = device_that("chem", Kind::Aa)
        .set("delivery.paused", "true")
        .text("delivery.answer_within", "100ms");
    let bench = Setup::new().device(chem).start();
    let reply = bench.push("chem", &Order::new(1));
    assert_eq!(reply.status, 202, "{reply:?}");
    assert!(bench.received("chem").is_empty());
}

#[test]
fn a_device_that_is_not_enabled_gets_nothing() {
    let bench = Setup::new()
        .device(DeviceSetup::new("chem").set("enabled", "false"))
        .start();
    let reply = bench.push("chem", &Order::new(1));
    assert_ne!(reply.status, 200, "{reply:?}");
    assert!(bench.received("chem").is_empty());
}
