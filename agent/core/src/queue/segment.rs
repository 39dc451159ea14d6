//! What is written down from time to time, so that a start reads little: see [`Segment`].
//!
//! | table | holds | at a start |
//! |---|---|---|
//! | `segment` | prints of a stretch of pushes; the newest: up to where this is the truth | fills the duplicate tables |
//! | `cold` | a block of 4,096 numbers: which of them only wait their turn | are the cold pushes |
//! | `open` | a push that is not final and to which more has happened | its rows are read |
//!
//! What came after the newest segment is read row by row.
//!
//! A block is written again when something happened to one of its pushes. Its bytes: version 1; 8 bytes, before when none
//! of it becomes too old; then for each device 4 bytes number, 2 bytes count, and the numbers, 2 bytes each, less the
//! block's first. All big-endian. A block where nobody waits is empty.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::Attempted;
use super::{Phase, Queue};
use crate::join::{BLOCK, MAX_FINAL, MOST, Printed, SavedPrints};
use crate::push::{DeviceNo, Now, PushId, Seq, Timestamp};

/// What must be on disk so that a start need not read what came before. Belongs into the commit of what it describes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub mark: Mark,
    /// Prints of the pushes since the last segment; none if there was no push.
    pub stretches: Vec<Stretch>,
    pub cold: Vec<ColdBlock>,
    /// Every push to which more has happened than waiting.
    pub open: Vec<Open>,
}

/// Up to where a segment is the truth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub push: PushId,
    pub seq: Seq,
    pub answer: Seq,
    pub taken: Seq,
}

/// The prints of the pushes from `first` to `last`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stretch {
    pub first: PushId,
    pub last: PushId,
    pub bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColdBlock {
    pub no: u64,
    /// Empty where nobody waits.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    pub push: PushId,
    pub device: DeviceNo,
    pub state: OpenAs,
}

/// Where a push was when a segment was written. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenAs {
    /// In line, parked, or joined to another.
    Waiting = 1,
    Attempt = 2,
    Completing = 3,
    Uncertain = 4,
    Operator = 5,
    Claim = 6,
}

impl OpenAs {
    const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Attempt,
        Self::Completing,
        Self::Uncertain,
        Self::Operator,
        Self::Claim,
    ];

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i64 == number)
    }
}

impl From<&Phase> for OpenAs {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Waiting | Phase::Parked | Phase::Follows(_) => Self::Waiting,
            Phase::Sending(Attempted::Attempt) => Self::Attempt,
            Phase::Sending(Attempted::Completing) => Self::Completing,
            Phase::Uncertain(_) => Self::Uncertain,
            Phase::Operator(_) => Self::Operator,
            Phase::Claim => Self::Claim,
        }
    }
}

/// What has changed since the last segment.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) events: usize,
    /// Blocks with a push to which something happened.
    blocks: BTreeSet<u64>,
    last: Option<u64>,
}

impl Changes {
    pub(super) fn mark(&mut self, id: PushId) {
        let block = id.0 / BLOCK as u64;
        if self.last != Some(block) {
            self.blocks.insert(block);
            self.last = Some(block);
        }
    }
}

/// How much of a stretch of old pushes is worth remembering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recall {
    All,
    /// Those that are not final.
    Living,
    Nothing,
}

impl Queue {
    /// Whether enough has happened for a segment.
    pub fn segment_due(&self) -> bool {
        self.memory.fresh_pushes() >= BLOCK || self.changes.events >= BLOCK
    }

    /// Whether anything has happened since the last segment.
    pub fn segment_useful(&self) -> bool {
        self.memory.fresh_pushes() > 0 || self.changes.events > 0
    }

    /// The segment that describes the queue as it is decided now.
    pub fn segment(&mut self) -> Segment {
        let changes = std::mem::take(&mut self.changes);
        if self.live.capacity() > 4 * self.live.len() + BLOCK {
            self.live.shrink_to(2 * self.live.len());
        }
        Segment {
            mark: Mark {
                push: self.last_push,
                seq: self.last_seq,
                answer: self.last_answer,
                taken: self.taken_on_disk,
            },
            stretches: self.stretches(),
            cold: self.cold_blocks(&changes.blocks),
            open: self.open(),
        }
    }

    /// Whether a segment with these pushes is still of use.
    pub fn remembers(&self, first: PushId, last: PushId) -> bool {
        self.memory.any_between(first, last)
    }

    fn stretches(&mut self) -> Vec<Stretch> {
        let fresh = self.memory.take_fresh();
        let mut stretches = Vec::new();
        let mut first = fresh.first;
        while let Some(begin) = first.filter(|first| *first <= self.last_push) {
            let rest = self.last_push.0 - begin.0;
            let last = if rest < MOST {
                self.last_push
            } else {
                PushId(begin.0 + BLOCK as u64 - 1)
            };
            let callbacks = within(&fresh.callbacks, begin, last);
            let keys = within(&fresh.keys, begin, last);
            stretches.push(Stretch {
                first: begin,
                last,
                bytes: SavedPrints::encode(begin, callbacks, keys),
            });
            first = Some(PushId(last.0 + 1));
        }
        stretches
    }

    fn open(&self) -> Vec<Open> {
        let special = self.live.iter().filter(|(_, live)| !live.is_plain());
        let mut open: Vec<Open> = special
            .map(|(id, live)| Open {
                push: *id,
                device: live.device,
                state: OpenAs::from(&live.phase),
            })
            .collect();
        open.sort_unstable_by_key(|open| open.push);
        open
    }

    fn cold_blocks(&self, changed: &BTreeSet<u64>) -> Vec<ColdBlock> {
        let mut plain: BTreeMap<u64, Vec<(DeviceNo, PushId, Option<Timestamp>)>> = BTreeMap::new();
        for (id, live) in &self.live {
            let block = id.0 / BLOCK as u64;
            if changed.contains(&block) && live.is_plain() {
                let plain = plain.entry(block).or_default();
                plain.push((live.device, *id, live.expires));
            }
        }
        changed
            .iter()
            .map(|no| self.cold_block(*no, plain.remove(no).unwrap_or_default()))
            .collect()
    }

    fn cold_block(&self, no: u64, plain: Vec<(DeviceNo, PushId, Option<Timestamp>)>) -> ColdBlock {
        let (first, end) = (PushId(no * BLOCK as u64), PushId((no + 1) * BLOCK as u64));
        let mut ids: BTreeMap<DeviceNo, BTreeSet<PushId>> = BTreeMap::new();
        for (device, queue) in &self.devices {
            let cold: BTreeSet<PushId> = queue.cold.between(first, end).collect();
            if !cold.is_empty() {
                ids.insert(*device, cold);
            }
        }
        let mut floor = self.floors.of(no);
        for (device, id, expires) in plain {
            ids.entry(device).or_default().insert(id);
            floor = [floor, expires].into_iter().flatten().min();
        }
        let bytes = encode(first, &ids, floor);
        ColdBlock { no, bytes }
    }

    /// How much to recall of each of these stretches, newest first.
    pub fn recollect(&mut self, stretches: &[(PushId, PushId)], now: Now) -> Vec<Recall> {
        let mut hot: Vec<PushId> = self.live.keys().copied().collect();
        hot.sort_unstable();
        let mut finals = 0;
        let mut pushes = 0;
        let mut recall = Vec::with_capacity(stretches.len());
        for (first, last) in stretches {
            let counts = self.count(&hot, *first, *last);
            let living: usize = counts.iter().map(|(_, living, _)| living).sum();
            let ended: usize = counts.iter().map(|(_, _, ended)| ended).sum();
            finals += ended;
            recall.push(if finals <= MAX_FINAL {
                pushes += living + ended;
                for (id, _, ended) in counts.iter().filter(|(_, _, ended)| *ended > 0) {
                    self.memory.recall_ended(*id, *ended, now.utc);
                }
                Recall::All
            } else if living > 0 {
                pushes += living;
                Recall::Living
            } else {
                Recall::Nothing
            });
        }
        self.memory.reserve(pushes, pushes);
        recall
    }

    /// Living and ended pushes of a stretch, block by block.
    fn count(&self, hot: &[PushId], first: PushId, last: PushId) -> Vec<(PushId, usize, usize)> {
        let mut counts = Vec::new();
        let mut begin = first;
        while begin <= last {
            let end = PushId(((begin.0 / BLOCK as u64 + 1) * BLOCK as u64).min(last.0 + 1));
            let cold = self
                .devices
                .values()
                .map(|device| device.cold.between(begin, end).count());
            let hot = hot.partition_point(|id| *id < end) - hot.partition_point(|id| *id < begin);
            let living = cold.sum::<usize>() + hot;
            let all = usize::try_from(end.0 - begin.0).unwrap_or(BLOCK);
            counts.push((begin, living, all.saturating_sub(living)));
            begin = end;
        }
        counts
    }

    /// Takes back the prints of stretches of which as much is worth remembering.
    pub fn recall(&mut self, saved: &[SavedPrints], recall: Recall) {
        let (live, devices) = (&self.live, &self.devices);
        let is_live = |id| live.contains_key(&id) || devices.values().any(|d| d.cold.contains(id));
        match recall {
            Recall::All => self.memory.recall(saved, |_| true),
            Recall::Living => self.memory.recall(saved, is_live),
            Recall::Nothing => {}
        }
    }
}

/// `printed` ascends by push.
fn within(printed: &[Printed], first: PushId, last: PushId) -> &[Printed] {
    let begin = printed.partition_point(|(_, id)| *id < first);
    let end = printed.partition_point(|(_, id)| *id <= last);
    printed.get(begin..end).unwrap_or_default()
}

fn encode(
    first: PushId,
    ids: &BTreeMap<DeviceNo, BTreeSet<PushId>>,
    floor: Option<Timestamp>,
) -> Vec<u8> {
    if ids.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![VERSION];
    bytes.extend(floor.map_or(i64::MAX, |floor| floor.0).to_be_bytes());
    for (device, ids) in ids {
        bytes.extend(device.0.to_be_bytes());
        bytes.extend(u16::try_from(ids.len()).unwrap_or(u16::MAX).to_be_bytes());
        let lows = ids
            .iter()
            .map(|id| u16::try_from(id.0 - first.0).unwrap_or(u16::MAX));
        bytes.extend(lows.flat_map(u16::to_be_bytes));
    }
    bytes
}

/// What a block says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waits {
    pub(super) floor: Option<Timestamp>,
    pub(super) ids: Vec<(DeviceNo, Vec<PushId>)>,
}

impl ColdBlock {
    /// `None` if these are not the bytes of a block.
    pub(super) fn decode(&self) -> Option<Waits> {
        let mut waits = Waits {
            floor: None,
            ids: Vec::new(),
        };
        let Some((version, bytes)) = self.bytes.split_first() else {
            return Some(waits);
        };
        let (floor, mut rest) = bytes.split_first_chunk()?;
        let floor = i64::from_be_bytes(*floor);
        waits.floor = (floor != i64::MAX).then_some(Timestamp(floor));
        while !rest.is_empty() {
            let (device, after) = rest.split_first_chunk()?;
            let (count, after) = after.split_first_chunk()?;
            let (lows, after) =
                after.split_at_checked(2 * usize::from(u16::from_be_bytes(*count)))?;
            rest = after;
            let first = self.no.checked_mul(BLOCK as u64)?;
            let ids = lows.as_chunks().0.iter();
            let ids = ids.map(|low| PushId(first + u64::from(u16::from_be_bytes(*low))));
            let device = DeviceNo(u32::from_be_bytes(*device));
            waits.ids.push((device, ids.collect()));
        }
        (*version == VERSION).then_some(waits)
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_as_it_was_written() {
        let first = PushId(3 * BLOCK as u64);
        let set = |offsets: &[u64]| offsets.iter().map(|o| PushId(first.0 + o)).collect();
        let ids = BTreeMap::from([(DeviceNo(1), set(&[0, 7])), (DeviceNo(9), set(&[4095]))]);
        for floor in [None, Some(Timestamp(77))] {
            let bytes = encode(first, &ids, floor);
            let block = ColdBlock { no: 3, bytes };
            let waits = block.decode().unwrap();
            assert_eq!(waits.floor, floor);
            let expected: Vec<_> = ids
                .iter()
                .map(|(no, ids)| (*no, ids.iter().copied().collect()))
                .collect();
            assert_eq!(waits.ids, expected);
            for cut in 1..block.bytes.len() {
                let bytes = block.bytes[..cut].to_vec();
                let part = ColdBlock { no: 3, bytes }.decode();
                assert!(part.is_none_or(|part| part.ids.len() < ids.len()));
            }
        }
    }
}
