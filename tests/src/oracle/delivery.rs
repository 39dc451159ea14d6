//! What reached the devices, and what the agent says of it.

use std::collections::BTreeSet;

use super::attempts::{Attempt, How};
use super::rules::{Judge, is_uncertain, roots};
use super::{Break, Receipt, State, Tally};

impl<'a> Judge<'a> {
    /// Every message at a device is that of one attempt, and every attempt that was answered had its message.
    ///
    /// Returns the messages that can be told to be of one push, and came while its attempt lasted; oldest first.
    pub(super) fn deliveries(
        &self,
        breaks: &mut Vec<Break>,
        tally: &mut Tally,
    ) -> Vec<(&'a Receipt, i64)> {
        let mut first_copies = Vec::new();
        for (key, receipts) in &self.received {
            let pushes = self.ids(key);
            if pushes.is_empty() {
                self.unknown(key, receipts, breaks);
                continue;
            }
            let matched = self.history.matched(&pushes, receipts);
            if !matched.unexplained.is_empty() {
                breaks.push(self.without_attempt(key, &pushes, receipts, matched.pairs.len()));
            }
            let distinct: BTreeSet<i64> = matched.pairs.iter().map(|(_, one)| one.push).collect();
            tally.second_copies += matched.pairs.len() - distinct.len();
            // Bytes that several pushes share say nothing about which of them this was.
            if let [push] = pushes.as_slice() {
                let in_time = matched
                    .pairs
                    .iter()
                    .filter(|(receipt, one)| in_time(receipt, one));
                first_copies.extend(in_time.map(|(receipt, _)| (*receipt, *push)));
            }
            breaks.extend(unheard(&matched.unheard));
            let answered = matched.pairs.iter().map(|(_, attempt)| *attempt);
            breaks.extend(answered.filter_map(|one| self.other_words(one, receipts)));
        }
        for (key, pushes) in &self.by_bytes {
            if !self.received.contains_key(key) {
                let attempts = pushes
                    .iter()
                    .flat_map(|push| self.history.attempts_of(push.id));
                breaks.extend(unheard(&attempts.collect::<Vec<_>>()));
            }
        }
        breaks.extend(self.yes_without_attempt());
        first_copies.sort_unstable_by_key(|(receipt, _)| receipt.no);
        first_copies
    }

    /// What is recorded as the answer to this attempt, if the device has not said so of these bytes since it began.
    fn other_words(&self, attempt: &Attempt, receipts: &[&Receipt]) -> Option<Break> {
        let end = attempt.end.filter(|end| end.how == How::Answered)?;
        let push = attempt.push;
        let row = self.settled.get(&push).filter(|row| row.at == end.at)?;
        let state = row.state.and_then(State::of);
        let since = receipts
            .iter()
            .filter(|receipt| attempt.began <= receipt.at);
        let mut said = since.flat_map(|receipt| &receipt.answers);
        let agrees = |words: &String| {
            let same = row.answer.as_ref().is_none_or(|answer| answer == words);
            same && verdict(words) == state
        };
        (!said.any(agrees)).then_some(Break::NotItsWords { push })
    }

    fn ids(&self, key: &(&'a str, &'a str)) -> Vec<i64> {
        let pushes = self.by_bytes.get(key).into_iter().flatten();
        pushes.map(|push| push.id).collect()
    }

    /// The disk has no push with these bytes.
    fn unknown(&self, key: &(&'a str, &'a str), receipts: &[&Receipt], breaks: &mut Vec<Break>) {
        let kept = self.story.kept.iter();
        let pushed = kept
            .filter(|kept| (kept.device.as_str(), kept.sha256.as_str()) == *key)
            .count();
        if pushed > 0 {
            breaks.push(Break::SentWithoutRecord {
                device: key.0.into(),
                pushes: vec![],
            });
            return;
        }
        breaks.extend(receipts.iter().map(|receipt| Break::ForeignBytes {
            device: key.0.into(),
            no: receipt.no,
        }));
    }

    fn without_attempt(
        &self,
        key: &(&str, &str),
        pushes: &[i64],
        receipts: &[&Receipt],
        allowed: usize,
    ) -> Break {
        let (device, pushes) = (key.0.to_owned(), pushes.to_vec());
        let mut attempts = pushes
            .iter()
            .flat_map(|push| self.history.attempts_of(*push));
        if attempts.next().is_none() {
            return Break::SentWithoutRecord { device, pushes };
        }
        let received = receipts.len();
        Break::Duplicate {
            device,
            pushes,
            received,
            allowed,
        }
    }

    /// The words that a push was settled with are the answer to that push.
    pub(super) fn words(&self, breaks: &mut Vec<Break>) {
        for event in &self.story.end.events {
            let by_device = event
                .state
                .and_then(State::of)
                .is_some_and(State::is_answered_by_the_device)
                && event.who.is_none();
            let (true, Some(words)) = (by_device, &event.answer) else {
                continue;
            };
            let pushed = self.push(event.push).and_then(|push| self.kept(push));
            let about = crate::sim::field(words.as_bytes(), "MSA", 2);
            if pushed.is_some_and(|kept| about.is_some_and(|about| about != kept.control_id)) {
                breaks.push(Break::AnswerToAnother { push: event.push });
            }
        }
    }

    pub(super) fn joins(&self, breaks: &mut Vec<Break>) {
        // The newest push of each order key that did not join, as the agent had them when the next came.
        let mut newest = std::collections::HashMap::new();
        for push in self.story.end.pushes.values() {
            if let Some(joined) = push.joins {
                let other = self.push(joined).filter(|other| self.may_join(push, other));
                let root = self.story.end.root(joined);
                let is_newest = |key: &String| {
                    let newest: Option<&&super::PushRow> = newest.get(&(push.device, key.as_str()));
                    newest.is_some_and(|newest| newest.id == root)
                };
                if other.is_none() || !push.order_keys.iter().all(is_newest) {
                    let push = push.id;
                    breaks.push(Break::WrongJoin { push, joined });
                }
                continue;
            }
            for key in &push.order_keys {
                let twin = newest.insert((push.device, key.as_str()), push);
                if let Some(twin) = twin.filter(|twin| self.had_to_join(twin, push)) {
                    breaks.push(Break::MissedJoin {
                        push: push.id,
                        twin: twin.id,
                    });
                }
            }
        }
    }

    /// Equal bytes for the same device, and the earlier one had not failed then.
    fn may_join(&self, push: &super::PushRow, other: &super::PushRow) -> bool {
        let failed = self.story.end.events.iter().any(|event| {
            event.push == other.id
                && event.at < push.at
                && event
                    .state
                    .and_then(State::of)
                    .is_some_and(State::has_failed)
        });
        push.device == other.device && self.sum(push) == self.sum(other) && !failed
    }

    /// Only one that did not fail later is certain to have been there to join. What somebody has sent again joins nothing.
    fn had_to_join(&self, twin: &super::PushRow, push: &super::PushRow) -> bool {
        let failed = self
            .states
            .get(&twin.id)
            .is_none_or(|state| state.has_failed());
        !failed
            && push.callback.is_some()
            && twin.order_keys == push.order_keys
            && self.sum(twin).is_some()
            && self.sum(twin) == self.sum(push)
    }

    /// Pushes that were held at any time, or were behind one that was.
    pub(super) fn ever_out_of_turn(&self) -> BTreeSet<i64> {
        let mut held: BTreeSet<i64> = self.history.holds.iter().map(|hold| hold.push).collect();
        let mut keys = BTreeSet::new();
        for push in roots(&self.story.end) {
            let own = push.order_keys.iter().map(|key| (push.device, key));
            if held.contains(&push.id) || own.clone().any(|key| keys.contains(&key)) {
                held.insert(push.id);
                keys.extend(own);
            }
        }
        held
    }
}

/// What an acknowledgement's code makes of a push.
fn verdict(words: &str) -> Option<State> {
    match crate::sim::field(words.as_bytes(), "MSA", 1)?.as_str() {
        "AA" | "CA" => Some(State::Delivered),
        "AE" | "AR" => Some(State::Rejected),
        _ => None,
    }
}

/// Attempts that are recorded as answered by a device that had nothing of them.
fn unheard(attempts: &[&Attempt]) -> Vec<Break> {
    let answered = attempts
        .iter()
        .filter(|one| one.end.is_some_and(|end| end.how == How::Answered));
    answered
        .map(|one| Break::FalseYes { push: one.push })
        .collect()
}

/// Whether it came before the agent gave up waiting. What the network delivers later is in nobody's hands.
fn in_time(receipt: &Receipt, attempt: &Attempt) -> bool {
    !is_uncertain(attempt) || attempt.end.is_none_or(|end| receipt.at <= end.at)
}
