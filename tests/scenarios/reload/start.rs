//! A start with files that cannot be used, or without the secret.

use std::os::unix::fs::PermissionsExt;

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_until};
use scenarios::oracle::State;
use scenarios::sim::Order;

use super::{add, delivers, reload, rewrite, two_devices};
use crate::{find, one_device, wait_for_state};

fn status(bench: &Bench) -> String {
    bench.wardpost(&["status"]).said()
}

#[test]
fn a_broken_file_of_the_agent_starts_it_with_what_was_applied_last() {
    let mut bench = two_devices();
    rewrite(&bench, "devices.d/chem.toml", |text| {
        format!("label = \"Cobas\"\n{text}")
    });
    reload(&bench);
    let good = std::fs::read_to_string(bench.path("wardpost.toml")).unwrap();
    assert!(bench.stop_agent().success());
    add(&bench, "wardpost.toml", "[cluod]\n");
    std::fs::remove_file(bench.path("devices.d/coag.toml")).unwrap();
    bench.start_agent();
    delivers(&bench, "chem", 1);
    delivers(&bench, "coag", 2);
    let said = status(&bench);
    assert!(
        said.contains("running with the configuration of 20") && said.contains("cluod"),
        "{said}"
    );
    let devices = bench.wardpost_json(&["devices"]).to_string();
    assert!(devices.contains("Cobas"), "{devices}");
    std::fs::write(bench.path("wardpost.toml"), good).unwrap();
    let said = reload(&bench);
    assert!(said.contains("coag removed"), "{said}");
    assert!(!status(&bench).contains("problem"), "{}", status(&bench));
}

#[test]
fn the_copy_is_for_the_agent_alone_and_holds_no_secret() {
    let bench = one_device();
    let copy = bench.path("state/good-config.json");
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(copy).unwrap();
    assert!(text.contains("chem") && !text.contains(scenarios::bench::SECRET));
}

#[test]
fn a_refused_reload_does_not_become_the_copy() {
    let mut bench = one_device();
    let good = std::fs::read(bench.path("state/good-config.json")).unwrap();
    add(&bench, "wardpost.toml", "[cluod]\n");
    assert_eq!(bench.wardpost(&["reload"]).code, 1);
    let kept = std::fs::read(bench.path("state/good-config.json")).unwrap();
    assert_eq!(good, kept);
    bench.kill_agent();
    bench.start_agent();
    delivers(&bench, "chem", 1);
}

#[test]
fn a_broken_device_file_turns_its_device_off_at_a_start_and_keeps_its_queue() {
    let mut bench = two_devices();
    bench.switch_off("coag");
    bench.push_and_go("coag", &Order::new(1));
    find(&bench, "P1");
    assert!(bench.stop_agent().success());
    add(&bench, "devices.d/coag.toml", "[delivary]\n");
    bench.switch_on("coag");
    bench.start_agent();
    delivers(&bench, "chem", 2);
    let said = status(&bench);
    assert!(
        said.contains("delivary") && said.contains("switched off"),
        "{said}"
    );
    assert!(bench.received("coag").is_empty());
    rewrite(&bench, "devices.d/coag.toml", |text| {
        text.replace("[delivary]\n", "")
    });
    reload(&bench);
    wait_for_state(&bench, "P1", State::Delivered);
}

#[test]
fn a_folder_of_devices_that_is_gone_at_a_start_is_red() {
    let mut bench = one_device();
    assert!(bench.stop_agent().success());
    std::fs::rename(bench.path("devices.d"), bench.path("elsewhere")).unwrap();
    bench.start_agent();
    assert!(
        status(&bench).contains("is not there"),
        "{}",
        status(&bench)
    );
    std::fs::rename(bench.path("elsewhere"), bench.path("devices.d")).unwrap();
    reload(&bench);
    delivers(&bench, "chem", 1);
}

#[test]
fn an_agent_without_its_secret_serves_and_connects_when_it_comes() {
    let mut bench = Setup::new()
        .device(DeviceSetup::new("chem"))
        .start_without_agent();
    let secret = bench.path("client-secret");
    std::fs::remove_file(&secret).unwrap();
    bench.start_agent_alone();
    wait_until("the status to say what is missing", || {
        status(&bench).contains("there is no secret")
    });
    wait_until("the line to be connected", || {
        status(&bench).contains("connected")
    });
    // Without the secret there is nothing to compare it with: other changes are taken.
    rewrite(&bench, "devices.d/chem.toml", |text| {
        format!("label = \"Cobas\"\n{text}")
    });
    assert!(reload(&bench).contains("chem changed: label"));
    std::fs::write(&secret, scenarios::bench::SECRET).unwrap();
    reload(&bench);
    wait_until("pushes to come through", || {
        bench.push("chem", &Order::new(1)).status == 200
    });
}
