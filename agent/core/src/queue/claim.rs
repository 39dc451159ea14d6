//! Pushes that the cloud keeps as Tasks: on disk first, and held until the Task is claimed.
//!
//! ```text
//!  accept_task ──► held: claim ── claimed ──► queued ──► (as any push)
//!                      └──────── withdraw ──► cancelled, unsent
//! ```
//!
//! Nobody but the mailbox releases such a push: while the Task is not claimed somebody else may take it. It keeps its
//! place, so later pushes of its order wait behind it, and nothing joins it: what it would be joined to may never go.

use std::sync::Arc;

use super::accept::Start;
use super::rows::{Kind, PushRow, Row, Turn};
use super::settle::End;
use super::{Known, Phase, Queue};
use crate::join::Older;
use crate::push::{NewPush, PushId, State};

/// What came of a push that was found as a Task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// On disk, under this number. It may have been there before.
    Kept(PushId),
    /// Not now, and why: there is no room, or the device takes nothing.
    Refused(String),
}

impl Queue {
    /// Takes in a push whose Task is not claimed yet.
    pub fn accept_task(&mut self, push: Arc<NewPush>, known: Known, turn: &mut Turn) -> Taken {
        if let Known::Callback(id) = known {
            return Taken::Kept(id);
        }
        if let Some(why) = self.refusal(&push).or_else(|| self.unclaimed_twin(&known)) {
            if let Known::Content(earlier) = known {
                self.cool(earlier);
            }
            return Taken::Refused(why);
        }
        match known {
            Known::Content(earlier) => {
                self.follow(push, earlier, turn);
                Taken::Kept(self.last_push)
            }
            Known::After(older) => Taken::Kept(self.keep_for_claim(push, &older, turn)),
            Known::No | Known::Callback(_) => Taken::Kept(self.keep_for_claim(push, &[], turn)),
        }
    }

    /// The Task is ours: its push goes in its turn. Whoever waits for no claim stays what it is.
    pub fn claimed(&mut self, id: PushId, turn: &mut Turn) {
        if !self.waits_for_claim(id) {
            return;
        }
        self.unhold(id);
        let Some(live) = self.touch(id) else {
            return;
        };
        let no = live.device;
        if let Some(device) = self.devices.get_mut(&no) {
            device.waiting.insert(id);
        }
        let mut row = self.event(id, no, Kind::Released, turn.now);
        row.state = Some(State::Queued);
        row.reason = Some("its Task is claimed".into());
        row.who = Some(MAILBOX.into());
        turn.rows.push(Row::Event(row));
        self.begin(no, turn);
    }

    /// The Task is not ours, or is not wanted any more. Only what surely has not left is cancelled by that.
    pub fn withdraw(&mut self, id: PushId, why: String, turn: &mut Turn) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let no = live.device;
        let unsent = match live.phase {
            Phase::Waiting | Phase::Parked | Phase::Operator(_) | Phase::Claim => !live.traces,
            Phase::Sending(_) | Phase::Uncertain(_) | Phase::Follows(_) => false,
        };
        if !unsent {
            return;
        }
        let text = format!("push {id} was cancelled: {why}");
        let end = End {
            who: Some(MAILBOX.into()),
            ..End::by_us(State::Cancelled, why, text)
        };
        self.finish(id, end, turn);
        self.begin(no, turn);
    }

    /// Pushes whose Task may or may not be claimed, oldest first.
    pub fn unclaimed(&self) -> Vec<PushId> {
        let held = self.live.iter();
        let held = held.filter(|(_, live)| live.phase == Phase::Claim);
        let mut ids: Vec<PushId> = held.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn waits_for_claim(&self, id: PushId) -> bool {
        self.live
            .get(&id)
            .is_some_and(|live| live.phase == Phase::Claim)
    }

    /// Why an equal push cannot be taken while its twin is not claimed: joined, it would share a fate that nobody knows.
    pub(super) fn unclaimed_twin(&self, known: &Known) -> Option<String> {
        let Known::Content(twin) = known else {
            return None;
        };
        self.waits_for_claim(*twin).then(|| {
            format!(
                "the same order is being claimed from its Task as push {twin}; push again in a minute"
            )
        })
    }

    fn keep_for_claim(&mut self, push: Arc<NewPush>, older: &[Older], turn: &mut Turn) -> PushId {
        let no = push.device;
        let expires = self.expires(&push, turn.now);
        let start = Start {
            phase: Phase::Claim,
            expires,
            older,
        };
        let id = self.admit(&push, start, turn.now);
        if let (Some(live), Some(device)) = (self.live.get_mut(&id), self.devices.get_mut(&no)) {
            live.touched = true;
            device.block(id, &live.keys);
            device.kept_back += 1;
        }
        turn.rows.push(Row::Push(Box::new(PushRow {
            id,
            at: turn.now.utc,
            tried: None,
            expires,
            joins: None,
            push,
        })));
        let mut row = self.event(id, no, Kind::Held, turn.now);
        row.state = Some(State::Held);
        row.reason = Some("its Task is not claimed yet".into());
        row.who = Some(MAILBOX.into());
        turn.rows.push(Row::Event(row));
        id
    }
}

/// Who holds, releases and cancels pushes for the sake of their Tasks. No person has this name: theirs name a user.
pub const MAILBOX: &str = "mailbox";
