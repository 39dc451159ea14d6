//! Measures the agent; `cargo xtask bench push` builds for release and calls this.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use scenarios::load::{DEVICES, Options, Pace, Shape, one, run};

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
    /// Only this row, for whoever looks where the time goes: pushes in flight, a slash, devices.
    #[arg(long, value_name = "128/16", value_parser = shape)]
    only: Option<Shape>,
    /// With --only: milliseconds that each sync takes more than on this disk.
    #[arg(long, default_value_t = 0, requires = "only")]
    slower: u64,
}

fn shape(text: &str) -> anyhow::Result<Shape> {
    let (in_flight, devices) = text.split_once('/').context("a row is named like 128/16")?;
    let devices = devices.parse()?;
    ensure!(
        (1..=DEVICES).contains(&devices),
        "there are {DEVICES} devices"
    );
    Ok(Shape {
        in_flight: in_flight.parse()?,
        devices,
    })
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
    let mut out = std::io::stdout().lock();
    if let Some(shape) = flags.only {
        let slower = Duration::from_millis(flags.slower);
        return Ok(write!(out, "{}", one(&options, shape, slower)?)?);
    }
    let report = run(&options)?;
    if flags.quick {
        writeln!(
            out,
            "A quick run: that there are figures is what counts, not the figures.\n"
        )?;
    }
    Ok(write!(out, "{report}")?)
}
