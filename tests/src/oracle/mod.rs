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
//! | true | what is recorded as answered by the device had an attempt and did reach it, in this attempt, and the answer is the one to it, in the device's words, yes for yes and no for no |
//! | never | what is recorded as not delivered, expired or dead never reached a device |
//! | given up | only what is too old expires, only a device that is set so fails what waits, and a person did what the rows say he did |
//! | order | numbers are given in the order of the cloud; by order key always, by device among what was never held or behind something held |
//! | hands off | nothing that is held is touched, nor what waits behind it, nor what has ended |
//! | bytes | a device gets the bytes that were pushed |
//! | joins | what joined is equal to what it joined, which had not failed, and what had to join did |
//! | answers | every callback is answered, all its answers are equal, and none is outside that the disk does not have |
//! | receipts | what a caller cannot know from its only answer has a receipt, once, and nothing else has one |
//! | commands | what a command was said to have done is on disk |

mod answers;
mod attempts;
mod breaks;
mod delivery;
mod ends;
mod line;
mod order;
mod receipts;
mod rules;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use attempts::{Attempt, HeldBy, History};
pub use breaks::{Break, Promise};
pub use line::{Answers, Harm, Heard, Line, Said, Trouble};
use line::{Excuse, Try};
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
    /// How long a push may wait, in milliseconds; as long as it takes if there is none.
    pub expires: Option<i64>,
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
    /// When the cloud took it, UTC in milliseconds; 0 where nobody wrote that down. Those with a time are in the order
    /// in which the cloud sends them.
    pub at: i64,
    /// How often the cloud has sent it, as far as it wrote that down.
    pub sent: u64,
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
    /// When the connection on which it came was let in, UTC in milliseconds.
    pub opened: i64,
    /// The acknowledgements of it that the device began to say, in its words.
    pub answers: Vec<String>,
}

impl From<crate::sim::Received> for Receipt {
    fn from(one: crate::sim::Received) -> Self {
        let signed = |time| i64::try_from(time).unwrap_or(i64::MAX);
        Self {
            no: one.no,
            at: signed(one.at),
            device: one.device.to_string(),
            sha256: one.sha256,
            opened: signed(one.opened),
            answers: one.answers,
        }
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

/// A command that somebody was about to give. Whether the agent heard it is another matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub push: i64,
    /// The word for it in the audit.
    pub verb: String,
    pub at: i64,
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
    /// Whether the agent is to write receipts.
    pub receipts: bool,
    pub kept: Vec<Kept>,
    /// Every push in any copy, with its callback.
    pub seen: BTreeMap<i64, Option<String>>,
    pub kills: Vec<Kill>,
    pub received: Vec<Receipt>,
    /// By device; of those whose line can be watched.
    pub lines: BTreeMap<String, Line>,
    /// Every command that anybody has given, or tried to.
    pub wishes: Vec<Wish>,
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
    /// Attempts that became uncertain because the answer was passed on too late.
    pub uncertain_by_lateness: usize,
    /// The same, and the agent had not written down yet that it had given up: it may have been a little too early.
    pub uncertain_closely: usize,
    /// Attempts that became uncertain because their device never answers.
    pub uncertain_by_silence: usize,
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
