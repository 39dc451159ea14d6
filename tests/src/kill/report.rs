//! What a kill run found, for a person and for the exit code.

use std::collections::BTreeMap;
use std::fmt;

use super::{Counts, Mutant, Options};
use crate::oracle::{Break, Promise, Story, Verdict};

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    seed: u64,
    cycles: u32,
    mutant: Option<Mutant>,
    counts: Counts,
    accepted: usize,
    received: usize,
    completing: usize,
    verdict: Verdict,
}

impl Report {
    pub(super) fn new(options: &Options, story: &Story, counts: &Counts, verdict: Verdict) -> Self {
        Self {
            seed: options.seed,
            cycles: options.cycles,
            mutant: options.mutant,
            counts: counts.clone(),
            accepted: story.end.pushes.len(),
            received: story.received.len(),
            completing: story.completing().len(),
            verdict,
        }
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.verdict.breaks.is_empty()
    }

    /// Whether the run shows what it was made for: a clean agent is clean, a mutant is caught.
    pub fn is_success(&self) -> bool {
        self.is_clean() == self.mutant.is_none()
    }

    pub fn breaks(&self) -> &[Break] {
        &self.verdict.breaks
    }

    fn count(&self, promise: Promise) -> usize {
        self.verdict
            .breaks
            .iter()
            .filter(|one| one.promise() == promise)
            .count()
    }

    fn conclusion(&self) -> String {
        match (self.mutant, self.is_clean()) {
            (None, true) => "every promise was kept".into(),
            (None, false) => format!(
                "promises were broken; --seed {} makes the same decisions again",
                self.seed
            ),
            (Some(mutant), false) => format!(
                "the mutant {} was caught after {} kills",
                mutant.name(),
                self.counts.kills
            ),
            (Some(mutant), true) => format!(
                "the mutant {} was not caught (is the agent built with it?)",
                mutant.name()
            ),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            cycles,
            counts,
            accepted,
            received,
            completing,
            verdict,
            ..
        } = self;
        let Counts {
            kills,
            open_kills,
            completing_kills,
            pushes,
            took,
            drain,
        } = counts;
        writeln!(
            f,
            "seed {seed}: {kills} kills of {cycles} in {took:.1?}, then drained in {drain:.1?}"
        )?;
        writeln!(
            f,
            "kills with attempts open {open_kills}, with attempts completing {completing_kills}"
        )?;
        writeln!(
            f,
            "pushes {pushes}, accepted {accepted}, joined {}, received by devices {received}",
            verdict.joined
        )?;
        write!(
            f,
            "held {} of {completing} completing at a kill, ",
            verdict.held
        )?;
        writeln!(
            f,
            "behind them {}, second copies that were allowed {}",
            verdict.parked, verdict.allowed_duplicates
        )?;
        let broken: BTreeMap<&str, usize> = PROMISES
            .iter()
            .map(|(promise, name)| (*name, self.count(*promise)))
            .collect();
        for (_, name) in PROMISES {
            write!(
                f,
                "{name} {}, ",
                broken.get(name).copied().unwrap_or_default()
            )?;
        }
        writeln!(f)?;
        for one in verdict.breaks.iter().take(SHOWN) {
            writeln!(f, "  {one:?}")?;
        }
        writeln!(f, "{}", self.conclusion())
    }
}

const PROMISES: [(Promise, &str); 8] = [
    (Promise::Lost, "lost"),
    (Promise::Once, "undeclared duplicates"),
    (Promise::Order, "order breaks"),
    (Promise::Held, "held without cause"),
    (Promise::Bytes, "foreign bytes"),
    (Promise::Joins, "wrong joins"),
    (Promise::Attempts, "sent without a record"),
    (Promise::Answers, "wrong answers"),
];
const SHOWN: usize = 20;
