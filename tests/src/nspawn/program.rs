//! Running a program to its end, with what it said if it failed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs it and hands back what it wrote to its output.
pub(super) fn succeed(command: &mut Command) -> Result<String> {
    let said = attempt(command)?;
    if said.code != 0 {
        bail!(
            "{} ended with {}: {}{}",
            name(command),
            said.code,
            said.out,
            said.err
        );
    }
    Ok(said.out)
}

/// Runs it, whatever comes of it.
pub(super) fn attempt(command: &mut Command) -> Result<Said> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", name(command)))?;
    Ok(Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// What a program said.
pub(super) struct Said {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

fn name(command: &Command) -> String {
    let words = command.get_args().map(|word| word.to_string_lossy());
    std::iter::once(command.get_program().to_string_lossy())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}
