//! A clock that is wrong by years, with the real process: nothing is lost by it, and it says so.

use std::time::Duration;

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_long_until, wait_until};
use scenarios::oracle::State;
use scenarios::shim::FakeClock;
use scenarios::sim::Order;

use crate::{find, wait_for_state};

const YEAR: i64 = 365 * 86_400;

fn bench(clock: &FakeClock) -> Bench {
    let chem = DeviceSetup::new("chem").text("delivery.expires", "1h");
    clock.around(Setup::new().device(chem)).start()
}

fn problems(bench: &Bench) -> String {
    bench.wardpost_json(&["status"])["problems"].to_string()
}

fn why(bench: &Bench, push: u64) -> String {
    bench.wardpost(&["why", &push.to_string()]).said()
}

#[test]
fn a_clock_that_is_set_during_a_session_lets_nothing_expire_and_nothing_come_twice() {
    let clock = FakeClock::new().unwrap();
    let bench = bench(&clock);
    let order = Order::new(0);
    assert_eq!(bench.push("chem", &order).status, 200);
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    find(&bench, "P1");
    for (off, words) in [
        (40 * YEAR, "40 years ahead of"),
        (-50 * YEAR, "50 years behind"),
    ] {
        clock.is_off_by(off).unwrap();
        wait_long_until(&format!("the status to say «{words}»"), || {
            problems(&bench).contains(words)
        });
        assert_eq!(find(&bench, "P1").1, State::Queued);
    }
    bench.switch_on("chem");
    wait_for_state(&bench, "P1", State::Delivered);
    assert_eq!(bench.push("chem", &order).status, 200);
    assert_eq!(
        bench.control_ids("chem"),
        ["C0", "C1"],
        "it joined the first"
    );
    clock.is_off_by(0).unwrap();
    wait_long_until("the clock to be believed again", || {
        problems(&bench) == "[]"
    });
}

/// The box is off; after that its clock differs, and there is no cloud.
fn restarted(clock: &FakeClock, off: i64) -> Bench {
    let mut bench = bench(clock);
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(1));
    find(&bench, "P1");
    assert!(bench.stop_agent().success());
    bench.stop_cloud();
    clock.is_off_by(off).expect("the clock is set");
    clock.boots("second").expect("the boot is counted");
    bench.switch_on("chem");
    bench.start_agent_alone();
    wait_until("the commands to work", || {
        bench.wardpost(&["status"]).code == 0
    });
    bench
}

/// What waited is held for the clock's sake until the clock is right.
fn check_held(off: i64, words: &str) {
    let clock = FakeClock::new().expect("the clock compiles");
    let bench = restarted(&clock, off);
    wait_until("the line to be there", || {
        let devices = bench.wardpost_json(&["devices"]).to_string();
        devices.contains("nobody knows how long it has waited")
    });
    assert!(problems(&bench).contains(words), "{}", problems(&bench));
    let told = why(&bench, 1);
    assert!(told.contains("held") && told.contains(words), "{told}");
    assert!(bench.control_ids("chem").is_empty());
    clock.is_off_by(0).expect("the clock is set");
    wait_long_until("it to be delivered", || bench.control_ids("chem") == ["C1"]);
}

#[test]
fn what_waited_across_a_power_cut_is_held_in_1970() {
    check_held(-56 * YEAR, "a time that is past");
}

#[test]
fn what_waited_across_a_power_cut_is_held_in_2090() {
    check_held(64 * YEAR, "64 years ahead of its newest record");
}

#[test]
fn a_person_may_let_go_what_waited_across_a_power_cut() {
    let clock = FakeClock::new().unwrap();
    let bench = restarted(&clock, -56 * YEAR);
    assert_eq!(bench.wardpost(&["release", "1"]).code, 0);
    wait_until("it to be delivered", || bench.control_ids("chem") == ["C1"]);
}

#[test]
fn a_power_cut_with_a_good_clock_holds_nothing() {
    let clock = FakeClock::new().unwrap();
    let bench = restarted(&clock, Duration::from_mins(10).as_secs().cast_signed());
    wait_until("it to be delivered", || bench.control_ids("chem") == ["C1"]);
}
