//! Stands between the agent and its disk: a library that is preloaded into the agent's process, compiled here from
//! `tests/shim/`.
//!
//! It counts the calls on files of the state directory, fails one of them, delays or drops syncs, or records what
//! happens. What it does is a [`Plan`]; a process reads the plan when it starts.
//!
//! ```no_run
//! use std::time::Duration;
//! use scenarios::bench::{DeviceSetup, Setup};
//! use scenarios::shim::{Plan, Shim};
//!
//! let shim = Shim::new().unwrap();
//! let mut bench = shim.around(Setup::new().device(DeviceSetup::new("chem"))).start_without_agent();
//! shim.follow(&Plan::on(&bench.path("state")).slow(Duration::from_millis(5))).unwrap();
//! bench.start_agent();
//! ```

mod clock;
mod plan;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::bench::{Setup, run};
use crate::sim::sha256;
pub use clock::FakeClock;
pub use plan::{Errno, Fault, Kind, Lasting, Plan};

/// The library and the files it works with. Each has its own plan.
#[derive(Debug)]
pub struct Shim {
    library: PathBuf,
    folder: TempDir,
}

/// A counted call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: String,
    /// Name of the file in the state directory.
    pub file: String,
    /// Whether it was failed.
    pub failed: bool,
}

impl Shim {
    /// Compiles the library, if that was not done before. Without a plan it does nothing.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("wps").tempdir()?;
        Ok(Self {
            library: compiled("wardpost-shim", &DISK, folder.path())?,
            folder,
        })
    }

    /// The agent of this setup runs with the library.
    #[must_use]
    pub fn around(&self, setup: Setup) -> Setup {
        self.environment()
            .into_iter()
            .fold(setup, |setup, (name, value)| {
                setup.environment(name, &value)
            })
    }

    /// The environment of a process that runs with the library.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("WARDPOST_SHIM", text(&self.path("plan"))),
        ]
    }

    /// Processes that start from now on follow this plan; what earlier ones counted is forgotten.
    /// A record goes on.
    pub fn follow(&self, plan: &Plan) -> std::io::Result<()> {
        for name in ["calls", "plan.lifted", "plan.armed"] {
            remove(&self.path(name))?;
        }
        let calls = self.path("calls");
        let record = self.record();
        std::fs::write(self.path("plan"), plan.text(&calls, &record))
    }

    /// Begins a fault that waits for it.
    pub fn arm(&self) -> std::io::Result<()> {
        std::fs::write(self.path("plan.armed"), "")
    }

    /// Ends a lasting fault while the process goes on.
    pub fn lift(&self) -> std::io::Result<()> {
        remove(&self.path("plan.armed"))?;
        std::fs::write(self.path("plan.lifted"), "")
    }

    /// The calls that were counted since the plan was made, in their order.
    pub fn calls(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().filter_map(call).collect()
    }

    /// Where what happens is recorded, if the plan says so.
    pub fn record(&self) -> PathBuf {
        self.path("record")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn call(line: &str) -> Option<Call> {
    let mut words = line.split(' ').skip(1);
    Some(Call {
        kind: words.next()?.to_owned(),
        file: words.next()?.to_owned(),
        failed: words.next()? != "0",
    })
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A compiled library, the first of its sources being the one to compile, beside the running program. Its name carries the sum of its source, so that an old one is never
/// taken, and it comes into being at once, so that nobody loads half of one.
fn compiled(name: &str, sources: &[Source], folder: &Path) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let beside = own.parent().context("this program is in no folder")?;
    let texts: Vec<&str> = sources.iter().map(|(_, text)| *text).collect();
    let sum = sha256(texts.concat().as_bytes());
    let library = beside.join(format!("{name}-{}.so", sum.get(..16).unwrap_or(&sum)));
    if library.exists() {
        return Ok(library);
    }
    for (file, text) in sources {
        std::fs::write(folder.join(file), text)?;
    }
    let (main, _) = sources.first().context("a library has a source")?;
    let made = tempfile::NamedTempFile::new_in(beside)?.into_temp_path();
    let mut compiler = Command::new("cc");
    compiler.args([
        "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
    ]);
    let ran = run(compiler
        .arg(&*made)
        .arg(folder.join(main))
        .args(["-ldl", "-lpthread"]))?;
    ensure!(ran.code == 0, "the shim does not compile: {}", ran.said());
    made.persist(&library)?;
    Ok(library)
}

/// A file name and what is in the file.
type Source = (&'static str, &'static str);

const DISK: [Source; 2] = [
    ("disk.c", include_str!("../../shim/disk.c")),
    ("record.h", include_str!("../../shim/record.h")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Syncs a file of the state directory, as a program of its own does, and returns how that ended.
    fn sync(plan: impl FnOnce(Plan) -> Plan) -> (Shim, bool) {
        let shim = Shim::new().unwrap();
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("file");
        std::fs::write(&file, "x").unwrap();
        shim.follow(&plan(Plan::on(state.path()))).unwrap();
        let mut command = Command::new("sync");
        let ran = run(command.arg("--data").arg(&file).envs(shim.environment())).unwrap();
        (shim, ran.code == 0)
    }

    fn count(shim: &Shim, kind: &str) -> usize {
        shim.calls().iter().filter(|call| call.kind == kind).count()
    }

    #[test]
    fn calls_on_the_state_directory_are_counted() {
        let (shim, succeeded) = sync(|plan| plan);
        assert!(succeeded);
        assert_eq!((count(&shim, "open"), count(&shim, "sync")), (1, 1));
        assert_eq!(shim.calls()[0].file, "file");
    }

    #[test]
    fn the_chosen_call_fails_and_no_other() {
        for (nth, succeeds) in [(1, false), (2, true)] {
            let fault = Fault {
                nth,
                errno: Errno::IO,
                lasting: Lasting::Once,
            };
            let (shim, succeeded) = sync(|plan| plan.counting(&[Kind::Sync]).failing(fault));
            assert_eq!(succeeded, succeeds);
            assert_eq!(count(&shim, "open"), 0, "only what is counted is told");
        }
    }

    #[test]
    fn a_dropped_sync_says_that_it_was_done_and_is_not_recorded() {
        let recorded = |shim: &Shim| std::fs::read(shim.record()).unwrap().len();
        let (kept, _) = sync(Plan::recording);
        let (dropped, succeeded) = sync(|plan| plan.recording().dropping_syncs());
        assert!(succeeded && recorded(&dropped) < recorded(&kept));
    }

    #[test]
    fn a_slow_sync_takes_at_least_as_long_as_it_was_told() {
        let began = Instant::now();
        assert!(sync(|plan| plan.slow(Duration::from_millis(30))).1);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }
}
