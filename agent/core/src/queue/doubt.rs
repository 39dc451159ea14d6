//! What a clock that nobody can believe keeps from happening.
//!
//! Nothing expires by it. What was here already when this boot of the system began has waited for an hour or for a year:
//! it is held, until the clock is sound or a person releases it. That is a condition of the agent, as being switched off
//! is: it is written on no push, and who stands behind such a push in the queue of its device waits with it.

use std::collections::BTreeSet;

use super::Queue;
use super::rows::Turn;
use crate::clock::{Clock, Doubt};
use crate::push::{Now, PushId, Seq, Timestamp};

/// The doubt, if there is one, and whom it keeps.
#[derive(Debug, Default)]
pub(super) struct Age {
    clock: Clock,
    /// Pushes up to this one were here before this boot.
    before: PushId,
    /// Of those, the ones that a person let go.
    released: BTreeSet<PushId>,
}

impl Age {
    /// Whether it has waited for nobody knows how long.
    pub(super) fn holds(&self, push: PushId) -> Option<Doubt> {
        match self.clock {
            Clock::Doubtful(doubt) if push <= self.before && !self.released.contains(&push) => {
                Some(doubt)
            }
            Clock::Sound | Clock::Doubtful(_) => None,
        }
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
    /// What is here now was here before this boot of the system, up to this push.
    pub fn here_before(&mut self, last: PushId) {
        self.age.before = last;
    }

    /// The newest push that there is.
    pub fn last_push(&self) -> PushId {
        self.last_push
    }

    /// The newest event that there is.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// A new verdict on the clock. Once it is sound, everything goes on by its true age.
    pub fn judge_clock(&mut self, clock: Clock, turn: &mut Turn) {
        let before = std::mem::replace(&mut self.age.clock, clock);
        if clock.is_sound() && !before.is_sound() {
            self.age.released.clear();
            self.nudge(turn);
        }
    }

    /// Lets a push go whose age nobody knows.
    pub(super) fn let_go(&mut self, push: PushId) {
        if self.age.holds(push).is_some() {
            self.age.released.insert(push);
        }
    }

    pub(super) fn keep_doubt(&mut self, old: Age) {
        self.age = old;
    }
}
