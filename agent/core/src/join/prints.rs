//! A table from prints to push numbers, eight bytes a slot.
//!
//! A slot holds 32 bits of the print and the low 32 bits of the number; eight more bits of the print choose the part.
//! So different things can share a slot's print: everything found is a candidate, and whoever asks compares the real
//! thing on disk. Parts grow apart, so no growth moves more than a few kilobytes. Within a part a print stands close
//! to where it would be if all were sorted, so a part that grows is read and written from front to back.

use crate::push::{Print, PushId};

#[derive(Debug)]
pub(crate) struct Prints {
    parts: Vec<Part>,
}

/// Open addressing, linear, at most [`FULL`] filled. An empty slot is zero.
#[derive(Debug, Default)]
struct Part {
    slots: Vec<u64>,
    used: usize,
}

/// Where a print belongs: its part, and what its slot keeps of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) part: u8,
    /// Never zero, so that no used slot is.
    pub(crate) print: u32,
}

impl From<Print> for Place {
    fn from(print: Print) -> Self {
        let [part, a, b, c, d, ..] = print.0.to_be_bytes();
        Self {
            part,
            print: u32::from_be_bytes([a, b, c, d]).max(1),
        }
    }
}

impl Default for Prints {
    fn default() -> Self {
        let parts = std::iter::repeat_with(Part::default).take(PARTS).collect();
        Self { parts }
    }
}

impl Prints {
    /// Makes room for about so many more, so that filling it does not grow it step by step.
    pub(crate) fn reserve(&mut self, more: usize) {
        let each = more / PARTS + more / PARTS / 16 + 1;
        for part in &mut self.parts {
            let needed = slots_for(part.used + each);
            if needed > part.slots.len() {
                part.refill(needed, |_| true);
            }
        }
    }

    /// Keeps `id` under `place`. A part that is full first drops what `keep` does not want any more.
    pub(crate) fn insert(&mut self, place: Place, id: PushId, keep: impl Fn(u32) -> bool) {
        let Some(part) = self.parts.get_mut(usize::from(place.part)) else {
            return;
        };
        if part.used >= room(part.slots.len()) {
            part.make_room(keep);
        }
        part.put(slot(place.print, low(id)));
    }

    /// Takes out one entry that is known to be superseded.
    pub(crate) fn remove(&mut self, place: Place, id: PushId) {
        if let Some(part) = self.parts.get_mut(usize::from(place.part)) {
            part.remove(slot(place.print, low(id)));
        }
    }

    /// Every push that may be the one, newest first; `newest` is the highest number there is.
    pub(crate) fn candidates(&self, place: Place, newest: PushId) -> Vec<PushId> {
        let Some(part) = self.parts.get(usize::from(place.part)) else {
            return Vec::new();
        };
        let mut found: Vec<PushId> = part
            .run(place.print)
            .filter(|slot| slot >> 32 == u64::from(place.print))
            .map(|slot| full(low(PushId(slot)), newest))
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.used).sum()
    }
}

impl Part {
    /// The slots that a print can be in: from its own place to the next empty one.
    fn run(&self, print: u32) -> impl Iterator<Item = u64> {
        let (before, after) = self.slots.split_at(start(print, self.slots.len()));
        after
            .iter()
            .chain(before)
            .copied()
            .take_while(|slot| *slot != 0)
    }

    /// There is room: whoever calls has seen to it.
    fn put(&mut self, new: u64) {
        let mut at = start(print_of(new), self.slots.len());
        loop {
            match self.slots.get_mut(at) {
                Some(slot) if *slot == 0 => {
                    *slot = new;
                    self.used += 1;
                    return;
                }
                Some(slot) if *slot == new => return,
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }

    fn make_room(&mut self, keep: impl Fn(u32) -> bool) {
        let kept = self
            .slots
            .iter()
            .filter(|slot| **slot != 0 && keep(low(PushId(**slot))))
            .count();
        // Some air, or the next few would ask for room again.
        let needed = slots_for(kept + kept / AIR + 4);
        self.refill(needed, keep);
    }

    fn refill(&mut self, slots: usize, keep: impl Fn(u32) -> bool) {
        let old = std::mem::replace(&mut self.slots, vec![0; slots]);
        self.used = 0;
        for slot in old {
            if slot != 0 && keep(low(PushId(slot))) {
                self.put(slot);
            }
        }
    }

    /// Closes the gap, so that no run is cut in two.
    fn remove(&mut self, gone: u64) {
        let count = self.slots.len();
        let at = start(print_of(gone), count);
        let run: Vec<u64> = self.run(print_of(gone)).collect();
        if !run.contains(&gone) {
            return;
        }
        for step in 0..run.len() {
            if let Some(slot) = self.slots.get_mut((at + step) % count) {
                *slot = 0;
            }
        }
        self.used -= run.len();
        for slot in run.into_iter().filter(|slot| *slot != gone) {
            self.put(slot);
        }
    }
}

fn slot(print: u32, id: u32) -> u64 {
    u64::from(print) << 32 | u64::from(id)
}

fn print_of(slot: u64) -> u32 {
    let [a, b, c, d, ..] = slot.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The low half of a number: four billion pushes are enough to tell two living ones apart.
pub(crate) fn low(id: PushId) -> u32 {
    let [.., a, b, c, d] = id.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// The highest number up to `newest` that ends in `low`.
pub(crate) fn full(low: u32, newest: PushId) -> PushId {
    let behind = self::low(newest).wrapping_sub(low);
    PushId(newest.0.saturating_sub(u64::from(behind)))
}

/// Prints are spread evenly, so their order is their place.
fn start(print: u32, slots: usize) -> usize {
    let place = (u64::from(print) * slots as u64) >> 32;
    usize::try_from(place).unwrap_or_default()
}

fn room(slots: usize) -> usize {
    slots * FULL / 100
}

fn slots_for(entries: usize) -> usize {
    entries * 100 / FULL + 2
}

/// Parts: one of a million entries has about four thousand, 40 kB.
const PARTS: usize = 256;
/// Percent of the slots in use before a part grows; above it runs become long.
const FULL: usize = 80;
/// A part grows by one in so many.
const AIR: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    const ALL: fn(u32) -> bool = |_| true;

    fn place(print: u64) -> Place {
        Place::from(Print(print))
    }

    #[test]
    fn everything_that_shares_a_print_is_a_candidate_newest_first() {
        let mut prints = Prints::default();
        for id in [5, 3, 9, 3] {
            prints.insert(place(7 << 24), PushId(id), ALL);
        }
        prints.insert(place(8 << 24), PushId(4), ALL);
        assert_eq!(
            prints.candidates(place(7 << 24), PushId(10)),
            [PushId(9), PushId(5), PushId(3)]
        );
        assert_eq!(prints.candidates(place(9 << 24), PushId(10)), []);
        assert_eq!(prints.len(), 4);
    }

    #[test]
    fn numbers_above_four_billion_come_back_whole() {
        let newest = PushId((3 << 32) + 5);
        let mut prints = Prints::default();
        for id in [(3 << 32) + 5, (3 << 32) - 1] {
            prints.insert(place(1), PushId(id), ALL);
        }
        assert_eq!(
            prints.candidates(place(1), newest),
            [newest, PushId((3 << 32) - 1)]
        );
    }

    #[test]
    fn a_table_that_forgets_as_it_fills_does_not_grow_for_ever() {
        let mut prints = Prints::default();
        for id in 0..200_000_u64 {
            let print = Print((id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let oldest = u32::try_from(id.saturating_sub(10_000)).unwrap();
            prints.insert(Place::from(print), PushId(id), |id| id >= oldest);
        }
        let slots: usize = prints.parts.iter().map(|part| part.slots.len()).sum();
        assert!(slots < 25_000, "{slots} slots for 10,000 entries");
    }

    proptest! {
        #[test]
        fn it_finds_what_a_plain_map_finds(steps in prop::collection::vec((0..3_u8, 0..40_u64, 1..60_u64), 1..300)) {
            let mut prints = Prints::default();
            let mut model: BTreeMap<u64, std::collections::BTreeSet<u64>> = BTreeMap::new();
            for (what, print, id) in steps {
                // Few prints, close together and at the end of a part: long runs that wrap around.
                let print = u64::MAX - (print << 24) - print % 3;
                let same = place(print);
                if what < 2 {
                    prints.insert(same, PushId(id), ALL);
                    model.entry(print >> 24).or_default().insert(id);
                } else {
                    prints.remove(same, PushId(id));
                    model.entry(print >> 24).or_default().remove(&id);
                }
                for (print, ids) in &model {
                    let found = prints.candidates(place(print << 24), PushId(100));
                    let expected: Vec<PushId> = ids.iter().rev().map(|id| PushId(*id)).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
