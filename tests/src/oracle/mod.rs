//! Judges what came of a run in which the agent was killed: pure functions over facts that others collected.
//!
//! The facts come from outside the agent: copies of its database after each kill, what the devices recorded, what
//! the cloud was told. A [`Break`] is a promise that was not kept.
//!
//! | rule | promise |
//! | --- | --- |
//! | accepted | what any copy has as accepted is there in the end, final or held |
//! | uncertain | an attempt is called uncertain only if a kill or a fault of its line can have made it so, and one that a kill found `completing` is; then it is held, or sent again at most three times where the device wants that |
//! | once | every message at a device is the only one of one attempt that was open then, or uncertain |
//! | true | what is recorded as answered by the device did reach it, in this attempt, and the answer is the one to it |
//! | never | what is recorded as not delivered, expired or dead never reached a device |
//! | order | by order key always, by device among what was never held or behind something held |
//! | hands off | nothing that is held is touched, nor what waits behind it, nor what has ended |
//! | bytes | a device gets the bytes that were pushed |
//! | joins | what joined is equal to what it joined, which had not failed, and what had to join did |
//! | answers | every callback is answered, all its answers are equal, and none is outside that the disk does not have |
//! | commands | what a command was said to have done is on disk |

mod answers;
mod attempts;
mod delivery;
mod order;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use attempts::{Attempt, HeldBy, History};
pub use rules::{at_end, at_kill, unfinished};
pub use snapshot::{AuditRow, EventRow, PushRow, Snapshot, State};

/// What a device does with a push of which nobody knows whether it has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUncertain {
    Hold,
    Resend,
}

/// What a device file says about delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub on_uncertain: OnUncertain,
    pub hold_scope: HoldScope,
    pub when_unreachable: WhenUnreachable,
}

/// What waits while a push is uncertain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldScope {
    Order,
    Device,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenUnreachable {
    Queue,
    Fail,
}

/// One push as the cloud kept it, and what the cloud was told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub callback: String,
    pub device: String,
    /// Of the body as pushed.
    pub sha256: String,
    /// MSH-10.
    pub control_id: String,
    pub answers: u64,
    /// Answers that differed from the first.
    pub conflicting: u64,
}

/// One message that reached a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Ascends over all devices.
    pub no: u64,
    /// UTC in milliseconds.
    pub at: i64,
    pub device: String,
    pub sha256: String,
}

/// A time in which a device's line can have lost a message or the answer to it. UTC in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub from: i64,
    pub until: i64,
}

/// What is known of the way to a device. Times are UTC in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub troubles: Vec<Trouble>,
    /// The acknowledgements that were passed on to the agent, ascending.
    pub heard: Vec<Heard>,
    /// How long the agent has to wait for an answer.
    pub patience: i64,
}

/// An acknowledgement: the control id in its MSA-2, and when it was passed on: not before, and not after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub about: String,
    pub from: i64,
    pub until: i64,
}

/// What has made an attempt uncertain that no kill found open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Excuse {
    /// Its line was in trouble.
    Trouble,
    /// No answer to it was passed on in time: a delay, or a machine that was busy with something else.
    Late,
}

impl Line {
    /// What can have made an attempt of that time, with that control id, uncertain.
    fn excuse(&self, began: i64, ended: i64, control_id: &str) -> Option<Excuse> {
        let in_trouble = |one: &Trouble| one.from <= ended && began <= one.until;
        if self.troubles.iter().any(in_trouble) {
            return Some(Excuse::Trouble);
        }
        let gave_up_at = began.saturating_add(self.patience);
        let before = self.heard.partition_point(|one| one.from < began);
        let heard = self.heard.get(before..).unwrap_or_default();
        let in_time = heard
            .iter()
            .any(|one| one.about == control_id && one.until < gave_up_at);
        (gave_up_at <= ended && !in_time).then_some(Excuse::Late)
    }
}

/// A command that was given, and carried out as far as its giver was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commanded {
    pub push: i64,
    pub verb: &'static str,
    pub sent: i64,
    pub told: i64,
}

/// What the database held when the agent was killed: the attempts that nothing had ended, each as push and number.
#[derive(Clone, Debug, Default)]
pub struct Kill {
    pub completing: Vec<(i64, usize)>,
    pub open: usize,
}

/// A whole run.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub policies: BTreeMap<String, Policy>,
    pub kept: Vec<Kept>,
    /// Every push in any copy, with its callback.
    pub seen: BTreeMap<i64, Option<String>>,
    pub kills: Vec<Kill>,
    pub received: Vec<Receipt>,
    /// By device; of those whose line can be watched.
    pub lines: BTreeMap<String, Line>,
    pub commands: Vec<Commanded>,
    /// The newest copy of the database.
    pub end: Snapshot,
}

impl Story {
    /// Adds what a copy of the database showed after a kill.
    pub fn add_kill(&mut self, copy: Snapshot) {
        let history = History::of(&copy);
        let completing = history.open().filter(|attempt| attempt.completing);
        self.kills.push(Kill {
            completing: completing.map(|one| (one.push, one.nth)).collect(),
            open: history.open().count(),
        });
        self.add(copy);
    }

    /// Adds what the database of an agent showed that ended in peace: whatever is open there is no excuse.
    pub fn add(&mut self, copy: Snapshot) {
        for push in copy.pushes.values() {
            self.seen
                .entry(push.id)
                .or_insert_with(|| push.callback.clone());
        }
        self.end = copy;
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
    /// Held, or sent again, though nothing had made it uncertain.
    UncertainWithoutCause {
        push: i64,
    },
    /// Nobody knew whether the device had it, and the agent went on as if it knew.
    NotHeld {
        push: i64,
    },
    /// The same bytes went out again more often than the agent may send them by itself.
    ResentTooOften {
        push: i64,
    },
    /// It was sent while it was held, or after it had ended.
    Touched {
        push: i64,
    },
    /// It was sent although an earlier push that it must stay behind was held.
    Overtook {
        push: i64,
        held: i64,
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
    /// Settled by an answer to another message.
    AnswerToAnother {
        push: i64,
    },
    /// Its caller was told that it was not delivered, and nobody knows that.
    FalseNo {
        push: i64,
        state: State,
    },
    ExpiredEarly {
        push: i64,
    },
    /// Whoever gave it was told that it was done.
    CommandLost {
        push: i64,
        verb: &'static str,
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
            | Self::CommandLost { .. }
            | Self::ExpiredEarly { .. }
            | Self::FalseYes { .. } => Promise::Lost,
            Self::UncertainWithoutCause { .. }
            | Self::NotHeld { .. }
            | Self::FalseNo { .. }
            | Self::Touched { .. } => Promise::Held,
            Self::Duplicate { .. } | Self::ResentTooOften { .. } => Promise::Once,
            Self::OutOfOrder { .. } | Self::Overtook { .. } => Promise::Order,
            Self::SentWithoutRecord { .. } => Promise::Attempts,
            Self::ForeignBytes { .. } => Promise::Bytes,
            Self::WrongJoin { .. } | Self::MissedJoin { .. } => Promise::Joins,
            Self::Unanswered { .. }
            | Self::AnswersDiffer { .. }
            | Self::AnswerToAnother { .. }
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
    pub tally: Tally,
}

/// What there was to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub attempts: usize,
    /// Attempts that became uncertain because a kill found them `completing`.
    pub uncertain_by_kill: usize,
    /// Attempts that became uncertain because of trouble with their line.
    pub uncertain_by_line: usize,
    /// Attempts that became uncertain without such trouble, because no answer was passed on in time.
    pub uncertain_by_lateness: usize,
    /// Attempts whose line was in trouble, whatever came of them.
    pub troubled: usize,
    /// Pushes held by the agent in the end.
    pub held: usize,
    /// Pushes that wait behind a held one.
    pub parked: usize,
    pub joined: usize,
    /// Second and later copies of a message that an uncertain attempt explains.
    pub second_copies: usize,
    pub delivered: usize,
    pub rejected: usize,
    pub expired: usize,
    pub dead: usize,
    /// Refused at once since the device was away: answered, and no row.
    pub refused: usize,
    pub commands: usize,
}
