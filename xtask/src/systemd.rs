//! The part of `cargo xtask test` that puts the package under a real systemd.
//!
//! Brings the files of small Debian systems (kept in the target folder, new each week), packs the debug binary twice with
//! different versions, and lets `wardpost-systemd` play.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::deb::{Package, Packing};
use crate::run::{self, Profile, output, root, run_quietly};
use crate::setup;

/// Builds what it needs, then plays.
pub(crate) fn command() -> Result<()> {
    setup::everything()?;
    run::build_binaries(Profile::Debug)?;
    as_built()
}

/// Plays with the debug binaries that are built already.
pub(crate) fn as_built() -> Result<()> {
    ensure!(
        output(Command::new("id").arg("-u"))?.trim() == "0",
        "a real systemd is booted in a namespace of its own, which needs root"
    );
    let binaries = run::binaries(Profile::Debug)?;
    let folder = run::target()?.join("systemd");
    fs::create_dir_all(&folder)?;
    let package = |revision| Package {
        binary: binaries.join("wardpost"),
        revision,
        packing: Packing::Quick,
    };
    let mut play = Command::new(binaries.join("wardpost-systemd"));
    play.arg("--package").arg(package(1).build(&folder)?);
    play.arg("--upgrade").arg(package(2).build(&folder)?);
    for suite in suites()? {
        let tree = tree(&folder, suite)?;
        play.arg("--tree")
            .arg(format!("{suite}={}", tree.display()));
    }
    play.arg("--binaries").arg(&binaries);
    run::run(play.arg("--project").arg(root()))
}

/// A program runs with the C library it was built with, or a newer one: the older system is for older builders only.
fn suites() -> Result<Vec<&'static str>> {
    let said = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let minor = said
        .trim()
        .rsplit_once('.')
        .and_then(|(_, minor)| minor.parse::<u32>().ok());
    if minor.context("getconf names no version")? <= BOOKWORM_GLIBC {
        return Ok(vec!["bookworm", "trixie"]);
    }
    println!("NOT RUN under Debian 12: this machine's C library is newer than that system's");
    Ok(vec!["trixie"])
}

/// The files of a system, made when there are none of this week.
fn tree(folder: &Path, suite: &str) -> Result<PathBuf> {
    let week = output(Command::new("date").arg("+%G-%V"))?;
    let name = format!("{suite}-{RECIPE}-{}", week.trim());
    let tree = folder.join(&name);
    if tree.exists() {
        return Ok(tree);
    }
    for old in fs::read_dir(folder)? {
        let old = old?;
        if old
            .file_name()
            .to_string_lossy()
            .starts_with(&format!("{suite}-"))
        {
            fs::remove_dir_all(old.path())?;
        }
    }
    let part = folder.join(format!("{name}.part"));
    let mut make = Command::new("mmdebstrap");
    make.args(["--mode=root", "--variant=apt"])
        .arg(format!("--include={PACKAGES}"));
    for folder in ["doc", "man", "locale"] {
        make.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    make.arg(suite)
        .arg(&part)
        .arg(format!("deb {} {suite} main", mirror()));
    run_quietly(&mut make)?;
    fs::rename(&part, &tree)?;
    Ok(tree)
}

/// The mirror that this machine uses, if it uses one of Debian.
fn mirror() -> String {
    let sites = output(Command::new("apt-get").args(["indextargets", "--format", "$(SITE)"]));
    let sites = sites.unwrap_or_default();
    let debian = sites
        .lines()
        .find(|site| site.trim_end_matches('/').ends_with("/debian"));
    debian.unwrap_or("http://deb.debian.org/debian").to_owned()
}

/// What the package depends on, and what its rules need; the service manager itself.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libbpf1,ca-certificates";
/// Changed together with how the trees are made.
const RECIPE: &str = "1";
const BOOKWORM_GLIBC: u32 = 36;
