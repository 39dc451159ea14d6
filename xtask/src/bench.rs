//! `cargo xtask bench`: release binaries, and the load generator that measures them.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{self, Profile};
use crate::setup;

/// Measures the push path and prints its table.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    let ["push", rest @ ..] = words else {
        bail!("bench knows: bench push [--quick] [--only 128/16 [--slower 5]]");
    };
    setup::build_tools()?;
    let folder = run::build_binaries(Profile::Release)?;
    run::run(
        Command::new(folder.join("wardpost-bench"))
            .args(rest)
            .current_dir(run::root()),
    )
}

/// Shows that the benchmark works, with the debug binaries that are built already. Its numbers mean nothing.
pub(crate) fn smoke() -> Result<()> {
    let folder = run::binaries(Profile::Debug)?;
    run::run(
        Command::new(folder.join("wardpost-bench"))
            .arg("--quick")
            .current_dir(run::root()),
    )
}
