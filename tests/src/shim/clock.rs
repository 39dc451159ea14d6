//! A system clock that a test sets, and boots that a test counts; for the agent's process alone.

use std::path::PathBuf;

use tempfile::TempDir;

use super::compiled;
use crate::bench::Setup;

/// The library and the files it works with.
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    folder: TempDir,
}

impl FakeClock {
    /// A clock that is right, in the first boot.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("wpc").tempdir()?;
        let library = compiled("wardpost-clock", &[("clock.c", CLOCK)], folder.path())?;
        let clock = Self { library, folder };
        clock.is_off_by(0)?;
        clock.boots("first")?;
        Ok(clock)
    }

    /// The agent of this setup runs with the clock.
    #[must_use]
    pub fn around(&self, setup: Setup) -> Setup {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        setup
            .environment("LD_PRELOAD", &text(self.library.clone()))
            .environment("WARDPOST_CLOCK", &text(self.folder.path().join("shift")))
            .environment("WARDPOST_BOOT", &text(self.folder.path().join("boot")))
    }

    /// Sets the clock, at once and also for a process that runs.
    pub fn is_off_by(&self, seconds: i64) -> std::io::Result<()> {
        std::fs::write(self.folder.path().join("shift"), seconds.to_string())
    }

    /// The power was off before the next process starts.
    pub fn boots(&self, boot: &str) -> std::io::Result<()> {
        std::fs::write(self.folder.path().join("boot"), boot)
    }
}

const CLOCK: &str = include_str!("../../shim/clock.c");
