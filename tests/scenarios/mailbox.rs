//! Pushes that the cloud keeps as Tasks, with the real agent and a stub that forgets.

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_until};
use scenarios::mailbox::Tasks;
use scenarios::sim::{Kind, Order, field};
use serde_json::{Value, json};
use wardpost_cloud::{FhirFault, Instead, When};

use crate::{device_that, one_device};

fn setup() -> Setup {
    Setup::new()
        .set("cloud.mailbox", "true")
        .set("cloud.mailbox_poll", "\"100ms\"")
}

fn bench() -> Bench {
    setup().device(DeviceSetup::new("chem")).start()
}

fn wait_for(tasks: &Tasks<'_>, task: &str, status: &str) -> Value {
    wait_until(&format!("{task} to be {status}"), || {
        tasks.read(task)["status"] == status
    });
    tasks.read(task)
}

#[test]
fn a_task_is_delivered_once_and_completed_with_the_devices_words() {
    let bench = bench();
    let tasks = Tasks::of(&bench);
    let order = Order::new(1);
    let task = tasks.request("chem", &order);
    let done = wait_for(&tasks, &task, "completed");
    let words = done["output"][0]["valueString"].as_str().unwrap();
    assert_eq!(field(words.as_bytes(), "MSA", 1).as_deref(), Some("AA"));
    assert_eq!(bench.received("chem").len(), 1);
    assert_eq!(bench.received("chem")[0].text(), order.text());
    let told = done["businessStatus"]["text"].as_str().unwrap();
    assert!(told.contains("delivered"), "{told}");
}

#[test]
fn what_came_while_the_agent_was_away_is_delivered_in_order_when_it_is_back() {
    let mut bench = setup()
        .device(DeviceSetup::new("chem"))
        .device(DeviceSetup::new("hema"))
        .start_without_agent();
    bench.log_in();
    let ids: Vec<String> = {
        let tasks = Tasks::of(&bench);
        let device = |n| if n % 2 == 0 { "chem" } else { "hema" };
        // The newest is created first: when it was written counts.
        let newest_first = (0..30).rev();
        newest_first
            .map(|n| tasks.request_at(device(n), &Order::new(n), n))
            .collect()
    };
    bench.start_agent();
    let tasks = Tasks::of(&bench);
    for id in &ids {
        wait_for(&tasks, id, "completed");
    }
    for (device, first) in [("chem", 0), ("hema", 1)] {
        let expected: Vec<String> = (first..30)
            .step_by(2)
            .map(|n| Order::new(n).control_id().to_owned())
            .collect();
        assert_eq!(bench.control_ids(device), expected);
    }
}

#[test]
fn a_refusal_of_the_device_is_told_in_its_words() {
    let bench = setup().device(device_that("chem", Kind::Ae)).start();
    let tasks = Tasks::of(&bench);
    let task = tasks.request("chem", &Order::new(1));
    let done = wait_for(&tasks, &task, "rejected");
    let words = done["output"][0]["valueString"].as_str().unwrap();
    assert_eq!(field(words.as_bytes(), "MSA", 1).as_deref(), Some("AE"));
}

#[test]
fn a_payload_may_be_a_binary_that_names_its_own_type() {
    let bench = bench();
    let tasks = Tasks::of(&bench);
    let order = Order::new(1);
    let binary = tasks.binary(agent_wire::HL7, &order.text());
    let mut task = tasks.task("chem", &order);
    task["input"] = json!([
        { "type": { "text": "payload" }, "valueReference": { "reference": binary } },
    ]);
    let task = tasks.create(&task);
    wait_for(&tasks, &task, "completed");
    assert_eq!(bench.received("chem")[0].text(), order.text());
}

#[test]
fn what_can_never_be_delivered_is_rejected_with_a_sentence_and_holds_up_nobody() {
    let bench = bench();
    let tasks = Tasks::of(&bench);
    let stranger = tasks.device("mllp://192.0.2.7:2575");
    let no_text = tasks.binary(agent_wire::HL7, "");
    let order = Order::new(1);
    let good = tasks.task("chem", &order);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut task = good.clone();
        change(&mut task);
        tasks.create(&task)
    };
    let bad = [
        (
            with(&|t| t["owner"]["reference"] = json!(stranger)),
            "maps the url",
        ),
        (
            with(&|t| t["owner"]["reference"] = json!("Patient/p1")),
            "no Device",
        ),
        (with(&|t| t["input"] = json!([])), "no input «payload»"),
        (
            with(&|t| {
                t["input"][0] = json!({
                    "type": { "text": "payload" },
                    "valueReference": { "reference": "Binary/nowhere" },
                });
            }),
            "cannot be read",
        ),
        (
            with(&|t| {
                t["input"][0] = json!({
                    "type": { "text": "payload" }, "valueReference": { "reference": no_text },
                });
            }),
            "no body",
        ),
        (
            with(&|t| t["input"][0]["valueString"] = json!("not HL7")),
            "MSH",
        ),
        (
            with(&|t| t["input"][1]["valueString"] = json!("image/png")),
            "image/png",
        ),
        (
            with(&|t| t["input"][1]["type"]["text"] = json!("other")),
            "contentType",
        ),
    ];
    for (task, words) in &bad {
        let told = wait_for(&tasks, task, "rejected");
        let reason = told["statusReason"]["text"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{words}: {reason}");
    }
    assert!(bench.received("chem").is_empty());
    let task = tasks.create(&good);
    wait_for(&tasks, &task, "completed");
    assert_eq!(bench.received("chem").len(), 1);
}

#[test]
fn an_uncertain_task_is_on_hold_until_somebody_knows() {
    let bench = setup()
        .device(device_that("chem", Kind::None).set("hl7.ack_timeout", "\"300ms\""))
        .start();
    let tasks = Tasks::of(&bench);
    let task = tasks.request("chem", &Order::new(1));
    let held = wait_for(&tasks, &task, "on-hold");
    let push = tasks.push_of(&held);
    let why = bench.wardpost_json(&["why", &push.to_string()]);
    assert!(why["reason"].as_str().unwrap().starts_with("uncertain"));
    let told = why["task"].as_str().unwrap();
    assert!(told.starts_with(&format!("Task/{task}/")), "{told}");
    let settle = ["settle", &push.to_string(), "delivered", "--reason", "seen"];
    assert_eq!(bench.wardpost(&settle).code, 0);
    wait_for(&tasks, &task, "completed");
}

#[test]
fn a_task_that_the_cloud_cancels_is_not_sent_any_more() {
    let bench = bench();
    bench.switch_off("chem");
    let tasks = Tasks::of(&bench);
    let cancelled = tasks.request("chem", &Order::new(1));
    wait_for(&tasks, &cancelled, "accepted");
    tasks.set_status(&cancelled, "cancelled");
    let next = tasks.request("chem", &Order::new(2));
    wait_for(&tasks, &next, "accepted");
    wait_until("the push to be withdrawn", || {
        let queue = bench.wardpost_json(&["queue"]);
        queue["pushes"].as_array().unwrap().len() == 1
    });
    bench.switch_on("chem");
    wait_for(&tasks, &next, "completed");
    assert_eq!(bench.received("chem").len(), 1);
    assert_eq!(tasks.read(&cancelled)["status"], "cancelled");
}

#[test]
fn a_task_that_was_too_old_before_it_could_go_has_failed() {
    let bench = bench();
    bench.switch_off("chem");
    let tasks = Tasks::of(&bench);
    let mut task = tasks.task("chem", &Order::new(1));
    task["restriction"] = json!({ "period": { "end": "2020-01-01T00:00:00Z" } });
    let task = tasks.create(&task);
    let told = wait_for(&tasks, &task, "failed");
    let reason = told["statusReason"]["text"].as_str().unwrap();
    assert!(reason.contains("too old"), "{reason}");
}

#[test]
fn a_nudge_by_push_looks_at_once() {
    let bench = setup()
        .set("cloud.mailbox_poll", "\"1h\"")
        .device(DeviceSetup::new("chem"))
        .start();
    let tasks = Tasks::of(&bench);
    let first = tasks.request("chem", &Order::new(1));
    wait_until("the mailbox to be on", || {
        bench.wardpost_json(&["status"])["mailbox"]["last_search"].is_string()
    });
    let told = bench.command(&json!({ "verb": "poll" }));
    assert_eq!(told.status, 200, "{told:?}");
    wait_for(&tasks, &first, "completed");
    let second = tasks.request("chem", &Order::new(2));
    assert_eq!(bench.wardpost(&["poll"]).code, 0);
    wait_for(&tasks, &second, "completed");
}

#[test]
fn an_agent_whose_mailbox_is_off_claims_nothing_and_says_so() {
    let bench = one_device();
    let tasks = Tasks::of(&bench);
    let task = tasks.request("chem", &Order::new(1));
    let told = bench.wardpost(&["poll"]);
    assert!(told.said().contains("mailbox is off"), "{}", told.said());
    bench.push("chem", &Order::new(2));
    assert_eq!(tasks.read(&task)["status"], "requested");
}

#[test]
fn where_several_agents_are_seen_a_task_must_name_its_own() {
    let bench = bench();
    let tasks = Tasks::of(&bench);
    tasks.another_agent();
    let nobodys = tasks.request("chem", &Order::new(1));
    let mut task = tasks.task("chem", &Order::new(2));
    let own = json!({ "reference": format!("Agent/{}", scenarios::cloud::AGENT) });
    let named = json!({ "type": { "text": "agent" }, "valueReference": own });
    task["input"].as_array_mut().unwrap().push(named);
    let ours = tasks.create(&task);
    wait_for(&tasks, &ours, "completed");
    assert_eq!(tasks.read(&nobodys)["status"], "requested");
    let status = bench.wardpost_json(&["status"]);
    let aside = status["mailbox"]["aside"][0].as_str().unwrap();
    assert!(aside.contains("several agents"), "{aside}");
}

/// What a server answers instead, to whom, and whether it has done it all the same.
fn fault(method: &str, when: When, instead: Instead) -> FhirFault {
    FhirFault {
        method: method.into(),
        kind: "Task".into(),
        times: 2,
        when,
        instead,
    }
}

#[test]
fn whatever_the_server_answers_each_task_is_delivered_once_and_told() {
    let bench = setup().scripted().device(DeviceSetup::new("chem")).start();
    let tasks = Tasks::of(&bench);
    let instead = [
        Instead::Status(412),
        Instead::Status(429),
        Instead::Status(503),
        Instead::Page,
    ];
    let mut sent = 0;
    for (method, when) in [
        ("GET", When::Before),
        ("PATCH", When::Before),
        ("PATCH", When::After),
    ] {
        for instead in instead {
            sent += 1;
            bench.faults(|faults| faults.instead_of_fhir = vec![fault(method, when, instead)]);
            let task = tasks.request("chem", &Order::new(sent));
            wait_until(&format!("{method} {when:?} {instead:?}"), || {
                let mut left = 0;
                bench.faults(|faults| left = faults.instead_of_fhir[0].times);
                left == 0
            });
            wait_for(&tasks, &task, "completed");
        }
    }
    let got = bench.control_ids("chem");
    assert_eq!(got.len(), sent, "{got:?}");
    let trouble = bench.wardpost_json(&["status"])["mailbox"]["last_error"].clone();
    assert!(trouble.is_string(), "the status tells of the last trouble");
}
