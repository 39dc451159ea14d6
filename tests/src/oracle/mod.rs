//! Judges what came of a run in which the agent was killed: pure functions over facts that others collected.
//!
//! The facts come from outside the agent: copies of its database after each kill, what the devices recorded, what
//! the cloud was told. A [`Break`] is a promise that was not kept.
//!
//! | rule | promise |
//! | --- | --- |
//! | accepted | what any copy has as accepted is there in the end, final or held |
//! | held | what was `completing` at a kill is held where the device wants that, and nothing else is |
//! | once | no device has a message twice, but a `resend` device one that was `completing` at a kill |
//! | true | what is recorded as answered by the device did reach it |
//! | order | by order key always, by device among what was never parked |
//! | bytes | a device gets the bytes that were pushed |
//! | joins | what joined is equal to what it joined, and what had to join did |
//! | answers | every callback is answered, all its answers are equal, and none is outside that the disk does not have |
//! | attempts | nothing is at a device of which the disk has no attempt |

mod rules;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use rules::{at_end, at_kill, unfinished};
pub use snapshot::{EventRow, OpenAttempt, PushRow, Snapshot, State};

/// What a device does with a push of which nobody knows whether it has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUncertain {
    Hold,
    Resend,
}

/// One push as the cloud kept it, and what the cloud was told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub callback: String,
    pub device: String,
    /// Of the body as pushed.
    pub sha256: String,
    pub answers: u64,
    /// Answers that differed from the first.
    pub conflicting: u64,
}

/// One message that reached a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Ascends over all devices.
    pub no: u64,
    pub device: String,
    pub sha256: String,
}

/// What the database held when the agent was killed.
#[derive(Clone, Debug, Default)]
pub struct Kill {
    pub open: Vec<OpenAttempt>,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub policies: BTreeMap<String, OnUncertain>,
    pub kept: Vec<Kept>,
    /// Every push in any copy, with its callback.
    pub seen: BTreeMap<i64, Option<String>>,
    pub kills: Vec<Kill>,
    pub received: Vec<Receipt>,
    /// The newest copy of the database.
    pub end: Snapshot,
}

impl Story {
    /// Adds what a copy of the database showed after a kill.
    pub fn add_kill(&mut self, copy: Snapshot) {
        for push in copy.pushes.values() {
            self.seen
                .entry(push.id)
                .or_insert_with(|| push.callback.clone());
        }
        self.kills.push(Kill {
            open: copy.open_attempts(),
        });
        self.end = copy;
    }

    /// The pushes with an attempt that was `completing` at any kill.
    pub fn completing(&self) -> BTreeSet<i64> {
        self.kills.iter().flat_map(Kill::completing).collect()
    }
}

impl Kill {
    fn completing(&self) -> impl Iterator<Item = i64> + '_ {
        self.open
            .iter()
            .filter(|attempt| attempt.completing)
            .map(|attempt| attempt.push)
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Break {
    /// It was accepted and is gone.
    Lost {
        push: i64,
    },
    /// The number belongs to another push now.
    Renumbered {
        push: i64,
    },
    /// Neither final nor held, and behind nothing that is.
    Unfinished {
        push: i64,
        state: State,
    },
    HeldWithoutCause {
        push: i64,
    },
    /// Nobody knew whether the device had it, and the agent went on as if it knew.
    NotHeld {
        push: i64,
    },
    Duplicate {
        device: String,
        pushes: Vec<i64>,
        received: usize,
        allowed: usize,
    },
    /// A device has it, and the disk has no attempt.
    SentWithoutRecord {
        device: String,
        pushes: Vec<i64>,
    },
    /// Recorded as answered by the device, which never had it.
    FalseYes {
        push: i64,
    },
    OutOfOrder {
        device: String,
        key: Option<String>,
        push: i64,
        after: i64,
    },
    /// The device got something that nobody pushed to it.
    ForeignBytes {
        device: String,
        no: u64,
    },
    WrongJoin {
        push: i64,
        joined: i64,
    },
    MissedJoin {
        push: i64,
        twin: i64,
    },
    Unanswered {
        callback: String,
    },
    AnswersDiffer {
        callback: String,
    },
    /// The cloud has an answer that the disk does not know.
    AnswerWithoutRecord {
        callback: String,
    },
    /// The cloud has another answer than the disk.
    AnswerUnlikeRecord {
        callback: String,
    },
}

/// What kind of promise, for counting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    Lost,
    Held,
    Once,
    Order,
    Bytes,
    Joins,
    Answers,
    Attempts,
}

impl Break {
    pub fn promise(&self) -> Promise {
        match self {
            Self::Lost { .. }
            | Self::Renumbered { .. }
            | Self::Unfinished { .. }
            | Self::FalseYes { .. } => Promise::Lost,
            Self::HeldWithoutCause { .. } | Self::NotHeld { .. } => Promise::Held,
            Self::Duplicate { .. } => Promise::Once,
            Self::OutOfOrder { .. } => Promise::Order,
            Self::SentWithoutRecord { .. } => Promise::Attempts,
            Self::ForeignBytes { .. } => Promise::Bytes,
            Self::WrongJoin { .. } | Self::MissedJoin { .. } => Promise::Joins,
            Self::Unanswered { .. }
            | Self::AnswersDiffer { .. }
            | Self::AnswerWithoutRecord { .. }
            | Self::AnswerUnlikeRecord { .. } => Promise::Answers,
        }
    }
}

/// An answer as the cloud took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudAnswer {
    pub callback: String,
    pub status: i64,
    pub body: String,
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub breaks: Vec<Break>,
    /// Pushes that were `completing` at a kill on devices that hold.
    pub uncertain: usize,
    /// Pushes held in the end, not counting those behind them.
    pub held: usize,
    /// Pushes that wait behind a held one.
    pub parked: usize,
    pub joined: usize,
    /// Second and later copies that a `resend` device may get.
    pub allowed_duplicates: usize,
}
