//! What can be found broken, and what kind of promise that is.

use super::State;

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
    /// The agent has lost count of how often it has sent the same bytes again.
    Miscounted {
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
    /// The device has not said what it is said to have said.
    NotItsWords {
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
    /// It was accepted, and the agent gave it up by itself.
    Dropped {
        push: i64,
        state: State,
    },
    /// A person is said to have done what no person asked for.
    NobodyAsked {
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
    /// Its caller was not told all that it cannot know from its answer, or more than that.
    Receipts {
        push: i64,
        wanted: usize,
        written: usize,
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
    Receipts,
}

impl Break {
    pub fn promise(&self) -> Promise {
        match self {
            Self::Lost { .. }
            | Self::Renumbered { .. }
            | Self::Unfinished { .. }
            | Self::CommandLost { .. }
            | Self::ExpiredEarly { .. }
            | Self::Dropped { .. }
            | Self::FalseYes { .. } => Promise::Lost,
            Self::UncertainWithoutCause { .. }
            | Self::NotHeld { .. }
            | Self::FalseNo { .. }
            | Self::NobodyAsked { .. }
            | Self::Touched { .. } => Promise::Held,
            Self::Duplicate { .. } | Self::ResentTooOften { .. } | Self::Miscounted { .. } => {
                Promise::Once
            }
            Self::OutOfOrder { .. } | Self::Overtook { .. } => Promise::Order,
            Self::SentWithoutRecord { .. } => Promise::Attempts,
            Self::ForeignBytes { .. } => Promise::Bytes,
            Self::WrongJoin { .. } | Self::MissedJoin { .. } => Promise::Joins,
            Self::Unanswered { .. }
            | Self::AnswersDiffer { .. }
            | Self::AnswerToAnother { .. }
            | Self::NotItsWords { .. }
            | Self::AnswerWithoutRecord { .. }
            | Self::AnswerUnlikeRecord { .. } => Promise::Answers,
            Self::Receipts { .. } => Promise::Receipts,
        }
    }
}
