//! What a bad network does: nothing is lost by it, nothing is sent twice, and what nobody can know is held.

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_until};
use scenarios::oracle::State;
use scenarios::sim::{Kind, Order};
use scenarios::wire::{Corruption, Cut, Fault, Way};

use crate::{device_that, find, wait_for_state};

/// A wired bench whose device has to answer within a short time.
fn wired() -> Bench {
    let chem = DeviceSetup::new("chem").text("hl7.ack_timeout", "300ms");
    Setup::new().wired().device(chem).start()
}

/// One push meets the fault and is held; the next one is delivered.
fn check_held(way: Way, fault: Fault, received: &[&str]) {
    let bench = wired();
    bench.wire("chem").next(way, fault);
    bench.push_and_go("chem", &Order::new(1));
    wait_for_state(&bench, "P1", State::Held);
    assert_eq!(bench.push("chem", &Order::new(2)).status, 200, "{fault:?}");
    assert_eq!(bench.control_ids("chem"), received, "{fault:?}");
}

#[test]
fn an_order_whose_acknowledgement_is_lost_is_held_and_the_next_one_goes() {
    for fault in [
        Fault::CutAfter(0, Cut::Reset),
        Fault::CutAfter(5, Cut::Fin),
        Fault::Silence,
        Fault::Corrupt(Corruption::Framing),
        Fault::Corrupt(Corruption::ControlId),
    ] {
        check_held(Way::FromPeer, fault, &["C1", "C2"]);
    }
}

#[test]
fn an_order_that_left_and_never_arrived_is_held_as_well() {
    for fault in [
        Fault::CutAfter(20, Cut::Fin),
        Fault::Silence,
        Fault::Corrupt(Corruption::Framing),
    ] {
        check_held(Way::ToPeer, fault, &["C2"]);
    }
}

#[test]
fn a_device_that_cannot_be_reached_keeps_its_queue() {
    let bench = wired();
    bench.wire("chem").refuse();
    bench.wire("chem").cut(Cut::Reset);
    wait_until("the line to be away", || {
        bench
            .wardpost_json(&["devices"])
            .to_string()
            .contains("away")
    });
    for number in 0..3 {
        bench.push_and_go("chem", &Order::new(number));
    }
    find(&bench, "P2");
    bench.wire("chem").calm();
    wait_for_state(&bench, "P2", State::Delivered);
    assert_eq!(bench.control_ids("chem"), ["C0", "C1", "C2"]);
}

#[test]
fn a_slow_wire_that_splits_everything_delivers() {
    let bench = wired();
    for wire in [bench.wire("chem"), bench.cloud_wire()] {
        wire.split();
        wire.delay(std::time::Duration::from_millis(5));
    }
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    assert_eq!(bench.control_ids("chem"), ["C1"]);
}

/// The answer goes lost on its way to the cloud, the session ends, and the answer comes again.
fn check_answer_again(fault: Fault) {
    let chem = DeviceSetup::new("chem");
    let bench = Setup::new().wired().fake_cloud().device(chem).start();
    let wire = bench.cloud_wire();
    wire.next(Way::ToPeer, fault);
    bench.say_push("cb-1", "chem", &Order::new(1));
    wait_until("the fault to strike", || !wire.incidents().is_empty());
    wire.cut(Cut::Reset);
    assert_eq!(bench.answer("cb-1")["statusCode"], 200, "{fault:?}");
    assert_eq!(bench.control_ids("chem"), ["C1"], "{fault:?}");
}

#[test]
fn an_answer_that_was_lost_on_its_way_comes_again() {
    for fault in [
        Fault::CutAfter(7, Cut::Reset),
        Fault::Silence,
        Fault::Corrupt(Corruption::Garbage),
    ] {
        check_answer_again(fault);
    }
}

#[test]
fn an_order_whose_acknowledgement_never_comes_is_sent_four_times_and_then_held() {
    let chem = device_that("chem", Kind::None)
        .text("hl7.ack_timeout", "100ms")
        .text("delivery.on_uncertain", "resend");
    let bench = Setup::new().device(chem).start();
    bench.push_and_go("chem", &Order::new(1));
    wait_for_state(&bench, "P1", State::Held);
    assert_eq!(bench.control_ids("chem"), ["C1"; 4]);
}
