//! What a wrong message, a strange server or a broken device gets, and that nothing is lost by it.

use std::sync::Arc;

use scenarios::bench::{Bench, DeviceSetup, Setup, url, wait_until};
use scenarios::cloud;
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, Received, Script, always};
use serde_json::{Value, json};

use crate::{device_that, wait_for_state};

/// A fake cloud and the device `chem`, whose answers are awaited for half a second.
fn strange_cloud() -> Bench {
    Setup::new()
        .fake_cloud()
        .device(DeviceSetup::new("chem"))
        .start()
}

/// The parts of an ordinary push, to be spoilt.
fn request(bench: &Bench, callback: &str) -> Value {
    json!({
        "type": "agent:transmit:request", "remote": url(bench.device("chem").address()),
        "contentType": agent_wire::HL7, "body": Order::new(callback).text(), "callback": callback,
    })
}

/// Sends something wrong with a callback; it has to be refused with a sentence.
fn refused(bench: &Bench, callback: &str, message: &Value) -> String {
    bench.say(&message.to_string());
    let answer = bench.answer(callback);
    let is_error = answer["type"] == "agent:error" || answer["statusCode"] == 400;
    assert!(is_error, "{answer}");
    let words = answer["body"].as_str().unwrap_or_default().to_owned();
    assert!(
        words.len() > 10,
        "a sentence that says what to do: {answer}"
    );
    words
}

/// The agent is well: one more push goes through.
fn goes_on(bench: &Bench) {
    let sent = bench.fake().said().len();
    let callback = format!("well-{sent}");
    bench.say_push(&callback, "chem", &Order::new(&callback));
    let answer = bench.answer(&callback);
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

#[test]
fn a_frame_that_is_not_json_changes_nothing() {
    let bench = strange_cloud();
    for text in [
        "",
        "hello",
        "{",
        "[1,2]",
        "null",
        "{\"type\":4}",
        "{\"type\":\"agent:transmit:request\"",
        "\u{0}",
    ] {
        bench.say(text);
    }
    goes_on(&bench);
    assert_eq!(bench.fake().sessions(), 1);
}

#[test]
fn an_unknown_type_gets_an_error_with_its_callback() {
    let bench = strange_cloud();
    let words = refused(
        &bench,
        "cb-1",
        &json!({ "type": "agent:dance:request", "callback": "cb-1" }),
    );
    assert!(words.contains("agent:dance:request"), "{words}");
    bench.say(&json!({ "type": "agent:dance:request" }).to_string());
    bench.say(&json!({ "callback": "cb-2" }).to_string());
    goes_on(&bench);
}

#[test]
fn a_body_that_is_missing_or_no_string_is_refused() {
    let bench = strange_cloud();
    for (number, body) in [json!(null), json!(17), json!({ "a": 1 }), json!([])]
        .into_iter()
        .enumerate()
    {
        let callback = format!("cb-{number}");
        let mut message = request(&bench, &callback);
        message["body"] = body;
        refused(&bench, &callback, &message);
    }
    let mut message = request(&bench, "without");
    message.as_object_mut().unwrap().remove("body");
    refused(&bench, "without", &message);
    assert!(bench.received("chem").is_empty());
    goes_on(&bench);
}

#[test]
fn a_remote_that_is_missing_or_unknown_is_refused() {
    let bench = strange_cloud();
    let remotes = [
        "mllp://192.0.2.1:2575",
        "mllp://127.0.0.1:9",
        "device://nobody",
        "gopher://x",
        "not a url",
        "",
    ];
    for (number, remote) in remotes.into_iter().enumerate() {
        let callback = format!("cb-{number}");
        let mut message = request(&bench, &callback);
        message["remote"] = json!(remote);
        refused(&bench, &callback, &message);
    }
    let mut message = request(&bench, "without");
    message.as_object_mut().unwrap().remove("remote");
    refused(&bench, "without", &message);
    goes_on(&bench);
}

#[test]
fn a_push_that_nobody_waits_for_is_delivered_and_not_answered() {
    let bench = strange_cloud();
    let mut message = request(&bench, "cb");
    message.as_object_mut().unwrap().remove("callback");
    bench.say(&message.to_string());
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    wait_for_state(&bench, "Pcb", State::Delivered);
    goes_on(&bench);
    let said = bench.fake().said();
    assert!(
        said.iter().all(|message| message["callback"].is_string()),
        "{said:?}"
    );
}

#[test]
fn a_message_without_msh_or_without_a_control_id_is_refused() {
    let bench = strange_cloud();
    let without_id = "MSH|^~\\&|EHR|W|LAB|W|20260301||OML^O21||P|2.5.1\rORC|NW|P1\r";
    for (number, body) in ["", "PID|1||2\r", "hello", "MSH", "MSH|^~\\&|\r", without_id]
        .into_iter()
        .enumerate()
    {
        let callback = format!("cb-{number}");
        let mut message = request(&bench, &callback);
        message["body"] = json!(body);
        refused(&bench, &callback, &message);
    }
    assert!(bench.received("chem").is_empty());
    goes_on(&bench);
}

#[test]
fn a_body_of_ten_megabytes_is_delivered() {
    // A machine with much to do needs longer for it than callers wait as a rule.
    let patient = DeviceSetup::new("chem").text("delivery.answer_within", "55s");
    let bench = Setup::new().fake_cloud().device(patient).start();
    let order = Order::new(1).noting("x".repeat(10_000_000));
    bench.say_push("cb-1", "chem", &order);
    assert_eq!(bench.answer("cb-1")["statusCode"], 200);
    assert_eq!(bench.received("chem")[0].text(), order.text());
}

#[test]
fn an_envelope_over_the_limit_is_refused_and_nothing_else_suffers() {
    let setup = Setup::new()
        .fake_cloud()
        .set("limits.max_push_bytes", "65536");
    let bench = setup.device(DeviceSetup::new("chem")).start();
    bench.say_push("before", "chem", &Order::new("before"));
    bench.say_push(
        "big",
        "chem",
        &Order::new("big").noting("x".repeat(200_000)),
    );
    wait_until("a refusal, or a new session", || {
        !bench.fake().answers("big").is_empty() || bench.fake().sessions() > 1
    });
    for answer in bench.fake().answers("big") {
        assert!(
            answer["type"] == "agent:error" || answer["statusCode"] == 400,
            "{answer}"
        );
    }
    assert_eq!(bench.answer("before")["statusCode"], 200);
    wait_until("an agent that listens", || {
        bench.wait_on(bench.fake().send(cloud::push(
            "after",
            &url(bench.device("chem").address()),
            &Order::new("after").text(),
        )))
    });
    wait_until("the next push to arrive", || {
        bench.control_ids("chem").contains(&"Cafter".to_owned())
    });
    assert!(!bench.control_ids("chem").contains(&"Cbig".to_owned()));
}

#[test]
fn line_ends_become_what_the_standard_wants() {
    let bench = strange_cloud();
    let order = Order::new(1);
    let mut message = request(&bench, "cb-1");
    message["body"] = json!(order.text().replace('\r', "\n"));
    bench.say(&message.to_string());
    bench.answer("cb-1");
    let mut message = request(&bench, "cb-2");
    message["body"] = json!(Order::new(2).text().replace('\r', "\r\n"));
    bench.say(&message.to_string());
    bench.answer("cb-2");
    let texts: Vec<String> = bench.received("chem").iter().map(Received::text).collect();
    assert_eq!(texts, [order.text(), Order::new(2).text()]);
}

/// A device that does this to the first message and says AA to all others.
fn first(kind: Kind) -> Script {
    Arc::new(move |message: &Received| if message.nth == 1 { kind } else { Kind::Aa }.into())
}

/// The first push is never answered as it should be: it is held as uncertain, its caller gets a 202, the next one goes
/// through, and the device got each once.
fn check_uncertain(kind: Kind) {
    let chem = DeviceSetup::new("chem")
        .text("hl7.ack_timeout", "400ms")
        .text("delivery.answer_within", "5s")
        .doing(first(kind));
    let bench = Setup::new().fake_cloud().device(chem).start();
    bench.say_push("cb-1", "chem", &Order::new(1).of("A"));
    wait_for_state(&bench, "A", State::Held);
    bench.say_push("cb-2", "chem", &Order::new(2).of("B"));
    assert_eq!(bench.answer("cb-2")["statusCode"], 200, "{kind:?}");
    assert_eq!(bench.answer("cb-1")["statusCode"], 202, "{kind:?}");
    assert_eq!(bench.control_ids("chem"), ["C1", "C2"], "{kind:?}");
}

#[test]
fn a_device_that_never_answers_leaves_the_push_uncertain() {
    check_uncertain(Kind::None);
}

#[test]
fn a_device_that_answers_garbage_leaves_the_push_uncertain() {
    check_uncertain(Kind::Garbage);
}

#[test]
fn half_an_acknowledgement_is_none() {
    check_uncertain(Kind::Half);
}

#[test]
fn an_acknowledgement_of_another_message_is_none() {
    check_uncertain(Kind::Foreign);
}

#[test]
fn a_device_that_closes_in_mid_answer_leaves_the_push_uncertain() {
    check_uncertain(Kind::Close);
}

/// The device says too much, and the right thing among it.
fn check_noise(kind: Kind) {
    let bench = Setup::new()
        .fake_cloud()
        .device(device_that("chem", kind))
        .start();
    for number in 0..5 {
        let callback = format!("cb-{number}");
        bench.say_push(&callback, "chem", &Order::new(number));
        let answer = bench.answer(&callback);
        assert_eq!(answer["statusCode"], 200, "{answer}");
        let body = answer["body"].as_str().unwrap_or_default();
        assert!(
            body.contains(&format!("MSA|AA|C{number}")),
            "its own acknowledgement: {body}"
        );
    }
    let expected: Vec<String> = (0..5).map(|number| format!("C{number}")).collect();
    assert_eq!(bench.control_ids("chem"), expected);
}

#[test]
fn a_foreign_acknowledgement_before_the_right_one_does_no_harm() {
    check_noise(Kind::ForeignAa);
}

#[test]
fn two_acknowledgements_answer_one_push() {
    check_noise(Kind::Twice);
}

#[test]
fn a_device_that_refuses_connections_gets_its_push_later() {
    let bench = strange_cloud();
    bench.switch_off("chem");
    bench.say_push("cb-1", "chem", &Order::new(1));
    wait_for_state(&bench, "P1", State::Queued);
    bench.switch_on("chem");
    assert_eq!(bench.answer("cb-1")["statusCode"], 200);
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

#[test]
fn a_device_that_is_cut_while_it_thinks_leaves_the_push_uncertain() {
    let bench = Setup::new()
        .fake_cloud()
        .device(device_that("chem", Kind::None))
        .start();
    bench.say_push("cb-1", "chem", &Order::new(1).of("A"));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.switch_off("chem");
    wait_for_state(&bench, "A", State::Held);
    bench.device("chem").follow(always(Kind::Aa));
    bench.switch_on("chem");
    goes_on(&bench);
    assert_eq!(
        bench
            .control_ids("chem")
            .iter()
            .filter(|id| *id == "C1")
            .count(),
        1
    );
}
