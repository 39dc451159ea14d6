//! What a kill run found, for a person and for the exit code.

use std::fmt;

use super::storm::{Kind, Place, Struck};
use super::{Counts, Episode, Network, Options};
use crate::oracle::{Break, Promise, Tally};

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of the last episode.
    seed: u64,
    first_seed: u64,
    cycles: u32,
    network: Network,
    mutant: Option<String>,
    counts: Counts,
    /// All episodes together.
    breaks: Vec<Break>,
    tally: Tally,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            first_seed: options.seed,
            cycles: options.cycles,
            network: options.network,
            mutant: options.mutant.clone(),
            counts: Counts::default(),
            breaks: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn add(&mut self, seed: u64, episode: Episode) {
        let Episode { counts, verdict } = episode;
        self.seed = seed;
        self.counts.add(counts);
        self.breaks.extend(verdict.breaks);
        self.tally.add(verdict.tally);
    }

    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.breaks.is_empty()
    }

    /// Whether the run shows what it was made for: a clean agent is clean, a mutant is caught.
    pub fn is_success(&self) -> bool {
        self.is_clean() == self.mutant.is_none()
    }

    pub fn breaks(&self) -> &[Break] {
        &self.breaks
    }

    fn count(&self, promise: Promise) -> usize {
        self.breaks()
            .iter()
            .filter(|one| one.promise() == promise)
            .count()
    }

    fn conclusion(&self) -> String {
        let (seed, kills) = (self.seed, self.counts.kills);
        match (&self.mutant, self.is_clean()) {
            (None, true) => "every promise was kept".into(),
            (None, false) => {
                format!("promises were broken; --seed {seed} makes the same decisions again")
            }
            (Some(mutant), false) => {
                let kills = if kills == 1 {
                    "1 kill".into()
                } else {
                    format!("{kills} kills")
                };
                format!("the mutant {mutant} was caught after {kills}")
            }
            (Some(mutant), true) => {
                format!("the mutant {mutant} was not caught (is the agent built with it?)")
            }
        }
    }

    fn network(&self) -> &'static str {
        match self.network {
            Network::Good => "a good network",
            Network::Faulty => "a faulty network",
        }
    }

    fn write_life(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            kills,
            open_kills,
            struck,
            took,
            drain,
            refused_commands,
            ..
        } = &self.counts;
        let (seed, cycles, network) = (self.first_seed, self.cycles, self.network());
        writeln!(
            f,
            "seed {seed}, {network}: {kills} kills of {cycles} in {took:.1?}, drained in {drain:.1?}"
        )?;
        writeln!(f, "kills that found attempts open: {open_kills}")?;
        for (place, name) in [(Place::Line, "lines"), (Place::Uplink, "the uplink")] {
            if self.network == Network::Faulty {
                writeln!(f, "faults of {name}: {}", faults(struck, place))?;
            }
        }
        let done = self.tally.commands;
        writeln!(f, "commands: {done} done, {refused_commands} refused")
    }

    fn write_pushes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            pushes,
            accepted,
            received,
            ..
        } = &self.counts;
        let tally = &self.tally;
        writeln!(
            f,
            "pushes {pushes}, accepted {accepted}, refused {}, joined {}, attempts {}, received by devices {received}",
            tally.refused, tally.joined, tally.attempts,
        )?;
        writeln!(
            f,
            "in the end: delivered {}, rejected {}, expired {}, dead {}, held as uncertain {}, behind them {}",
            tally.delivered, tally.rejected, tally.expired, tally.dead, tally.held, tally.parked,
        )?;
        writeln!(
            f,
            "uncertain: {} by kills, {} by their connection (of {} attempts in trouble, {} %), {} by a late answer ({} of them closely); second copies {}",
            tally.uncertain_by_kill,
            tally.uncertain_by_line,
            tally.troubled,
            percent(tally.troubled, tally.attempts),
            tally.uncertain_by_lateness + tally.uncertain_closely,
            tally.uncertain_closely,
            tally.second_copies,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_life(f)?;
        self.write_pushes(f)?;
        let counts: Vec<String> = PROMISES
            .iter()
            .map(|(promise, name)| format!("{} {name}", self.count(*promise)))
            .collect();
        writeln!(f, "{}", counts.join(", "))?;
        for one in self.breaks.iter().take(SHOWN) {
            writeln!(f, "  {one:?}")?;
        }
        writeln!(f, "{}", self.conclusion())
    }
}

fn faults(struck: &Struck, place: Place) -> String {
    let all: u32 = struck
        .iter()
        .filter(|((where_, _), _)| *where_ == place)
        .map(|(_, count)| count)
        .sum();
    let parts = KINDS.iter().filter_map(|(kind, name)| {
        let count = struck.get(&(place, *kind))?;
        Some(format!("{count} {name}"))
    });
    let parts: Vec<String> = parts.collect();
    format!("{all} ({})", parts.join(", "))
}

/// With one decimal.
fn percent(part: usize, of: usize) -> String {
    let tenths = part * 1000 / of.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Counts {
    fn add(&mut self, more: Self) {
        self.kills += more.kills;
        self.open_kills += more.open_kills;
        self.pushes += more.pushes;
        self.accepted += more.accepted;
        self.received += more.received;
        self.refused_commands += more.refused_commands;
        for (what, count) in more.struck {
            *self.struck.entry(what).or_default() += count;
        }
        self.took += more.took;
        self.drain += more.drain;
    }
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.attempts += more.attempts;
        self.uncertain_by_kill += more.uncertain_by_kill;
        self.uncertain_by_line += more.uncertain_by_line;
        self.uncertain_by_lateness += more.uncertain_by_lateness;
        self.uncertain_closely += more.uncertain_closely;
        self.uncertain_by_silence += more.uncertain_by_silence;
        self.troubled += more.troubled;
        self.held += more.held;
        self.parked += more.parked;
        self.joined += more.joined;
        self.second_copies += more.second_copies;
        self.delivered += more.delivered;
        self.rejected += more.rejected;
        self.expired += more.expired;
        self.dead += more.dead;
        self.refused += more.refused;
        self.commands += more.commands;
    }
}

const KINDS: [(Kind, &str); 9] = [
    (Kind::Reset, "resets"),
    (Kind::Fin, "ends"),
    (Kind::CutInMessage, "cuts within a message"),
    (Kind::Silence, "silences"),
    (Kind::HalfSilence, "half-open"),
    (Kind::Corrupt, "corruptions"),
    (Kind::Delay, "delays"),
    (Kind::Split, "byte by byte"),
    (Kind::Refuse, "refusals"),
];

const PROMISES: [(Promise, &str); 9] = [
    (Promise::Lost, "lost"),
    (Promise::Once, "undeclared duplicates"),
    (Promise::Order, "order breaks"),
    (Promise::Held, "wrongly held, not held or touched"),
    (Promise::Bytes, "foreign bytes"),
    (Promise::Joins, "wrong joins"),
    (Promise::Attempts, "sent without a record"),
    (Promise::Answers, "wrong answers"),
    (Promise::Receipts, "wrong receipts"),
];
const SHOWN: usize = 20;
