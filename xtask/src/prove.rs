//! `cargo xtask prove`: plants one fault after another in the agent and shows that a harness notices each.
//!
//! First the same binary runs through all harnesses with nothing planted, and must pass: a harness that always finds
//! something proves nothing. Then each mutant runs in the harness that should catch it, until it is caught or the
//! harness has done all it does.

mod mutants;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::kill;
use crate::run::{self, Profile, cargo};
use crate::setup;
use mutants::{Harness, MUTANTS, Mutant};

/// Proves all, or those that are named.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let wanted = wanted(words)?;
    setup::build_tools()?;
    run::build_binaries(Profile::Debug)?;
    let proof = Proof {
        agent: kill::build_mutants(Profile::Debug)?,
        harness: run::binaries(Profile::Debug)?.join("wardpost-kill"),
    };
    run::run(&mut cargo(&[
        "test",
        "--locked",
        "--package",
        "scenarios",
        "--no-run",
    ]))?;
    proof.control(&wanted)?;
    let verdicts = wanted.into_iter().map(|mutant| proof.try_one(mutant));
    report(&verdicts.collect::<Result<Vec<_>>>()?)
}

fn wanted(words: &[&str]) -> Result<Vec<&'static Mutant>> {
    for word in words {
        let known = MUTANTS.iter().any(|mutant| mutant.name == *word);
        ensure!(known, "there is no mutant {word}");
    }
    let wanted = |mutant: &&Mutant| words.is_empty() || words.contains(&mutant.name);
    Ok(MUTANTS.iter().filter(wanted).collect())
}

struct Proof {
    /// Built with the feature `mutants`.
    agent: PathBuf,
    harness: PathBuf,
}

struct Verdict {
    mutant: &'static Mutant,
    /// What the harness saw, if it saw anything.
    caught: Option<String>,
    took: Duration,
}

/// How a harness ended.
enum Ran {
    Passed(String),
    Failed(String),
}

impl Proof {
    /// The same binary with nothing planted passes in every harness that is to be used.
    fn control(&self, wanted: &[&Mutant]) -> Result<()> {
        let mut harnesses: Vec<Harness> = wanted.iter().map(|mutant| mutant.by).collect();
        harnesses.sort_unstable();
        harnesses.dedup();
        for harness in harnesses {
            println!("\n== nothing planted: {}", harness.name());
            let (said, passed) = match self.run(harness, None)? {
                Ran::Failed(said) => (said, false),
                Ran::Passed(said) => (said, true),
            };
            println!("{}", last_lines(&said));
            ensure!(passed, "{} fails with nothing planted", harness.name());
        }
        Ok(())
    }

    fn try_one(&self, mutant: &'static Mutant) -> Result<Verdict> {
        println!("\n== {}: {}", mutant.name, mutant.by.name());
        let began = Instant::now();
        let caught = match (mutant.by, self.run(mutant.by, Some(mutant.name))?) {
            // The kill harness itself knows that a mutant is to be caught.
            (Harness::Kill(_) | Harness::KillWithFaults(_), Ran::Passed(said))
            | (Harness::Scenario(_) | Harness::Store(_), Ran::Failed(said)) => Some(said),
            (_, Ran::Passed(said) | Ran::Failed(said)) => {
                println!("{}", last_lines(&said));
                None
            }
        };
        let caught = caught.and_then(|said| {
            let why = mutant.by.saw(&said, mutant.expects);
            if why.is_none() {
                println!(
                    "noticed, but not by {:?}:\n{}",
                    mutant.expects,
                    last_lines(&said)
                );
            }
            why.map(|why| mutant.by.found(&said, why))
        });
        println!("{}", caught.as_deref().unwrap_or("not caught"));
        Ok(Verdict {
            mutant,
            caught,
            took: began.elapsed(),
        })
    }

    fn run(&self, harness: Harness, mutant: Option<&str>) -> Result<Ran> {
        match harness {
            Harness::Kill(cycles) => self.kill(cycles, mutant, &[]),
            Harness::KillWithFaults(cycles) => self.kill(cycles, mutant, &["--faults"]),
            Harness::Scenario(test) => {
                let words = ["--package", "scenarios", "--test", "scenarios"];
                let mut command = story_command(&words, test);
                command.env("SCENARIOS_AGENT", &self.agent);
                command.env("SCENARIOS_MUTANT", mutant.unwrap_or_default());
                ran(&mut command)
            }
            Harness::Store(test) => {
                let words = ["--package", "wardpost", "--lib", "--features", "mutants"];
                let mut command = story_command(&words, test);
                command.env("WARDPOST_MUTANT", mutant.unwrap_or_default());
                ran(&mut command)
            }
        }
    }

    fn kill(&self, cycles: u32, mutant: Option<&str>, words: &[&str]) -> Result<Ran> {
        let mut command = Command::new(&self.harness);
        command
            .args(["--cycles", &cycles.to_string(), "--seed", SEED])
            .arg("--agent")
            .arg(&self.agent)
            .args(words);
        if let Some(mutant) = mutant {
            command.args(["--mutant", mutant]);
        }
        ran(command.current_dir(run::root()))
    }
}

fn story_command(words: &[&str], test: &str) -> Command {
    let mut command = cargo(&["test", "--locked"]);
    command.args(words).args(["--", "--exact", test]);
    command
}

fn ran(command: &mut Command) -> Result<Ran> {
    let output = command
        .env("RUST_BACKTRACE", "0")
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let nothing_ran = said.contains("running 0 tests") && !said.contains("running 1 test");
    ensure!(!nothing_ran, "there is no such test: {command:?}");
    ensure!(!said.contains("could not compile"), "{said}");
    Ok(if output.status.success() {
        Ran::Passed(said)
    } else {
        Ran::Failed(said)
    })
}

impl Harness {
    /// The first line that says one of these: another breakage may be an accident of the planting.
    fn saw<'a>(self, said: &'a str, expects: &[&str]) -> Option<&'a str> {
        match self {
            Self::Kill(_) | Self::KillWithFaults(_) => {
                let mut breaks = said.lines().filter_map(|line| line.strip_prefix("  "));
                breaks.find(|found| {
                    let name = found.split([' ', '{']).next().unwrap_or_default();
                    expects.contains(&name)
                })
            }
            Self::Scenario(_) | Self::Store(_) => {
                let mut lines = said.lines();
                lines.find(|line| expects.iter().any(|word| line.contains(word)))
            }
        }
    }

    /// What a person wants to know of it: how much it took, and what broke.
    fn found(self, said: &str, why: &str) -> String {
        let why = brief(why.trim());
        match self {
            Self::Kill(_) | Self::KillWithFaults(_) => {
                let kills = said
                    .lines()
                    .find_map(|line| line.split_once(" was caught after "))
                    .map_or("?", |(_, kills)| kills);
                format!("{kills}: {why}")
            }
            Self::Scenario(_) | Self::Store(_) => format!("1 test: {why}"),
        }
    }
}

/// As much as fits into a table.
fn brief(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

fn report(verdicts: &[Verdict]) -> Result<()> {
    println!("\n| mutant | promise it breaks | caught by | after |\n| --- | --- | --- | --- |");
    for Verdict {
        mutant,
        caught,
        took,
    } in verdicts
    {
        let after = caught.as_deref().unwrap_or("NOT CAUGHT");
        let Mutant {
            name, breaks, by, ..
        } = mutant;
        let (by, seconds) = (by.name(), took.as_secs_f64());
        println!("| {name} | {breaks} | {by} | {after} ({seconds:.0} s) |");
    }
    let survivors = verdicts.iter().filter(|one| one.caught.is_none()).count();
    println!(
        "\nmutants: {} caught, {survivors} not",
        verdicts.len() - survivors
    );
    if survivors > 0 {
        bail!("a planted fault was not noticed");
    }
    Ok(())
}

/// Any will do; this one makes a report that can be compared with the last.
const SEED: &str = "20260301";
const SHOWN_LINES: usize = 12;
const LONGEST: usize = 72;
