//! The disk fails, is full, is read-only, or has lost a part of what was on it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitStatus;

use rusqlite::Connection;
use scenarios::bench::{Bench, DeviceSetup, Setup, wait_for};
use scenarios::disk::{Ending, Report, Start, Sweep, run};
use scenarios::oracle::{Snapshot, State};
use scenarios::shim::{Errno, Fault, Kind, Lasting, Plan, Shim};
use scenarios::sim::Order;

use crate::{find, one_device, wait_for_state};

/// Most of a life is waiting, so more of them than processors run at a time.
const AT_ONCE: usize = 6;
const PAGE: u64 = 4096;

/// Fails one call after the other. What came of it goes to the terminal, past the test's own silence, for the record.
fn sweep(sweep: Sweep) -> Report {
    let report = run(&sweep, AT_ONCE).expect("a life without a fault succeeds");
    let _ = writeln!(std::io::stderr(), "{report}");
    assert!(report.wrongs.is_empty(), "{:#?}", report.wrongs);
    assert!(report.lives() > 50, "{report}");
    report
}

#[test]
fn an_io_error_at_any_call_loses_nothing_and_says_no_false_yes() {
    let report = sweep(Sweep {
        start: Start::Empty,
        kinds: &Kind::TOUCHES_THE_DISK,
        errno: Errno::IO,
        lasting: Lasting::Once,
    });
    assert!(report.count(Ending::EndedItself) > 50, "{report}");
}

#[test]
fn nor_does_one_when_an_agent_was_killed_before() {
    sweep(Sweep {
        start: Start::Used,
        kinds: &Kind::TOUCHES_THE_DISK,
        errno: Errno::IO,
        lasting: Lasting::Once,
    });
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_and_says_no_false_yes() {
    let report = sweep(Sweep {
        start: Start::Empty,
        kinds: &Kind::TAKES_ROOM,
        errno: Errno::NO_SPACE,
        lasting: Lasting::Short,
    });
    assert!(report.count(Ending::Refused) > 0, "{report}");
}

/// A bench with one device whose disk follows this plan from its next start.
fn with_shim() -> (Bench, Shim) {
    let shim = Shim::new().expect("the shim compiles");
    let setup = Setup::new().device(DeviceSetup::new("chem"));
    (shim.around(setup).start_without_agent(), shim)
}

#[test]
fn an_agent_on_a_full_disk_refuses_until_there_is_room_again() {
    let (mut bench, shim) = with_shim();
    let full = Fault {
        nth: 1,
        errno: Errno::NO_SPACE,
        lasting: Lasting::Armed,
    };
    let plan = Plan::on(&bench.path("state")).counting(&Kind::TAKES_ROOM);
    shim.follow(&plan.failing(full)).unwrap();
    bench.start_agent();
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    shim.arm().unwrap();
    let reply = bench.push("chem", &Order::new(2));
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.text().contains("disk is full"), "{}", reply.text());
    shim.lift().unwrap();
    assert_eq!(bench.push("chem", &Order::new(3)).status, 200);
    assert_eq!(bench.control_ids("chem"), ["C1", "C3"]);
}

/// How an agent ended that could not start, and its last word.
fn ends(bench: &mut Bench) -> (ExitStatus, String) {
    bench.start_agent_alone();
    let status = wait_for("the agent to end", || bench.agent().ended());
    let log = bench.agent_log();
    (status, log.lines().last().unwrap_or_default().to_owned())
}

fn cannot_start(bench: &mut Bench, because: &str) {
    let (status, word) = ends(bench);
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(word.starts_with("wardpost: "), "{word}");
    assert!(word.contains(because), "{word}");
}

#[test]
fn an_agent_on_a_read_only_disk_says_so_and_does_not_start() {
    let (mut bench, shim) = with_shim();
    let read_only = Fault {
        nth: 1,
        errno: Errno::READ_ONLY,
        lasting: Lasting::On,
    };
    let plan = Plan::on(&bench.path("state")).counting(&Kind::CHANGES);
    shim.follow(&plan.failing(read_only)).unwrap();
    cannot_start(&mut bench, "Read-only file system");
}

#[test]
fn a_database_from_the_future_is_not_touched() {
    let mut bench = queued();
    let database = Connection::open(bench.database()).unwrap();
    database.pragma_update(None, "user_version", 4711).unwrap();
    drop(database);
    cannot_start(&mut bench, "version 4711");
}

/// A bench with a killed agent and a queued push in the database.
fn queued() -> Bench {
    let mut bench = one_device();
    assert_eq!(bench.push("chem", &Order::new(1)).status, 200);
    bench.switch_off("chem");
    bench.push_and_go("chem", &Order::new(2));
    find(&bench, "P2");
    bench.kill_agent();
    bench
}

/// Moves everything from the log into the database, and says how many pages that has.
fn checkpoint(database: &Path) -> u64 {
    let connection = Connection::open(database).expect("the database opens");
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    assert_eq!(busy, Ok(0));
    drop(connection);
    std::fs::metadata(database)
        .expect("the database is there")
        .len()
        / PAGE
}

#[test]
fn a_damaged_page_ends_the_agent_with_a_sentence_or_hurts_nothing() {
    let mut bench = queued();
    let database = bench.database();
    let pages = checkpoint(&database);
    let whole = std::fs::read(&database).unwrap();
    let mut ended = 0;
    for page in 0..pages {
        std::fs::write(&database, &whole).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(&database)
            .unwrap();
        file.write_all_at(&[0xa5; 64], page * PAGE).unwrap();
        bench.start_agent_alone();
        let started = wait_for("the agent to start or to end", || {
            let ended = bench.agent().ended().map(|status| !status.success());
            let ready = bench.wardpost(&["status"]).code == 0;
            ended.or(ready.then_some(false))
        });
        assert!(!bench.agent_log().contains("panicked at"));
        if started {
            let log = bench.agent_log();
            assert!(
                log.lines().last().unwrap().starts_with("wardpost: "),
                "{log}"
            );
            ended += 1;
        } else {
            bench.kill_agent();
        }
    }
    assert!(ended > pages / 3, "{ended} of {pages}");
}

#[test]
fn a_log_that_was_cut_off_is_read_as_far_as_it_goes() {
    let mut bench = queued();
    bench.start_agent();
    for number in 3..10 {
        bench.push_and_go("chem", &Order::new(number));
        find(&bench, &format!("P{number}"));
    }
    bench.kill_agent();
    let log = bench.database().with_extension("db-wal");
    let length = std::fs::metadata(&log).unwrap().len();
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(length - PAGE / 2).unwrap();
    bench.switch_on("chem");
    bench.start_agent();
    wait_for_state(&bench, "P8", State::Delivered);
    let kept = Snapshot::read(&bench.database()).unwrap().pushes.len();
    let sent = bench.control_ids("chem");
    assert_eq!(sent.len(), kept, "{sent:?}");
    assert_eq!(sent[..8], ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8"]);
}
