//! What came of a sweep.

use std::collections::BTreeMap;
use std::fmt;

use super::Sweep;
use crate::shim::Call;

/// All lives of a sweep.
#[derive(Clone, Debug)]
pub struct Report {
    sweep: Sweep,
    calls: usize,
    /// The calls that were failed, by kind.
    failed: BTreeMap<String, usize>,
    endings: BTreeMap<Ending, usize>,
    /// What was wrong, life by life.
    pub wrongs: Vec<String>,
}

/// One life.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// The call that failed; none if the life had fewer calls.
    pub hit: Option<Call>,
    pub ending: Ending,
    /// Promises that were not kept.
    pub wrongs: Vec<String>,
}

/// How the life with the fault ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Ending {
    /// The agent went on until it was told to stop.
    #[default]
    WentOn,
    /// It refused at least one push and went on.
    Refused,
    /// It ended itself, with a sentence.
    EndedItself,
}

impl Report {
    pub(super) fn new(sweep: &Sweep, calls: usize) -> Self {
        Self {
            sweep: *sweep,
            calls,
            failed: BTreeMap::new(),
            endings: BTreeMap::new(),
            wrongs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, nth: usize, lived: anyhow::Result<Lived>) {
        let lived = match lived {
            Ok(lived) => lived,
            Err(error) => {
                let error = format!("{error:#}");
                self.wrongs.push(format!("call {nth}: {error}"));
                return;
            }
        };
        let at = lived.hit.as_ref().map_or_else(String::new, |call| {
            format!(" ({} of {})", call.kind, call.file)
        });
        let wrongs = lived.wrongs.into_iter();
        self.wrongs
            .extend(wrongs.map(|wrong| format!("call {nth}{at}: {wrong}")));
        if let Some(call) = lived.hit {
            *self.failed.entry(call.kind).or_default() += 1;
            *self.endings.entry(lived.ending).or_default() += 1;
        }
    }

    /// How many lives had their fault.
    pub fn lives(&self) -> usize {
        self.failed.values().sum()
    }

    pub fn count(&self, ending: Ending) -> usize {
        self.endings.get(&ending).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sweep {
            start,
            errno,
            lasting,
            ..
        } = self.sweep;
        let kinds: Vec<String> = self
            .failed
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        write!(
            f,
            "disk faults, {} {lasting:?}, {start:?} start: {} of {} calls failed ({}); the agent ended itself {} times, \
             refused and went on {}, went on {}; {} promises broken",
            errno.name(),
            self.lives(),
            self.calls,
            kinds.join(", "),
            self.count(Ending::EndedItself),
            self.count(Ending::Refused),
            self.count(Ending::WentOn),
            self.wrongs.len(),
        )
    }
}
