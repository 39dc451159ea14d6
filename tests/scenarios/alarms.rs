//! What a person must know: told once when it has lasted and once when it is over, across restarts and outages.

use std::collections::BTreeSet;

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_until};
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order};
use serde_json::{Value, json};

use crate::receipts::{answer, conforms, uploads};
use crate::{device_that, find, wait_for_state};

/// A cloud that answers nothing by itself, and waits that a test can wait for.
fn bench(device: DeviceSetup) -> Bench {
    let mut setup = Setup::new().set("cloud.receipts", "\"news\"");
    for key in ["held", "device_away", "device_silent", "cloud_away", "calm"] {
        setup = setup.set(&format!("alarms.{key}"), "\"200ms\"");
    }
    setup.fake_cloud().device(device).start()
}

/// The alarms that have come so far, each once, in order; whatever came is answered.
fn alarms(bench: &Bench, answered: &mut BTreeSet<String>) -> Vec<Value> {
    let mut ids = BTreeSet::new();
    let mut alarms = Vec::new();
    for upload in uploads(bench) {
        if answered.insert(upload["callback"].to_string()) {
            answer(bench, &upload, 200);
        }
        let body = upload["body"].as_str().expect("a body");
        let message: Value = serde_json::from_str(body).expect("JSON");
        if message["type"] == "wardpost-alarm" && ids.insert(message["id"].to_string()) {
            conforms("alarm", &message);
            alarms.push(message);
        }
    }
    alarms
}

/// Waits until so many have come.
fn wait_for_alarms(bench: &Bench, count: usize) -> Vec<Value> {
    let mut answered = BTreeSet::new();
    let mut found = Vec::new();
    wait_until(&format!("{count} alarms"), || {
        found = alarms(bench, &mut answered);
        found.len() >= count
    });
    found
}

fn words(alarms: &[Value]) -> Vec<String> {
    let plain = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let word = |alarm: &Value| {
        format!(
            "{} {} {}",
            plain(&alarm["kind"]),
            plain(&alarm["subject"]),
            plain(&alarm["state"])
        )
    };
    alarms.iter().map(word).collect()
}

/// What the status shows as raised.
fn shown(bench: &Bench) -> Vec<String> {
    let status = bench.wardpost_json(&["status"]);
    let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
    alarms
        .iter()
        .map(|alarm| alarm["kind"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_device_that_is_away_is_told_once_also_after_a_restart_and_when_it_is_back() {
    let mut bench = bench(DeviceSetup::new("chem"));
    bench.switch_off("chem");
    assert_eq!(
        words(&wait_for_alarms(&bench, 1)),
        ["device-away chem raised"]
    );
    assert_eq!(shown(&bench), ["device-away"]);
    let said = bench.wardpost(&["status"]).said();
    assert!(
        said.contains("alarm    device-away: chem is not reached"),
        "{said}"
    );
    bench.kill_agent();
    bench.start_agent();
    wait_until("the alarm to be shown again", || {
        shown(&bench) == ["device-away"]
    });
    bench.switch_on("chem");
    let told = wait_for_alarms(&bench, 2);
    assert_eq!(
        words(&told),
        ["device-away chem raised", "device-away chem recovered"]
    );
    assert_eq!(told[0]["alarm"], told[1]["alarm"], "one episode");
    wait_until("nothing to be shown", || shown(&bench).is_empty());
    bench.switch_off("chem");
    let again = wait_for_alarms(&bench, 3);
    assert_ne!(again[2]["alarm"], told[0]["alarm"], "another episode");
}

#[test]
fn a_cloud_that_was_away_for_long_is_told_when_it_is_back() {
    let mut bench = bench(DeviceSetup::new("chem"));
    bench.wait_on(bench.fake().cut());
    bench.stop_cloud();
    wait_until("the alarm to be shown", || shown(&bench) == ["cloud-away"]);
    bench.start_cloud();
    let told = wait_for_alarms(&bench, 2);
    assert_eq!(
        words(&told),
        ["cloud-away  raised", "cloud-away  recovered"]
    );
}

#[test]
fn a_push_that_waits_for_a_person_is_told_until_the_person_has_decided() {
    let quiet = device_that("chem", Kind::None).text("hl7.ack_timeout", "200ms");
    let bench = bench(quiet.text("delivery.answer_within", "100ms"));
    bench.say_push("cb-1", "chem", &Order::new(1));
    wait_for_state(&bench, "P1", State::Held);
    let told = wait_for_alarms(&bench, 1);
    assert_eq!(words(&told), ["held chem raised"]);
    let (push, _) = find(&bench, "P1");
    let settle = ["settle", &push.to_string(), "delivered", "--reason", "seen"];
    assert_eq!(bench.wardpost(&settle).code, 0);
    let told = wait_for_alarms(&bench, 2);
    assert_eq!(words(&told), ["held chem raised", "held chem recovered"]);
}

#[test]
fn without_a_channel_an_alarm_is_shown_and_nothing_goes_up() {
    let setup = Setup::new().set("alarms.device_away", "\"200ms\"");
    let bench = setup.fake_cloud().device(DeviceSetup::new("chem")).start();
    bench.switch_off("chem");
    wait_until("the alarm to be shown", || shown(&bench) == ["device-away"]);
    assert_eq!(
        bench.wardpost_json(&["status"])["uploads"]["waiting"],
        json!(0)
    );
    assert!(
        bench
            .fake()
            .said()
            .iter()
            .all(|said| said["type"] != "agent:transmit:request")
    );
}
