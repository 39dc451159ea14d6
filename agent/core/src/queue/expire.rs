//! What became too old before it was sent: found when it comes up, and by timers for whoever still waits.
//!
//! Cold pushes have no timer of their own. Each block of neighbouring numbers knows when the first of its pushes may
//! become too old; then the rows of the block are read page by page. So such a push is never sent late, and is recorded
//! as expired at most [`LOOK_AGAIN`] after its time, also while its device is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cold::ColdFacts;
use super::rows::Turn;
use super::settle::End;
use super::{Phase, Queue, TICK_LIMIT};
use crate::join::BLOCK;
use crate::push::{Now, PushId, State, Timestamp};

/// When cold pushes may have become too old, by block.
#[derive(Debug, Default)]
pub(super) struct Floors {
    blocks: BTreeMap<u64, Timestamp>,
    /// The lowest of them.
    first: Option<Timestamp>,
    look: Option<Look>,
}

/// A look at the rows of a block, under way.
#[derive(Debug)]
struct Look {
    block: u64,
    /// What is read next begins here.
    next: PushId,
    /// The lowest time of those that were looked at and stay.
    floor: Option<Timestamp>,
}

impl Floors {
    /// A push of this number has become cold.
    pub(super) fn note(&mut self, block: u64, expires: Option<Timestamp>) {
        let Some(expires) = expires else { return };
        let floor = self.blocks.entry(block).or_insert(expires);
        *floor = expires.min(*floor);
        self.first = Some(self.first.map_or(expires, |first| first.min(expires)));
    }

    /// For the rows: what a later process must know of a block.
    pub(super) fn of(&self, block: u64) -> Option<Timestamp> {
        match &self.look {
            Some(look) if look.block == block => Some(Timestamp(0)),
            _ => self.blocks.get(&block).copied(),
        }
    }

    pub(super) fn looks(&self) -> bool {
        self.look.is_some()
    }

    fn begin(&mut self, now: Now) {
        if self.look.is_some() || self.first.is_none_or(|first| first > now.utc) {
            return;
        }
        let lowest = self.blocks.iter().min_by_key(|(_, floor)| **floor);
        if let Some(block) = lowest.map(|(block, _)| *block) {
            self.blocks.remove(&block);
            let next = PushId(block * BLOCK as u64);
            let floor = None;
            self.look = Some(Look { block, next, floor });
        }
        self.first = self.blocks.values().min().copied();
    }

    fn end(&mut self, now: Now) {
        if let Some(Look { block, floor, .. }) = self.look.take() {
            let again = now.utc.plus(LOOK_AGAIN);
            self.note(block, floor.map(|floor| floor.max(again)));
        }
    }
}

impl Queue {
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        if !self.age.is_known() {
            return None;
        }
        let looks = match self.floors.look {
            Some(_) => Some(Timestamp(0)),
            None => self.floors.first,
        };
        let timers = self.expiry.first().map(|(at, _)| *at);
        [looks, timers].into_iter().flatten().min()
    }

    pub(super) fn expire_old(&mut self, turn: &mut Turn) {
        if !self.age.is_known() {
            return;
        }
        self.floors.begin(turn.now);
        self.end_look(turn.now);
        let due: Vec<(Timestamp, PushId)> = self
            .expiry
            .iter()
            .take_while(|(at, _)| *at <= turn.now.utc)
            .take(TICK_LIMIT)
            .copied()
            .collect();
        let mut touched = BTreeSet::new();
        for (at, id) in due {
            self.expiry.remove(&(at, id));
            let Some(live) = self.live.get(&id) else {
                continue;
            };
            // What is being sent is judged by its outcome; what is held as uncertain stays so.
            let kept = live.traces && matches!(live.phase, Phase::Operator(_));
            if !kept && !matches!(live.phase, Phase::Sending(_) | Phase::Uncertain(_)) {
                touched.insert(live.device);
                self.expire(id, turn);
            }
        }
        for no in touched {
            self.begin(no, turn);
        }
    }

    pub(super) fn expire(&mut self, id: PushId, turn: &mut Turn) {
        if self.may_be_there(id) {
            self.hold_uncertain(
                id,
                "it became too old before it could be sent again".into(),
                turn,
            );
            return;
        }
        let why = "it became too old before the device could take it".to_owned();
        let text = format!("expired: push {id} was not sent, {why}");
        self.finish(id, End::by_us(State::Expired, why, text), turn);
    }

    /// The rows to look at next, if a look is under way.
    pub(super) fn page(&self) -> Vec<PushId> {
        let Some(look) = &self.floors.look else {
            return Vec::new();
        };
        let end = PushId((look.block + 1) * BLOCK as u64);
        let pages = self
            .devices
            .values()
            .flat_map(|device| device.cold.between(look.next, end).take(PAGE));
        let mut page: Vec<PushId> = pages.collect();
        page.sort_unstable();
        page.truncate(PAGE);
        page
    }

    /// Takes note of a row that was looked at and whose push stays.
    pub(super) fn looked_at(&mut self, row: &ColdFacts) {
        let Some(look) = &mut self.floors.look else {
            return;
        };
        if let (Some(expires), true) = (row.expires, row.id >= look.next) {
            look.floor = Some(look.floor.map_or(expires, |floor| floor.min(expires)));
        }
    }

    /// The page up to `last` was looked at.
    pub(super) fn turn_page(&mut self, last: Option<PushId>, now: Now) {
        if let (Some(look), Some(last)) = (&mut self.floors.look, last) {
            look.next = PushId(last.0 + 1);
        }
        self.end_look(now);
    }

    /// A look without a page left is over.
    fn end_look(&mut self, now: Now) {
        if self.floors.looks() && self.page().is_empty() {
            self.floors.end(now);
        }
    }
}

/// Rows read in one go.
const PAGE: usize = 256;
/// A block is not looked at more often than this.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
