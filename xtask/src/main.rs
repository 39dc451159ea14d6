//! The project's commands: `cargo xtask COMMAND`.
//!
//! Needs nothing but a Rust toolchain, because it installs what everything else needs.
//! It refuses to be clever: each command is a list of programs to run, said aloud as they run.

#![expect(
    clippy::print_stdout,
    reason = "talking to the terminal is what this program is for"
)]

mod bench;
mod deb;
mod demo;
mod disk;
mod fuzz;
mod kill;
mod prove;
mod run;
mod setup;
mod supply;
mod systemd;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = if fuzz::is_wrapping() {
        fuzz::compile(&words)
    } else {
        command(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &[&str]) -> Result<()> {
    match words {
        ["setup"] => setup::everything(),
        ["test"] => test::all(),
        ["tidy"] => tidy::command(),
        ["systemd"] => systemd::command(),
        ["kill", rest @ ..] => kill::command(rest),
        ["disk", rest @ ..] => disk::command(rest),
        ["prove", rest @ ..] => prove::command(rest),
        ["bench", rest @ ..] => bench::command(rest),
        ["deb", rest @ ..] => deb::command(rest),
        ["demo", rest @ ..] => demo::command(rest),
        ["fuzz", rest @ ..] => fuzz::command(rest),
        ["deny"] => supply::deny(),
        ["sbom"] => supply::sbom(),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such command: {}\n\n{USAGE}", words.join(" ")),
    }
}

const USAGE: &str = "\
cargo xtask COMMAND

  demo [--once] [--bless]       a cloud, an agent and two devices in this terminal; --once ends by itself and
                                compares what was said with docs/demo-transcript.txt, --bless rewrites that file
  test                          everything that must hold before a change lands
  kill [--cycles N] [--seed S] [--faults | --mailbox [--tasks N] | --story] [--mutant NAME] [--release]
                                kills the agent at random instants and counts what was lost (nothing);
                                --faults: while the network fails, too; --mailbox: on its way through Tasks;
                                --story: from ServiceRequest to analyzer, with both of the example's Bots
  disk [--states N] [--seed S]  fails every call of the agent on its disk, in every way; with --states: judges so
                                many states that a power cut could leave
  prove [MUTANT...]             plants one fault after another in the agent; a harness must notice each
  bench push [--quick | --only 128/16]
                                pushes per second, latency, memory
  deb                           the Debian package, release build; its path is the last line
  systemd                       the package under a real systemd (as root)
  fuzz [TARGET]... [--seconds N]
                                any input for everything that strangers can send; all targets, 300 s each
  deny                          licences, forbidden crates and sources, as deny.toml says
  sbom                          bill of materials of the agent (CycloneDX), in the target folder
  tidy                          import rules and text rules
  setup                         installs what test and demo need (Debian, as root)";
