//! A disk that fills up: new pushes are refused, what is here goes on, and everything comes back with the room.
//!
//! The agent's state is on a small file system in memory, which is full as a disk is full. Mounting it takes root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use scenarios::bench::{Bench, DeviceSetup, Reply, Setup, wait_until};
use scenarios::oracle::{Snapshot, State};
use scenarios::sim::Order;

/// A file system of its own on a folder, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mount(on: &Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m,mode=0700");
        must(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "wardpost-test"])
                .arg(on),
        );
        Self(on.to_owned())
    }

    fn resize(&self, mebibytes: u32) {
        let size = format!("remount,size={mebibytes}m");
        must(Command::new("mount").args(["-o", &size]).arg(&self.0));
    }

    /// Writes a file until there is not a byte left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a filler is made");
        let mut block = vec![1; 1 << 20];
        while !block.is_empty() {
            if filler.write_all(&block).is_err() {
                block.truncate(block.len() / 2);
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("the filler goes");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The agent may still have files open on it; they end with the agent.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn must(command: &mut Command) {
    let status = command.status().expect("the command starts");
    assert!(status.success(), "{command:?} (as root): {status}");
}

const RESERVE: u64 = 1 << 20;

/// An agent on a disk of 16 MiB that takes no push when less than 4 MiB are free.
fn small_disk() -> (Bench, Disk) {
    let setup = Setup::new()
        .device(DeviceSetup::new("chem").text("delivery.answer_within", "0s"))
        .set("limits.min_free", "4194304")
        .set("limits.reserve", &RESERVE.to_string());
    let mut bench = setup.prepare();
    let disk = Disk::mount(&bench.path("state"), 16);
    bench.start_cloud();
    bench.start_agent();
    (bench, disk)
}

fn states(bench: &Bench) -> Vec<State> {
    let snapshot = Snapshot::read(&bench.database()).expect("the database can be read");
    snapshot.states().into_values().collect()
}

fn wait_all_delivered(bench: &Bench) {
    wait_until("everything to be delivered", || {
        states(bench).iter().all(|state| *state == State::Delivered)
    });
}

fn is_refused(reply: &Reply) -> bool {
    reply.status == 400
}

#[test]
fn new_pushes_are_refused_before_the_disk_is_full_and_what_is_here_goes_on() {
    let (bench, disk) = small_disk();
    bench.switch_off("chem");
    let mut taken = Vec::new();
    let refused = loop {
        let order = Order::new(taken.len()).noting("x".repeat(200_000));
        let reply = bench.push("chem", &order);
        if is_refused(&reply) {
            break reply;
        }
        assert_eq!(reply.status, 202, "{reply:?}");
        taken.push(order.control_id().to_owned());
    };
    let said = refused.text();
    assert!(said.contains("disk is nearly full"), "{said}");
    assert!(said.contains("make room on the box"), "{said}");
    assert!((5..70).contains(&taken.len()), "{} taken", taken.len());
    let status = bench.wardpost(&["status"]).said();
    assert!(status.contains("new pushes are refused"), "{status}");
    assert_eq!(bench.wardpost(&["hold", "1", "--reason", "x"]).code, 0);
    assert_eq!(bench.wardpost(&["release", "1"]).code, 0);
    let command = serde_json::json!({ "verb": "why", "push": 1 });
    assert_eq!(bench.command(&command).status, 200, "commands by push, too");

    bench.switch_on("chem");
    wait_all_delivered(&bench);
    assert_eq!(bench.control_ids("chem"), taken, "each once, in order");

    disk.resize(64);
    wait_until("pushes to be taken again", || {
        !is_refused(&bench.push("chem", &Order::new("again")))
    });
    wait_all_delivered(&bench);
    taken.push("Cagain".into());
    assert_eq!(bench.control_ids("chem"), taken);
}

#[test]
fn a_disk_without_a_byte_left_costs_the_reserve_and_nothing_else() {
    let (mut bench, disk) = small_disk();
    bench.switch_off("chem");
    for number in 0..30 {
        assert_eq!(bench.push("chem", &Order::new(number)).status, 202);
    }
    let reserve = bench.path("state").join("reserve");
    let size = || reserve.metadata().unwrap().len();
    assert_eq!(size(), RESERVE);
    disk.fill();
    wait_until("new pushes to be refused", || {
        is_refused(&bench.push("chem", &Order::new("late").of("late")))
    });
    bench.switch_on("chem");
    wait_all_delivered(&bench);
    let expected: Vec<String> = (0..30).map(|number| format!("C{number}")).collect();
    let got = bench.control_ids("chem");
    assert_eq!(
        got.get(..30),
        Some(expected.as_slice()),
        "each once, in order"
    );
    assert_eq!(size(), 0, "what was recorded took its room");
    let status = bench.wardpost(&["status"]).said();
    assert!(
        status.contains("the reserve on the disk is given up"),
        "{status}"
    );

    disk.empty();
    wait_until("pushes to be taken again", || {
        !is_refused(&bench.push("chem", &Order::new("after")))
    });
    assert_eq!(size(), RESERVE, "it is made before pushes are taken again");
    assert!(bench.stop_agent().success());
    bench.start_agent();
    wait_all_delivered(&bench);
    let again = bench.control_ids("chem");
    assert_eq!(again.last().map(String::as_str), Some("Cafter"));
    let mut once = again.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), again.len(), "nothing came twice");
}
