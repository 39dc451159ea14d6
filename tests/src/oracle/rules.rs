//! The rules, one function each.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Break, CloudAnswer, OnUncertain, PushRow, Snapshot, State, Story, Verdict};

/// Judges a moment at which the agent was dead: [`Story::end`] is the copy of its database.
///
/// What was promised for the end (everything final, everything answered) is not asked for yet.
pub fn at_kill(story: &Story, answers: &[CloudAnswer]) -> Vec<Break> {
    Judge::new(story).so_far(answers).0
}

/// Judges a run whose queue has drained.
pub fn at_end(story: &Story, answers: &[CloudAnswer]) -> Verdict {
    let judge = Judge::new(story);
    let (mut breaks, allowed_duplicates) = judge.so_far(answers);
    let unfinished = unfinished(&story.end);
    breaks.extend(
        unfinished
            .into_iter()
            .map(|(push, state)| Break::Unfinished { push, state }),
    );
    judge.held(&mut breaks);
    judge.truth(&mut breaks);
    judge.answered(&mut breaks);
    let held = judge
        .roots()
        .filter(|push| judge.states.get(&push.id) == Some(&State::Held))
        .count();
    let joined = story
        .end
        .pushes
        .values()
        .filter(|push| push.joins.is_some())
        .count();
    let uncertain = judge
        .completing
        .iter()
        .filter(|push| judge.has_to_hold(**push))
        .count();
    Verdict {
        breaks,
        held,
        uncertain,
        parked: judge.parked.len(),
        joined,
        allowed_duplicates,
    }
}

fn unlike(answer: &CloudAnswer, recorded: Option<&(i64, Option<&str>)>) -> Option<Break> {
    let callback = answer.callback.clone();
    let Some((status, text)) = recorded else {
        return Some(Break::AnswerWithoutRecord { callback });
    };
    let differs = *status != answer.status || text.is_some_and(|text| text != answer.body);
    differs.then_some(Break::AnswerUnlikeRecord { callback })
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
        match states.get(&push.id) {
            Some(State::Held) => held.extend(
                push.order_keys
                    .iter()
                    .map(|key| (push.device, key.as_str())),
            ),
            Some(State::Queued) if behind || parked.contains(&root) => {
                parked.insert(push.id);
                held.extend(
                    push.order_keys
                        .iter()
                        .map(|key| (push.device, key.as_str())),
                );
            }
            _ => {}
        }
    }
    parked
}

struct Judge<'a> {
    story: &'a Story,
    states: BTreeMap<i64, State>,
    parked: BTreeSet<i64>,
    completing: BTreeSet<i64>,
    /// Sum of the pushed body, by callback.
    sums: HashMap<&'a str, &'a str>,
    /// Pushes that did not join, by device and sum of their body.
    by_bytes: HashMap<(&'a str, &'a str), Vec<&'a PushRow>>,
}

impl<'a> Judge<'a> {
    fn new(story: &'a Story) -> Self {
        let states = story.end.states();
        let sums: HashMap<_, _> = story
            .kept
            .iter()
            .map(|kept| (kept.callback.as_str(), kept.sha256.as_str()))
            .collect();
        let mut by_bytes: HashMap<_, Vec<&PushRow>> = HashMap::new();
        for push in story
            .end
            .pushes
            .values()
            .filter(|push| push.joins.is_none())
        {
            if let Some(sum) = push
                .callback
                .as_deref()
                .and_then(|callback| sums.get(callback))
            {
                by_bytes
                    .entry((story.end.device_of(push), *sum))
                    .or_default()
                    .push(push);
            }
        }
        let parked = parked(&story.end, &states);
        Self {
            story,
            states,
            parked,
            completing: story.completing(),
            sums,
            by_bytes,
        }
    }

    /// What holds at any time. Also counts the copies beyond the first that were allowed.
    fn so_far(&self, answers: &[CloudAnswer]) -> (Vec<Break>, usize) {
        let mut breaks = Vec::new();
        self.accepted(&mut breaks);
        self.recorded(answers, &mut breaks);
        self.attempted(&mut breaks);
        let allowed_duplicates = self.once(&mut breaks);
        self.order(&mut breaks);
        self.bytes(&mut breaks);
        self.joins(&mut breaks);
        self.answers(&mut breaks);
        (breaks, allowed_duplicates)
    }

    /// Devices and sums of the bodies that the cloud has pushed.
    fn pushed(&self) -> HashSet<(&'a str, &'a str)> {
        self.story
            .kept
            .iter()
            .map(|kept| (&*kept.device, &*kept.sha256))
            .collect()
    }

    fn roots(&self) -> impl Iterator<Item = &'a PushRow> {
        self.story
            .end
            .pushes
            .values()
            .filter(|push| push.joins.is_none())
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

    /// No answer is outside that the disk does not have.
    fn recorded(&self, answers: &[CloudAnswer], breaks: &mut Vec<Break>) {
        let end = &self.story.end;
        let recorded: HashMap<&str, (i64, Option<&str>)> = end
            .events
            .iter()
            .filter_map(|event| {
                let callback = end.pushes.get(&event.push)?.callback.as_deref()?;
                Some((callback, (event.status?, event.answer.as_deref())))
            })
            .collect();
        breaks.extend(
            answers
                .iter()
                .filter_map(|answer| unlike(answer, recorded.get(answer.callback.as_str()))),
        );
    }

    /// No message is at a device of which the disk has no attempt.
    fn attempted(&self, breaks: &mut Vec<Break>) {
        let attempted = self.story.end.attempted();
        let known = self.pushed();
        let received: BTreeSet<(&str, &str)> = self
            .story
            .received
            .iter()
            .map(|receipt| (&*receipt.device, &*receipt.sha256))
            .collect();
        for (device, sum) in received.into_iter().filter(|bytes| known.contains(bytes)) {
            let pushes = self
                .by_bytes
                .get(&(device, sum))
                .map(Vec::as_slice)
                .unwrap_or_default();
            if !pushes.iter().any(|push| attempted.contains(&push.id)) {
                let pushes = pushes.iter().map(|push| push.id).collect();
                breaks.push(Break::SentWithoutRecord {
                    device: device.into(),
                    pushes,
                });
            }
        }
    }

    /// Held is what was uncertain, all of it and nothing else.
    fn held(&self, breaks: &mut Vec<Break>) {
        for push in self.roots() {
            let held = self.states.get(&push.id) == Some(&State::Held);
            let uncertain = self.completing.contains(&push.id);
            let push = push.id;
            if held && !uncertain {
                breaks.push(Break::HeldWithoutCause { push });
            }
            if !held && uncertain && self.has_to_hold(push) {
                breaks.push(Break::NotHeld { push });
            }
        }
    }

    fn has_to_hold(&self, push: i64) -> bool {
        let device = self
            .story
            .end
            .pushes
            .get(&push)
            .map(|row| self.story.end.device_of(row));
        device.and_then(|device| self.story.policies.get(device)) == Some(&OnUncertain::Hold)
    }

    /// Also counts the copies beyond the first that were allowed.
    fn once(&self, breaks: &mut Vec<Break>) -> usize {
        let mut received: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for receipt in &self.story.received {
            *received
                .entry((&receipt.device, &receipt.sha256))
                .or_default() += 1;
        }
        let mut extra = 0;
        for (key, received) in received {
            let Some(pushes) = self.by_bytes.get(&key) else {
                continue;
            };
            let allowed = pushes
                .iter()
                .map(|push| 1 + self.resends(key.0, push.id))
                .sum();
            if received > allowed {
                let (device, pushes) = (key.0.into(), pushes.iter().map(|push| push.id).collect());
                breaks.push(Break::Duplicate {
                    device,
                    pushes,
                    received,
                    allowed,
                });
            }
            extra += received.min(allowed).saturating_sub(pushes.len());
        }
        extra
    }

    fn resends(&self, device: &str, push: i64) -> usize {
        match self.story.policies.get(device) {
            Some(OnUncertain::Resend) => self
                .story
                .kills
                .iter()
                .filter(|kill| kill.completing().any(|open| open == push))
                .count(),
            Some(OnUncertain::Hold) | None => 0,
        }
    }

    fn truth(&self, breaks: &mut Vec<Break>) {
        let received: HashSet<(&str, &str)> = self
            .story
            .received
            .iter()
            .map(|receipt| (&*receipt.device, &*receipt.sha256))
            .collect();
        for (key, pushes) in &self.by_bytes {
            let answered = |push: &&&PushRow| {
                self.states
                    .get(&push.id)
                    .is_some_and(|state| state.is_answered_by_the_device())
            };
            if !received.contains(key) {
                breaks.extend(
                    pushes
                        .iter()
                        .filter(answered)
                        .map(|push| Break::FalseYes { push: push.id }),
                );
            }
        }
    }

    fn order(&self, breaks: &mut Vec<Break>) {
        let ever_held: HashSet<i64> = self.story.end.ever_held().collect();
        let mut last_of_key: HashMap<(&str, &str), i64> = HashMap::new();
        let mut last_of_device: HashMap<&str, i64> = HashMap::new();
        let mut check = |last: Option<i64>, push: i64, device: &str, key: Option<&str>| {
            if let Some(after) = last.filter(|last| *last > push) {
                breaks.push(Break::OutOfOrder {
                    device: device.into(),
                    key: key.map(Into::into),
                    push,
                    after,
                });
            }
        };
        for receipt in &self.story.received {
            let device = receipt.device.as_str();
            // Bytes that several pushes share say nothing about which of them this was.
            let Some([push]) = self
                .by_bytes
                .get(&(device, &*receipt.sha256))
                .map(Vec::as_slice)
            else {
                continue;
            };
            for key in &push.order_keys {
                check(
                    last_of_key.insert((device, key), push.id),
                    push.id,
                    device,
                    Some(key),
                );
            }
            if !ever_held.contains(&push.id) && !self.parked.contains(&push.id) {
                check(
                    last_of_device.insert(device, push.id),
                    push.id,
                    device,
                    None,
                );
            }
        }
    }

    fn bytes(&self, breaks: &mut Vec<Break>) {
        let pushed = self.pushed();
        for receipt in &self.story.received {
            if !pushed.contains(&(&*receipt.device, &*receipt.sha256)) {
                breaks.push(Break::ForeignBytes {
                    device: receipt.device.clone(),
                    no: receipt.no,
                });
            }
        }
    }

    fn joins(&self, breaks: &mut Vec<Break>) {
        // The newest push of each order key that did not join, as the agent had them when the next came.
        let mut newest: HashMap<(i64, &str), &PushRow> = HashMap::new();
        for push in self.story.end.pushes.values() {
            if let Some(joined) = push.joins {
                let other = self.story.end.pushes.get(&joined);
                if other.is_none_or(|other| self.sum(other) != self.sum(push)) {
                    breaks.push(Break::WrongJoin {
                        push: push.id,
                        joined,
                    });
                }
                continue;
            }
            for key in &push.order_keys {
                let twin = newest.insert((push.device, key), push);
                if let Some(twin) = twin.filter(|twin| self.had_to_join(twin, push)) {
                    breaks.push(Break::MissedJoin {
                        push: push.id,
                        twin: twin.id,
                    });
                }
            }
        }
    }

    /// Only one that did not fail later is certain to have been there to join.
    fn had_to_join(&self, twin: &PushRow, push: &PushRow) -> bool {
        let failed = self
            .states
            .get(&twin.id)
            .is_none_or(|state| state.has_failed());
        !failed
            && twin.order_keys == push.order_keys
            && self.sum(twin).is_some()
            && self.sum(twin) == self.sum(push)
    }

    fn sum(&self, push: &PushRow) -> Option<&str> {
        self.sums.get(push.callback.as_deref()?).copied()
    }

    fn answers(&self, breaks: &mut Vec<Break>) {
        let differing = self.story.kept.iter().filter(|kept| kept.conflicting > 0);
        breaks.extend(differing.map(|kept| Break::AnswersDiffer {
            callback: kept.callback.clone(),
        }));
    }

    fn answered(&self, breaks: &mut Vec<Break>) {
        let without = self.story.kept.iter().filter(|kept| kept.answers == 0);
        breaks.extend(without.map(|kept| Break::Unanswered {
            callback: kept.callback.clone(),
        }));
    }
}
