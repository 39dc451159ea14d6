//! What the cloud is told of a push after its caller has stopped waiting: at least once, always in the same words.

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_for, wait_until};
use scenarios::cloud::AGENT;
use scenarios::lab_order::{deploy_code, name_of};
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order};
use serde_json::{Value, json};

use crate::{device_that, find, wait_for_state};

/// A cloud that answers no upload by itself, and a device.
fn bench(device: DeviceSetup) -> Bench {
    let device = device.text("delivery.answer_within", "200ms");
    let told = Setup::new().set("cloud.receipts", "\"news\"");
    told.fake_cloud().device(device).start()
}

/// Everything that went up so far, as it came.
pub(crate) fn uploads(bench: &Bench) -> Vec<Value> {
    let said = bench.fake().said().into_iter();
    said.filter(|message| message["channel"] == "news")
        .collect()
}

/// The receipts among them.
fn receipts(bench: &Bench) -> Vec<Value> {
    let all = uploads(bench).into_iter();
    let parsed = all.map(|upload| {
        assert_eq!(upload["contentType"], "application/json");
        assert!(upload["accessToken"].is_string() && upload["remote"] == "device://self");
        let body = upload["body"].as_str().expect("a body");
        serde_json::from_str::<Value>(body).expect("JSON")
    });
    parsed
        .filter(|body| body["type"] == "wardpost-receipt")
        .collect()
}

/// Answers one of them, as a Bot would that has nothing to say.
pub(crate) fn answer(bench: &Bench, upload: &Value, status: u16) {
    let response = json!({
        "type": "agent:transmit:response",
        "channel": upload["channel"],
        "remote": upload["remote"],
        "callback": upload["callback"],
        "contentType": "application/json",
        "statusCode": status,
        "body": "Bot execution logs:\n",
    });
    bench.say(&response.to_string());
}

fn upload_number(bench: &Bench, count: usize) -> Value {
    wait_for("an upload", || uploads(bench).get(count - 1).cloned())
}

fn waiting(bench: &Bench) -> Value {
    bench.wardpost_json(&["status"])["uploads"]["waiting"].clone()
}

/// Holds it against the schema of the documentation, with a validator that is not ours.
pub(crate) fn conforms(schema: &str, value: &Value) {
    let file = format!(
        "{}/../docs/schemas/{schema}.schema.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(file).expect("the schema is there");
    let url = format!("http://localhost/{schema}.json");
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    let resource = serde_json::from_str(&text).expect("the schema is JSON");
    compiler
        .add_resource(&url, resource)
        .expect("it is a schema");
    let mut schemas = boon::Schemas::new();
    let index = compiler
        .compile(&url, &mut schemas)
        .expect("it is a schema");
    assert!(
        schemas.validate(value, index).is_ok(),
        "{value:#} is not what {schema} describes"
    );
}

#[test]
fn what_became_of_a_push_after_its_202_is_told_until_the_cloud_has_it_with_the_same_id() {
    let mut bench = bench(DeviceSetup::new("chem"));
    bench.switch_off("chem");
    bench.say_push("cb-1", "chem", &Order::new(1));
    assert_eq!(bench.answer("cb-1")["statusCode"], 202);
    assert!(uploads(&bench).is_empty(), "nothing became of it yet");
    bench.switch_on("chem");
    let first = upload_number(&bench, 1);
    // Killed between the commit and the answer, and again, with a session that is lost besides.
    bench.kill_agent();
    bench.start_agent();
    let second = upload_number(&bench, 2);
    bench.wait_on(bench.fake().cut());
    let third = upload_number(&bench, 3);
    for again in [&second, &third] {
        assert_eq!(
            again["body"], first["body"],
            "the same id and the same bytes"
        );
    }
    answer(&bench, &third, 200);
    wait_until("the receipt to be closed", || waiting(&bench) == 0);
    bench.kill_agent();
    bench.start_agent();
    let receipt = &receipts(&bench)[0];
    conforms("receipt", receipt);
    assert_eq!(receipt["callback"], "cb-1");
    assert_eq!(receipt["state"], "delivered");
    assert_eq!(receipt["answered"], 202);
    assert_eq!(receipt["clinical"]["orderKeys"], json!(["P1"]));
    let words = receipt["clinical"]["answer"]
        .as_str()
        .expect("the device's words");
    assert!(words.contains("MSA|AA|C1"));
    // What was closed stays so: the next thing that goes up is about the next push.
    bench.switch_off("chem");
    bench.say_push("cb-2", "chem", &Order::new(2));
    assert_eq!(bench.answer("cb-2")["statusCode"], 202);
    bench.switch_on("chem");
    upload_number(&bench, 4);
    assert_eq!(receipts(&bench)[3]["callback"], "cb-2");
}

#[test]
fn a_push_that_is_answered_in_time_leaves_no_receipt() {
    let told = Setup::new().set("cloud.receipts", "\"news\"");
    let bench = told.fake_cloud().device(DeviceSetup::new("chem")).start();
    bench.say_push("cb-1", "chem", &Order::new(1));
    assert_eq!(bench.answer("cb-1")["statusCode"], 200);
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(waiting(&bench), 0);
    assert!(uploads(&bench).is_empty());
}

#[test]
fn a_hold_is_told_and_so_is_what_a_person_decides() {
    let quiet = device_that("chem", Kind::None).text("hl7.ack_timeout", "400ms");
    let bench = bench(quiet);
    bench.say_push("cb-1", "chem", &Order::new(1));
    assert_eq!(bench.answer("cb-1")["statusCode"], 202);
    let held = upload_number(&bench, 1);
    answer(&bench, &held, 200);
    let (push, _) = find(&bench, "P1");
    let settle = [
        "settle",
        &push.to_string(),
        "not-delivered",
        "--reason",
        "it is not there",
    ];
    assert_eq!(bench.wardpost(&settle).code, 0);
    let settled = upload_number(&bench, 2);
    answer(&bench, &settled, 200);
    let told = receipts(&bench);
    for receipt in &told {
        conforms("receipt", receipt);
        assert_eq!(receipt["push"], push);
    }
    assert_eq!(
        (&told[0]["event"], &told[0]["state"]),
        (&json!("held"), &json!("held"))
    );
    assert_eq!(
        (&told[1]["event"], &told[1]["state"]),
        (&json!("settled"), &json!("dead"))
    );
    assert_eq!(told[1]["reason"], "it is not there");
    assert!(told[1]["by"].is_string());
    assert_ne!(told[0]["id"], told[1]["id"]);
}

#[test]
fn one_goes_at_a_time_and_a_refusal_is_tried_again() {
    let bench = bench(DeviceSetup::new("chem"));
    bench.switch_off("chem");
    for number in 1..=2 {
        let callback = format!("cb-{number}");
        bench.say_push(&callback, "chem", &Order::new(number));
        assert_eq!(bench.answer(&callback)["statusCode"], 202);
    }
    bench.switch_on("chem");
    wait_for_state(&bench, "P2", State::Delivered);
    let first = upload_number(&bench, 1);
    wait_until("both to wait", || waiting(&bench) == 2);
    answer(&bench, &first, 400);
    let again = upload_number(&bench, 2);
    assert_eq!(again["body"], first["body"]);
    assert_ne!(again["callback"], first["callback"]);
    answer(&bench, &again, 200);
    upload_number(&bench, 3);
    let callbacks: Vec<Value> = receipts(&bench)
        .iter()
        .map(|r| r["callback"].clone())
        .collect();
    assert_eq!(callbacks, ["cb-1", "cb-1", "cb-2"]);
}

/// Keeps each receipt as a resource, under its id, and throws at the first sight of it: a Bot that fails now and then.
const KEEPER: &str = r"
exports.handler = async (medplum, event) => {
  const receipt = event.input;
  const identifier = [{ system: 'urn:wardpost', value: receipt.id }];
  const seen = await medplum.searchOne('Basic', { identifier: `urn:wardpost|${receipt.id}` });
  const state = { text: receipt.type === 'wardpost-receipt' ? receipt.state : 'alarm' };
  await medplum.createResource({ resourceType: 'Basic', identifier, code: state });
  if (!seen) throw new Error('not yet');
};";

#[test]
fn a_bot_on_the_channel_gets_a_receipt_again_until_it_has_taken_it() {
    let bench = Setup::new()
        .set("cloud.receipts", "\"news\"")
        .device(DeviceSetup::new("chem").text("delivery.answer_within", "0s"))
        .start();
    let http = bench.http();
    let bot = bench.wait_on(deploy_code(http, "keeper", KEEPER)).unwrap();
    let agent = format!("/fhir/R4/Agent/{AGENT}");
    let channel = json!([{
        "name": "news",
        "targetReference": { "reference": name_of(&bot) },
        "endpoint": { "reference": "Endpoint/none" },
    }]);
    let steps = json!([{ "op": "add", "path": "/channel", "value": channel }]);
    let patched = bench.wait_on(http.patch(&agent, &steps)).unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(bench.push("chem", &Order::new(1)).status, 202);
    let kept = || {
        let found = bench.wait_on(http.read("/fhir/R4/Basic?_count=100")).ok()?;
        let entries = found.json()["entry"].as_array()?.clone();
        (entries.len() >= 2 && waiting(&bench) == 0).then_some(entries)
    };
    let kept = wait_for("the Bot to have taken the receipt", kept);
    let what = |entry: &Value| {
        let resource = &entry["resource"];
        let id = resource["identifier"][0]["value"].clone();
        (id, resource["code"]["text"].clone())
    };
    let first = what(&kept[0]);
    assert_eq!(first.1, "delivered");
    assert_eq!(kept.len(), 2, "once refused, once taken");
    assert_eq!(what(&kept[1]), first, "always the same");
}
