//! `cargo xtask disk`: the long form of what the tests do to the disk.

use std::process::Command;

use anyhow::Result;

use crate::run::{self, Profile};
use crate::setup;

/// Fails every call in every way, or judges as many power cuts as the words say.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    setup::build_tools()?;
    let folder = run::build_binaries(Profile::Debug)?;
    let mut harness = Command::new(folder.join("wardpost-disk"));
    run::run(harness.args(words).current_dir(run::root()))
}
