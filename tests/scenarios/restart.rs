//! What survives: the end of the agent, of the cloud, of a connection.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use scenarios::bench::{DeviceSetup, Setup, wait_until};
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order, always};

use crate::{device_that, find, one_device, wait_for_state};

#[test]
fn a_queued_push_survives_a_kill() {
    let mut bench = one_device();
    bench.switch_off("chem");
    for number in 0..5 {
        bench.push_and_go("chem", &Order::new(number));
    }
    find(&bench, "P4");
    bench.kill_agent();
    bench.switch_on("chem");
    bench.start_agent();
    wait_until("the device to get all five", || {
        bench.received("chem").len() >= 5
    });
    assert_eq!(bench.control_ids("chem"), ["C0", "C1", "C2", "C3", "C4"]);
}

#[test]
fn a_queue_for_a_device_with_a_connection_for_each_message_survives_a_kill() {
    let chem = DeviceSetup::new("chem").text("transport.connection", "per-message");
    let mut bench = Setup::new().device(chem).start();
    bench.switch_off("chem");
    for number in 0..5 {
        bench.push_and_go("chem", &Order::new(number));
    }
    find(&bench, "P4");
    bench.kill_agent();
    bench.start_agent();
    bench.switch_on("chem");
    wait_for_state(&bench, "P4", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C0", "C1", "C2", "C3", "C4"]);
}

#[test]
fn a_push_of_which_nobody_knows_whether_it_arrived_is_held_and_the_device_goes_on() {
    let mut bench = Setup::new().device(device_that("chem", Kind::None)).start();
    bench.push_and_go("chem", &Order::new(1).of("A"));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.kill_agent();
    bench.device("chem").follow(always(Kind::Aa));
    bench.start_agent();
    wait_for_state(&bench, "A", State::Held);
    bench.push_and_go("chem", &Order::new(2).of("A"));
    assert_eq!(bench.push("chem", &Order::new(3).of("B")).status, 200);
    assert_eq!(
        bench.control_ids("chem"),
        ["C1", "C3"],
        "what shares the order key waits, the rest goes on"
    );
}

/// The device gets the uncertain push again after a kill, and what was pushed behind it.
fn check_resend(connection: &str) {
    let chem = device_that("chem", Kind::None)
        .text("delivery.on_uncertain", "resend")
        .text("transport.connection", connection);
    let mut bench = Setup::new().device(chem).start();
    bench.push_and_go("chem", &Order::new(1));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.push_and_go("chem", &Order::new(2));
    find(&bench, "P2");
    bench.kill_agent();
    bench.device("chem").follow(always(Kind::Aa));
    bench.start_agent();
    wait_for_state(&bench, "P2", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C1", "C1", "C2"]);
    let received = bench.received("chem");
    assert_eq!(received[0].sha256, received[1].sha256, "the same bytes");
}

#[test]
fn a_device_that_recognises_copies_gets_an_uncertain_push_again() {
    check_resend("persistent");
}

#[test]
fn so_does_one_with_a_connection_for_each_message() {
    check_resend("per-message");
}

#[test]
fn an_answer_waits_until_the_cloud_is_back() {
    let slow = DeviceSetup::new("chem").doing(always(Kind::Aa.after(Duration::from_millis(200))));
    let bench = Setup::new().fake_cloud().device(slow).start();
    bench.say_push("cb-1", "chem", &Order::new(1));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.wait_on(bench.fake().cut());
    assert_eq!(bench.answer("cb-1")["statusCode"], 200);
    assert_eq!(bench.fake().sessions(), 2);
    assert_eq!(bench.received("chem").len(), 1);
}

#[test]
fn an_answer_survives_a_kill() {
    let slow = DeviceSetup::new("chem").doing(always(Kind::Aa.after(Duration::from_millis(200))));
    let mut bench = Setup::new().fake_cloud().device(slow).start();
    bench.say_push("cb-1", "chem", &Order::new(1));
    wait_until("the device to get it", || bench.received("chem").len() == 1);
    bench.stop_cloud();
    wait_for_state(&bench, "P1", State::Delivered);
    bench.kill_agent();
    bench.start_cloud();
    bench.start_agent();
    assert_eq!(bench.answer("cb-1")["statusCode"], 200);
}

#[test]
fn a_stop_is_clean() {
    let mut bench = one_device();
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    let status = bench.stop_agent();
    assert!(status.success(), "{status}");
    bench.start_agent();
    assert_eq!(bench.push("chem", &Order::new(2)).status, 200);
    assert_eq!(bench.control_ids("chem"), ["C1", "C2"]);
}

#[test]
fn a_stop_in_the_middle_of_a_queue_leaves_nothing_uncertain() {
    let slow = DeviceSetup::new("chem").doing(always(Kind::Aa.after(Duration::from_millis(5))));
    let mut bench = Setup::new().device(slow).start();
    for number in 0..100 {
        bench.push_and_go("chem", &Order::new(number));
    }
    find(&bench, "P99");
    for _ in 0..6 {
        let sent = bench.received("chem").len();
        assert!(bench.stop_agent().success());
        bench.start_agent();
        wait_until("some more to be sent", || {
            bench.received("chem").len() > sent
        });
    }
    wait_for_state(&bench, "P99", State::Delivered);
    let expected: Vec<String> = (0..100).map(|number| format!("C{number}")).collect();
    assert_eq!(bench.control_ids("chem"), expected, "each once, in order");
}

#[test]
fn the_service_manager_is_told_when_the_agent_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut told = String::new();
    let mut heard = |what: &str| {
        let mut buffer = [0; 1024];
        if let Ok(length) = socket.recv(&mut buffer) {
            told.push_str(&String::from_utf8_lossy(&buffer[..length]));
            told.push('\n');
        }
        told.contains(what)
    };
    let setup = Setup::new().device(DeviceSetup::new("chem"));
    let mut bench = setup
        .environment("NOTIFY_SOCKET", &path.to_string_lossy())
        .start();
    wait_until("READY=1", || heard("READY=1"));
    assert!(bench.stop_agent().success());
    wait_until("STOPPING=1", || heard("STOPPING=1"));
}

#[test]
fn the_agent_starts_and_delivers_without_a_cloud() {
    let mut bench = one_device();
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    find(&bench, "P1");
    assert!(bench.stop_agent().success());
    bench.stop_cloud();
    bench.switch_on("chem");
    bench.start_agent_alone();
    wait_until("the device to get it", || {
        bench.control_ids("chem") == ["C1"]
    });
    wait_until("the commands to work", || {
        bench.wardpost(&["status"]).code == 0
    });
    bench.start_cloud();
    wait_until("pushes to come through", || {
        bench.push("chem", &Order::new(2)).status == 200
    });
}

#[test]
fn the_agent_finds_back_to_a_cloud_that_was_away() {
    let mut bench = one_device();
    bench.stop_cloud();
    bench.start_cloud();
    wait_until("pushes to come through", || {
        bench.push("chem", &Order::new(1)).status == 200
    });
    assert_eq!(
        bench.control_ids("chem").first().map(String::as_str),
        Some("C1")
    );
}
