//! How long a start with a large backlog takes, and how much memory: `backlog DIRECTORY PUSHES DEVICES`.
//!
//! Fills the directory by `backlog.sql` if it is new. Then it starts the store twice, once by all rows and once by the
//! segments that the first left, and says how that went. Only the second is what an agent sees day by day.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agent_core::push::{Completing, DeviceNo, HoldScope, OnUncertain, Policy, WhenUnreachable};
use agent_core::queue::DeviceConfig;
use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use tokio::sync::mpsc;
use wardpost::store::{Attempt, Bounds, Lines, Opened, Upward, Wiring};

/// Lines to devices that are never there.
struct Away;

impl Lines for Away {
    fn deliver(&self, _: Attempt) {}
    fn wanted(&self, _: DeviceNo, _: bool) {}
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [directory, pushes, devices] => {
            let directory = Path::new(directory);
            if !directory.join("wardpost.db").exists() {
                fill(directory, pushes.parse()?, devices.parse()?)?;
            }
            // Each start in a process of its own, so that the memory is that of one start.
            for _ in 0..2 {
                let own = std::env::current_exe()?;
                let done = Command::new(own).arg(directory).status()?;
                anyhow::ensure!(done.success(), "the start failed");
            }
            Ok(())
        }
        [directory] => start(Path::new(directory)),
        _ => bail!("backlog DIRECTORY PUSHES DEVICES"),
    }
}

fn fill(directory: &Path, pushes: u64, devices: u32) -> Result<()> {
    let opened = Opened::open(directory)?;
    let names: Vec<String> = (1..=devices).map(|n| format!("device-{n}")).collect();
    opened.device_numbers(&names)?;
    drop(opened);
    let connection = Connection::open(directory.join("wardpost.db"))?;
    connection.execute_batch("CREATE TEMP TABLE wish (pushes INTEGER, at INTEGER)")?;
    connection.execute(
        "INSERT INTO wish SELECT ?1, CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        [pushes],
    )?;
    connection.execute_batch("BEGIN")?;
    connection.execute_batch(include_str!("backlog.sql"))?;
    connection.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn start(directory: &Path) -> Result<()> {
    let began = Instant::now();
    let opened = Opened::open(directory)?;
    let devices = opened.known_devices()?.into_iter();
    let devices = devices.map(|(no, name)| {
        let policy = policy();
        let enabled = true;
        (
            no,
            DeviceConfig {
                name,
                policy,
                enabled,
            },
        )
    });
    let (said, _heard) = mpsc::channel(1);
    let running = opened.start(Wiring {
        devices: devices.collect(),
        limit: 10_000_000,
        lines: Away,
        said,
        upward: Upward {
            channel: None,
            agent: String::new(),
            limit: 0,
        },
        join_digest: |_| None,
        bounds: Bounds {
            max_disk: u64::MAX / 2,
            min_free: 0,
            reserve: 0,
        },
    })?;
    let took = began.elapsed();
    let report = running.store.report().await?;
    say(&format!(
        "{} pushes wait; started in {} ms; {} kB resident, {} kB at most",
        report.live,
        took.as_millis(),
        status("VmRSS:")?,
        status("VmHWM:")?,
    ))?;
    running.store.stop().await?;
    Ok(())
}

fn say(line: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").context("cannot print")
}

fn status(key: &str) -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number
        .context("no such line in /proc/self/status")?
        .to_owned())
}

fn policy() -> Policy {
    Policy {
        answer_within: Duration::from_secs(8),
        when_unreachable: WhenUnreachable::Queue,
        rejoin_window: Duration::from_mins(10),
        on_uncertain: OnUncertain::Hold,
        hold_scope: HoldScope::Order,
        expires: None,
        paused: false,
        max_queued: 10_000_000,
        completing: Completing::AtOnce,
    }
}
