//! The judge, and the rules about what was accepted, held and commanded. The other rules are in files of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::attempts::{Attempt, HeldBy, History, Hold, How};
use super::{
    Break, CloudAnswer, Excuse, HoldScope, OnUncertain, Policy, PushRow, Receipt, Snapshot, State,
    Story, Tally, Try, Verdict, WhenUnreachable,
};

/// Judges a moment at which the agent was dead: [`Story::end`] is the copy of its database.
///
/// What was promised for the end (everything final, everything answered) is not asked for yet.
pub fn at_kill(story: &Story, answers: &[CloudAnswer]) -> Vec<Break> {
    Judge::new(story).so_far(answers, Tally::default()).breaks
}

/// Judges a run whose queue has drained.
pub fn at_end(story: &Story, answers: &[CloudAnswer]) -> Verdict {
    let judge = Judge::new(story);
    let mut verdict = judge.so_far(answers, judge.tally());
    let unfinished = unfinished(&story.end);
    verdict.breaks.extend(
        unfinished
            .into_iter()
            .map(|(push, state)| Break::Unfinished { push, state }),
    );
    judge.answered(&mut verdict.breaks);
    verdict
}

/// The pushes that are neither final nor held, and wait behind no held one with the same order key.
pub fn unfinished(snapshot: &Snapshot) -> Vec<(i64, State)> {
    let states = snapshot.states();
    let parked = parked(snapshot, &states);
    states
        .iter()
        .filter(|(push, state)| {
            !state.is_final() && **state != State::Held && !parked.contains(*push)
        })
        .map(|(push, state)| (*push, *state))
        .collect()
}

/// Queued pushes behind a held one with the same order key, on the same device.
fn parked(snapshot: &Snapshot, states: &BTreeMap<i64, State>) -> BTreeSet<i64> {
    let mut held: HashSet<(i64, &str)> = HashSet::new();
    let mut parked = BTreeSet::new();
    for push in snapshot.pushes.values() {
        let root = snapshot.root(push.id);
        let behind = push
            .order_keys
            .iter()
            .any(|key| held.contains(&(push.device, key.as_str())));
        let keys = push
            .order_keys
            .iter()
            .map(|key| (push.device, key.as_str()));
        match states.get(&push.id) {
            Some(State::Held) => held.extend(keys),
            Some(State::Queued) if behind || parked.contains(&root) => {
                parked.insert(push.id);
                held.extend(keys);
            }
            _ => {}
        }
    }
    parked
}

pub(super) struct Judge<'a> {
    pub(super) story: &'a Story,
    pub(super) states: BTreeMap<i64, State>,
    pub(super) history: History,
    parked: BTreeSet<i64>,
    killed_completing: HashSet<(i64, usize)>,
    /// What the cloud kept, by callback.
    kept: HashMap<&'a str, &'a super::Kept>,
    /// Numbers of pushes by their callback.
    by_callback: HashMap<&'a str, i64>,
    /// Pushes that did not join, by device and sum of their body.
    pub(super) by_bytes: HashMap<(&'a str, &'a str), Vec<&'a PushRow>>,
    /// MSH-10, by device and sum of the body.
    control_ids: HashMap<(&'a str, &'a str), &'a str>,
    /// The rows that settled pushes by an answer, by push.
    pub(super) settled: HashMap<i64, &'a super::EventRow>,
    /// When attempts began, by device and sum of the body.
    begun: HashMap<(&'a str, &'a str), Vec<i64>>,
    /// What the devices received, by device and sum, oldest first.
    pub(super) received: HashMap<(&'a str, &'a str), Vec<&'a Receipt>>,
}

impl<'a> Judge<'a> {
    fn new(story: &'a Story) -> Self {
        let states = story.end.states();
        let kept: HashMap<_, _> = story
            .kept
            .iter()
            .map(|kept| (kept.callback.as_str(), kept))
            .collect();
        let mut by_bytes: HashMap<_, Vec<&PushRow>> = HashMap::new();
        for push in roots(&story.end) {
            if let Some(sum) = sum_of(push, &kept) {
                by_bytes
                    .entry((story.end.device_of(push), sum))
                    .or_default()
                    .push(push);
            }
        }
        let mut received: HashMap<_, Vec<&Receipt>> = HashMap::new();
        for receipt in &story.received {
            received
                .entry((receipt.device.as_str(), receipt.sha256.as_str()))
                .or_default()
                .push(receipt);
        }
        let control_id = |kept: &'a super::Kept| {
            let what = (kept.device.as_str(), kept.sha256.as_str());
            (what, kept.control_id.as_str())
        };
        let history = History::of(&story.end);
        let mut begun: HashMap<_, Vec<i64>> = HashMap::new();
        for (what, pushes) in &by_bytes {
            let attempts = pushes.iter().flat_map(|push| history.attempts_of(push.id));
            begun.insert(*what, attempts.map(|attempt| attempt.began).collect());
        }
        let kills = story.kills.iter();
        let settled = story
            .end
            .events
            .iter()
            .filter(|event| event.kind == super::snapshot::SETTLED && event.who.is_none());
        let named = |push: &'a PushRow| Some((push.callback.as_deref()?, push.id));
        Self {
            by_callback: story.end.pushes.values().filter_map(named).collect(),
            control_ids: story.kept.iter().map(control_id).collect(),
            begun,
            settled: settled.map(|event| (event.push, event)).collect(),
            story,
            parked: parked(&story.end, &states),
            states,
            history,
            killed_completing: kills.flat_map(|kill| kill.completing.clone()).collect(),
            kept,
            by_bytes,
            received,
        }
    }

    /// What holds at any time.
    fn so_far(&self, answers: &[CloudAnswer], mut tally: Tally) -> Verdict {
        let mut breaks = Vec::new();
        self.accepted(&mut breaks);
        self.commanded(&mut breaks);
        tally.refused = self.recorded(answers, &mut breaks);
        self.uncertain(&mut breaks);
        self.hands_off(&mut breaks);
        let first_copies = self.deliveries(&mut breaks, &mut tally);
        self.ends(&mut breaks);
        self.by_persons(&mut breaks);
        self.numbered(&mut breaks);
        self.order(&first_copies, &mut breaks);
        self.joins(&mut breaks);
        self.words(&mut breaks);
        self.receipts(&mut breaks);
        Verdict { breaks, tally }
    }

    fn tally(&self) -> Tally {
        let roots: Vec<State> = roots(&self.story.end)
            .filter_map(|push| self.states.get(&push.id).copied())
            .collect();
        let count = |state| roots.iter().filter(|one| **one == state).count();
        let uncertain = self.history.attempts.iter().filter(|one| is_uncertain(one));
        let (killed, others): (Vec<_>, Vec<_>) = uncertain.partition(|one| self.was_killed(one));
        let excuses: Vec<_> = others.iter().map(|one| self.excuse(one)).collect();
        let by = |excuse| excuses.iter().filter(|one| **one == Some(excuse)).count();
        let attempts = self.history.attempts.iter();
        let open_holds = self
            .history
            .holds
            .iter()
            .filter(|hold| hold.until.is_none());
        Tally {
            attempts: self.history.attempts.len(),
            uncertain_by_kill: killed.len(),
            uncertain_by_line: by(Excuse::Trouble),
            uncertain_by_lateness: by(Excuse::Late),
            uncertain_closely: by(Excuse::LateClose),
            uncertain_by_silence: by(Excuse::Mute),
            troubled: attempts
                .filter(|one| self.excuse(one) == Some(Excuse::Trouble))
                .count(),
            held: open_holds.filter(|hold| hold.by == HeldBy::Agent).count(),
            parked: self.parked.len(),
            joined: self.story.end.pushes.len() - roots.len(),
            delivered: count(State::Delivered),
            rejected: count(State::Rejected),
            expired: count(State::Expired),
            dead: count(State::Dead),
            commands: self.story.commands.len(),
            ..Tally::default()
        }
    }

    pub(super) fn push(&self, id: i64) -> Option<&'a PushRow> {
        self.story.end.pushes.get(&id)
    }

    pub(super) fn kept(&self, push: &PushRow) -> Option<&'a super::Kept> {
        self.kept.get(push.callback.as_deref()?).copied()
    }

    pub(super) fn of_callback(&self, callback: &str) -> Option<i64> {
        self.by_callback.get(callback).copied()
    }

    /// Of the body, by what the cloud kept.
    pub(super) fn sum(&self, push: &'a PushRow) -> Option<&'a str> {
        sum_of(push, &self.kept)
    }

    pub(super) fn policy(&self, push: i64) -> Option<Policy> {
        let device = self.story.end.device_of(self.push(push)?);
        self.story.policies.get(device).copied()
    }

    pub(super) fn refuses_when_away(&self, device: &str) -> bool {
        let policy = self.story.policies.get(device);
        policy.is_some_and(|policy| policy.when_unreachable == WhenUnreachable::Fail)
    }

    fn was_killed(&self, attempt: &Attempt) -> bool {
        self.killed_completing
            .contains(&(attempt.push, attempt.nth))
    }

    fn excuse(&self, attempt: &Attempt) -> Option<Excuse> {
        let push = self.push(attempt.push)?;
        let what = (self.story.end.device_of(push), self.sum(push)?);
        let line = self.story.lines.get(what.0)?;
        let began = attempt.began;
        let receipts = self.received.get(&what).into_iter().flatten();
        let others = self.begun.get(&what).into_iter().flatten();
        let later = others.copied().filter(|at| began < *at);
        let next = later.min().unwrap_or(i64::MAX);
        let arrivals = receipts.map(|receipt| receipt.at);
        line.excuse(Try {
            control_id: self.control_ids.get(&what).copied().unwrap_or_default(),
            began,
            ended: attempt.end.map_or(i64::MAX, |end| end.at),
            next,
            arrived: arrivals.filter(|at| (began..next).contains(at)).min(),
        })
    }

    fn accepted(&self, breaks: &mut Vec<Break>) {
        for (&push, callback) in &self.story.seen {
            match self.story.end.pushes.get(&push) {
                None => breaks.push(Break::Lost { push }),
                Some(row) if row.callback != *callback => breaks.push(Break::Renumbered { push }),
                Some(_) => {}
            }
        }
    }

    /// Whatever a person was told is done has its row in the audit.
    fn commanded(&self, breaks: &mut Vec<Break>) {
        for command in &self.story.commands {
            let is_it = |row: &&super::AuditRow| {
                row.push == Some(command.push)
                    && row.verb == command.verb
                    && (command.sent..=command.told).contains(&row.at)
            };
            if !self.story.end.audit.iter().any(|row| is_it(&row)) {
                let (push, verb) = (command.push, command.verb);
                breaks.push(Break::CommandLost { push, verb });
            }
        }
    }

    /// Uncertain is what a kill or the line has made so, all of the former and nothing else.
    fn uncertain(&self, breaks: &mut Vec<Break>) {
        for attempt in &self.history.attempts {
            let Some(how) = attempt.end.map(|end| end.how) else {
                continue;
            };
            let push = attempt.push;
            let killed = self.was_killed(attempt);
            if how.is_uncertain() && !killed && self.excuse(attempt).is_none() {
                breaks.push(Break::UncertainWithoutCause { push });
            }
            let holds = self.policy(push).map(|policy| policy.on_uncertain);
            let guessed = killed && !how.is_uncertain();
            let resent = matches!(how, How::Resent(_)) && holds == Some(OnUncertain::Hold);
            if guessed || resent {
                breaks.push(Break::NotHeld { push });
            }
        }
        self.resent(breaks);
        for hold in &self.history.holds {
            let push = hold.push;
            if hold.by == HeldBy::Agent && !hold.ended_attempt && !self.had_to_be_held(hold) {
                breaks.push(Break::UncertainWithoutCause { push });
            }
        }
    }

    /// The rows are counted, and the agent's own count has to be the same.
    fn resent(&self, breaks: &mut Vec<Break>) {
        let mut counts: HashMap<i64, i64> = HashMap::new();
        for attempt in &self.history.attempts {
            let push = attempt.push;
            let Some(How::Resent(nth)) = attempt.end.map(|end| end.how) else {
                continue;
            };
            let count = counts.entry(push).or_default();
            *count += 1;
            if *count > MOST_RESENDS {
                breaks.push(Break::ResentTooOften { push });
            } else if nth != *count {
                breaks.push(Break::Miscounted { push });
            }
        }
    }

    /// What may be there is held where any other push would expire or be refused.
    fn had_to_be_held(&self, hold: &Hold) -> bool {
        let Some(push) = self
            .push(hold.push)
            .filter(|push| self.left_traces(push.id))
        else {
            return false;
        };
        let too_old = self.expiry(push).is_some_and(|at| at <= hold.from.at);
        too_old || self.refuses_when_away(self.story.end.device_of(push))
    }

    /// Whether any attempt may have reached the device without an answer.
    pub(super) fn left_traces(&self, push: i64) -> bool {
        self.history.attempts_of(push).any(is_uncertain)
    }

    /// What is held, what waits behind it, and what has ended is not sent.
    fn hands_off(&self, breaks: &mut Vec<Break>) {
        let mut by_device: HashMap<i64, Vec<(&Hold, &PushRow)>> = HashMap::new();
        for hold in &self.history.holds {
            if let Some(held) = self.push(hold.push) {
                by_device.entry(held.device).or_default().push((hold, held));
            }
        }
        let mut ended: HashMap<i64, i64> = HashMap::new();
        for event in &self.story.end.events {
            if event.state.and_then(State::of).is_some_and(State::is_final) {
                ended.entry(event.push).or_insert(event.seq);
            }
        }
        for attempt in &self.history.attempts {
            let Some(push) = self.push(attempt.push) else {
                continue;
            };
            let end = ended.get(&push.id);
            if end.is_some_and(|end| attempt.seq.is_some_and(|seq| *end < seq)) {
                breaks.push(Break::Touched { push: push.id });
            }
            let holds = by_device.get(&push.device).into_iter().flatten();
            for (hold, held) in holds.filter(|(hold, _)| hold.was_there_for(attempt)) {
                if held.id == push.id {
                    breaks.push(Break::Touched { push: push.id });
                } else if self.blocks(hold, held, push) {
                    breaks.push(Break::Overtook {
                        push: push.id,
                        held: held.id,
                    });
                }
            }
        }
    }

    /// Whether `later` must stay behind `first` while this hold of `first` lasts.
    fn blocks(&self, hold: &Hold, first: &PushRow, later: &PushRow) -> bool {
        let scope = self.policy(first.id).map(|policy| policy.hold_scope);
        let keys = &later.order_keys;
        let related = first.order_keys.iter().any(|key| keys.contains(key));
        (related && first.id < later.id)
            || (scope == Some(HoldScope::Device) && hold.by == HeldBy::Agent)
    }
}

fn sum_of<'a>(push: &'a PushRow, kept: &HashMap<&str, &'a super::Kept>) -> Option<&'a str> {
    match &push.callback {
        Some(callback) => kept.get(callback.as_str()).map(|kept| kept.sha256.as_str()),
        // A push that somebody had sent again after its end has no callback.
        None => push.sha256.as_deref(),
    }
}

pub(super) fn roots(snapshot: &Snapshot) -> impl Iterator<Item = &PushRow> {
    snapshot.pushes.values().filter(|push| push.joins.is_none())
}

pub(super) fn is_uncertain(attempt: &Attempt) -> bool {
    attempt.end.is_some_and(|end| end.how.is_uncertain())
}

/// The agent sends the same bytes again by itself at most so often.
const MOST_RESENDS: i64 = 3;
