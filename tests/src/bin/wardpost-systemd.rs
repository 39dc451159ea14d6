//! Lets the service live under a real systemd; `cargo xtask test` calls this.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use scenarios::nspawn::{Props, Suite, play};

/// Installs, hangs, kills, upgrades and removes the agent on small Debian systems, each with a real systemd. Needs root.
#[derive(Parser)]
#[command(name = "wardpost-systemd")]
struct Flags {
    /// SUITE=FOLDER, the files of a Debian system; several are played at once.
    #[arg(long, required = true)]
    tree: Vec<String>,
    /// The package, and one with a higher version.
    #[arg(long)]
    package: PathBuf,
    #[arg(long)]
    upgrade: PathBuf,
    /// The folder with the cloud stub and the simulators.
    #[arg(long)]
    binaries: PathBuf,
    #[arg(long)]
    project: PathBuf,
}

fn main() -> Result<ExitCode> {
    let flags = Flags::parse();
    let mut played = Vec::new();
    for tree in &flags.tree {
        let (suite, tree) = tree.split_once('=').context("--tree wants SUITE=FOLDER")?;
        let props = Props {
            suite: suite.parse::<Suite>()?,
            tree: tree.into(),
            package: flags.package.clone(),
            upgrade: flags.upgrade.clone(),
            binaries: flags.binaries.clone(),
            project: flags.project.clone(),
        };
        played.push((props.suite, std::thread::spawn(move || play(&props, &tell))));
    }
    let mut code = ExitCode::SUCCESS;
    for (suite, playing) in played {
        let failed = match playing.join() {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "it crashed".into(),
        };
        tell(&format!("{} failed: {failed}", suite.name()));
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

fn tell(line: &str) {
    // Nobody reads any more: the end will say how it went.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
