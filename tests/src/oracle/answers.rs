//! What the callers were told.

use std::collections::{HashMap, HashSet};

use super::rules::Judge;
use super::{Break, CloudAnswer};

impl Judge<'_> {
    /// No answer is outside that the disk does not have. Returns how many pushes were refused without a row.
    pub(super) fn recorded(&self, answers: &[CloudAnswer], breaks: &mut Vec<Break>) -> usize {
        let end = &self.story.end;
        let mut recorded: HashMap<&str, (i64, Option<&str>)> = HashMap::new();
        for event in &end.events {
            let callback = end
                .pushes
                .get(&event.push)
                .and_then(|push| push.callback.as_deref());
            if let (Some(callback), Some(status)) = (callback, event.status)
                && recorded
                    .insert(callback, (status, event.answer.as_deref()))
                    .is_some()
            {
                let callback = callback.to_owned();
                breaks.push(Break::AnswersDiffer { callback });
            }
        }
        let accepted: HashSet<&str> = end
            .pushes
            .values()
            .filter_map(|push| push.callback.as_deref())
            .collect();
        let refusing: HashSet<&str> = self
            .story
            .kept
            .iter()
            .filter(|kept| self.refuses_when_away(&kept.device))
            .map(|kept| kept.callback.as_str())
            .collect();
        let mut refused = 0;
        for answer in answers {
            let callback = answer.callback.as_str();
            if answer.status == 400 && refusing.contains(callback) && !accepted.contains(callback) {
                refused += 1;
            } else {
                breaks.extend(unlike(answer, recorded.get(callback)));
            }
        }
        breaks.extend(self.differing());
        refused
    }

    fn differing(&self) -> impl Iterator<Item = Break> + '_ {
        let differing = self.story.kept.iter().filter(|kept| kept.conflicting > 0);
        differing.map(|kept| Break::AnswersDiffer {
            callback: kept.callback.clone(),
        })
    }

    pub(super) fn answered(&self, breaks: &mut Vec<Break>) {
        let without = self.story.kept.iter().filter(|kept| kept.answers == 0);
        breaks.extend(without.map(|kept| Break::Unanswered {
            callback: kept.callback.clone(),
        }));
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
