//! Sets of push numbers at two bytes a number.

use std::collections::{BTreeMap, VecDeque};

use crate::push::PushId;

/// Many numbers, sorted: blocks of up to 65,536 neighbours, of which only the low half is kept.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct IdSet {
    blocks: BTreeMap<u64, Vec<u16>>,
    len: usize,
}

impl IdSet {
    pub(crate) fn insert(&mut self, id: PushId) {
        let (block, low) = split(id);
        let lows = self.blocks.entry(block).or_default();
        match lows.last() {
            Some(last) if *last >= low => match lows.binary_search(&low) {
                Ok(_) => return,
                Err(at) => lows.insert(at, low),
            },
            _ => lows.push(low),
        }
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, id: PushId) -> bool {
        let (block, low) = split(id);
        let Some(lows) = self.blocks.get_mut(&block) else {
            return false;
        };
        let Ok(at) = lows.binary_search(&low) else {
            return false;
        };
        lows.remove(at);
        if lows.is_empty() {
            self.blocks.remove(&block);
        }
        self.len -= 1;
        true
    }

    pub(crate) fn contains(&self, id: PushId) -> bool {
        let (block, low) = split(id);
        self.blocks
            .get(&block)
            .is_some_and(|lows| lows.binary_search(&low).is_ok())
    }

    pub(crate) fn first(&self) -> Option<PushId> {
        let (block, lows) = self.blocks.first_key_value()?;
        Some(join(*block, *lows.first()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.len
    }

    /// Ascending, from `from` on, up to but without `to`.
    pub(crate) fn between(&self, from: PushId, to: PushId) -> impl Iterator<Item = PushId> {
        let (first, low) = split(from);
        let blocks = self.blocks.range(first..);
        let all = blocks.flat_map(move |(block, lows)| {
            let begin = if *block == first {
                lows.partition_point(|other| *other < low)
            } else {
                0
            };
            lows.iter().skip(begin).map(|low| join(*block, *low))
        });
        all.take_while(move |id| *id < to)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PushId> {
        self.between(PushId(0), PushId(u64::MAX))
    }

    /// Gives back what the blocks have more than they need.
    pub(crate) fn shrink(&mut self) {
        for lows in self.blocks.values_mut() {
            lows.shrink_to_fit();
        }
    }
}

/// Few numbers, sorted, taken from the front and mostly added at the end.
#[derive(Debug, Default)]
pub(crate) struct Waiting(VecDeque<PushId>);

impl Waiting {
    pub(crate) fn insert(&mut self, id: PushId) {
        match self.0.back() {
            Some(last) if *last >= id => {
                if let Err(at) = self.0.binary_search(&id) {
                    self.0.insert(at, id);
                }
            }
            _ => self.0.push_back(id),
        }
    }

    pub(crate) fn remove(&mut self, id: PushId) {
        if self.0.front() == Some(&id) {
            self.0.pop_front();
        } else if let Ok(at) = self.0.binary_search(&id) {
            self.0.remove(at);
        }
    }

    pub(crate) fn first(&self) -> Option<PushId> {
        self.0.front().copied()
    }

    /// The one that has so many before it.
    pub(crate) fn nth(&self, before: usize) -> Option<PushId> {
        self.0.get(before).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PushId> {
        self.0.iter().copied()
    }
}

fn split(id: PushId) -> (u64, u16) {
    let [.., high, low] = id.0.to_be_bytes();
    (id.0 >> 16, u16::from_be_bytes([high, low]))
}

fn join(block: u64, low: u16) -> PushId {
    PushId(block << 16 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..200_000_u64), 0..200), from in 0..200_000_u64) {
            let (mut set, mut line, mut model) = (IdSet::default(), Waiting::default(), BTreeSet::new());
            for (add, id) in steps {
                let id = PushId(id);
                if add {
                    set.insert(id);
                    line.insert(id);
                    model.insert(id);
                } else {
                    prop_assert_eq!(set.remove(id), model.remove(&id));
                    line.remove(id);
                }
                prop_assert_eq!(set.contains(id), add);
                prop_assert_eq!(set.first(), model.first().copied());
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert!(line.iter().eq(model.iter().copied()));
            let (from, to) = (PushId(from), PushId(from + 70_000));
            prop_assert!(set.between(from, to).eq(model.range(from..to).copied()));
        }
    }
}
