//! Planted faults of the queue that take more than a condition. Nothing happens here without the feature `mutants`.

use super::device::Line;
use super::rows::{Row, Turn};
use super::settle::{Connection, End};
use super::{Phase, Queue};
use crate::delivery::Outcome;
use crate::mutant::{self, Mutant};
use crate::push::{DeviceNo, Level, State};

impl Queue {
    /// A start settles a push that waits, as if its device had said yes.
    pub(super) fn plant_settle_unsent(&mut self, turn: &mut Turn) {
        if !mutant::is(Mutant::SettleUnsent) {
            return;
        }
        let mut live = self.live.iter();
        let waits = live.find(|(_, live)| live.phase == Phase::Waiting);
        if let Some(id) = waits.map(|(id, _)| *id) {
            let words = crate::phi::Phi("MSA|AA".into());
            let end = End::by_device(State::Delivered, Some(Level::Accepted), words);
            self.finish(id, end, turn);
        }
    }

    /// A line that is away counts as an attempt that was made, and of which nobody knows.
    pub(super) fn plant_dial_refused(&mut self, no: DeviceNo, why: &str, turn: &mut Turn) {
        if !mutant::is(Mutant::DialRefusedIsUnknown) {
            return;
        }
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        if device.sending.is_none() {
            device.line = Line::Ready;
        }
        if let Some((push, kind)) = self.pick(no, turn) {
            let row = self.event(push, no, kind.kind(), turn.now);
            turn.rows.push(Row::Event(row));
            let unknown = Outcome::Unknown { why: why.into() };
            self.settle(push, unknown, Connection::Gone(why.into()), turn);
        }
    }
}
