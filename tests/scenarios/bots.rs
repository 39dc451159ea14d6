//! Bots in the stub, made and tried with Medplum's own command line and client, and held against the published package.

use std::fs;

use scenarios::bench::{Bench, SECRET, Setup, wait_for};
use scenarios::cloud::CLIENT;
use serde_json::{Value, json};

use crate::peers::{cloud_url, command_line, node, peers};

#[test]
fn the_command_line_makes_deploys_and_tries_a_bot_and_sees_where_it_fails() {
    let bench = Setup::new().start_without_agent();
    write(
        &bench,
        "exports.handler = async (medplum, event) => ({ seen: event.input.id });",
    );
    let id = create(&bench);
    assert_eq!(
        tried(&bench, &id, r#"{"id":"r1"}"#),
        json!({ "seen": "r1" })
    );

    write(
        &bench,
        "exports.handler = async () => {\n  throw new Error('no specimen');\n};",
    );
    let ran = command_line(&bench, &["bot", "deploy", "lab-order"]);
    assert!(ran.stdout.contains("Number of errors: 0"), "{}", ran.said());
    let said = command_line(&bench, &["post", &execute(&id), "{}"]);
    assert_ne!(said.code, 0, "{}", said.said());
    let words = "no specimen (at <anonymous> (lab-order.js:2:";
    assert!(said.said().contains(words), "{}", said.said());
}

#[test]
fn a_subscription_made_with_the_command_line_runs_the_bot_once_a_version() {
    let bench = Setup::new().start_without_agent();
    write(
        &bench,
        "exports.handler = async (medplum, event) => console.log(event.input.status);",
    );
    let id = create(&bench);
    let subscription = json!({
        "resourceType": "Subscription", "status": "active", "reason": "orders", "criteria": "ServiceRequest",
        "channel": { "type": "rest-hook", "endpoint": format!("Bot/{id}") },
    });
    posted(&bench, "Subscription", &subscription);
    let request =
        json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order" });
    let request = posted(&bench, "ServiceRequest", &request);
    let path = format!("ServiceRequest/{}", request["id"].as_str().unwrap());
    let change = json!([{ "op": "replace", "path": "/status", "value": "revoked" }]).to_string();
    let ran = command_line(&bench, &["patch", &path, &change]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    let query = format!("/fhir/R4/AuditEvent?entity={path}&_sort=_lastUpdated");
    let records = wait_for("both versions to have run", || {
        let found = bench.wait_on(bench.http().read(&query)).ok()?.json();
        let entries = found["entry"].as_array()?.clone();
        (entries.len() >= 2).then_some(entries)
    });
    let mut said: Vec<_> = records
        .iter()
        .map(|record| record["resource"]["outcomeDesc"].as_str().unwrap())
        .collect();
    // They may overlap.
    said.sort_unstable();
    assert_eq!(said, ["active", "revoked"]);
}

#[test]
fn the_stubs_helpers_say_what_those_of_the_published_package_say() {
    let bench = Setup::new().start_without_agent();
    let code = peers().join("helpers-bot.js");
    write(&bench, &fs::read_to_string(&code).unwrap());
    let id = create(&bench);
    let ours = tried(&bench, &id, "{}");
    let call = json!({
        "baseUrl": cloud_url(&bench), "clientId": CLIENT, "clientSecret": SECRET, "code": code, "input": {},
    });
    let ran = bench.run(
        node()
            .arg(peers().join("run-bot.mjs"))
            .arg(call.to_string()),
    );
    assert_eq!(ran.code, 0, "{}", ran.said());
    let theirs: Value = serde_json::from_str(&ran.stdout).expect("run-bot.mjs prints JSON");
    let theirs = theirs["returned"]
        .as_object()
        .unwrap_or_else(|| panic!("{theirs}"));
    assert_eq!(theirs.len(), 7);
    for (name, said) in theirs {
        for (part, said) in said.as_object().into_iter().flatten() {
            assert_eq!(&ours[name][part], said, "{name}.{part}");
        }
        assert_eq!(&ours[name], said, "{name}");
    }
}

/// Writes the source and the code of the one Bot there is.
fn write(bench: &Bench, code: &str) {
    for name in ["lab-order.ts", "lab-order.js"] {
        fs::write(bench.path(name), code).expect("a file is written");
    }
}

/// Makes the Bot with the command line; gives its id.
fn create(bench: &Bench) -> String {
    let made = ["bot", "create", "lab-order", PROJECT];
    let files = ["lab-order.ts", "lab-order.js"];
    let runtime = ["--runtime-version", "vmcontext"];
    let words: Vec<_> = made.into_iter().chain(files).chain(runtime).collect();
    let ran = command_line(bench, &words);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(
        ran.stdout.contains("Deploy result: All OK"),
        "{}",
        ran.said()
    );
    let mut lines = ran.stdout.lines();
    let id = lines.find_map(|line| line.split("Bot created: ").nth(1));
    id.expect("the command line names the Bot")
        .trim()
        .to_owned()
}

/// Runs the Bot with the command line; gives what it came to.
fn tried(bench: &Bench, id: &str, input: &str) -> Value {
    let ran = command_line(bench, &["post", &execute(id), input]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    serde_json::from_str(&ran.stdout).expect("the command line prints JSON")
}

fn posted(bench: &Bench, kind: &str, resource: &Value) -> Value {
    let ran = command_line(bench, &["post", kind, &resource.to_string()]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    serde_json::from_str(&ran.stdout).expect("the command line prints JSON")
}

fn execute(id: &str) -> String {
    format!("Bot/{id}/$execute")
}

/// Of every stub whose seed names no other.
const PROJECT: &str = "wardpost";
