//! Cold pushes: those of which no more than the number is kept, because their row says all that there is to say.
//!
//! A push becomes cold when nobody waits for its answer any more, nothing has happened to it, and it is not among the
//! next of its device. It is read again when it comes up, when somebody names it, when another one joins it, or when it
//! may have become too old. The queue says which rows it wants; its owner reads them and gives them back before the
//! commit. Until then the queue decides nothing that could depend on them.

use super::device::{Device, Line};
use super::rows::Turn;
use super::{Live, Phase, Queue};
use crate::join::BLOCK;
use crate::push::{DeviceNo, Print, PushId, Timestamp, WhenUnreachable};

/// What the row of a cold push says.
#[derive(Clone, Debug)]
pub struct ColdFacts {
    pub id: PushId,
    pub device: DeviceNo,
    pub at: Timestamp,
    pub expires: Option<Timestamp>,
    pub keys: Vec<Print>,
}

impl Queue {
    /// The pushes whose rows must be read before the queue can go on, ascending. Given back with [`Queue::thaw`].
    pub fn wants(&mut self) -> Vec<PushId> {
        if self.hungry.is_empty() && !self.floors.looks() {
            return Vec::new();
        }
        let (devices, window) = (&self.devices, self.window);
        self.hungry.retain(|no| {
            devices
                .get(no)
                .is_some_and(|device| !device.has_ahead(goal(device, window)))
        });
        let mut wanted = self.page();
        for no in &self.hungry {
            let Some(device) = self.devices.get(no) else {
                continue;
            };
            wanted.extend(device.cold.iter().take(goal(device, self.window)));
            if wanted.len() > WANTED {
                break;
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Goes on with the rows that were wanted: all of them, ascending.
    pub fn thaw(&mut self, rows: Vec<ColdFacts>, turn: &mut Turn) {
        let page = self.page().last().copied();
        let mut read = std::collections::BTreeSet::new();
        for row in rows {
            read.insert(row.device);
            let Some(device) = self.devices.get(&row.device) else {
                continue;
            };
            let next =
                device.cold.first() == Some(row.id) && !device.has_ahead(goal(device, self.window));
            if self.age.too_old(row.expires, turn.now) && device.cold.contains(row.id) {
                let id = row.id;
                self.warm(row);
                self.expire(id, turn);
            } else if next {
                self.warm(row);
            } else {
                self.looked_at(&row);
            }
        }
        self.turn_page(page, turn.now);
        for no in read {
            if self.hungry.remove(&no) {
                self.begin(no, turn);
                self.refuse_unreachable(no, turn);
            }
        }
    }

    /// Whether all is kept that is known of this push.
    pub fn is_hot(&self, id: PushId) -> bool {
        self.live.contains_key(&id)
    }

    /// Whether no more than the number of this push is kept.
    pub fn is_cold(&self, id: PushId) -> bool {
        self.devices.values().any(|device| device.cold.contains(id))
    }

    /// Keeps all that is known of a cold push again. Whoever is not cold stays what it is.
    pub fn warm(&mut self, row: ColdFacts) {
        let Some(device) = self.devices.get_mut(&row.device) else {
            return;
        };
        if !device.cold.remove(row.id) {
            return;
        }
        device.waiting.insert(row.id);
        let mut live = Live::new(row.device, row.keys.into(), row.at);
        live.expires = row.expires;
        self.enlist(row.id, live);
    }

    /// Lets go of all but the number, if nothing more is needed before long.
    pub fn cool(&mut self, id: PushId) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&live.device) else {
            return;
        };
        let plain = live.phase == Phase::Waiting && live.is_plain();
        if !plain || !device.has_before(id, self.window) {
            return;
        }
        device.waiting.remove(id);
        device.cold.insert(id);
        self.floors.note(id.0 / BLOCK as u64, live.expires);
        self.delist(id);
    }
}

/// How many of its next pushes a device needs: of one that sends nothing, enough to know that there are some.
fn goal(device: &Device, window: usize) -> usize {
    let drains = match device.line {
        Line::Ready | Line::Busy => true,
        Line::Away(_) => device.config.policy.when_unreachable == WhenUnreachable::Fail,
        Line::Resting => false,
    };
    if drains { window } else { window.min(FEW) }
}

/// Rows wanted at once: more would make a commit long.
const WANTED: usize = 512;
const FEW: usize = 4;
