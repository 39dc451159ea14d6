//! Fails the agent's calls on its disk, one after the other; `cargo xtask disk` calls this.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use scenarios::disk::{Start, Sweep, run};
use scenarios::shim::{Errno, Kind, Lasting};

/// Lives a short life of the agent again and again, and fails another call on its files each time.
#[derive(Parser)]
#[command(name = "wardpost-disk")]
struct Flags {
    /// Lives at the same time; most of a life is waiting.
    #[arg(long, default_value_t = 6)]
    at_once: usize,
    /// Only the first of the sweeps.
    #[arg(long)]
    quick: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let mut broken = 0;
    for sweep in sweeps()
        .into_iter()
        .take(if flags.quick { 1 } else { usize::MAX })
    {
        let report = run(&sweep, flags.at_once)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{report}")?;
        for wrong in &report.wrongs {
            writeln!(out, "  {wrong}")?;
        }
        broken += report.wrongs.len();
    }
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

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
