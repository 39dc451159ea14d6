//! Attempts and holds, as the rows of the database tell them, and which message at a device came of which attempt.

use std::collections::{BTreeMap, HashMap};

use super::snapshot::{ATTEMPT, COMPLETING, HELD, RELEASED, RETRY, SETTLED};
use super::{EventRow, Receipt, Snapshot, State};

/// One try to deliver a push, from its record to the record of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub push: i64,
    /// Counts the attempts of this push, from 0.
    pub nth: usize,
    pub completing: bool,
    /// The event that recorded it; none where the push's own row did.
    pub seq: Option<i64>,
    pub began: i64,
    pub end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub at: i64,
    pub how: How,
}

/// What the agent has made of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The device said yes or no.
    Answered,
    /// Not delivered, so that it may go again.
    NotDelivered,
    /// Nobody knows, and it is held.
    Held,
    /// Nobody knows, and it goes again; the how-many-eth resend.
    Resent(i64),
}

impl How {
    pub fn is_uncertain(self) -> bool {
        matches!(self, Self::Held | Self::Resent(_))
    }
}

impl Attempt {
    /// Whether a message that a device got can have come of it.
    fn covers(&self, receipt: &Receipt) -> bool {
        let at = receipt.at;
        let open = match self.end {
            None => true,
            // What is late on its way may arrive at any time, but on no connection that is younger than the end.
            Some(end) if end.how.is_uncertain() => receipt.opened <= end.at.saturating_add(LET_IN),
            Some(End {
                how: How::NotDelivered,
                ..
            }) => false,
            Some(end) => at <= end.at,
        };
        open && self.began <= at
    }

    fn deadline(&self) -> i64 {
        match self.end {
            Some(End {
                at,
                how: How::Answered,
            }) => at,
            _ => i64::MAX,
        }
    }
}

/// A time in which nobody may touch a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub push: i64,
    pub by: HeldBy,
    pub from: Moment,
    pub until: Option<Moment>,
    /// Whether it ended an attempt.
    pub ended_attempt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    Agent,
    Person,
}

/// When something was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub seq: i64,
    pub at: i64,
}

impl Hold {
    /// Whether this attempt was recorded while the hold lasted.
    pub fn was_there_for(&self, attempt: &Attempt) -> bool {
        if let Some(seq) = attempt.seq {
            return self.from.seq <= seq && self.until.is_none_or(|until| seq < until.seq);
        }
        let at = attempt.began;
        self.from.at < at && self.until.is_none_or(|until| at < until.at)
    }
}

/// All attempts and holds, oldest first.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    pub holds: Vec<Hold>,
    /// Pushes that are recorded as answered by the device while no attempt of theirs was open.
    pub unattempted: Vec<i64>,
    /// Places in `attempts`, by push.
    of: BTreeMap<i64, Vec<usize>>,
}

impl History {
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut history = Self::default();
        for push in snapshot.pushes.values() {
            if let Some(kind) = push.tried {
                history.begin(push.id, kind, None, push.at);
            }
        }
        let mut held: HashMap<i64, usize> = HashMap::new();
        for event in &snapshot.events {
            history.take(event, &mut held);
            if let Some(next) = event.next {
                let kind = event.next_kind.unwrap_or(COMPLETING);
                history.begin(next, kind, Some(event.seq), event.at);
            }
        }
        history
    }

    fn take(&mut self, event: &EventRow, held: &mut HashMap<i64, usize>) {
        let moment = Moment {
            seq: event.seq,
            at: event.at,
        };
        if let HELD | RELEASED | SETTLED = event.kind
            && let Some(hold) = held.remove(&event.push)
            && let Some(hold) = self.holds.get_mut(hold)
        {
            hold.until = Some(moment);
        }
        if let ATTEMPT | COMPLETING = event.kind {
            self.begin(event.push, event.kind, Some(event.seq), event.at);
        }
        let how = how(event);
        let ended = how.is_some_and(|how| self.end(event.push, End { at: event.at, how }));
        if how == Some(How::Answered) && !ended {
            self.unattempted.push(event.push);
        }
        if event.kind == HELD {
            held.insert(event.push, self.holds.len());
            self.holds.push(Hold {
                push: event.push,
                by: if event.who.is_some() {
                    HeldBy::Person
                } else {
                    HeldBy::Agent
                },
                from: moment,
                until: None,
                ended_attempt: ended,
            });
        }
    }

    fn begin(&mut self, push: i64, kind: i64, seq: Option<i64>, began: i64) {
        let places = self.of.entry(push).or_default();
        let nth = places.len();
        places.push(self.attempts.len());
        self.attempts.push(Attempt {
            push,
            nth,
            completing: kind == COMPLETING,
            seq,
            began,
            end: None,
        });
    }

    /// Whether there was an attempt to end.
    fn end(&mut self, push: i64, end: End) -> bool {
        let last = self.of.get(&push).and_then(|places| places.last());
        match last.and_then(|last| self.attempts.get_mut(*last)) {
            Some(attempt) if attempt.end.is_none() => {
                attempt.end = Some(end);
                true
            }
            _ => false,
        }
    }

    pub fn attempts_of(&self, push: i64) -> impl Iterator<Item = &Attempt> {
        let places = self.of.get(&push).into_iter().flatten();
        places.filter_map(|place| self.attempts.get(*place))
    }

    /// The attempts that nothing has ended.
    pub fn open(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.end.is_none())
    }

    /// Finds an attempt for each message that some equal pushes have made a device receive, one for each at most.
    pub fn matched<'r>(&self, pushes: &[i64], received: &[&'r Receipt]) -> Matched<'_, 'r> {
        let mut free: Vec<&Attempt> = pushes
            .iter()
            .flat_map(|push| self.attempts_of(*push))
            .collect();
        let mut matched = Matched::default();
        for receipt in received {
            // The one that must have ended first: what is uncertain can take a later message as well.
            let best = (0..free.len())
                .filter(|place| free.get(*place).is_some_and(|one| one.covers(receipt)))
                .min_by_key(|place| free.get(*place).map(|one| (one.deadline(), one.began)));
            match best {
                Some(best) => matched.pairs.push((receipt, free.swap_remove(best))),
                None => matched.unexplained.push(receipt),
            }
        }
        matched.unheard = free;
        matched
    }
}

/// What came of the attempts of some equal pushes.
#[derive(Clone, Debug, Default)]
pub struct Matched<'h, 'r> {
    pub pairs: Vec<(&'r Receipt, &'h Attempt)>,
    /// Messages that no attempt can have made.
    pub unexplained: Vec<&'r Receipt>,
    /// Attempts of which nothing reached the device.
    pub unheard: Vec<&'h Attempt>,
}

/// A device on a busy machine may note so late, in milliseconds, that it has let a connection in.
const LET_IN: i64 = 200;

/// How an event ends an attempt, if it does.
fn how(event: &EventRow) -> Option<How> {
    match (event.kind, event.state.and_then(State::of)) {
        (SETTLED, Some(state)) if state.is_answered_by_the_device() && event.who.is_none() => {
            Some(How::Answered)
        }
        (SETTLED, _) => Some(How::NotDelivered),
        (RETRY, _) => Some(event.level.map_or(How::NotDelivered, How::Resent)),
        (HELD, _) => Some(How::Held),
        _ => None,
    }
}
