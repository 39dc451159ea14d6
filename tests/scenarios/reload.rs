//! The configuration changes while the agent runs, and what does not change goes on.

mod start;
mod under_load;

use std::time::Duration;

use scenarios::bench::{Bench, DeviceSetup, Ran, Reply, Setup, wait_for, wait_until};
use scenarios::cloud::AGENT;
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, always};
use serde_json::json;

use crate::{device_that, find, wait_for_state};

fn two_devices() -> Bench {
    Setup::new()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("coag"))
        .start()
}

fn rewrite(bench: &Bench, file: &str, change: impl FnOnce(String) -> String) {
    let path = bench.path(file);
    let text = std::fs::read_to_string(&path).expect("the file is there");
    std::fs::write(path, change(text)).expect("the file is written");
}

fn add(bench: &Bench, file: &str, lines: &str) {
    rewrite(bench, file, |text| text + lines);
}

fn reload(bench: &Bench) -> String {
    let ran = bench.wardpost(&["reload"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    ran.stdout
}

/// `$reload-config`, as `medplum agent reload-config` asks for it.
fn reload_from_the_cloud(bench: &Bench) -> Reply {
    let path = format!("/fhir/R4/Agent/{AGENT}/$reload-config");
    bench
        .wait_on(bench.http().read(&path))
        .expect("the cloud answers")
}

/// The connections that a device's messages came by, without repetitions.
fn connections(bench: &Bench, device: &str) -> Vec<u64> {
    let mut all: Vec<u64> = bench
        .received(device)
        .iter()
        .map(|received| received.connection)
        .collect();
    all.dedup();
    all
}

fn delivers(bench: &Bench, device: &str, number: u32) {
    let reply = bench.push(device, &Order::new(number));
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn reason(bench: &Bench, device: &str) -> String {
    let status = bench.wardpost_json(&["devices"]);
    let devices = status["devices"].as_array().expect("devices are listed");
    let found = devices.iter().find(|one| one["name"] == device);
    found
        .and_then(|found| found["reason"].as_str())
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_new_file_is_a_new_device_and_the_others_notice_nothing() {
    let mut bench = Setup::new()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("coag"))
        .start_without_agent();
    let file = bench.path("devices.d/coag.toml");
    std::fs::rename(&file, bench.path("aside.toml")).unwrap();
    bench.start_agent();
    delivers(&bench, "chem", 1);
    assert_eq!(bench.push("coag", &Order::new(2)).status, 400);
    std::fs::rename(bench.path("aside.toml"), &file).unwrap();
    bench.agent().hang_up().unwrap();
    wait_until("the new device to be there", || {
        bench.agent_log().contains("coag added")
    });
    delivers(&bench, "coag", 3);
    delivers(&bench, "chem", 4);
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn nothing_changes_by_files_that_say_the_same() {
    let bench = two_devices();
    delivers(&bench, "chem", 1);
    assert_eq!(reload(&bench), "nothing has changed\n");
    assert_eq!(reload_from_the_cloud(&bench).status, 200);
    delivers(&bench, "chem", 2);
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn a_line_with_other_settings_finishes_its_message_and_connects_anew() {
    let slow = Kind::Aa.after(Duration::from_millis(400));
    let bench = Setup::new()
        .device(DeviceSetup::new("chem").doing(always(slow)))
        .device(DeviceSetup::new("coag"))
        .start();
    delivers(&bench, "coag", 1);
    let caller = bench.pushing("chem", &Order::new(2));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.push_and_go("chem", &Order::new(3));
    add(
        &bench,
        "devices.d/chem.toml",
        "[hl7]\nack_timeout = \"29s\"\n",
    );
    let said = reload(&bench);
    assert!(
        said.contains("chem changed: hl7.ack_timeout") && said.contains("connects anew"),
        "{said}"
    );
    assert_eq!(bench.wait_on(caller).unwrap().status, 200);
    wait_for_state(&bench, "P3", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C2", "C3"], "each once");
    assert_eq!(connections(&bench, "chem"), [1, 2]);
    delivers(&bench, "coag", 4);
    assert_eq!(connections(&bench, "coag"), [1]);
}

#[test]
fn a_device_that_fails_when_away_refuses_nothing_while_its_line_is_exchanged() {
    let slow = Kind::Aa.after(Duration::from_millis(400));
    let chem = DeviceSetup::new("chem")
        .doing(always(slow))
        .text("delivery.when_unreachable", "fail");
    let bench = Setup::new().device(chem).start();
    wait_until("the line to be connected", || {
        bench.wardpost(&["devices"]).said().contains("connected")
    });
    bench.push_and_go("chem", &Order::new(1));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    let caller = bench.pushing("chem", &Order::new(2));
    find(&bench, "P2");
    add(&bench, "devices.d/chem.toml", "[hl7]\nstrict_end = true\n");
    reload(&bench);
    assert_eq!(bench.wait_on(caller).unwrap().status, 200);
    assert_eq!(connections(&bench, "chem"), [1, 2]);
}

#[test]
fn what_is_only_about_delivery_leaves_the_line_alone() {
    let bench = two_devices();
    delivers(&bench, "chem", 1);
    add(
        &bench,
        "devices.d/chem.toml",
        "[delivery]\npaused = true\nanswer_within = \"100ms\"\n",
    );
    let said = reload(&bench);
    assert!(said.contains("its line stays"), "{said}");
    assert_eq!(bench.push("chem", &Order::new(2)).status, 202);
    rewrite(&bench, "devices.d/chem.toml", |text| {
        text.replace("paused = true", "paused = false")
    });
    reload(&bench);
    wait_for_state(&bench, "P2", State::Delivered);
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn a_device_that_is_taken_away_keeps_its_queue_and_gets_it_when_it_is_back() {
    let bench = two_devices();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    find(&bench, "P1");
    let file = bench.path("devices.d/chem.toml");
    std::fs::rename(&file, bench.path("aside.toml")).unwrap();
    let said = reload(&bench);
    assert!(
        said.contains("chem removed; 1 push for it is kept, held: device off"),
        "{said}"
    );
    bench.switch_on("chem");
    delivers(&bench, "coag", 2);
    assert!(reason(&bench, "chem").contains("switched off"));
    assert!(bench.received("chem").is_empty());
    std::fs::rename(bench.path("aside.toml"), &file).unwrap();
    assert!(reload(&bench).contains("chem added"));
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

#[test]
fn a_device_that_moves_takes_its_queue_along_and_one_that_is_renamed_does_not() {
    let bench = two_devices();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    find(&bench, "P1");
    let coag = scenarios::bench::url(bench.device("coag").address());
    std::fs::remove_file(bench.path("devices.d/coag.toml")).unwrap();
    let moved = format!("name = \"chem\"\nurl = \"{coag}\"\n");
    std::fs::write(bench.path("devices.d/chem.toml"), moved).unwrap();
    reload(&bench);
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(bench.control_ids("coag"), ["C1"]);
    std::fs::remove_file(bench.path("devices.d/chem.toml")).unwrap();
    let renamed = format!("name = \"chem-2\"\nurl = \"{coag}\"\n");
    std::fs::write(bench.path("devices.d/chem-2.toml"), renamed).unwrap();
    let said = reload(&bench);
    assert!(said.contains("chem-2 has the address of chem"), "{said}");
    delivers(&bench, "coag", 2);
}

/// Everything goes on as before, on the same connection.
fn check_nothing_changed(bench: &Bench, ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, 1, "{}", ran.said());
    for word in words {
        assert!(ran.said().contains(word), "{word}: {}", ran.said());
    }
    let reply = reload_from_the_cloud(bench);
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.text().contains(words[0]), "{reply:?}");
    let own = bench.command(&json!({ "verb": "reload" }));
    assert_eq!(own.status, 400, "{own:?}");
    let status = bench.wardpost(&["status"]).said();
    assert!(status.contains("was refused"), "{status}");
}

#[test]
fn what_is_wrong_anywhere_changes_nothing_and_is_said_everywhere() {
    let bench = two_devices();
    delivers(&bench, "chem", 1);
    let mut number = 1;
    let mut check = |file: &str, bad: &dyn Fn(), words: &[&str]| {
        let good = std::fs::read(bench.path(file)).ok();
        // Something that would be seen if it were applied.
        add(&bench, "devices.d/chem.toml", "[hl7]\nstrict_end = true\n");
        bad();
        check_nothing_changed(&bench, &bench.wardpost(&["reload"]), words);
        match good {
            Some(good) if file != "devices.d/chem.toml" => {
                std::fs::write(bench.path(file), good).unwrap();
            }
            Some(_) | None => {}
        }
        rewrite(&bench, "devices.d/chem.toml", |text| {
            text.replace("[hl7]\nstrict_end = true\n", "")
        });
        number += 1;
        delivers(&bench, "chem", number);
        assert_eq!(reload(&bench), "nothing has changed\n");
        let status = bench.wardpost(&["status"]).said();
        assert!(!status.contains("was refused"), "{status}");
    };
    let config = bench.path("wardpost.toml");
    let coag = bench.path("devices.d/coag.toml");
    let secret = bench.path("client-secret");
    check(
        "wardpost.toml",
        &|| add(&bench, "wardpost.toml", "[cluod]\n"),
        &["wardpost.toml:", "cluod"],
    );
    check(
        "wardpost.toml",
        &|| std::fs::write(&config, "[cloud\nurl = ").unwrap(),
        &["wardpost.toml:"],
    );
    check(
        "devices.d/coag.toml",
        &|| std::fs::write(&coag, b"name = \"\xff\"").unwrap(),
        &["coag.toml:", "UTF-8"],
    );
    check(
        "devices.d/coag.toml",
        &|| {
            std::fs::copy(bench.path("devices.d/chem.toml"), &coag).unwrap();
        },
        &["coag.toml:", "says the same as", "chem.toml"],
    );
    check(
        "client-secret",
        &|| std::fs::remove_file(&secret).unwrap(),
        &["there is no secret", "client-secret"],
    );
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn a_file_that_cannot_be_read_and_a_folder_that_is_gone_change_nothing() {
    let bench = two_devices();
    delivers(&bench, "chem", 1);
    // A folder in place of a file cannot be read by anybody, not by root either.
    let folder = bench.path("devices.d/haem.toml");
    std::fs::create_dir(&folder).unwrap();
    let words = ["haem.toml:", "cannot be read"];
    check_nothing_changed(&bench, &bench.wardpost(&["reload"]), &words);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::rename(bench.path("devices.d"), bench.path("elsewhere")).unwrap();
    let words = ["is not there any more", "devices.d"];
    check_nothing_changed(&bench, &bench.wardpost(&["reload"]), &words);
    delivers(&bench, "chem", 2);
    std::fs::create_dir(bench.path("devices.d")).unwrap();
    let said = reload(&bench);
    assert!(
        said.contains("chem removed") && said.contains("coag removed"),
        "{said}"
    );
    assert_eq!(bench.push("chem", &Order::new(3)).status, 400);
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn a_new_secret_is_used_after_a_reload_and_devices_notice_nothing() {
    let bench = Setup::new()
        .scripted()
        .device(device_that("chem", Kind::Aa))
        .start();
    delivers(&bench, "chem", 1);
    bench.change_secret("another-secret");
    std::fs::write(bench.path("client-secret"), "another-secret\n").unwrap();
    let said = reload(&bench);
    assert!(
        said.contains("client secret") && said.contains("another begins"),
        "{said}"
    );
    wait_until("the new session", || {
        bench.push("chem", &Order::new(2)).status == 200
    });
    assert_eq!(connections(&bench, "chem"), [1]);
    assert!(!bench.agent_log().contains("another-secret"));
}

#[test]
fn a_reload_from_the_cloud_that_changes_the_way_there_is_answered_first() {
    let bench = two_devices();
    delivers(&bench, "chem", 1);
    rewrite(&bench, "wardpost.toml", |text| {
        text.replace("http://127.0.0.1", "http://localhost")
    });
    let reply = reload_from_the_cloud(&bench);
    assert_eq!(reply.status, 200, "{reply:?}");
    wait_for("the new session", || {
        let reply = bench.push("chem", &Order::new(2));
        (reply.status == 200).then_some(())
    });
    assert_eq!(connections(&bench, "chem"), [1]);
}

#[test]
fn what_the_cloud_may_do_and_how_much_is_logged_change_at_once() {
    let bench = two_devices();
    add(
        &bench,
        "wardpost.toml",
        "[log]\nlevel = \"debug\"\n[limits]\nmax_push_bytes = 1024\n",
    );
    rewrite(&bench, "wardpost.toml", |text| {
        text.replace("[cloud]\n", "[cloud]\ncommands = [\"status\"]\n")
    });
    let said = reload(&bench);
    for key in ["cloud.commands", "log.level", "limits.max_push_bytes"] {
        assert!(said.contains(key), "{said}");
    }
    assert_eq!(bench.command(&json!({ "verb": "status" })).status, 200);
    let refused = bench.command(&json!({ "verb": "reload" }));
    assert_eq!(refused.status, 400, "{refused:?}");
    delivers(&bench, "chem", 1);
    assert!(bench.agent_log().contains("DEBUG"));
    let large = Order::new(2).noting("x".repeat(2000));
    assert_eq!(bench.push("chem", &large).status, 400);
}
