//! The command line: `run` is the service, the rest are commands on it.

pub mod ask;
pub mod check;
pub mod doctor;
pub mod files;
pub mod run;
mod show;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Relays Medplum pushes to clinical devices, durably.
#[derive(Debug, Parser)]
#[command(name = "wardpost", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    ask: ask::AskArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent; this is what the service does.
    Run(run::RunArgs),
    /// Check the configuration: every mistake with file, line, column and a fix.
    Check(check::CheckArgs),
    /// Try everything that the agent needs, and say what is not well and what to do: cloud, token, policy, clock, disk,
    /// configuration. The exit code is 1 if something is wrong.
    Doctor(doctor::DoctorArgs),
    #[command(flatten)]
    Ask(ask::Question),
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args, cli.ask.control()).map(|()| ExitCode::SUCCESS),
        Command::Check(mut args) => {
            args.json = cli.ask.json;
            check::run(&args, &mut std::io::stdout().lock())
                .map(|finding| ExitCode::from(finding.exit_code()))
                .map_err(anyhow::Error::from)
        }
        Command::Doctor(mut args) => {
            args.json = cli.ask.json;
            args.control = cli.ask.control();
            doctor::run(&args, &mut std::io::stdout().lock())
        }
        Command::Ask(question) => ask::run(&cli.ask, question, &mut std::io::stdout().lock()),
    };
    done.unwrap_or_else(|error| {
        // Nothing is left to do if even this cannot be written.
        let _ = writeln!(std::io::stderr(), "wardpost: {error:#}");
        ExitCode::FAILURE
    })
}
