//! What a kill run found, for a person and for the exit code.

use std::fmt;

use super::{Counts, Episode, Mutant, Options};
use crate::oracle::{Break, Promise, Verdict};

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the last episode.
    seed: u64,
    first_seed: u64,
    cycles: u32,
    mutant: Option<Mutant>,
    counts: Counts,
    /// All episodes together.
    verdict: Verdict,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            first_seed: options.seed,
            cycles: options.cycles,
            mutant: options.mutant,
            counts: Counts::default(),
            verdict: Verdict::default(),
        }
    }

    pub(super) fn add(&mut self, seed: u64, episode: Episode) {
        let Episode { counts, verdict } = episode;
        self.seed = seed;
        self.counts.kills += counts.kills;
        self.counts.open_kills += counts.open_kills;
        self.counts.pushes += counts.pushes;
        self.counts.accepted += counts.accepted;
        self.counts.received += counts.received;
        self.counts.took += counts.took;
        self.counts.drain += counts.drain;
        self.verdict.breaks.extend(verdict.breaks);
        self.verdict.uncertain += verdict.uncertain;
        self.verdict.held += verdict.held;
        self.verdict.parked += verdict.parked;
        self.verdict.joined += verdict.joined;
        self.verdict.allowed_duplicates += verdict.allowed_duplicates;
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
        self.breaks()
            .iter()
            .filter(|one| one.promise() == promise)
            .count()
    }

    fn conclusion(&self) -> String {
        let seed = self.seed;
        match (self.mutant, self.is_clean()) {
            (None, true) => "every promise was kept".into(),
            (None, false) => {
                format!("promises were broken; --seed {seed} makes the same decisions again")
            }
            (Some(mutant), false) => {
                format!(
                    "the mutant {} was caught after {} kills",
                    mutant.name(),
                    self.counts.kills
                )
            }
            (Some(mutant), true) => {
                format!(
                    "the mutant {} was not caught (is the agent built with it?)",
                    mutant.name()
                )
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first_seed,
            cycles,
            counts,
            verdict,
            ..
        } = self;
        let Counts {
            kills,
            open_kills,
            pushes,
            accepted,
            received,
            took,
            drain,
        } = counts;
        writeln!(
            f,
            "seed {first_seed}, {kills} kills of {cycles} in {took:.1?}, drained in {drain:.1?}"
        )?;
        writeln!(f, "kills that found attempts open: {open_kills}")?;
        let Verdict {
            uncertain,
            held,
            parked,
            joined,
            allowed_duplicates,
            ..
        } = verdict;
        writeln!(
            f,
            "pushes {pushes}, accepted {accepted}, joined {joined}, received by devices {received}"
        )?;
        write!(
            f,
            "held {held} of {uncertain} that were completing at a kill on devices that hold, "
        )?;
        writeln!(
            f,
            "behind them {parked}; second copies on devices that resend {allowed_duplicates}"
        )?;
        let counts: Vec<String> = PROMISES
            .iter()
            .map(|(promise, name)| format!("{} {name}", self.count(*promise)))
            .collect();
        writeln!(f, "{}", counts.join(", "))?;
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
    (Promise::Held, "wrongly held or not held"),
    (Promise::Bytes, "foreign bytes"),
    (Promise::Joins, "wrong joins"),
    (Promise::Attempts, "sent without a record"),
    (Promise::Answers, "wrong answers"),
];
const SHOWN: usize = 20;
