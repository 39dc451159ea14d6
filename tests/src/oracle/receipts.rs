//! What is told after a caller has its only answer.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rules::Judge;
use super::snapshot::{ANSWERED, HELD, LEVEL, RELEASED, SETTLED};
use super::{Break, State};

impl Judge<'_> {
    /// Each piece of news has its receipt, written in the commit that made it news, and nothing else has one.
    pub(super) fn receipts(&self, breaks: &mut Vec<Break>) {
        if !self.story.receipts {
            return;
        }
        let wanted = self.news();
        for push in self.story.end.pushes.keys() {
            let count = |all: &BTreeMap<i64, usize>| all.get(push).copied().unwrap_or_default();
            let (wanted, written) = (count(&wanted), count(&self.story.end.receipts));
            if wanted != written {
                breaks.push(Break::Receipts {
                    push: *push,
                    wanted,
                    written,
                });
            }
        }
    }

    fn news(&self) -> BTreeMap<i64, usize> {
        let mut news: BTreeMap<i64, usize> = BTreeMap::new();
        let (mut heard, mut last) = (HashSet::new(), HashMap::new());
        for event in &self.story.end.events {
            let push = event.push;
            let has_caller = self.push(push).is_some_and(|push| push.callback.is_some());
            let waits = has_caller && !heard.contains(&push);
            let is_news = match event.kind {
                SETTLED => event.status.is_none(),
                HELD | RELEASED => !waits,
                // Told 202 while it was held: the hold was no news before.
                ANSWERED => last.get(&push) == Some(&State::Held),
                LEVEL => true,
                _ => false,
            };
            if is_news {
                *news.entry(push).or_default() += 1;
            }
            if event.status.is_some() {
                heard.insert(push);
            }
            if let Some(state) = event.state.and_then(State::of) {
                last.insert(push, state);
            }
        }
        news
    }
}
