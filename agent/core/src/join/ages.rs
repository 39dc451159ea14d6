//! Which pushes are still remembered, in blocks of neighbouring numbers.
//!
//! What is not final is always remembered. Of what is final, as many as fit: if there are more, the block whose
//! last push ended first is dropped. Dropping is for the memory's sake only; a push that is found although its block was
//! dropped is a candidate like any other.

use std::collections::BTreeMap;

use crate::push::{PushId, Timestamp};

#[derive(Debug)]
pub(crate) struct Ages {
    blocks: BTreeMap<u64, Block>,
    finals: usize,
    most: usize,
}

#[derive(Debug)]
struct Block {
    living: usize,
    finals: usize,
    last_end: Timestamp,
    kept: Kept,
}

/// Whether the final pushes of a block are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    All,
    Living,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            living: 0,
            finals: 0,
            last_end: Timestamp(0),
            kept: Kept::All,
        }
    }
}

impl Ages {
    /// Remembers so many final pushes at most.
    pub(crate) fn most(most: usize) -> Self {
        Self {
            blocks: BTreeMap::new(),
            finals: 0,
            most,
        }
    }

    pub(crate) fn born(&mut self, id: PushId) {
        self.blocks.entry(block(id)).or_default().living += 1;
    }

    pub(crate) fn ended(&mut self, id: PushId, now: Timestamp) {
        let block = self.blocks.entry(block(id)).or_default();
        block.living = block.living.saturating_sub(1);
        block.finals += 1;
        block.last_end = now;
        block.kept = Kept::All;
        self.finals += 1;
        if self.finals > self.most {
            self.drop_oldest();
        }
    }

    /// Whether the print of this push is worth its slot.
    pub(crate) fn wants(&self, id: PushId, is_live: impl Fn(PushId) -> bool) -> bool {
        match self.blocks.get(&block(id)) {
            None => false,
            Some(block) => block.kept == Kept::All || is_live(id),
        }
    }

    /// Whether anything from `first` to `last` is remembered.
    pub(crate) fn any_between(&self, first: PushId, last: PushId) -> bool {
        let (first, last) = (block(first), block(last));
        first <= last && self.blocks.range(first..=last).next().is_some()
    }

    /// After a start: so many pushes of a stretch have ended, and are remembered.
    pub(crate) fn recall(&mut self, id: PushId, finals: usize, now: Timestamp) {
        let block = self.blocks.entry(block(id)).or_default();
        block.finals += finals;
        block.last_end = now;
        block.kept = Kept::All;
        self.finals += finals;
    }

    /// Counts the living anew, after a start or a commit that failed.
    pub(crate) fn recount(&mut self, living: impl Iterator<Item = PushId>) {
        for block in self.blocks.values_mut() {
            block.living = 0;
        }
        for id in living {
            self.blocks.entry(block(id)).or_default().living += 1;
        }
        self.blocks
            .retain(|_, block| block.living > 0 || block.finals > 0);
    }

    /// Forgets blocks until there is room for another one.
    fn drop_oldest(&mut self) {
        while self.finals + BLOCK > self.most {
            let oldest = self
                .blocks
                .iter_mut()
                .filter(|(_, block)| block.finals > 0)
                .min_by_key(|(no, block)| (block.last_end, **no));
            let Some((no, block)) = oldest else { return };
            self.finals -= std::mem::take(&mut block.finals);
            block.kept = Kept::Living;
            let no = *no;
            if block.living == 0 {
                self.blocks.remove(&no);
            }
        }
    }
}

fn block(id: PushId) -> u64 {
    id.0 / BLOCK as u64
}

pub(crate) const BLOCK: usize = 4096;
/// Final pushes remembered at most. About 20 bytes each.
pub(crate) const MAX_FINAL: usize = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 20_000;
    const NOBODY: fn(PushId) -> bool = |_| false;

    #[test]
    fn what_ended_first_is_forgotten_first_whatever_its_number() {
        let mut ages = Ages::most(MANY);
        let (old, late) = (PushId(1), PushId(10_000));
        for id in [old, late] {
            ages.born(id);
        }
        ages.ended(late, Timestamp(1));
        for n in 0..MANY as u64 {
            let id = PushId(100_000 + n);
            ages.born(id);
            ages.ended(id, Timestamp(2));
        }
        assert!(!ages.wants(late, NOBODY));
        assert!(ages.wants(old, NOBODY), "it has not even ended");
        ages.ended(old, Timestamp(3));
        assert!(ages.wants(old, NOBODY));
        assert!(ages.finals <= MANY);
    }

    #[test]
    fn a_block_that_was_dropped_keeps_its_living() {
        let mut ages = Ages::most(MANY);
        let (alive, ended) = (PushId(1), PushId(2));
        for id in [alive, ended] {
            ages.born(id);
        }
        ages.ended(ended, Timestamp(1));
        for n in 0..MANY as u64 {
            let id = PushId(100_000 + n);
            ages.born(id);
            ages.ended(id, Timestamp(2));
        }
        assert!(ages.wants(alive, |id| id == alive));
        assert!(!ages.wants(ended, |id| id == alive));
        assert!(ages.any_between(PushId(0), PushId(5)));
    }
}
