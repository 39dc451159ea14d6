//! `cargo xtask fuzz`: any input at all for everything that strangers can send.
//!
//! The targets are in `fuzz/`, a workspace of its own. The coverage marks are flags of the stable compiler, and the
//! fuzzer comes with its crate, so nothing needs to be installed. What was found interesting is kept in the target
//! folder and is where the next run begins; an input that breaks a target is left there, and named.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{self, cargo};
use crate::setup;

/// Runs one target, or all of them one after the other.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let (targets, seconds) = parse(words)?;
    setup::fuzzing_tools()?;
    run_targets(&targets, &[format!("-max_total_time={seconds}")])
}

/// A few seconds of each, always from the same seed: shows that the targets build and that nothing breaks at the first
/// touch. What is new is found by the long runs.
pub(crate) fn briefly() -> Result<()> {
    run_targets(&TARGETS, &BRIEFLY.map(str::to_owned))
}

fn parse<'a>(words: &[&'a str]) -> Result<(Vec<&'a str>, u32)> {
    let (mut targets, mut seconds) = (Vec::new(), LONG);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => {
                let value = words.next().context("--seconds needs a number")?;
                seconds = value.parse().context("--seconds needs a number")?;
            }
            name if TARGETS.contains(&name) => targets.push(name),
            other => bail!(
                "fuzz knows {} and --seconds N, not {other}",
                TARGETS.join(", ")
            ),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.to_vec();
    }
    Ok((targets, seconds))
}

fn run_targets(targets: &[&str], how: &[String]) -> Result<()> {
    let folder = build()?;
    let broken: Vec<&str> = targets
        .iter()
        .copied()
        .filter(|target| {
            let ran = run_target(&folder, target, how);
            ran.inspect_err(|error| eprintln!("{target}: {error:#}"))
                .is_err()
        })
        .collect();
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

/// Builds the targets, apart from everything else that is built, with ourselves between cargo and the compiler.
fn build() -> Result<PathBuf> {
    let target = run::target()?.join("fuzz");
    let between = stand_between(&target)?;
    // Not locked: its lock file has to follow whatever the agent begins to depend on.
    let mut command = cargo(&["build", "--release", "--manifest-path"]);
    command
        .arg(run::root().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTC_WRAPPER", between)
        .env(WRAPPING, "1");
    run::run(&mut command)?;
    Ok(target)
}

/// A copy of ourselves: the file that we were started from may have been built anew meanwhile.
fn stand_between(folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("compiler");
    fs::create_dir_all(folder)?;
    // One that runs cannot be written to, but it can be replaced.
    let new = folder.join("compiler.new");
    fs::copy("/proc/self/exe", &new).context("cannot copy this program")?;
    fs::rename(&new, &copy)?;
    Ok(copy)
}

/// Whether cargo has called us in the compiler's place.
pub(crate) fn is_wrapping() -> bool {
    env::var_os(WRAPPING).is_some()
}

/// Calls the compiler, with the coverage marks if the crate is one of ours. Others would only be slower for them, and
/// build scripts have no fuzzer in them that could read the marks.
pub(crate) fn compile(words: &[String]) -> Result<()> {
    let (compiler, arguments) = words.split_first().context("no compiler to call")?;
    let mut command = Command::new(compiler);
    command.args(arguments);
    if is_ours(arguments) {
        command.args(COVERAGE);
    }
    let status = command.status().context("cannot run the compiler")?;
    if !status.success() {
        bail!("the compiler ended with {status}");
    }
    Ok(())
}

fn is_ours(arguments: &[String]) -> bool {
    let name = arguments
        .iter()
        .skip_while(|word| *word != "--crate-name")
        .nth(1);
    name.is_some_and(|name| OURS.contains(&name.as_str()) || TARGETS.contains(&name.as_str()))
}

fn run_target(folder: &Path, target: &str, how: &[String]) -> Result<()> {
    let (corpus, broken) = (folder.join("corpus").join(target), folder.join("broken"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&broken)?;
    let mut command = Command::new(folder.join("release").join(target));
    command
        .arg(&corpus)
        .arg(run::root().join("fuzz/seeds").join(target))
        .args(how)
        .arg(format!("-artifact_prefix={}/{target}-", broken.display()))
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            "-verbosity=0",
        ]);
    run::run(command.current_dir(run::root()))
}

/// Set while cargo calls us in the compiler's place.
const WRAPPING: &str = "WARDPOST_FUZZ_BUILD";
const OURS: [&str; 4] = ["wardpost", "agent_core", "agent_wire", "device_drivers"];
const TARGETS: [&str; 5] = ["envelope", "hl7", "mllp", "conversation", "toml"];
const BRIEFLY: [&str; 2] = ["-max_total_time=8", "-seed=1"];
const LONG: u32 = 300;
/// What `libFuzzer` reads to see which code an input has reached.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_means_all_of_them_and_a_number_is_a_number() {
        assert_eq!(parse(&[]).unwrap(), (TARGETS.to_vec(), LONG));
        assert_eq!(parse(&["--seconds", "3", "hl7"]).unwrap(), (vec!["hl7"], 3));
        assert!(parse(&["hl8"]).is_err());
        assert!(parse(&["--seconds", "soon"]).is_err());
        assert!(parse(&["--seconds"]).is_err());
    }

    #[test]
    fn only_our_own_crates_get_the_marks() {
        let words = |name: &str| ["--edition", "2024", "--crate-name", name].map(String::from);
        assert!(is_ours(&words("agent_core")) && is_ours(&words("hl7")));
        assert!(!is_ours(&words("tokio")) && !is_ours(&words("build_script_build")));
        assert!(!is_ours(&["-vV".into()]));
    }
}
