//! Twice is once: what is remembered to recognise a push that came before.
//!
//! Two tables in memory, one of callbacks and one of order keys, each by device. They hold prints only: what is found is
//! a candidate, and the caller reads its row and compares the callback, or the keys and the content, before it calls two
//! pushes one. So a print that two things share can neither hide a repetition nor join strangers. Pushes that are not
//! final are always here, final ones as [`ages`] says.

mod ages;
mod prints;
mod saved;

pub(crate) use ages::BLOCK;
pub(crate) use ages::MAX_FINAL;
pub(crate) use prints::full;
pub use saved::SavedPrints;
pub(crate) use saved::{MOST, Printed, Table};

use crate::push::{DeviceNo, Print, PushId, Timestamp};
use ages::Ages;
use prints::{Place, Prints};

#[derive(Debug)]
pub(crate) struct Memory {
    callbacks: Prints,
    keys: Prints,
    ages: Ages,
    /// What was learned since the last segment.
    fresh: Fresh,
    /// Order keys whose newest push was replaced since the segment before the last. A commit that fails brings it back.
    replaced: [Vec<Printed>; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Fresh {
    pub(crate) callbacks: Vec<Printed>,
    pub(crate) keys: Vec<Printed>,
    pub(crate) pushes: usize,
    pub(crate) first: Option<PushId>,
}

/// What is kept of one push.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) id: PushId,
    pub(crate) device: DeviceNo,
    pub(crate) callback: Option<Print>,
    pub(crate) keys: Box<[Print]>,
}

/// The newest push so far of an order key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Older {
    pub key: Print,
    pub id: PushId,
    /// All its keys.
    pub keys: Vec<Print>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::most(MAX_FINAL)
    }
}

impl Memory {
    fn most(finals: usize) -> Self {
        Self {
            callbacks: Prints::default(),
            keys: Prints::default(),
            ages: Ages::most(finals),
            fresh: Fresh::default(),
            replaced: [Vec::new(), Vec::new()],
        }
    }

    /// Remembers a push; `older` are those it replaces as the newest of an order key.
    pub(crate) fn learn(
        &mut self,
        seen: &Remembered,
        older: &[Older],
        is_live: impl Fn(PushId) -> bool,
    ) {
        // First, so that its own later keys do not drop it where a part of the table is full.
        self.ages.born(seen.id);
        for older in older {
            self.replace(seen.device, older);
        }
        let ages = &self.ages;
        let keep = |low| ages.wants(full(low, seen.id), &is_live);
        if let Some(callback) = seen.callback {
            self.callbacks.insert(callback.into(), seen.id, keep);
            self.fresh.callbacks.push((callback, seen.id));
        }
        for key in &seen.keys {
            let print = of_device(seen.device, *key);
            self.keys.insert(print.into(), seen.id, keep);
            self.fresh.keys.push((print, seen.id));
        }
        self.fresh.pushes += 1;
        self.fresh.first.get_or_insert(seen.id);
    }

    /// A key that comes again and again would fill one place of the table.
    fn replace(&mut self, device: DeviceNo, older: &Older) {
        let print = of_device(device, older.key);
        let place = Place::from(print);
        let mut others = older.keys.iter().filter(|key| **key != older.key);
        // One entry stands for two keys whose prints look the same here.
        if others.any(|key| Place::from(of_device(device, *key)) == place) {
            return;
        }
        self.keys.remove(place, older.id);
        self.replaced[1].push((print, older.id));
    }

    pub(crate) fn ended(&mut self, id: PushId, now: Timestamp) {
        self.ages.ended(id, now);
    }

    pub(crate) fn by_callback(&self, callback: Print, newest: PushId) -> Vec<PushId> {
        self.callbacks.candidates(callback.into(), newest)
    }

    pub(crate) fn by_key(&self, device: DeviceNo, key: Print, newest: PushId) -> Vec<PushId> {
        let place = of_device(device, key).into();
        self.keys.candidates(place, newest)
    }

    pub(crate) fn fresh_pushes(&self) -> usize {
        self.fresh.pushes
    }

    /// What was learned since the last segment, for the next one.
    pub(crate) fn take_fresh(&mut self) -> Fresh {
        let [before, since] = &mut self.replaced;
        *before = std::mem::take(since);
        std::mem::take(&mut self.fresh)
    }

    /// Whether a segment with these pushes is still of use.
    pub(crate) fn any_between(&self, first: PushId, last: PushId) -> bool {
        self.ages.any_between(first, last)
    }

    /// Takes back what a segment has kept, where `keep` wants it.
    pub(crate) fn recall(&mut self, saved: &[SavedPrints], keep: impl Fn(PushId) -> bool) {
        let all = |_| true;
        let tables = [
            (Table::Callbacks, &mut self.callbacks),
            (Table::Keys, &mut self.keys),
        ];
        for (table, prints) in tables {
            saved::each(saved, table, |place, id| {
                if keep(id) {
                    prints.insert(place, id, all);
                }
            });
        }
    }

    pub(crate) fn reserve(&mut self, callbacks: usize, keys: usize) {
        self.callbacks.reserve(callbacks);
        self.keys.reserve(keys);
    }

    pub(crate) fn recall_ended(&mut self, id: PushId, finals: usize, now: Timestamp) {
        self.ages.recall(id, finals, now);
    }

    pub(crate) fn recount(&mut self, living: impl Iterator<Item = PushId>) {
        self.ages.recount(living);
    }

    /// The memory after a commit that failed: `self` is what was learned from the rows since the last segment, `old`
    /// knows the rest, and some that came to nothing. Those are harmless: their rows are not there.
    pub(crate) fn resume(&mut self, mut old: Self) {
        let place = |(print, id): &Printed| (Place::from(*print), *id);
        for (place, id) in self.fresh.callbacks.iter().map(place) {
            old.callbacks.insert(place, id, |_| true);
        }
        let replaced = old.replaced.iter().flatten();
        for (place, id) in self.fresh.keys.iter().chain(replaced).map(place) {
            old.keys.insert(place, id, |_| true);
        }
        old.fresh = std::mem::take(&mut self.fresh);
        *self = old;
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.callbacks.len(), self.keys.len())
    }
}

/// The print of an order key of one device.
fn of_device(device: DeviceNo, key: Print) -> Print {
    Print(key.0 ^ u64::from(device.0).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceNo = DeviceNo(1);
    const NOBODY: fn(PushId) -> bool = |_| false;

    fn seen(id: u64, callback: u64, keys: &[u64]) -> Remembered {
        Remembered {
            id: PushId(id),
            device: DEVICE,
            callback: Some(Print(callback)),
            keys: keys.iter().map(|key| Print(*key)).collect(),
        }
    }

    fn older(id: u64, key: u64, keys: &[u64]) -> Older {
        Older {
            key: Print(key),
            id: PushId(id),
            keys: keys.iter().map(|key| Print(*key)).collect(),
        }
    }

    fn by_key(memory: &Memory, key: u64) -> Vec<u64> {
        let found = memory.by_key(DEVICE, Print(key), PushId(1 << 20));
        found.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_newest_push_of_an_order_key_comes_first_and_may_replace_the_older() {
        let mut memory = Memory::default();
        let key = 5 << 24;
        memory.learn(&seen(1, 1, &[key]), &[], NOBODY);
        memory.learn(&seen(2, 2, &[key]), &[], NOBODY);
        assert_eq!(by_key(&memory, key), [2, 1]);
        memory.learn(&seen(3, 3, &[key]), &[older(2, key, &[key])], NOBODY);
        assert_eq!(by_key(&memory, key), [3, 1]);
        assert!(memory.by_key(DeviceNo(2), Print(key), PushId(9)).is_empty());
    }

    #[test]
    fn a_push_is_still_found_by_its_other_key_when_both_look_the_same() {
        let mut memory = Memory::default();
        let (key, alike) = (5 << 24, (5 << 24) + 1);
        memory.learn(&seen(1, 1, &[key, alike]), &[], NOBODY);
        memory.learn(&seen(2, 2, &[key]), &[older(1, key, &[key, alike])], NOBODY);
        assert_eq!(by_key(&memory, alike), [2, 1]);
    }

    #[test]
    fn the_first_push_of_a_block_is_found_by_each_of_its_keys() {
        // However full the part is that both keys fall into.
        for before in 0..20 {
            let mut memory = Memory::default();
            for n in 0..before {
                memory.learn(&seen(n + 1, 1 << 60, &[(n + 10) << 24]), &[], |_| true);
            }
            let first = BLOCK as u64;
            let (key, other) = (5 << 24, 6 << 24);
            memory.learn(&seen(first, 2 << 60, &[key, other]), &[], |id| id.0 < first);
            assert_eq!(by_key(&memory, key), [first], "{before} before");
            assert_eq!(by_key(&memory, other), [first], "{before} before");
        }
    }

    #[test]
    fn a_commit_that_failed_brings_back_what_its_push_had_replaced() {
        let mut memory = Memory::default();
        let key = 5 << 24;
        memory.learn(&seen(1, 1, &[key]), &[], NOBODY);
        memory.take_fresh();
        memory.learn(&seen(2, 2, &[key]), &[older(1, key, &[key])], NOBODY);
        memory.take_fresh();
        let mut again = Memory::default();
        again.resume(memory);
        assert_eq!(by_key(&again, key), [2, 1]);
    }

    #[test]
    fn memory_stays_flat_however_many_pushes_come_and_go() {
        let most = 50_000;
        let mut memory = Memory::most(most);
        let many = 100_000_u64;
        for id in 1..=many {
            let print = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            memory.learn(&seen(id, print, &[print]), &[], NOBODY);
            memory.ended(PushId(id), Timestamp(0));
            if id % 4096 == 0 {
                memory.take_fresh();
            }
        }
        let (callbacks, keys) = memory.sizes();
        assert!(callbacks < most * 5 / 4, "{callbacks} callbacks");
        assert!(keys < most * 5 / 4, "{keys} keys");
        let oldest = 1_u64.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert!(memory.by_callback(Print(oldest), PushId(many)).is_empty());
        let newest = many.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert_eq!(
            memory.by_callback(Print(newest), PushId(many)),
            [PushId(many)]
        );
    }
}
