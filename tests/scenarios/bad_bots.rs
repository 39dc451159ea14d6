//! Bots and Subscriptions that are wrong: it is said what is wrong, nothing is lost, and the next order arrives.

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_for};
use scenarios::cloud::AGENT;
use scenarios::lab_order::{
    PROJECT, create, deploy, deploy_code, name_agent, name_of, request, subscribe,
};
use serde_json::{Value, json};

use crate::peers::command_line;

#[test]
fn an_exception_in_a_bot_is_shown_with_its_line_and_what_it_pushed_stays_pushed() {
    let bench = bench();
    let code = format!(
        "exports.handler = async (medplum, event) => {{\n\
         {}\n\
         throw new Error('after the push');\n\
         }};\n",
        push_of("'ORD-1'", DEVICE)
    );
    std::fs::write(bench.path("bad.js"), code).unwrap();
    let words = ["bot", "create", "bad", PROJECT, "bad.js", "bad.js"];
    let ran = command_line(
        &bench,
        &[&words[..], &["--runtime-version", "vmcontext"]].concat(),
    );
    assert_eq!(ran.code, 0, "{}", ran.said());
    let id = ran.stdout.split("Bot created: ").nth(1).unwrap();
    let id = id.lines().next().unwrap();
    let path = format!("/fhir/R4/Bot/{id}/$execute");
    let said = bench.wait_on(bench.http().post(&path, &json!({}))).unwrap();
    assert_eq!(said.status, 400, "{}", said.body);
    assert_eq!(said.text(), "after the push");
    assert!(said.body.contains("bad.js:3"), "{}", said.body);
    assert_eq!(bench.control_ids(DEVICE), ["ORD-1"]);
}

#[test]
fn a_bot_that_pushes_a_thousand_times_has_each_delivered_once_and_in_order() {
    let bench = bench();
    let code = format!(
        "exports.handler = async (medplum, event) => {{\n\
         for (let number = 0; number < 1000; number += 1) {{ {} }}\n\
         }};\n",
        push_of("`ORD-${number}`", DEVICE)
    );
    let bot = run_once(&bench, &code, Some(120));
    assert_eq!(bot["outcome"], "0", "{bot}");
    let received = wait_for("all of them", || {
        let received = bench.control_ids(DEVICE);
        (received.len() >= 1000).then_some(received)
    });
    let expected: Vec<String> = (0..1000).map(|number| format!("ORD-{number}")).collect();
    assert_eq!(received, expected);
}

#[test]
fn a_bot_that_goes_wrong_has_it_in_its_record_and_the_next_order_arrives() {
    let bench = bench();
    let nowhere =
        json!({ "resourceType": "Device", "deviceName": [{ "name": "x", "type": "other" }] });
    let nowhere = bench.wait_on(create(bench.http(), &nowhere)).unwrap();
    let nowhere = push_to("'ORD-1'", &name_of(&nowhere));
    let bad = [
        ("for (;;) {}", "4", ""),
        (
            "const all = []; for (;;) all.push(new Array(1e5).fill('x'));",
            "4",
            "",
        ),
        ("throw new Error('no such test');", "4", "no such test"),
        (nowhere.as_str(), "4", "Destination device missing url"),
        ("", "0", ""),
    ];
    for (body, outcome, words) in bad {
        let code = format!("exports.handler = async (medplum, event) => {{\n{body}\n}};\n");
        let record = run_once(&bench, &code, Some(2));
        assert_eq!(record["outcome"], outcome, "{body}: {record}");
        let said = record["outcomeDesc"].as_str().unwrap_or_default();
        assert!(said.contains(words), "{body}: {record}");
    }
    bench.wait_on(deploy(bench.http(), "push-order")).unwrap();
    order(&bench);
    wait_for("the order to arrive", || bench.received(DEVICE).pop());
}

#[test]
fn a_subscription_that_is_wrong_keeps_no_other_from_its_orders() {
    let bench = bench();
    let bad = |criteria: &str, endpoint: &str| {
        json!({
            "resourceType": "Subscription", "status": "active", "reason": "wrong", "criteria": criteria,
            "channel": { "type": "rest-hook", "endpoint": endpoint },
        })
    };
    for subscription in [
        bad("ServiceRequest", "Bot/00000000-0000-4000-8000-00000000dead"),
        bad(
            "ServiceRequest?:::=&&",
            "Bot/00000000-0000-4000-8000-00000000dead",
        ),
        bad("", "Bot/00000000-0000-4000-8000-00000000dead"),
        bad("ServiceRequest", "nowhere"),
    ] {
        // A server may refuse it at once; what it takes must do no harm.
        let path = "/fhir/R4/Subscription";
        bench
            .wait_on(bench.http().post(path, &subscription))
            .unwrap();
    }
    bench.wait_on(deploy(bench.http(), "push-order")).unwrap();
    order(&bench);
    wait_for("the order to arrive", || bench.received(DEVICE).pop());
    assert_eq!(bench.received(DEVICE).len(), 1);
}

const DEVICE: &str = "chem";

fn bench() -> Bench {
    let bench = Setup::new().device(DeviceSetup::new(DEVICE)).start();
    name_agent(&bench);
    bench
}

/// JavaScript that pushes a message of this name to a device of the bench.
fn push_of(name: &str, device: &str) -> String {
    push_to(name, &scenarios::bench::destination(device))
}

fn push_to(name: &str, device: &str) -> String {
    let message = "MSH|^~\\\\&|EHR||LAB||20260301081500||OML^O21^OML_O21|${name}|P|2.5.1\\rPID|1||1||DOE\\rORC|NW|${name}\\r";
    format!(
        "{{ const name = {name}; await medplum.pushToAgent({{ reference: 'Agent/{AGENT}' }}, {{ reference: '{device}' }}, \
         `{message}`, 'x-application/hl7-v2+er7', true); }}"
    )
}

/// An order from whichever Bot there is.
fn order(bench: &Bench) -> Value {
    let http = bench.http();
    bench.wait_on(async {
        let request = request(http, DEVICE).await.expect("an order can be made");
        create(http, &request).await.expect("it is stored")
    })
}

/// Has a Subscription run this code once, and waits for the record of it.
fn run_once(bench: &Bench, code: &str, seconds: Option<u32>) -> Value {
    let http = bench.http();
    let (bot, subscription) = bench.wait_on(async {
        let mut bot = deploy_code(http, "bad", code)
            .await
            .expect("it is deployed");
        if let Some(seconds) = seconds {
            let path = format!("/fhir/R4/{}", name_of(&bot));
            bot = http.read(&path).await.expect("the cloud answers").json();
            bot["timeout"] = seconds.into();
            scenarios::lab_order::update(http, &bot)
                .await
                .expect("a new version");
        }
        let name = name_of(&bot);
        let subscription = subscribe(http, &name).await.expect("it is subscribed");
        (name, subscription)
    });
    order(bench);
    let found = wait_for("the record of the run", || {
        let found = bench.wait_on(http.read("/fhir/R4/AuditEvent?_count=100"));
        let found = found.expect("the cloud answers").json();
        let entries = found["entry"].as_array()?.clone();
        let mut records = entries.into_iter().map(|entry| entry["resource"].clone());
        records.find(|record| record["source"]["observer"]["reference"] == bot.as_str())
    });
    let mut off = subscription;
    off["status"] = "off".into();
    bench
        .wait_on(scenarios::lab_order::update(http, &off))
        .expect("it is switched off");
    found
}
