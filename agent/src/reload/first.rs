//! The configuration at start: that of the files, or, if `wardpost.toml` cannot be used, the last one that was applied.

use std::path::Path;

use agent_core::push::Timestamp;
use anyhow::{Result, anyhow};
use tracing::{error, warn};

use crate::clock;
use crate::config::good::GoodCopy;
use crate::config::{Folder, Loaded, Paths, Problem, load, load_texts};

/// What the agent starts with.
#[derive(Debug)]
pub struct First {
    pub loaded: Loaded,
    pub applied: Timestamp,
    pub source: Source,
    /// What is wrong with the files, to be shown until they are applied.
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Files,
    GoodCopy,
}

impl First {
    /// Reads the files, and the good copy in the state directory where they cannot be used.
    pub fn read(paths: &Paths, state: &Path) -> Result<Self> {
        let copy = GoodCopy::find(state);
        match load(paths) {
            Ok(loaded) => Ok(Self {
                problems: missing_folder(&loaded, paths, copy.ok().flatten()),
                loaded,
                applied: clock::utc(),
                source: Source::Files,
            }),
            Err(problems) => match copy {
                Ok(Some(copy)) => Self::by(copy, paths, &problems),
                Ok(None) => Err(anyhow!(listed(&problems))),
                Err(error) => Err(anyhow!(error).context(listed(&problems))),
            },
        }
    }

    fn by(copy: GoodCopy, paths: &Paths, problems: &[Problem]) -> Result<Self> {
        let applied = copy.applied;
        let date = clock::rfc3339(applied);
        let loaded = load_texts(copy.texts).map_err(|_| {
            let also = format!("and the copy of the configuration of {date} cannot be used either");
            anyhow!("{}\n{also}", listed(problems))
        })?;
        let said = format!(
            "running with the configuration of {date}; {} has mistakes and is not used:",
            paths.config.display()
        );
        let problems = problems.iter().filter(|problem| problem.is_error());
        Ok(Self {
            loaded,
            applied,
            source: Source::GoodCopy,
            problems: [said]
                .into_iter()
                .chain(problems.map(ToString::to_string))
                .collect(),
        })
    }

    /// Logs what a person should know of these files.
    pub fn tell(&self) {
        for problem in &self.loaded.warnings {
            warn!(%problem, "configuration");
        }
        for problem in self.all_problems() {
            error!(problem, "the configuration has mistakes");
        }
    }

    /// Keeps a good copy of what the agent has started with, unless that is one, or less than it should be.
    pub fn keep(&self, state: &Path) {
        if self.source == Source::Files && self.problems.is_empty() {
            super::keep_now(state, self.applied, self.loaded.clone());
        }
    }

    /// Also of the devices that are off for their files.
    pub fn all_problems(&self) -> Vec<String> {
        let broken = &self.loaded.config.broken;
        let broken = broken.iter().flat_map(|broken| &broken.problems);
        let own = self.problems.iter().cloned();
        own.chain(broken.map(ToString::to_string)).collect()
    }
}

/// A site that had devices and has no folder for them is more likely a disk that is not mounted.
fn missing_folder(loaded: &Loaded, paths: &Paths, copy: Option<GoodCopy>) -> Vec<String> {
    let had = copy.map_or(0, |copy| copy.texts.count());
    if loaded.texts.folder == Folder::There || had == 0 {
        return Vec::new();
    }
    vec![format!(
        "the folder of the device files, {}, is not there; it had {had} when the last configuration was applied, and \
         their devices are off",
        paths.devices.display()
    )]
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("the configuration cannot be used:\n{}", lines.join("\n"))
}
