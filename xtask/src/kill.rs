//! `cargo xtask kill`: builds what the kill harness needs, and runs it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{self, Profile, cargo};
use crate::setup;

/// Runs the harness as the command line says.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    setup::build_tools()?;
    let folder = run::build_binaries(options.profile)?;
    let agent = match options.mutant {
        Some(_) => build_mutants(options.profile)?,
        None => folder.join("wardpost"),
    };
    let mut harness = Command::new(folder.join("wardpost-kill"));
    harness
        .args(options.words)
        .arg("--agent")
        .arg(agent)
        .current_dir(run::root());
    run::run(&mut harness)
}

/// Runs some cycles with the debug binaries that are built already, as these words say.
pub(crate) fn cycles(words: &[&str]) -> Result<()> {
    let folder = run::binaries(Profile::Debug)?;
    let mut harness = Command::new(folder.join("wardpost-kill"));
    harness.args(words);
    run::run(harness.current_dir(run::root()))
}

struct Options<'a> {
    profile: Profile,
    mutant: Option<&'a str>,
    /// What the harness is told.
    words: Vec<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(mut words: &[&'a str]) -> Result<Self> {
        let mut options = Self {
            profile: Profile::Debug,
            mutant: None,
            words: Vec::new(),
        };
        while let Some((first, rest)) = words.split_first() {
            words = rest;
            match *first {
                "--release" => options.profile = Profile::Release,
                word @ ("--faults" | "--mailbox" | "--story") => options.words.push(word),
                name @ ("--cycles" | "--tasks" | "--seed" | "--mutant") => {
                    let (value, rest) = words
                        .split_first()
                        .with_context(|| format!("{name} needs a value"))?;
                    words = rest;
                    options.take(name, value);
                }
                other => bail!(
                    "kill knows --cycles N, --seed S, --faults, --mailbox, --tasks N, --story, --mutant NAME and --release, not {other}"
                ),
            }
        }
        Ok(options)
    }

    fn take(&mut self, name: &'a str, value: &'a str) {
        self.words.extend([name, value]);
        if name == "--mutant" {
            self.mutant = Some(value);
        }
    }
}

/// Builds the agent with the planted faults, under a name of its own: a faulty binary never lies where a sound one is
/// looked for.
pub(crate) fn build_mutants(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--locked", "--package", "wardpost"]);
    command.args(["--features", "mutants", "--bin", "wardpost-mutant"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    run::run(&mut command)?;
    Ok(run::binaries(profile)?.join("wardpost-mutant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_harness_knows_is_passed_on_and_release_is_kept() {
        let options =
            Options::parse(&["--cycles", "3", "--release", "--mutant", "blind-resend"]).unwrap();
        assert_eq!(options.words, ["--cycles", "3", "--mutant", "blind-resend"]);
        assert_eq!(
            (options.profile, options.mutant),
            (Profile::Release, Some("blind-resend"))
        );
    }

    #[test]
    fn an_unknown_word_and_a_missing_value_are_refused() {
        assert!(Options::parse(&["--cycle", "3"]).is_err());
        assert!(Options::parse(&["--seed"]).is_err());
    }
}
