//! Whether the clock of this box can be believed, and what time is written down if not.
//!
//! A box can boot in 1970, or in 2090, and its clock can be set while it runs. Three things are known besides it: the
//! newest time that was believed (kept on disk, and going on with the boot-time clock since), the cloud's own clock
//! (`Date`), and whether the system says that it keeps time by a server.
//!
//! | the cloud's clock | the system's word | this box's clock | verdict | what is written down |
//! | --- | --- | --- | --- | --- |
//! | near | any | any | sound | it |
//! | far | synchronised | not below the mark | sound | it |
//! | far | any other | any other | `Doubt::Cloud` | the cloud's |
//! | unknown | any | below the mark | `Doubt::Backwards` | the mark, going on |
//! | unknown | synchronised | above the mark | sound | it |
//! | unknown | unknown | more than three days above the mark | `Doubt::Leap` | the mark, going on |
//! | unknown | unknown | above the mark | sound | it |
//!
//! While in doubt nothing expires and nothing is swept: a wait that lasts too long can be ended by a person, an order
//! that was thrown away too early is a missed treatment.

use std::fmt;
use std::time::Duration;

use crate::push::{Mono, Timestamp};

/// One look at both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    pub mono: Mono,
    pub utc: Timestamp,
    pub kept: Kept,
}

/// What the system says of its clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It follows a time server, as of lately.
    Synchronised,
    /// It does not, or does not say.
    Unknown,
}

/// What time it was in the cloud at some moment of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloudTime {
    /// To the second.
    pub date: Timestamp,
    pub asked: Mono,
    pub answered: Mono,
}

/// The newest time that was believed, and when that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockMark {
    pub utc: Timestamp,
    pub mono: Mono,
}

/// What to think of the clock now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Clock {
    #[default]
    Sound,
    Doubtful(Doubt),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// It differs from the cloud's.
    Cloud(Difference),
    /// It shows a time that is past.
    Backwards(Duration),
    /// It is far ahead of all that was known, and nobody confirms it.
    Leap(Duration),
}

/// From another clock's point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    Behind(Duration),
    Ahead(Duration),
}

/// The verdict, and the time to write down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    pub clock: Clock,
    pub utc: Timestamp,
}

/// Judges the clock at each look.
#[derive(Clone, Debug)]
pub struct ClockJudge {
    /// None before anything was believed.
    mark: Option<ClockMark>,
    cloud: Option<CloudTime>,
}

impl ClockJudge {
    /// Begins with what the last process believed; its boot-time clock counts only in the same boot.
    pub fn new(mark: Option<ClockMark>) -> Self {
        Self { mark, cloud: None }
    }

    /// The cloud has told its time.
    pub fn heard(&mut self, cloud: CloudTime) {
        self.cloud = Some(cloud);
    }

    /// The mark, for the disk.
    pub fn mark(&self) -> Option<ClockMark> {
        self.mark
    }

    /// Judges one reading. What is believed raises the mark; what the cloud confirms may lower it, too.
    pub fn look(&mut self, now: Reading) -> Judged {
        let known = self.mark.map(|mark| mark.at(now.mono));
        let floor = known.unwrap_or(EARLIEST).max(EARLIEST);
        let (doubt, instead) = match self.cloud {
            Some(cloud) => (cloud.doubt(now, floor), cloud.at(now.mono)),
            None => (unconfirmed(now, floor, known), floor),
        };
        if let Some(doubt) = doubt {
            return Judged {
                clock: Clock::Doubtful(doubt),
                utc: instead,
            };
        }
        let utc = match self.cloud {
            Some(_) => now.utc,
            None => now.utc.max(floor),
        };
        self.mark = Some(ClockMark {
            utc,
            mono: now.mono,
        });
        Judged {
            clock: Clock::Sound,
            utc: now.utc,
        }
    }
}

impl ClockMark {
    /// What time it must be at least.
    fn at(self, mono: Mono) -> Timestamp {
        self.utc.plus(since(mono, self.mono))
    }
}

impl CloudTime {
    /// What time it is in the cloud, give or take how long the answer took.
    fn at(self, mono: Mono) -> Timestamp {
        self.date.plus(since(mono, self.answered))
    }

    fn doubt(self, now: Reading, floor: Timestamp) -> Option<Doubt> {
        let earliest = self.at(now.mono);
        let latest = self.date.plus(since(now.mono, self.asked)).plus(SECOND);
        let behind = earliest.since(now.utc);
        let ahead = now.utc.since(latest);
        if behind.max(ahead) <= NEAR {
            return None;
        }
        if now.kept == Kept::Synchronised && floor.since(now.utc) <= SLACK {
            return None;
        }
        Some(Doubt::Cloud(if behind > ahead {
            Difference::Behind(behind)
        } else {
            Difference::Ahead(ahead)
        }))
    }
}

impl Clock {
    pub fn is_sound(self) -> bool {
        self == Self::Sound
    }

    /// Whether this is the same verdict, however large the difference is by now.
    pub fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Sound, Self::Sound) => true,
            (Self::Doubtful(one), Self::Doubtful(two)) => {
                std::mem::discriminant(&one) == std::mem::discriminant(&two)
            }
            (Self::Sound, Self::Doubtful(_)) | (Self::Doubtful(_), Self::Sound) => false,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cloud(Difference::Behind(by)) => {
                write!(
                    f,
                    "the clock of this box is {} behind the cloud's",
                    Span(*by)
                )
            }
            Self::Cloud(Difference::Ahead(by)) => {
                write!(
                    f,
                    "the clock of this box is {} ahead of the cloud's",
                    Span(*by)
                )
            }
            Self::Backwards(by) => write!(
                f,
                "the clock of this box shows a time that is past, by {} or more",
                Span(*by)
            ),
            Self::Leap(by) => write!(
                f,
                "the clock of this box is {} ahead of its newest record, and nobody confirms it",
                Span(*by)
            ),
        }
    }
}

/// A length of time as a person says it.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = rounded(self.0.as_secs(), 60);
        match minutes {
            0..120 => write!(f, "{minutes} minutes"),
            120..2_880 => write!(f, "{} hours", rounded(minutes, 60)),
            2_880..1_051_200 => write!(f, "{} days", rounded(minutes, 1_440)),
            _ => write!(f, "{} years", rounded(minutes, 525_600)),
        }
    }
}

fn rounded(amount: u64, unit: u64) -> u64 {
    amount.saturating_add(unit / 2) / unit
}

fn unconfirmed(now: Reading, floor: Timestamp, known: Option<Timestamp>) -> Option<Doubt> {
    let behind = floor.since(now.utc);
    let ahead = known.map_or(Duration::ZERO, |known| now.utc.since(known));
    if behind > SLACK {
        return Some(Doubt::Backwards(behind));
    }
    (ahead > LEAP && now.kept == Kept::Unknown).then_some(Doubt::Leap(ahead))
}

fn since(later: Mono, earlier: Mono) -> Duration {
    Duration::from_millis(later.0.saturating_sub(earlier.0))
}

/// This program is not older than 2026.
const EARLIEST: Timestamp = Timestamp(1_767_225_600_000);
/// So far two honest clocks may differ.
const NEAR: Duration = Duration::from_mins(5);
/// A clock that is being corrected may go back so far.
const SLACK: Duration = Duration::from_mins(1);
/// So long a box may have been off, or its clock unread, without doubt: as long as a push waits where nothing else is set.
const LEAP: Duration = Duration::from_hours(72);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
