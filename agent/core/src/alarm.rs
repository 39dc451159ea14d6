//! What a person must know: raised once when it has lasted, told again when it is over, and nothing in between.
//!
//! Pure. Somebody looks at the whole agent now and then and says everything that is wrong at that moment; this decides
//! which of it is news. What is raised is on disk, so a restart raises nothing twice.
//!
//! ```text
//!   quiet ── seen ──► pending ── lasted for `after` ──► raised ── not seen for `calm` ──► quiet
//!     ▲                  │                                │ seen again: as if it had never been gone
//!     └─ gone for `calm` ┘                                └────────────────────────────────────────
//! ```
//!
//! A device that comes and goes by the minute is away: what is gone for less than `calm` has not been gone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::push::Mono;

/// What an alarm is about. The words are on disk and in the cloud.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// Pushes of a device wait for a person.
    Held,
    /// Pushes of a device were given up or have expired.
    Dead,
    /// A device is not reached.
    DeviceAway,
    /// A device is reached and its queue does not move.
    DeviceSilent,
    /// New pushes are refused for want of room.
    Disk,
    /// The reserve on the disk is used.
    Reserve,
    /// A certificate is near its end, or over.
    Certificate,
    /// Nobody knows what time it is.
    Clock,
    /// The cloud is not reached.
    CloudAway,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Held,
        Self::Dead,
        Self::DeviceAway,
        Self::DeviceSilent,
        Self::Disk,
        Self::Reserve,
        Self::Certificate,
        Self::Clock,
        Self::CloudAway,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Dead => "dead",
            Self::DeviceAway => "device-away",
            Self::DeviceSilent => "device-silent",
            Self::Disk => "disk",
            Self::Reserve => "reserve",
            Self::Certificate => "certificate",
            Self::Clock => "clock",
            Self::CloudAway => "cloud-away",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Which alarm it is: there is one of each kind for each subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Name {
    pub kind: Kind,
    /// The name of a device or a certificate; empty where there is one of the kind only.
    pub subject: String,
}

/// What is wrong at this moment, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    pub name: Name,
    pub text: String,
}

/// How long something must last before it is an alarm, and must be gone before it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    pub after: Duration,
    pub calm: Duration,
}

/// The rules of all kinds; one without is raised and over at once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules(pub BTreeMap<Kind, Rule>);

impl Rules {
    fn of(&self, kind: Kind) -> Rule {
        self.0.get(&kind).copied().unwrap_or_default()
    }
}

/// Number of one episode of an alarm, from its raise to its end; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Episode(pub u64);

/// News that must be written down; it is in force once that is done
/// ([`Alarms::raised`], [`Alarms::recovered`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edge {
    Raise { name: Name, text: String },
    Recover { name: Name, episode: Episode },
}

/// All alarms, raised or about to be.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    stages: BTreeMap<Name, Stage>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    Pending {
        since: Mono,
        gone: Gone,
        text: String,
    },
    Raised {
        episode: Episode,
        gone: Gone,
        text: String,
    },
}

/// Whether it is seen right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    No,
    Since(Mono),
}

impl Gone {
    fn for_long(self, calm: Duration, now: Mono) -> bool {
        match self {
            Self::No => false,
            Self::Since(since) => now >= since.plus(calm),
        }
    }
}

impl Alarms {
    /// One that was raised by an earlier process and is not over.
    pub fn recall(&mut self, name: Name, episode: Episode, text: String) {
        let gone = Gone::No;
        self.stages.insert(
            name,
            Stage::Raised {
                episode,
                gone,
                text,
            },
        );
    }

    /// Looks at all that is wrong now. The same news is given again until it is recorded.
    pub fn look(&mut self, seen: Vec<Sighting>, rules: &Rules, now: Mono) -> Vec<Edge> {
        let mut left: BTreeMap<Name, String> =
            seen.into_iter().map(|one| (one.name, one.text)).collect();
        let mut edges = Vec::new();
        self.stages.retain(|name, stage| {
            let rule = rules.of(name.kind);
            stage.see(left.remove(name), now);
            edges.extend(stage.edge(name, rule, now));
            !stage.is_over(rule, now)
        });
        for (name, text) in left {
            let gone = Gone::No;
            let since = now;
            let stage = Stage::Pending { since, gone, text };
            edges.extend(stage.edge(&name, rules.of(name.kind), now));
            self.stages.insert(name, stage);
        }
        edges
    }

    /// The raise is on disk, as this episode.
    pub fn raised(&mut self, name: &Name, episode: Episode) {
        if let Some(stage) = self.stages.get_mut(name)
            && let Stage::Pending { gone, text, .. } = stage
        {
            *stage = Stage::Raised {
                episode,
                gone: *gone,
                text: std::mem::take(text),
            };
        }
    }

    /// That it is over is on disk.
    pub fn recovered(&mut self, name: &Name) {
        self.stages.remove(name);
    }

    /// Those that are raised and not over, with what was last seen of them.
    pub fn open(&self) -> impl Iterator<Item = (&Name, Episode, &str)> {
        self.stages.iter().filter_map(|(name, stage)| match stage {
            Stage::Raised { episode, text, .. } => Some((name, *episode, text.as_str())),
            Stage::Pending { .. } => None,
        })
    }
}

impl Stage {
    fn see(&mut self, seen: Option<String>, now: Mono) {
        let (Self::Pending { gone, text, .. } | Self::Raised { gone, text, .. }) = self;
        match (seen, &gone) {
            (Some(words), _) => {
                *gone = Gone::No;
                *text = words;
            }
            (None, Gone::No) => *gone = Gone::Since(now),
            (None, Gone::Since(_)) => {}
        }
    }

    fn edge(&self, name: &Name, rule: Rule, now: Mono) -> Option<Edge> {
        let name = name.clone();
        match self {
            Self::Pending {
                since,
                gone: Gone::No,
                text,
            } if now >= since.plus(rule.after) => Some(Edge::Raise {
                name,
                text: text.clone(),
            }),
            Self::Raised { episode, gone, .. } if gone.for_long(rule.calm, now) => {
                let episode = *episode;
                Some(Edge::Recover { name, episode })
            }
            Self::Pending { .. } | Self::Raised { .. } => None,
        }
    }

    /// One that is raised stays until its end is recorded.
    fn is_over(&self, rule: Rule, now: Mono) -> bool {
        match self {
            Self::Pending { gone, .. } => gone.for_long(rule.calm, now),
            Self::Raised { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
