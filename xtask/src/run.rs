//! Finding the project and running programs in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Names the project's root folder.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// Prepares the cargo that runs us, in the root folder.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Says what it runs, runs it, and fails if it failed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", spoken(command));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", spoken(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", spoken(command));
    }
    Ok(())
}

/// Says what it runs, and lets it speak only if it failed: for programs that talk a lot.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    println!("$ {}", spoken(command));
    output(command).map(drop)
}

/// Runs it quietly and hands back what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", spoken(command)))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}\n{}",
            spoken(command),
            output.status,
            words.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether this program is there and content.
pub(crate) fn succeeds(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// How the binaries are compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the agent, the cloud stub and what the tests bring, and names the folder they are in.
pub(crate) fn build_binaries(profile: Profile) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--locked", "--bins"]);
    command.args([
        "--package",
        "wardpost",
        "--package",
        "wardpost-cloud",
        "--package",
        "scenarios",
    ]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(&mut command)?;
    binaries(profile)
}

/// Names the folder that built binaries are in.
pub(crate) fn binaries(profile: Profile) -> Result<PathBuf> {
    Ok(target()?.join(profile.folder()))
}

/// Names cargo's target folder.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(&mut cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let path = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target folder")?;
    Ok(path.into())
}

fn spoken(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once(program.to_string_lossy())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
