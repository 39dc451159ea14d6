//! Fails the agent's calls on its disk, one after the other, or cuts its power; `cargo xtask disk` calls this.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use scenarios::crash::disk::Syncs;
use scenarios::crash::record;
use scenarios::crash::states::{Options, judge};
use scenarios::disk::{Start, Sweep, run};
use scenarios::shim::{Errno, Kind, Lasting};

/// Lives a short life of the agent again and again, and fails another call on its files each time; or cuts the power at
/// any moment of a busy run.
#[derive(Parser)]
#[command(name = "wardpost-disk")]
struct Flags {
    /// Lives at the same time; most of a life is waiting.
    #[arg(long, default_value_t = 6)]
    at_once: usize,
    /// Only this one of the sweeps, from 1.
    #[arg(long)]
    sweep: Option<usize>,
    /// Judges so many states that a power cut could leave, instead of failing calls.
    #[arg(long)]
    states: Option<usize>,
    /// Decides which states. Default: a new one.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let broken = match flags.states {
        Some(states) => cut(states, flags.seed)?,
        None => fail(&flags)?,
    };
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn fail(flags: &Flags) -> anyhow::Result<usize> {
    let mut broken = 0;
    for (number, sweep) in (1..).zip(sweeps()) {
        if flags.sweep.is_some_and(|only| only != number) {
            continue;
        }
        let report = run(&sweep, flags.at_once)?;
        tell(&report, &report.wrongs)?;
        broken += report.wrongs.len();
    }
    Ok(broken)
}

fn cut(states: usize, seed: Option<u64>) -> anyhow::Result<usize> {
    let options = Options {
        states,
        seed: seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        syncs: Syncs::Work,
        at_once: 2,
    };
    let report = judge(&record(PUSHES)?, &options)?;
    tell(&report, &report.wrongs)?;
    writeln!(std::io::stdout().lock(), "seed {}", options.seed)?;
    Ok(report.wrongs.len())
}

fn tell(report: &dyn std::fmt::Display, wrongs: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}")?;
    wrongs
        .iter()
        .try_for_each(|wrong| writeln!(out, "  {wrong}"))
}

const PUSHES: usize = 960;

/// Every errno a full, broken, read-only or limited disk gives, for one call and from one call on.
fn sweeps() -> Vec<Sweep> {
    let every: &'static [Kind] = &Kind::TOUCHES_THE_DISK;
    let room: &'static [Kind] = &Kind::TAKES_ROOM;
    let changes: &'static [Kind] = &Kind::CHANGES;
    let faults = [
        (every, Errno::IO, Lasting::Once),
        (room, Errno::NO_SPACE, Lasting::Once),
        (room, Errno::NO_SPACE, Lasting::Short),
        (every, Errno::IO, Lasting::On),
        (room, Errno::NO_SPACE, Lasting::On),
        (room, Errno::QUOTA, Lasting::Once),
        (changes, Errno::READ_ONLY, Lasting::On),
    ];
    let starts = [Start::Empty, Start::Used];
    let with = |start| {
        faults.map(|(kinds, errno, lasting)| Sweep {
            start,
            kinds,
            errno,
            lasting,
        })
    };
    starts.into_iter().flat_map(with).collect()
}
