//! From `$push` to the device and back.

use std::sync::Arc;
use std::time::Duration;

use scenarios::bench::{DeviceSetup, Setup, destination, url, wait_until, waiting};
use scenarios::cloud;
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, Received, Script, always, field};
use serde_json::json;

use crate::{device_that, one_device, wait_for_state};

/// The order key of `Order::new(name)`.
fn key(name: &str) -> String {
    format!("P{name}")
}

#[test]
fn a_waiting_push_gets_the_acknowledgement_of_the_device() {
    let bench = one_device();
    let order = Order::new(1);
    let reply = bench.push("chem", &order);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.content_type.starts_with(agent_wire::HL7), "{reply:?}");
    assert_eq!(
        field(reply.body.as_bytes(), "MSA", 1).as_deref(),
        Some("AA")
    );
    assert_eq!(
        field(reply.body.as_bytes(), "MSA", 2).as_deref(),
        Some(order.control_id())
    );
    let received = bench.received("chem");
    assert_eq!(received.len(), 1);
    assert_eq!(
        received[0].text(),
        order.text(),
        "the bytes arrive as they were pushed"
    );
}

fn check_refusal(kind: Kind, code: &str) {
    let bench = Setup::new().device(device_that("chem", kind)).start();
    let reply = bench.push("chem", &Order::new(1));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(
        field(reply.body.as_bytes(), "MSA", 1).as_deref(),
        Some(code)
    );
    wait_for_state(&bench, &key("1"), State::Rejected);
    let next = bench.push("chem", &Order::new(2));
    assert_eq!(
        next.status, 200,
        "a refusal does not stop the device: {next:?}"
    );
    wait_until("the log to name it", || {
        bench
            .agent_log()
            .contains("push=1 device=\"chem\" state=\"rejected\"")
    });
}

#[test]
fn a_refusal_by_the_device_is_an_answer_in_its_own_words() {
    check_refusal(Kind::Ae, "AE");
    check_refusal(Kind::Ar, "AR");
}

#[test]
fn a_push_to_a_device_that_is_off_is_queued_and_delivered_when_it_is_on() {
    let chem = DeviceSetup::new("chem").text("delivery.answer_within", "200ms");
    let bench = Setup::new().fake_cloud().device(chem).start();
    bench.switch_off("chem");
    bench.say_push("cb-1", "chem", &Order::new(1));
    let answer = bench.answer("cb-1");
    assert_eq!(answer["statusCode"], 202, "{answer}");
    let words = answer["body"].as_str().unwrap();
    assert!(
        words.contains("queued") && words.contains("push "),
        "{words}"
    );

    bench.switch_on("chem");
    wait_until("the device to get it", || {
        bench.control_ids("chem") == ["C1"]
    });
    wait_for_state(&bench, &key("1"), State::Delivered);
    bench.say_push("cb-2", "chem", &Order::new(2));
    assert_eq!(bench.answer("cb-2")["statusCode"], 200);
    assert_eq!(
        bench.fake().answers("cb-1").len(),
        1,
        "the first answer stays the only one"
    );
}

#[test]
fn the_caller_of_the_stub_sees_the_202() {
    let chem = DeviceSetup::new("chem").text("delivery.answer_within", "200ms");
    let bench = Setup::new().device(chem).start();
    bench.switch_off("chem");
    let reply = bench.push("chem", &Order::new(1));
    assert_eq!(reply.status, 202, "{reply:?}");
    assert!(reply.push().is_some(), "{reply:?}");
}

#[test]
fn a_caller_who_does_not_wait_is_served_too() {
    let bench = one_device();
    bench.push_and_go("chem", &Order::new(1));
    wait_until("the device to get it", || {
        bench.control_ids("chem") == ["C1"]
    });
}

#[test]
fn a_device_may_be_told_to_fail_when_it_is_unreachable() {
    let chem = DeviceSetup::new("chem").text("delivery.when_unreachable", "fail");
    let bench = Setup::new().device(chem).start();
    bench.switch_off("chem");
    wait_until("the agent to see that the device is gone", || {
        bench.push("chem", &Order::new("gone")).status == 400
    });
    bench.switch_on("chem");
    wait_until("the agent to see that the device is back", || {
        bench.push("chem", &Order::new("back")).status == 200
    });
    let late = bench
        .control_ids("chem")
        .into_iter()
        .filter(|id| id == "Cgone")
        .count();
    assert!(late <= 1, "nothing that was refused is sent later");
}

#[test]
fn the_same_callback_is_the_same_push() {
    let bench = Setup::new()
        .fake_cloud()
        .device(DeviceSetup::new("chem"))
        .start();
    let order = Order::new(1);
    bench.say_push("cb-1", "chem", &order);
    bench.say_push("cb-1", "chem", &order);
    bench.say_push("cb-2", "chem", &Order::new(2));
    assert_eq!(bench.answer("cb-2")["statusCode"], 200);
    // And once more, when it has long been answered.
    bench.say_push("cb-1", "chem", &order);
    bench.say_push("cb-3", "chem", &Order::new(3));
    bench.answer("cb-3");
    assert_eq!(bench.control_ids("chem"), ["C1", "C2", "C3"]);
    let answers = bench.fake().answers("cb-1");
    assert!(!answers.is_empty());
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "all answers are equal: {answers:?}"
    );
}

#[test]
fn an_equal_push_joins_the_earlier_one() {
    let bench = one_device();
    let first = bench.push("chem", &Order::new(1));
    let second = bench.push("chem", &Order::new(1));
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

#[test]
fn an_equal_push_joins_one_that_waits_for_its_answer() {
    let slow = DeviceSetup::new("chem").doing(always(Kind::Aa.after(Duration::from_millis(300))));
    let bench = Setup::new().device(slow).start();
    let both = [
        bench.pushing("chem", &Order::new(1)),
        bench.pushing("chem", &Order::new(1)),
    ];
    for reply in both {
        assert_eq!(bench.wait_on(reply).unwrap().status, 200);
    }
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

#[test]
fn a_push_that_must_not_join_is_delivered_again() {
    let bench = one_device();
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    let alone = format!("{}; dedupe=off", agent_wire::HL7);
    let reply = bench.send(&waiting(
        &destination("chem"),
        &alone,
        &Order::new(1).text(),
    ));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(bench.control_ids("chem"), ["C1", "C1"]);
}

#[test]
fn what_the_device_refused_absorbs_nothing() {
    let script: Script =
        Arc::new(|message: &Received| if message.nth == 1 { Kind::Ae } else { Kind::Aa }.into());
    let bench = Setup::new()
        .device(DeviceSetup::new("chem").doing(script))
        .start();
    let codes: Vec<_> = (0..2)
        .map(|_| field(bench.push("chem", &Order::new(1)).body.as_bytes(), "MSA", 1).unwrap())
        .collect();
    assert_eq!(codes, ["AE", "AA"]);
}

#[test]
fn the_order_of_a_device_is_kept() {
    let bench = one_device();
    let expected: Vec<String> = (0..200).map(|number| format!("C{number}")).collect();
    for number in 0..200 {
        bench.push_and_go("chem", &Order::new(number));
    }
    wait_until("the device to get them all", || {
        bench.received("chem").len() >= expected.len()
    });
    assert_eq!(bench.control_ids("chem"), expected);
}

#[test]
fn the_order_of_a_device_is_kept_while_it_comes_and_goes() {
    let bench = Setup::new().device(DeviceSetup::new("chem")).start();
    let expected: Vec<String> = (0..60).map(|number| format!("C{number}")).collect();
    for number in 0..60 {
        if number == 20 {
            wait_until("a quiet moment", || bench.received("chem").len() == 20);
            wait_for_state(&bench, &key("19"), State::Delivered);
            bench.switch_off("chem");
        }
        if number == 40 {
            bench.switch_on("chem");
        }
        bench.push_and_go("chem", &Order::new(number));
    }
    wait_until("the device to get them all", || {
        bench.received("chem").len() >= expected.len()
    });
    assert_eq!(bench.control_ids("chem"), expected);
}

#[test]
fn each_message_may_have_a_connection_of_its_own() {
    let bench = Setup::new()
        .device(DeviceSetup::new("chem").text("transport.connection", "per-message"))
        .device(DeviceSetup::new("coag"))
        .start();
    for number in 0..3 {
        assert_eq!(bench.push("chem", &Order::new(number)).status, 200);
        assert_eq!(bench.push("coag", &Order::new(number)).status, 200);
    }
    let connections = |device| {
        bench
            .received(device)
            .into_iter()
            .map(|one| one.connection)
            .collect::<Vec<_>>()
    };
    let own = connections("chem");
    assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
    let shared = connections("coag");
    assert!(
        shared.windows(2).all(|pair| pair[0] == pair[1]),
        "{shared:?}"
    );
}

#[test]
fn the_caller_chooses_which_acknowledgement_to_wait_for() {
    let bench = Setup::new().device(device_that("chem", Kind::CaAa)).start();
    let code = |number: u32, ack: &str| {
        let mut parameters = waiting(
            &destination("chem"),
            agent_wire::HL7,
            &Order::new(number).text(),
        );
        parameters["returnAck"] = json!(ack);
        field(bench.send(&parameters).body.as_bytes(), "MSA", 1)
    };
    assert_eq!(code(1, "first").as_deref(), Some("CA"));
    assert_eq!(code(2, "application").as_deref(), Some("AA"));
}

#[test]
fn a_device_has_a_name_and_other_names() {
    let chem = DeviceSetup::new("chem").set("aliases", "[\"mllp://analyzer.example:2575\"]");
    let bench = Setup::new().fake_cloud().device(chem).start();
    let remotes = ["device://chem", "mllp://analyzer.example:2575"];
    for (number, remote) in remotes.into_iter().enumerate() {
        let callback = format!("cb-{number}");
        bench.say(&cloud::push(&callback, remote, &Order::new(number).text()));
        let answer = bench.answer(&callback);
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(answer["remote"], remote, "the remote is echoed as it came");
    }
    let with_query = format!(
        "{}?encoding=iso-8859-1",
        url(bench.device("chem").address())
    );
    bench.say(&cloud::push("cb-9", &with_query, &Order::new(9).text()));
    assert_eq!(bench.answer("cb-9")["remote"], with_query.as_str());
}

#[test]
fn a_ping_tells_whether_a_device_takes_connections() {
    let bench = one_device();
    let ping = |host: &str| bench.send(&waiting(host, agent_wire::PING, "PING 2"));
    let reply = ping("127.0.0.1");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(
        reply.content_type.starts_with(agent_wire::PING),
        "{reply:?}"
    );
    assert!(reply.body.contains("127.0.0.1"), "{reply:?}");
    let stranger = ping("192.0.2.1");
    assert_eq!(
        stranger.status, 400,
        "only hosts of the map are pinged: {stranger:?}"
    );
}
