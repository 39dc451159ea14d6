//! Carries attempts to lines, and the wish for a connection. It decides nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::push::DeviceNo;
use tokio::sync::{mpsc, watch};
use tracing::error;

use crate::line::LineInbox;
use crate::store::{Attempt, Lines};

/// The ways to the lines, shared by the store's writer and whoever starts lines.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    seats: Arc<Mutex<HashMap<DeviceNo, Seat>>>,
}

/// One device's way to its line. The wish outlives the line: it may be uttered before there is one.
#[derive(Debug)]
struct Seat {
    wanted: watch::Sender<bool>,
    attempts: Option<mpsc::Sender<Attempt>>,
}

impl Dispatch {
    /// Opens the way to a line, in place of the one this device had, if any.
    pub fn open(&self, device: DeviceNo) -> LineInbox {
        let (sender, attempts) = mpsc::channel(ATTEMPTS);
        let mut seats = self.seats();
        let seat = seats.entry(device).or_insert_with(Seat::empty);
        seat.attempts = Some(sender);
        LineInbox {
            attempts,
            wanted: seat.wanted.subscribe(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<DeviceNo, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn empty() -> Self {
        Self {
            wanted: watch::channel(false).0,
            attempts: None,
        }
    }
}

impl Lines for Dispatch {
    fn deliver(&self, attempt: Attempt) {
        let (push, device) = (attempt.push, attempt.device);
        let seats = self.seats();
        let line = seats.get(&device).and_then(|seat| seat.attempts.as_ref());
        // The queue gives out an attempt only after the line has said that it is ready, and one at a time, so there is
        // a line and it has room. If not, the attempt stays open on disk and is uncertain at the next start.
        if line.is_none_or(|line| line.try_send(attempt).is_err()) {
            error!(%push, device = device.0, "an attempt has no line to go to");
        }
    }

    fn wanted(&self, device: DeviceNo, wanted: bool) {
        self.seats()
            .entry(device)
            .or_insert_with(Seat::empty)
            .wanted
            .send_replace(wanted);
    }
}

/// One attempt a device, and one that comes back late while the next is decided.
const ATTEMPTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_starts_late_knows_that_it_is_wanted() {
        let dispatch = Dispatch::default();
        dispatch.wanted(DeviceNo(1), true);
        assert!(*dispatch.open(DeviceNo(1)).wanted.borrow());
        assert!(*dispatch.open(DeviceNo(1)).wanted.borrow());
        assert!(!*dispatch.open(DeviceNo(2)).wanted.borrow());
    }
}
