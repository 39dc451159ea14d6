//! Whole-system stories: the real agent, the real stub or a fake cloud, simulated devices.

mod alarms;
mod bad_bots;
mod bad_input;
mod bots;
mod canary;
mod clock;
mod config;
mod control;
mod crash_states;
mod disk;
mod disk_full;
mod doctor;
mod lab_order;
mod mailbox;
mod peers;
mod proof;
mod push;
mod readme;
mod receipts;
mod recovery;
mod reload;
mod restart;
mod secure_device;
mod service;
mod story;
mod trace;
mod way_out;
mod wire;

use scenarios::bench::{Bench, DeviceSetup, Setup, wait_for};
use scenarios::oracle::{Snapshot, State};
use scenarios::sim::{Kind, always};

/// A bench with one ordinary HL7 device, `chem`.
fn one_device() -> Bench {
    Setup::new().device(DeviceSetup::new("chem")).start()
}

/// A device that says this to everything.
fn device_that(name: &str, kind: Kind) -> DeviceSetup {
    DeviceSetup::new(name).doing(always(kind))
}

/// Number and state of the push with this order key, once it is on disk.
fn find(bench: &Bench, order_key: &str) -> (u64, State) {
    wait_for(&format!("a push of order {order_key} on disk"), || {
        let snapshot = Snapshot::read(&bench.database()).ok()?;
        let push = snapshot
            .pushes
            .values()
            .find(|push| push.order_keys.iter().any(|key| key == order_key))?;
        let state = *snapshot.states().get(&push.id)?;
        Some((push.id.unsigned_abs(), state))
    })
}

/// Waits until the push with this order key is in this state.
fn wait_for_state(bench: &Bench, order_key: &str, expected: State) -> u64 {
    wait_for(&format!("order {order_key} to be {expected:?}"), || {
        let (push, state) = find(bench, order_key);
        (state == expected).then_some(push)
    })
}
