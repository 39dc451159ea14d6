//! How pushes ended that no device has answered: by time, by the agent, by a person.

use std::collections::HashMap;

use super::rules::{Judge, roots};
use super::snapshot::{HELD, RELEASED, SETTLED};
use super::{Break, EventRow, PushRow, State};

impl Judge<'_> {
    /// A device that is said to have answered what was never sent to it.
    pub(super) fn yes_without_attempt(&self) -> impl Iterator<Item = Break> + '_ {
        let pushes = self.history.unattempted.iter();
        let pushes = pushes.filter_map(|push| self.push(*push));
        let to_devices = pushes.filter(|push| push.joins.is_none() && push.device != SELF);
        to_devices.map(|push| Break::FalseYes { push: push.id })
    }

    /// Nobody is told "not delivered" of what may be there, nor "expired" before it is; and the agent gives up nothing
    /// by itself but what is too old, or for a device that is set to fail what it cannot have.
    pub(super) fn ends(&self, breaks: &mut Vec<Break>) {
        for event in &self.story.end.events {
            let (Some(state), None) = (event.state.and_then(State::of), &event.who) else {
                continue;
            };
            if let Some(push) = self.push(event.push).filter(|push| push.joins.is_none()) {
                self.given_up(push, state, event, breaks);
            }
        }
    }

    fn given_up(&self, row: &PushRow, state: State, event: &EventRow, breaks: &mut Vec<Break>) {
        let push = row.id;
        let fails = self.refuses_when_away(self.story.end.device_of(row));
        match state {
            State::Expired if self.is_too_young(row, event.at) => {
                breaks.push(Break::ExpiredEarly { push });
            }
            State::Dead if !fails => breaks.push(Break::Dropped { push, state }),
            State::Cancelled => breaks.push(Break::Dropped { push, state }),
            _ => {}
        }
        if matches!(state, State::Expired | State::Dead) && self.left_traces(push) {
            breaks.push(Break::FalseNo { push, state });
        }
    }

    /// By the device's file and the cloud's clock, not only by what the agent wrote into the row.
    fn is_too_young(&self, row: &PushRow, at: i64) -> bool {
        let by_row = row.expires.is_none_or(|expires| at < expires);
        by_row || self.expiry(row).is_none_or(|expires| at < expires)
    }

    /// When a push becomes too old, by what the agent has not written.
    pub(super) fn expiry(&self, row: &PushRow) -> Option<i64> {
        let born = self.kept(row).map_or(row.at, |kept| kept.at);
        Some(born.saturating_add(self.policy(row.id)?.expires?))
    }

    /// Whatever the rows say that a person did, somebody has asked for, as often as it was done.
    pub(super) fn by_persons(&self, breaks: &mut Vec<Break>) {
        let mut done: HashMap<(i64, &[&str]), usize> = HashMap::new();
        for event in &self.story.end.events {
            let of_device = |push: &&PushRow| push.joins.is_none() && push.device != SELF;
            let Some(push) = self.push(event.push).filter(of_device) else {
                continue;
            };
            let Some(verbs) = event.who.as_ref().map(|_| verbs(event)) else {
                continue;
            };
            let times = done.entry((push.id, verbs)).or_default();
            *times += 1;
            let asked = self.story.wishes.iter().filter(|wish| {
                wish.push == push.id && wish.at <= event.at && verbs.contains(&wish.verb.as_str())
            });
            if asked.count() < *times {
                breaks.push(Break::NobodyAsked { push: push.id });
            }
        }
        self.copies(breaks);
    }

    /// A push that no cloud pushed is one that somebody had sent again.
    fn copies(&self, breaks: &mut Vec<Break>) {
        let mut done: HashMap<(i64, Option<&str>), usize> = HashMap::new();
        let copies = roots(&self.story.end).filter(|push| push.callback.is_none());
        for copy in copies.filter(|push| push.device != SELF) {
            let what = (copy.device, self.sum(copy));
            let times = done.entry(what).or_default();
            *times += 1;
            let asked = self.story.wishes.iter().filter(|wish| {
                let of = self.push(wish.push);
                wish.verb == "resend"
                    && wish.at <= copy.at
                    && of.is_some_and(|of| (of.device, self.sum(of)) == what)
            });
            if asked.count() < *times {
                breaks.push(Break::NobodyAsked { push: copy.id });
            }
        }
    }
}

/// The commands that can have made this event.
fn verbs(event: &EventRow) -> &'static [&'static str] {
    match (event.kind, event.state.and_then(State::of)) {
        (HELD, _) => &["hold"],
        (RELEASED, _) => &["release", "resend"],
        (SETTLED, Some(State::Delivered)) => &["settle delivered"],
        (SETTLED, Some(State::Dead)) => &["settle not-delivered"],
        (SETTLED, Some(State::Cancelled)) => &["cancel"],
        _ => &[],
    }
}

/// The number of `device://self`.
const SELF: i64 = 0;
