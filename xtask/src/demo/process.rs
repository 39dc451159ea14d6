//! The demo's processes and the folder that they work in, and that both have an end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::succeeds;

/// A folder that is gone when the demo is.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn create() -> Result<Self> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let path = parent.join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where a device writes down what it received.
    pub(super) fn record_of(&self, device: &str) -> PathBuf {
        self.path.join(format!("{device}.received"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays costs a few kilobytes until the next demo.
        let _ = fs::remove_dir_all(&self.path);
    }
}

const FOLDER: &str = "wardpost-demo-";

/// Removes what demos left that were ended by Ctrl-C.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix(FOLDER)) else {
            continue;
        };
        if process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A program that the kernel ends when we are killed without a chance to do it ourselves.
pub(super) fn program(path: &Path) -> Command {
    let keeper = "setpriv";
    if !succeeds(keeper, &["--version"]) {
        return Command::new(path);
    }
    let mut command = Command::new(keeper);
    command.args(["--pdeathsig", "TERM", "--"]).arg(path);
    command
}

/// A program of ours; it ends with its owner.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Kept open: a program that prints into a closed pipe would die of it.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn start(
        command: &mut Command,
        folder: &Folder,
        name: &'static str,
    ) -> Result<Self> {
        let log = folder.path.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            child,
            log,
            _stdout: None,
        })
    }

    /// Starts it and waits for the line that says it is ready.
    pub(super) fn start_and_wait(
        command: &mut Command,
        folder: &Folder,
        name: &'static str,
    ) -> Result<(Self, String)> {
        let log = folder.path.join(format!("{name}.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut stdout = BufReader::new(child.stdout.take().context("a piped stdout is there")?);
        let mut ready = String::new();
        stdout.read_line(&mut ready)?;
        let mut process = Self {
            name,
            child,
            log,
            _stdout: Some(stdout),
        };
        if !ready.contains("listening on") {
            process.child.wait()?;
            process.check()?;
            bail!("{name} said {ready:?} where it should say that it is listening");
        }
        Ok((process, ready.trim().into()))
    }

    pub(super) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        bail!(
            "{} ended with {status}; it wrote:\n{}",
            self.name,
            log.trim_end()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until it is so, or fails after a while.
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so()? {
        if Instant::now() > deadline {
            bail!("waited in vain for {what}");
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
