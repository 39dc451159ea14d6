//! One device's queue: who waits, who is parked, who is next.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use super::ids::{IdSet, Waiting};
use crate::clock::Doubt;
use crate::mutant::{self, Mutant};
use crate::push::{
    Completing, DeviceNo, HoldScope, Mono, OnUncertain, Policy, Print, PushId, WhenUnreachable,
};

/// What the queue is told of a device when the configuration is applied.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    pub name: String,
    pub policy: Policy,
    /// Off: keeps its queue and sends nothing.
    pub enabled: bool,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) config: DeviceConfig,
    pub(crate) line: Line,
    pub(crate) sending: Option<PushId>,
    /// Ready in their turn, lowest first, with all that is known of them.
    pub(crate) waiting: Waiting,
    /// Ready in their turn, of which no more than the number is kept.
    pub(crate) cold: IdSet,
    /// Held pushes and those parked behind them, by order key.
    pub(crate) blocked: HashMap<Print, BTreeSet<PushId>>,
    /// Pushes of this device that are not final.
    pub(crate) live: usize,
    /// Uncertain pushes; with `hold_scope = "device"` they stop the line.
    pub(crate) uncertain: usize,
    /// Pushes that a person keeps back, or that wait for the claim of their Task.
    pub(crate) kept_back: usize,
    /// Attempts that it has answered, since this process began.
    pub(crate) answered: u64,
    /// The head may not be tried before this.
    pub(crate) retry: Option<Retry>,
    /// What was last told to the line; `None` where that is not known.
    pub(crate) wanted: Option<bool>,
}

/// What the line has said of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// Not connected, and will connect when there is something to send.
    Resting,
    /// Not connected though it tries, and why.
    Away(String),
    /// Connected, nothing unanswered.
    Ready,
    /// An attempt is with it.
    Busy,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Retry {
    pub(crate) push: PushId,
    pub(crate) at: Mono,
    pub(crate) why: String,
}

/// Why a push that is not parked does not move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    AgentOff,
    /// It has waited since before the box was off, and nobody knows for how long.
    Clock(Doubt),
    DeviceOff,
    Paused,
    DeviceAway(String),
    /// Its device holds an uncertain push and is set to wait for it.
    DeviceHeld,
    Retry(String),
    Behind(PushId),
    /// A push with the same order key is held.
    Parked(PushId),
    Joined(PushId),
    Uncertain(String),
    Operator(String),
    /// The cloud keeps it as a Task that is not claimed yet.
    Claim,
    Sending,
    /// Its turn is next: the line connects, or the attempt is about to be recorded.
    Next,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentOff => write!(f, "the agent is switched off in the cloud"),
            Self::Clock(doubt) => write!(
                f,
                "nobody knows how long it has waited: {doubt}; set the clock, or release it"
            ),
            Self::DeviceOff => write!(f, "the device is switched off or not configured"),
            Self::Paused => write!(f, "the device is paused by its file"),
            Self::DeviceAway(why) => write!(f, "device away: {why}"),
            Self::DeviceHeld => write!(f, "the device waits for an uncertain push"),
            Self::Retry(why) => write!(f, "waits for its next try: {why}"),
            Self::Behind(push) => write!(f, "behind push {push}"),
            Self::Parked(push) => write!(f, "behind held push {push} of the same order"),
            Self::Joined(push) => write!(f, "the same as push {push}, shares its fate"),
            Self::Uncertain(why) => write!(f, "uncertain, the device may have it: {why}"),
            Self::Operator(why) => write!(f, "held by an operator: {why}"),
            Self::Claim => write!(f, "its Task in the cloud is not claimed yet"),
            Self::Sending => write!(f, "the device has not answered yet"),
            Self::Next => write!(f, "about to be sent"),
        }
    }
}

impl DeviceConfig {
    /// For a device that no configuration names: it keeps its queue.
    pub(super) fn unnamed(no: DeviceNo) -> Self {
        Self {
            name: format!("device number {}", no.0),
            enabled: false,
            policy: Policy {
                answer_within: Duration::from_secs(8),
                when_unreachable: WhenUnreachable::Queue,
                rejoin_window: Duration::from_mins(10),
                on_uncertain: OnUncertain::Hold,
                hold_scope: HoldScope::Order,
                expires: None,
                paused: true,
                max_queued: 0,
                completing: Completing::AtOnce,
            },
        }
    }
}

impl Device {
    pub(crate) fn new(config: DeviceConfig) -> Self {
        Self {
            config,
            line: Line::Resting,
            sending: None,
            waiting: Waiting::default(),
            cold: IdSet::default(),
            blocked: HashMap::new(),
            live: 0,
            uncertain: 0,
            kept_back: 0,
            answered: 0,
            retry: None,
            wanted: None,
        }
    }

    /// The held or parked push that `id` must stay behind, if any.
    pub(crate) fn blocker(&self, id: PushId, keys: &[Print]) -> Option<PushId> {
        if mutant::is(Mutant::ForgetParked) {
            return None;
        }
        keys.iter()
            .filter_map(|key| self.blocked.get(key)?.first().copied())
            .filter(|first| *first < id)
            .min()
    }

    pub(crate) fn block(&mut self, id: PushId, keys: &[Print]) {
        for key in keys {
            self.blocked.entry(*key).or_default().insert(id);
        }
    }

    /// Takes `id` out of the blocked ones and returns who was behind it and may be looked at again.
    pub(crate) fn unblock(&mut self, id: PushId, keys: &[Print]) -> BTreeSet<PushId> {
        let mut behind = BTreeSet::new();
        for key in keys {
            let Some(ids) = self.blocked.get_mut(key) else {
                continue;
            };
            ids.remove(&id);
            behind.extend(ids.range(id..));
            if ids.is_empty() {
                self.blocked.remove(key);
            }
        }
        behind
    }

    /// The lowest that waits, whatever is known of it.
    pub(crate) fn first(&self) -> Option<PushId> {
        let both = [self.waiting.first(), self.cold.first()];
        let both = both.into_iter().flatten();
        if mutant::is(Mutant::LoseOrder) {
            return self.waiting.iter().last().or(both.max());
        }
        both.min()
    }

    /// Whether so many that are known stand before the first of which only the number is kept.
    pub(crate) fn has_ahead(&self, count: usize) -> bool {
        let Some(cold) = self.cold.first() else {
            return true;
        };
        match count.checked_sub(1) {
            None => true,
            Some(before) => self.waiting.nth(before).is_some_and(|id| id < cold),
        }
    }

    /// Whether so many stand before this one, of which all may be known.
    pub(crate) fn has_before(&self, id: PushId, count: usize) -> bool {
        self.cold.first().is_some_and(|cold| cold < id)
            || self.waiting.nth(count).is_some_and(|nth| nth <= id)
    }

    /// A condition of the device that keeps every push waiting.
    pub(crate) fn condition(&self) -> Option<Reason> {
        if !self.config.enabled {
            Some(Reason::DeviceOff)
        } else if self.config.policy.paused {
            Some(Reason::Paused)
        } else if self.uncertain > 0 && self.holds_all() {
            Some(Reason::DeviceHeld)
        } else {
            None
        }
    }

    /// Whether the head may be tried now, as far as retries go.
    pub(crate) fn due(&self, head: PushId, now: Mono) -> bool {
        self.retry
            .as_ref()
            .is_none_or(|retry| retry.push != head || retry.at <= now)
    }

    fn holds_all(&self) -> bool {
        let whole = self.config.policy.hold_scope == HoldScope::Device;
        whole && !mutant::is(Mutant::IgnoreScope)
    }
}
