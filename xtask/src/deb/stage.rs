//! The folder that becomes the package: every file in its place, with its mode.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{cargo, output, root};

/// What is copied as it is. Files below `etc/` are the site's own from then on.
const FILES: &[(&str, &str)] = &[
    (
        "systemd/wardpost.service",
        "usr/lib/systemd/system/wardpost.service",
    ),
    (
        "systemd/sysusers.d/wardpost.conf",
        "usr/lib/sysusers.d/wardpost.conf",
    ),
    (
        "systemd/tmpfiles.d/wardpost.conf",
        "usr/lib/tmpfiles.d/wardpost.conf",
    ),
    (
        "systemd/modules-load.d/wardpost.conf",
        "usr/lib/modules-load.d/wardpost.conf",
    ),
    ("config/wardpost.toml", "etc/wardpost/wardpost.toml"),
    (
        "systemd/debian/copyright",
        "usr/share/doc/wardpost/copyright",
    ),
    ("README.md", "usr/share/doc/wardpost/README.md"),
];

/// Copied with everything in them. Examples of devices are documents: what is in `/etc/wardpost/devices.d` exists.
const FOLDERS: &[(&str, &str)] = &[
    ("docs", "usr/share/doc/wardpost"),
    ("docs/protocols", "usr/share/doc/wardpost/protocols"),
    ("docs/decisions", "usr/share/doc/wardpost/decisions"),
    (
        "config/devices.d",
        "usr/share/doc/wardpost/examples/devices.d",
    ),
];

const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// A package in the making.
pub(super) struct Stage(PathBuf);

impl Stage {
    /// Lays out everything that is copied, in place of what an earlier build has left.
    pub(super) fn begin(folder: &Path, binary: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let stage = Self(folder.to_owned());
        stage.copy(binary, "usr/bin/wardpost", 0o755)?;
        for (from, to) in FILES {
            stage.copy(&root().join(from), to, 0o644)?;
        }
        for (from, to) in FOLDERS {
            for file in files_in(&root().join(from))? {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                stage.copy(&file, &format!("{to}/{name}"), 0o644)?;
            }
        }
        stage.folder_at("etc/wardpost/devices.d")?;
        Ok(stage)
    }

    /// Adds the documents that are made: both histories, and the libraries that the program contains.
    pub(super) fn documents(&self, version: &str, epoch: &str) -> Result<()> {
        let changes = fs::read_to_string(root().join("CHANGELOG.md"))?;
        self.write_packed("usr/share/doc/wardpost/changelog.gz", &changes)?;
        let date = output(Command::new("date").args(["-R", "-u", "-d", &format!("@{epoch}")]))?;
        let entry = format!(
            "wardpost ({version}) unstable; urgency=medium\n\n  * What changed is told in changelog.gz.\n\n -- {MAINTAINER}  {date}"
        );
        self.write_packed("usr/share/doc/wardpost/changelog.Debian.gz", &entry)?;
        self.write("usr/share/doc/wardpost/libraries.txt", &contained()?, 0o644)
    }

    /// Adds what dpkg wants to know, with `@NAME@` replaced by its value.
    pub(super) fn control(&self, values: &[(&str, &str)]) -> Result<()> {
        let folder = root().join("systemd/debian");
        let mut control = fs::read_to_string(folder.join("control"))?;
        for (name, value) in values {
            control = control.replace(&format!("@{name}@"), value);
        }
        let files = self.files()?;
        let conffiles: Vec<String> = files
            .iter()
            .filter(|file| file.starts_with("etc/"))
            .map(|file| format!("/{file}\n"))
            .collect();
        let sums = output(
            Command::new("md5sum")
                .args(files.iter().filter(|file| !file.starts_with("etc/")))
                .current_dir(&self.0),
        )?;
        self.write("DEBIAN/control", &control, 0o644)?;
        self.write("DEBIAN/conffiles", &conffiles.concat(), 0o644)?;
        self.write("DEBIAN/md5sums", &sums, 0o644)?;
        for script in SCRIPTS {
            self.copy(&folder.join(script), &format!("DEBIAN/{script}"), 0o755)?;
        }
        Ok(())
    }

    /// What it takes on the box, in KiB.
    pub(super) fn size(&self) -> Result<u64> {
        let mut bytes = 0;
        for file in self.files()? {
            bytes += fs::metadata(self.0.join(file))?.len();
        }
        Ok(bytes.div_ceil(1024))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Every file that will be on the box, by its path there without the first slash.
    fn files(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let name = path.strip_prefix(&self.0)?.to_string_lossy();
                    found.insert(name.into_owned());
                }
            }
        }
        found.retain(|file| !file.starts_with("DEBIAN/"));
        Ok(found)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let to = self.place(to)?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
    }

    fn write(&self, to: &str, text: &str, mode: u32) -> Result<()> {
        let to = self.place(to)?;
        fs::write(&to, text)?;
        Ok(fs::set_permissions(to, Permissions::from_mode(mode))?)
    }

    fn write_packed(&self, to: &str, text: &str) -> Result<()> {
        let plain = to.strip_suffix(".gz").unwrap_or(to);
        self.write(plain, text, 0o644)?;
        // -n: neither name nor time, which would differ from build to build.
        output(Command::new("gzip").arg("-9n").arg(self.0.join(plain))).map(drop)
    }

    fn place(&self, to: &str) -> Result<PathBuf> {
        if let Some((folder, _)) = to.rsplit_once('/') {
            self.folder_at(folder)?;
        }
        Ok(self.0.join(to))
    }

    /// Makes the folders of this path, whatever the umask is.
    fn folder_at(&self, path: &str) -> Result<()> {
        fs::create_dir_all(self.0.join(path))?;
        let mut folder = Some(Path::new(path));
        while let Some(path) = folder {
            fs::set_permissions(self.0.join(path), Permissions::from_mode(0o755))?;
            folder = path.parent();
        }
        Ok(())
    }
}

fn files_in(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.path());
        }
    }
    Ok(files)
}

/// Name, version and license of everything that is compiled in.
fn contained() -> Result<String> {
    let tree = output(&mut cargo(&[
        "tree",
        "--locked",
        "--package",
        "wardpost",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}  {l}",
    ]))?;
    // Our own crates are named with the folder they are in, and repeated lines with an asterisk.
    let lines: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.contains(" (/"))
        .collect();
    let mut text: Vec<&str> = lines.into_iter().collect();
    text.push("");
    Ok(text.join("\n"))
}

const MAINTAINER: &str = "Wardpost contributors <maintainers@wardpost.invalid>";
