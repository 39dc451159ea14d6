//! The prints of a stretch of pushes as bytes, sorted so that a table is filled part by part.
//!
//! | bytes | hold |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | number of the first push |
//! | 256 x 2, then 6 an entry | callbacks: entries of each part; print and number less the first, part by part |
//! | 256 x 2, then 6 an entry | order keys, in the same form |
//!
//! All numbers big-endian.

use super::prints::Place;
use crate::push::{Print, PushId};

/// The prints of a stretch of pushes, as a segment keeps them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedPrints {
    first: PushId,
    callbacks: Saved,
    keys: Saved,
}

/// One table's share.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Saved {
    counts: Vec<u16>,
    entries: Vec<u8>,
}

/// A print and its push.
pub(crate) type Printed = (Print, PushId);

impl SavedPrints {
    /// Encodes what was learned of at most [`MOST`] pushes from `first` on. Of an order key that came again and again only
    /// the newest few are kept: one of them is it, unless its print is shared by that many strangers.
    pub(crate) fn encode(first: PushId, callbacks: &[Printed], keys: &[Printed]) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(first.0.to_be_bytes());
        encode(first, callbacks.to_vec(), &mut bytes);
        let mut newest = keys.to_vec();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let mut same = (Print(0), 0);
        newest.retain(|(print, _)| {
            same = if *print == same.0 {
                (*print, same.1 + 1)
            } else {
                (*print, 1)
            };
            same.1 <= FEW
        });
        encode(first, newest, &mut bytes);
        bytes
    }

    /// Reads a segment's bytes; `None` if they are not what `SavedPrints::encode` wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first()?;
        let (first, bytes) = bytes.split_first_chunk()?;
        let (callbacks, bytes) = Saved::decode(bytes)?;
        let (keys, rest) = Saved::decode(bytes)?;
        let whole = *version == VERSION && rest.is_empty();
        whole.then_some(Self {
            first: PushId(u64::from_be_bytes(*first)),
            callbacks,
            keys,
        })
    }

    #[cfg(test)]
    fn sizes(&self) -> (usize, usize) {
        let entries = |saved: &Saved| saved.entries.len() / ENTRY;
        (entries(&self.callbacks), entries(&self.keys))
    }
}

fn encode(first: PushId, mut printed: Vec<Printed>, bytes: &mut Vec<u8>) {
    printed.sort_unstable();
    let mut counts = vec![0_u16; PARTS];
    let mut entries = Vec::with_capacity(printed.len() * ENTRY);
    for (print, id) in printed {
        let place = Place::from(print);
        let Ok(offset) = u16::try_from(id.0.saturating_sub(first.0)) else {
            continue;
        };
        if let Some(count) = counts.get_mut(usize::from(place.part)) {
            *count += 1;
        }
        entries.extend(place.print.to_be_bytes());
        entries.extend(offset.to_be_bytes());
    }
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend(entries);
}

impl Saved {
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, bytes) = bytes.split_at_checked(PARTS * 2)?;
        let counts: Vec<u16> = counts
            .as_chunks()
            .0
            .iter()
            .map(|count| u16::from_be_bytes(*count))
            .collect();
        let entries: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let (entries, rest) = bytes.split_at_checked(entries * ENTRY)?;
        let entries = entries.to_vec();
        Some((Self { counts, entries }, rest))
    }
}

/// Goes through several stretches part by part, so that the part being filled stays in the processor's cache.
pub(crate) fn each(saved: &[SavedPrints], table: Table, mut take: impl FnMut(Place, PushId)) {
    let mut cursors: Vec<(PushId, &Saved, &[u8])> = saved
        .iter()
        .map(|saved| {
            let of = match table {
                Table::Callbacks => &saved.callbacks,
                Table::Keys => &saved.keys,
            };
            (saved.first, of, of.entries.as_slice())
        })
        .collect();
    for part in 0..=u8::MAX {
        for (first, of, rest) in &mut cursors {
            let count = of.counts.get(usize::from(part)).copied().unwrap_or(0);
            let Some((own, after)) = rest.split_at_checked(usize::from(count) * ENTRY) else {
                continue;
            };
            *rest = after;
            for [a, b, c, d, high, low] in own.as_chunks().0 {
                let print = u32::from_be_bytes([*a, *b, *c, *d]);
                let offset = u16::from_be_bytes([*high, *low]);
                take(Place { part, print }, PushId(first.0 + u64::from(offset)));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Callbacks,
    Keys,
}

const VERSION: u8 = 1;
const PARTS: usize = 256;
const ENTRY: usize = 6;
/// Entries of one order key in a segment.
const FEW: usize = 8;
/// Numbers within a stretch take 16 bits.
pub(crate) const MOST: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(n: u64) -> Printed {
        (
            Print(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            PushId(100 + n),
        )
    }

    #[test]
    fn what_was_saved_comes_back_part_by_part() {
        let all: Vec<Printed> = (0..5000).map(printed).collect();
        let bytes = SavedPrints::encode(PushId(100), &all, &all[..7]);
        let saved = SavedPrints::decode(&bytes).unwrap();
        assert_eq!(saved.sizes(), (5000, 7));
        let mut found = Vec::new();
        each(&[saved], Table::Callbacks, |place, id| {
            found.push((place, id));
        });
        assert!(found.is_sorted());
        let mut expected: Vec<(Place, PushId)> = all
            .iter()
            .map(|(print, id)| (Place::from(*print), *id))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn of_an_order_key_that_came_again_and_again_the_newest_few_are_kept() {
        let keys: Vec<Printed> = (1..=100).map(|id| (Print(5), PushId(id))).collect();
        let bytes = SavedPrints::encode(PushId(1), &[], &keys);
        let saved = SavedPrints::decode(&bytes).unwrap();
        let mut found = Vec::new();
        each(&[saved], Table::Keys, |_, id| found.push(id.0));
        assert_eq!(found, (93..=100).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_that_are_cut_or_of_another_version_are_no_segment() {
        let bytes = SavedPrints::encode(PushId(1), &[printed(1)], &[printed(2)]);
        for cut in 0..bytes.len() {
            assert_eq!(SavedPrints::decode(&bytes[..cut]), None);
        }
        assert_eq!(
            SavedPrints::decode(&[bytes.as_slice(), &[0]].concat()),
            None
        );
        assert_eq!(SavedPrints::decode(&[&[2], &bytes[1..]].concat()), None);
    }
}
