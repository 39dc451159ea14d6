//! Measures the agent; `cargo xtask bench push` builds for release and calls this.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use scenarios::load::{Options, Pace, run};

/// Pushes to the agent as fast as it takes them and prints a table.
#[derive(Parser)]
#[command(name = "wardpost-bench")]
struct Flags {
    /// Runs so short that the figures mean nothing: only shows that everything works.
    #[arg(long)]
    quick: bool,
    /// Where the database goes; must be on the disk that is meant. Default: beside this program.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The agent's binary. Default: beside this program.
    #[arg(long)]
    agent: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let own = std::env::current_exe()?;
    let beside = own.parent().context("this program is in no folder")?;
    let options = Options {
        pace: if flags.quick { Pace::QUICK } else { Pace::FULL },
        folder: flags.folder.unwrap_or_else(|| beside.to_owned()),
        agent: flags.agent,
    };
    let report = run(&options)?;
    let mut out = std::io::stdout().lock();
    if flags.quick {
        writeln!(
            out,
            "A quick run: that there are figures is what counts, not the figures.\n"
        )?;
    }
    Ok(write!(out, "{report}")?)
}
