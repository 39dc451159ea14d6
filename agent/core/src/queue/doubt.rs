//! What a clock that nobody can believe keeps from happening.
//!
//! Nothing expires by it. What was here already when this boot of the system began has waited for an hour or for a year:
//! it is held, until the clock is sound or a person releases it. That is a condition of the agent, as being switched off
//! is: it is written on no push, and who stands behind such a push in the queue of its device waits with it.

use std::collections::BTreeMap;

use super::Queue;
use super::rows::Turn;
use crate::clock::{Clock, Doubt};
use crate::push::{Now, PushId, Seq, Timestamp};

/// The doubt, if there is one, and whom it keeps.
#[derive(Debug, Default)]
pub(super) struct Age {
    clock: Clock,
    /// What was here before this boot.
    before: Before,
    /// Pushes that a person let go, and by which event; those let go before this boot have waited since.
    let_go: BTreeMap<PushId, Seq>,
}

/// The newest rows that were written before this boot of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Before {
    pub push: PushId,
    pub seq: Seq,
}

impl Age {
    /// Whether it has waited for nobody knows how long.
    pub(super) fn holds(&self, push: PushId) -> Option<Doubt> {
        match self.clock {
            Clock::Doubtful(doubt) if push <= self.before.push && !self.may_go(push) => Some(doubt),
            Clock::Sound | Clock::Doubtful(_) => None,
        }
    }

    fn may_go(&self, push: PushId) -> bool {
        let let_go = self.let_go.get(&push);
        let_go.is_some_and(|seq| *seq > self.before.seq)
    }

    /// Takes note that a person lets a push go.
    pub(super) fn let_go(&mut self, push: PushId, by: Seq) {
        self.let_go.insert(push, by);
    }

    pub(super) fn forget(&mut self, push: PushId) {
        self.let_go.remove(&push);
    }

    /// Whether a push that may be so old may not be sent any more.
    pub(super) fn too_old(&self, expires: Option<Timestamp>, now: Now) -> bool {
        self.clock.is_sound() && expires.is_some_and(|expires| expires <= now.utc)
    }

    pub(super) fn is_known(&self) -> bool {
        self.clock.is_sound()
    }
}

impl Queue {
    /// What was here before this boot of the system.
    pub fn here_before(&mut self, before: Before) {
        self.age.before = before;
    }

    /// The newest rows that there are.
    pub fn newest(&self) -> Before {
        Before {
            push: self.last_push,
            seq: self.last_seq,
        }
    }

    /// A new verdict on the clock. Once it is sound, everything goes on by its true age.
    pub fn judge_clock(&mut self, clock: Clock, turn: &mut Turn) {
        let before = std::mem::replace(&mut self.age.clock, clock);
        if clock.is_sound() && !before.is_sound() {
            self.nudge(turn);
        }
    }

    /// The doubt goes on after a commit that failed; whom a person let go, the rows tell.
    pub(super) fn keep_doubt(&mut self, old: &Age) {
        self.age.clock = old.clock;
        self.age.before = old.before;
    }
}
