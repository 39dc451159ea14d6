//! The binaries under test, as child processes that never outlive their owner.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::wait::wait_for;

/// A binary of this workspace, from the same build as the running one.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = own.parent().context("this program is in no folder")?;
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    let path = folder.join(name);
    anyhow::ensure!(
        path.exists(),
        "{} is not there: run cargo build --workspace first",
        path.display()
    );
    Ok(path)
}

/// A running child with its output in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says is appended to the file.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything said so far, by earlier processes with the same file, too.
    pub fn said(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// SIGKILL. Returns when the process is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.terminate()?;
        Ok(wait_for("the process to end", || self.ended()))
    }

    pub fn terminate(&self) -> io::Result<()> {
        let id = Pid::from_child(&self.child);
        Ok(kill_process(id, Signal::TERM)?)
    }

    /// SIGHUP.
    pub fn hang_up(&self) -> io::Result<()> {
        let id = Pid::from_child(&self.child);
        Ok(kill_process(id, Signal::HUP)?)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it said, for whoever has to find out what went wrong.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let skipped = said.len().saturating_sub(LAST_WORDS);
        said.get(skipped..).map_or_else(|| said.clone(), Into::into)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- end of {} ----\n{}",
                self.log.display(),
                self.last_words()
            );
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> anyhow::Result<Ran> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command that should end by itself, and kills it if it does not.
pub fn run_bounded(command: &mut Command, folder: &Path, within: Duration) -> anyhow::Result<Ran> {
    let (stdout, stderr) = (folder.join("run.out"), folder.join("run.err"));
    let child = command
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut process = Process {
        child,
        log: stderr.clone(),
    };
    let until = std::time::Instant::now() + within;
    let mut ended = process.ended();
    while ended.is_none() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
        ended = process.ended();
    }
    let status = ended.context("it did not end by itself")?;
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Ok(Ran {
        code: status.code().unwrap_or(-1),
        stdout: read(stdout),
        stderr: read(stderr),
    })
}

/// What came of a command.
#[derive(Clone, Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Everything it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

const LAST_WORDS: usize = 6 * 1024;
