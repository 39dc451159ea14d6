//! Kills the agent at random and judges what came of it; `cargo xtask kill` calls this.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use scenarios::kill::story::{self, Form};
use scenarios::kill::{Network, Options, mailbox, run};

/// Pushes orders while the agent is killed again and again, and checks that nothing was lost, doubled or reordered.
#[derive(Parser)]
#[command(name = "wardpost-kill")]
struct Flags {
    #[arg(long, default_value_t = 25)]
    cycles: u32,
    /// Decides everything that is random; printed at the end. Default: a new one.
    #[arg(long)]
    seed: Option<u64>,
    /// A planted fault that has to be caught; the agent must be built with the feature `mutants`.
    #[arg(long)]
    mutant: Option<String>,
    /// Let the network fail, too: cuts, silences, splits, corruption between the agent and its peers.
    #[arg(long)]
    faults: bool,
    /// Tasks in the cloud's mailbox instead of pushes: created while the agent is away, which is then killed on the way.
    #[arg(long, conflicts_with_all = ["faults", "mutant"])]
    mailbox: bool,
    /// How many Tasks, 1 to 1000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tasks: u32,
    /// Tell the worked example instead: orders, Subscription and Bot, once with pushes and once with Tasks.
    #[arg(long, conflicts_with_all = ["mutant", "faults", "mailbox", "agent"])]
    story: bool,
    /// The agent's binary. Default: beside this program.
    #[arg(long)]
    agent: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let seed = flags
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    if flags.mailbox {
        let options = mailbox::Options {
            cycles: flags.cycles,
            tasks: flags.tasks,
            seed,
            agent: flags.agent,
        };
        let report = mailbox::run(&options)?;
        write!(std::io::stdout().lock(), "{report}")?;
        return Ok(if report.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    if flags.story {
        return tell(flags.cycles, seed);
    }
    let options = Options {
        cycles: flags.cycles,
        seed,
        network: if flags.faults {
            Network::Faulty
        } else {
            Network::Good
        },
        mutant: flags.mutant,
        agent: flags.agent,
    };
    let report = run(&options)?;
    write!(std::io::stdout().lock(), "{report}")?;
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The story in both forms; the second is told even if the first went wrong.
fn tell(cycles: u32, seed: u64) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for form in [Form::Push, Form::Task] {
        let report = story::run(form, cycles, seed)?;
        write!(std::io::stdout().lock(), "{report}")?;
        if !report.is_success() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
