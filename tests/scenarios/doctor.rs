//! The doctor: what is well is said to be, and what is not is named with what to do; beside a running agent and without one.

use scenarios::bench::{Bench, DeviceSetup, Ran, Setup};
use scenarios::cloud::{AGENT, CLIENT};
use serde_json::{Value, json};

/// An agent whose client has the access policy that is shipped, and a channel with its Bot.
fn bench() -> Bench {
    let chem = DeviceSetup::new("chem").text("channel", "results");
    let bench = Setup::new().scripted().device(chem).start();
    put(
        &bench,
        json!({ "resourceType": "Bot", "id": "b1", "name": "takes results" }),
    );
    put(
        &bench,
        json!({
            "resourceType": "Agent", "id": AGENT, "name": "Ward 3", "status": "active",
            "channel": [{ "name": "results", "targetReference": { "reference": "Bot/b1" } }],
        }),
    );
    put(&bench, policy());
    put(
        &bench,
        json!({
            "resourceType": "ProjectMembership", "id": format!("member-{CLIENT}"),
            "profile": { "reference": format!("ClientApplication/{CLIENT}") },
            "accessPolicy": { "reference": "AccessPolicy/least" },
        }),
    );
    bench
}

/// The one of the example.
fn policy() -> Value {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/examples/lab-order/resources/access-policy.json"
    );
    let text = std::fs::read_to_string(file).expect("the example has its policy");
    let mut policy: Value =
        serde_json::from_str(&text.replace("AGENT", AGENT)).expect("it is JSON");
    policy["id"] = "least".into();
    policy
}

fn put(bench: &Bench, resource: Value) {
    assert!(bench.wait_on(bench.stub().put(resource)));
}

/// What it said of one thing: the verdict, and all the words.
fn found(ran: &Ran, check: &str, step: &str) -> (String, String) {
    let answer: Value = serde_json::from_str(&ran.stdout).expect("it prints JSON");
    let findings = answer["findings"].as_array().expect("it has findings");
    let is_it = |found: &&Value| found["check"] == check && found["step"] == step;
    let found = findings.iter().find(is_it);
    assert!(
        found.is_some(),
        "nothing about {check} {step}: {}",
        ran.said()
    );
    let found = found.unwrap_or(&Value::Null);
    let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (
        word("verdict"),
        format!("{}; {}", word("said"), word("next")),
    )
}

fn doctor(bench: &Bench) -> Ran {
    bench.wardpost(&["--json", "doctor"])
}

/// Asked where no agent runs.
fn alone(bench: &Bench) -> Ran {
    let [config, devices, state] =
        ["wardpost.toml", "devices.d", "state"].map(|name| bench.path(name).display().to_string());
    let files = [
        "--config",
        &config,
        "--devices",
        &devices,
        "--state",
        &state,
    ];
    bench.wardpost(&[&["--json", "doctor"][..], &files].concat())
}

fn check(ran: &Ran, check: &str, step: &str, verdict: &str) {
    let (found, words) = found(ran, check, step);
    assert_eq!(found, verdict, "{check} {step}: {words}");
}

const STEPS: [(&str, &str); 21] = [
    ("configuration", "files"),
    ("disk", "room"),
    ("disk", "database"),
    ("disk", "reserve"),
    ("disk", "sync"),
    ("clock", "sound"),
    ("clock", "skew"),
    ("cloud", "name"),
    ("cloud", "connection"),
    ("cloud", "http"),
    ("token", "secret"),
    ("policy", "Agent read"),
    ("policy", "channels"),
    ("policy", "Device search"),
    ("policy", "Device read"),
    ("policy", "Endpoint search"),
    ("policy", "Bot read"),
    ("policy", "Task search"),
    ("policy", "Task read"),
    ("policy", "Task update"),
    ("policy", "Binary read"),
];

#[test]
fn all_is_well_with_the_access_policy_that_is_shipped() {
    let mut bench = bench();
    let ran = doctor(&bench);
    for (part, step) in STEPS {
        check(&ran, part, step, "good");
    }
    assert_eq!(ran.code, 0, "{}", ran.said());
    let lines = bench.wardpost(&["doctor"]);
    assert_eq!(lines.code, 0, "{}", lines.said());
    assert_eq!(
        lines.stdout.lines().count(),
        STEPS.len(),
        "{}",
        lines.stdout
    );
    let pushed = bench.command(&json!({ "verb": "doctor" }));
    assert!(pushed.body.contains("\"well\":true"), "{pushed:?}");
    bench.stop_agent();
    let ran = alone(&bench);
    check(&ran, "agent", "running", "warning");
    for (part, step) in STEPS.into_iter().filter(|step| *step != ("clock", "sound")) {
        check(&ran, part, step, "good");
    }
    assert_eq!(ran.code, 0, "{}", ran.said());
}

#[test]
fn each_right_that_is_missing_is_named_with_what_to_add_to_the_policy() {
    let bench = bench();
    let whole = policy();
    let entries = whole["resource"].as_array().unwrap();
    for entry in entries {
        let kind = entry["resourceType"].as_str().unwrap();
        let rest: Vec<&Value> = entries.iter().filter(|other| *other != entry).collect();
        let mut lacking = whole.clone();
        lacking["resource"] = json!(rest);
        put(&bench, lacking);
        let ran = doctor(&bench);
        assert_eq!(ran.code, 1, "{kind}: {}", ran.said());
        for interaction in entry["interaction"].as_array().unwrap() {
            let step = format!("{kind} {}", interaction.as_str().unwrap());
            let (verdict, words) = found(&ran, "policy", &step);
            assert_eq!(verdict, "wrong", "{step}: {words}");
            assert!(words.contains(&entry.to_string()), "{step}: {words}");
        }
    }
}

#[test]
fn a_task_that_may_be_read_and_not_changed_is_told_apart() {
    let bench = bench();
    let mut lacking = policy();
    let entries = lacking["resource"].as_array_mut().unwrap();
    let task = entries
        .iter_mut()
        .find(|entry| entry["resourceType"] == "Task");
    task.unwrap()["interaction"] = json!(["search", "read"]);
    put(&bench, lacking);
    let ran = doctor(&bench);
    check(&ran, "policy", "Task search", "good");
    check(&ran, "policy", "Task read", "good");
    check(&ran, "policy", "Task update", "wrong");
    assert_eq!(ran.code, 1, "{}", ran.said());
}

#[test]
fn a_secret_that_is_not_valid_any_more_is_said_to_be() {
    let bench = bench();
    bench.change_secret("another-one");
    let ran = doctor(&bench);
    assert_eq!(ran.code, 1, "{}", ran.said());
    check(&ran, "cloud", "http", "good");
    check(&ran, "clock", "skew", "good");
    let (verdict, words) = found(&ran, "token", "secret");
    assert_eq!(verdict, "wrong");
    assert!(
        words.contains("does not know this client or its secret"),
        "{words}"
    );
    check(&ran, "policy", "rights", "not-tried");
}

#[test]
fn a_cloud_that_is_away_is_said_to_be_and_at_which_step() {
    let mut bench = bench();
    bench.stop_cloud();
    let ran = doctor(&bench);
    assert_eq!(ran.code, 1, "{}", ran.said());
    check(&ran, "cloud", "name", "good");
    check(&ran, "cloud", "connection", "wrong");
    check(&ran, "token", "secret", "not-tried");
    check(&ran, "clock", "skew", "not-tried");
    check(&ran, "disk", "database", "good");
}

#[test]
fn without_an_agent_a_name_that_nobody_knows_and_files_with_mistakes_are_told() {
    let bench = Setup::new().prepare();
    let file = bench.path("wardpost.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let elsewhere = text.replace("http://127.0.0.1", "https://nowhere.invalid");
    std::fs::write(&file, &elsewhere).unwrap();
    let ran = alone(&bench);
    assert_eq!(ran.code, 1, "{}", ran.said());
    check(&ran, "cloud", "name", "wrong");
    check(&ran, "cloud", "tls", "not-tried");
    check(&ran, "disk", "database", "warning");
    std::fs::write(&file, text.replace("agent =", "agnet =")).unwrap();
    let ran = alone(&bench);
    assert_eq!(ran.code, 1, "{}", ran.said());
    check(&ran, "configuration", "files", "wrong");
    assert!(
        found(&ran, "configuration", "files")
            .1
            .contains("wardpost check")
    );
}
