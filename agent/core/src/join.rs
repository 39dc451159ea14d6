//! Twice is once: what is remembered to recognise a push that came before.
//!
//! Two tables in memory. A hit is a candidate only: the caller reads the row and compares the callback or the bytes
//! before it calls two pushes one. Pushes that are not final are always here; final ones as long as they can still
//! absorb another, and at most [`MAX_FINAL`] of them.

use std::collections::{HashMap, VecDeque};

use crate::push::{DeviceNo, Print, PushId, Timestamp};

/// Final pushes remembered at most. About 110 bytes each.
pub(crate) const MAX_FINAL: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    callbacks: HashMap<Print, PushId>,
    newest: HashMap<(DeviceNo, Print), PushId>,
    known: HashMap<PushId, Remembered>,
    finals: VecDeque<PushId>,
}

/// What is kept of one push.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    pub(crate) device: DeviceNo,
    pub(crate) callback: Option<Print>,
    pub(crate) content: Option<Print>,
    pub(crate) keys: Box<[Print]>,
    pub(crate) fate: Fate,
}

/// Whether it can still absorb an equal push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Delivered(Timestamp),
    /// What failed never absorbs a new push.
    Failed,
}

impl Memory {
    pub(crate) fn learn(&mut self, id: PushId, seen: Remembered) {
        if let Some(callback) = seen.callback {
            self.callbacks.insert(callback, id);
        }
        for key in &seen.keys {
            self.newest.insert((seen.device, *key), id);
        }
        self.known.insert(id, seen);
    }

    /// A push became final. The oldest final one is forgotten if there are too many.
    pub(crate) fn finish(&mut self, id: PushId, fate: Fate) {
        let Some(seen) = self.known.get_mut(&id) else {
            return;
        };
        seen.fate = fate;
        self.finals.push_back(id);
        if self.finals.len() > MAX_FINAL
            && let Some(oldest) = self.finals.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// The device refused it after all.
    pub(crate) fn fail(&mut self, id: PushId) {
        if let Some(seen) = self.known.get_mut(&id) {
            seen.fate = Fate::Failed;
        }
    }

    pub(crate) fn by_callback(&self, callback: Print) -> Option<PushId> {
        self.callbacks.get(&callback).copied()
    }

    /// The newest push of all these order keys, if its content has this print.
    pub(crate) fn by_content(
        &self,
        device: DeviceNo,
        keys: &[Print],
        content: Print,
    ) -> Option<(PushId, Fate)> {
        let newest = *self.newest.get(&(device, *keys.first()?))?;
        let of_all = keys
            .iter()
            .all(|key| self.newest.get(&(device, *key)) == Some(&newest));
        let seen = self.known.get(&newest)?;
        (of_all && seen.content == Some(content)).then_some((newest, seen.fate))
    }

    fn forget(&mut self, id: PushId) {
        let Some(seen) = self.known.remove(&id) else {
            return;
        };
        if let Some(callback) = seen.callback
            && self.callbacks.get(&callback) == Some(&id)
        {
            self.callbacks.remove(&callback);
        }
        for key in &seen.keys {
            if self.newest.get(&(seen.device, *key)) == Some(&id) {
                self.newest.remove(&(seen.device, *key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceNo = DeviceNo(1);

    fn seen(callback: u64, content: u64, keys: &[u64]) -> Remembered {
        Remembered {
            device: DEVICE,
            callback: Some(Print(callback)),
            content: Some(Print(content)),
            keys: keys.iter().map(|key| Print(*key)).collect(),
            fate: Fate::Open,
        }
    }

    fn found(memory: &Memory, content: u64, keys: &[u64]) -> Option<u64> {
        let keys: Vec<_> = keys.iter().map(|key| Print(*key)).collect();
        memory
            .by_content(DEVICE, &keys, Print(content))
            .map(|(id, _)| id.0)
    }

    #[test]
    fn only_the_newest_push_of_an_order_key_is_found() {
        let mut memory = Memory::default();
        memory.learn(PushId(1), seen(1, 10, &[5]));
        assert_eq!(found(&memory, 10, &[5]), Some(1));
        memory.learn(PushId(2), seen(2, 11, &[5]));
        assert_eq!(found(&memory, 10, &[5]), None);
        assert_eq!(found(&memory, 11, &[5]), Some(2));
    }

    #[test]
    fn a_push_with_several_keys_is_found_only_while_it_is_the_newest_of_each() {
        let mut memory = Memory::default();
        memory.learn(PushId(1), seen(1, 10, &[5, 6]));
        assert_eq!(found(&memory, 10, &[5, 6]), Some(1));
        memory.learn(PushId(2), seen(2, 11, &[6]));
        assert_eq!(found(&memory, 10, &[5, 6]), None);
    }

    #[test]
    fn final_pushes_are_forgotten_oldest_first_and_never_take_a_newer_one_along() {
        let mut memory = Memory::default();
        memory.learn(PushId(0), seen(0, 10, &[5]));
        memory.finish(PushId(0), Fate::Delivered(Timestamp(0)));
        memory.learn(PushId(1), seen(1, 11, &[5]));
        for id in 2..=MAX_FINAL as u64 + 1 {
            memory.learn(PushId(id), seen(id, id, &[1000 + id]));
            memory.finish(PushId(id), Fate::Failed);
        }
        assert_eq!(memory.by_callback(Print(0)), None);
        assert_eq!(found(&memory, 11, &[5]), Some(1));
        assert_eq!(memory.known.len(), MAX_FINAL + 1);
    }
}
