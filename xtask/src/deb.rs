//! `cargo xtask deb`: the Debian package of the agent.
//!
//! Lays out a folder as the package will be on the box and lets `dpkg-deb` pack it. What is in it follows from the
//! sources alone: the times are those of the last commit (or `SOURCE_DATE_EPOCH`), the owner is root, and no path of the
//! machine that built it is in the binary. Simulators and the cloud stub stay out.

mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{self, cargo, output, root};
use crate::setup;
use stage::Stage;

/// Builds the package as the command line says, and names it.
pub(crate) fn command(words: &[&str]) -> Result<()> {
    if !words.is_empty() {
        bail!("deb takes no words");
    }
    setup::packaging_tools()?;
    let package = Package {
        binary: release_binary()?,
        revision: 1,
        packing: Packing::Small,
    };
    let path = package.build(&run::target()?.join("debian"))?;
    println!("{}", path.display());
    Ok(())
}

/// One package to be built.
pub(crate) struct Package {
    pub(crate) binary: PathBuf,
    /// Counts packages of one version of the agent.
    pub(crate) revision: u32,
    pub(crate) packing: Packing,
}

/// How much work is put into packing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Small,
    /// For tests.
    Quick,
}

impl Package {
    /// Writes the package into the folder.
    pub(crate) fn build(&self, folder: &Path) -> Result<PathBuf> {
        let version = format!("{}-{}", crate_version()?, self.revision);
        let architecture = one_line("dpkg", &["--print-architecture"])?;
        let epoch = epoch()?;
        let stage = Stage::begin(&folder.join("stage"), &self.binary)?;
        stage.documents(&version, &epoch)?;
        stage.control(&[
            ("VERSION", &version),
            ("ARCHITECTURE", &architecture),
            ("DEPENDS", &libraries(&self.binary, folder)?),
            ("SIZE", &stage.size()?.to_string()),
        ])?;
        let path = folder.join(format!("wardpost_{version}_{architecture}.deb"));
        let mut pack = Command::new("dpkg-deb");
        pack.env("SOURCE_DATE_EPOCH", epoch)
            .args(["--root-owner-group", "--build"])
            .arg(match self.packing {
                Packing::Small => "-Zxz",
                Packing::Quick => "-Znone",
            });
        run::run_quietly(pack.arg(stage.folder()).arg(&path))?;
        Ok(path)
    }
}

/// The release binary, compiled in a folder of its own, since its flags are not those of other release builds.
fn release_binary() -> Result<PathBuf> {
    let target = run::target()?.join("debian");
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let (here, there) = (root(), target.join("build"));
    let names = [(&home, "/cargo"), (&there, "/build"), (&here, "/wardpost")];
    let maps = |flag: &str| {
        let map = |(path, name): &(&PathBuf, &str)| format!("{flag}={}={name}", path.display());
        names.iter().map(map).collect::<Vec<_>>().join(" ")
    };
    run::run(
        cargo(&["build", "--locked", "--release", "--package", "wardpost"])
            .arg("--target-dir")
            .arg(&there)
            .env("RUSTFLAGS", maps("--remap-path-prefix"))
            .env("CFLAGS", maps("-ffile-prefix-map")),
    )?;
    Ok(there.join("release/wardpost"))
}

/// What the binary is linked with, as packages with versions.
fn libraries(binary: &Path, folder: &Path) -> Result<String> {
    // dpkg-shlibdeps wants to see the sources of a Debian package.
    let sources = folder.join("shlibdeps");
    fs::create_dir_all(sources.join("debian"))?;
    fs::write(
        sources.join("debian/control"),
        "Source: wardpost\n\nPackage: wardpost\nArchitecture: any\n",
    )?;
    let said = output(
        Command::new("dpkg-shlibdeps")
            .arg("-O")
            .arg(fs::canonicalize(binary).context("the binary is not built")?)
            .current_dir(&sources),
    )?;
    let depends = said
        .lines()
        .find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends
        .context("dpkg-shlibdeps names no libraries")?
        .to_owned())
}

/// When the sources were last changed, in seconds since 1970.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    output(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root()),
    )
    .map(|time| time.trim().to_owned())
    .context("outside of git, set SOURCE_DATE_EPOCH")
}

fn crate_version() -> Result<String> {
    let id = output(&mut cargo(&["pkgid", "--package", "wardpost"]))?;
    let (_, version) = id
        .trim()
        .rsplit_once(['#', '@'])
        .context("cargo pkgid names no version")?;
    Ok(version.to_owned())
}

fn one_line(program: &str, words: &[&str]) -> Result<String> {
    Ok(output(Command::new(program).args(words))?.trim().to_owned())
}
