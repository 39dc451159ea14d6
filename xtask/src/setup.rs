//! What must be installed, and installing it.
//!
//! Debian packages are asked for by name, only those that are missing, and only as root; the real peers of the tests
//! come from npm and `PyPI` by their lock files. What is there already is left alone, from wherever it came.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{output, root, run, run_quietly, succeeds};

/// Brings what `cargo xtask test` needs.
pub(crate) fn everything() -> Result<()> {
    debian(&[BUILD, PACKAGING, FUZZING, TESTS].concat())?;
    npm_packages(&peers())?;
    npm_packages(&root().join(EXAMPLE))?;
    python_packages()
}

/// Brings what it takes to compile the binaries.
pub(crate) fn build_tools() -> Result<()> {
    debian(BUILD)
}

/// Brings what makes a Debian package of them.
pub(crate) fn packaging_tools() -> Result<()> {
    debian(&[BUILD, PACKAGING].concat())
}

/// Brings what it takes to compile the fuzz targets.
pub(crate) fn fuzzing_tools() -> Result<()> {
    debian(&[BUILD, FUZZING].concat())
}

/// A Debian package, and the call that succeeds where it, or a substitute, is there.
#[derive(Clone, Copy)]
struct Package {
    name: &'static str,
    probe: (&'static str, &'static [&'static str]),
}

const BUILD: &[Package] = &[
    Package {
        name: "build-essential",
        probe: ("cc", &["--version"]),
    },
    Package {
        name: "pkg-config",
        probe: ("pkg-config", &["--version"]),
    },
    Package {
        name: "libsystemd-dev",
        probe: ("pkg-config", &["--exists", "libsystemd"]),
    },
];

const PACKAGING: &[Package] = &[Package {
    name: "dpkg-dev",
    probe: ("dpkg-shlibdeps", &["--version"]),
}];

const FUZZING: &[Package] = &[Package {
    name: "g++",
    probe: ("c++", &["--version"]),
}];

const TESTS: &[Package] = &[
    Package {
        name: "curl",
        probe: ("curl", &["--version"]),
    },
    Package {
        name: "nodejs",
        probe: ("node", &["--version"]),
    },
    Package {
        name: "npm",
        probe: ("npm", &["--version"]),
    },
    Package {
        name: "python3-venv",
        probe: ("python3", &["-c", "import ensurepip, venv"]),
    },
    Package {
        name: "strace",
        probe: ("strace", &["--version"]),
    },
    Package {
        name: "systemd-container",
        probe: ("systemd-nspawn", &["--version"]),
    },
    Package {
        name: "mmdebstrap",
        probe: ("mmdebstrap", &["--version"]),
    },
];

fn debian(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        println!(
            "setup: Debian packages are there: {}",
            names(packages).join(" ")
        );
        return Ok(());
    }
    if !Path::new("/etc/debian_version").exists() || !succeeds("apt-get", &["--version"]) {
        bail!("missing: {}. {NOT_DEBIAN}", missing.join(", "));
    }
    if !is_root() {
        bail!(
            "missing: {0}. As root: apt-get install --no-install-recommends {0}",
            missing.join(" ")
        );
    }
    println!("setup: installing {}", missing.join(" "));
    run_quietly(apt_get(&["update"]).arg("--quiet"))?;
    run_quietly(
        apt_get(&["install", "--yes", "--quiet", "--no-install-recommends"]).args(&missing),
    )?;
    let still_missing = self::missing(packages);
    if !still_missing.is_empty() {
        bail!(
            "installed, but still not usable: {}",
            still_missing.join(", ")
        );
    }
    Ok(())
}

const NOT_DEBIAN: &str = "This is not a Debian system, so please install them, or what your system calls them: \
    a C compiler, pkg-config, the headers of libsystemd; for the tests also a C++ compiler, dpkg-dev, curl, node with npm, python3 with venv, strace, systemd-container and mmdebstrap";

fn missing(packages: &[Package]) -> Vec<&'static str> {
    let there = |package: &&Package| succeeds(package.probe.0, package.probe.1);
    packages
        .iter()
        .filter(|package| !there(package))
        .map(|package| package.name)
        .collect()
}

fn names(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().map(|package| package.name).collect()
}

fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn apt_get(words: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The example whose Bots are built and tried by the tests.
const EXAMPLE: &str = "docs/examples/lab-order";

fn npm_packages(folder: &Path) -> Result<()> {
    let name = folder.strip_prefix(root()).unwrap_or(folder).display();
    let stamp = Stamp::of(folder, "package-lock.json", "node_modules/.installed");
    if stamp.is_fresh() {
        println!("setup: npm packages of {name} are there");
        return Ok(());
    }
    println!("setup: installing npm packages of {name}");
    run(Command::new("npm")
        .args(["ci", "--loglevel=error"])
        .current_dir(folder))?;
    stamp.renew()
}

fn python_packages() -> Result<()> {
    let stamp = Stamp::of(&peers(), "requirements.txt", ".venv/.installed");
    if stamp.is_fresh() {
        println!("setup: Python packages are there");
        return Ok(());
    }
    println!("setup: installing Python packages");
    run(Command::new("python3")
        .args(["-m", "venv", "--clear", ".venv"])
        .current_dir(peers()))?;
    let mut pip = Command::new(peers().join(".venv/bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    run(pip
        .args(["--requirement", "requirements.txt"])
        .current_dir(peers()))?;
    stamp.renew()
}

fn peers() -> PathBuf {
    root().join("tests/peers")
}

/// A copy of the lock file, laid beside what was installed by it.
struct Stamp {
    lock: PathBuf,
    copy: PathBuf,
}

impl Stamp {
    fn of(folder: &Path, lock: &str, copy: &str) -> Self {
        Self {
            lock: folder.join(lock),
            copy: folder.join(copy),
        }
    }

    fn is_fresh(&self) -> bool {
        matches!((fs::read(&self.lock), fs::read(&self.copy)), (Ok(lock), Ok(copy)) if lock == copy)
    }

    fn renew(&self) -> Result<()> {
        fs::copy(&self.lock, &self.copy)
            .with_context(|| format!("cannot write {}", self.copy.display()))?;
        Ok(())
    }
}
