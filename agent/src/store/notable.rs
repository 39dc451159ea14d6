//! What of a batch is worth a line in the log: pushes that did not simply arrive.
//!
//! Thousands arrive in a second, and none of them has a line; `wardpost why` tells the life of each. Reasons are not logged,
//! since a person may have written them.

use agent_core::push::{DeviceNo, PushId, State};
use agent_core::queue::{DeviceConfig, Kind, MAILBOX, Row};
use tracing::info;

/// Pushes of one batch that a person may look for.
#[derive(Debug, Default)]
pub(super) struct Notable {
    pushes: Vec<(PushId, DeviceNo, State)>,
    more: usize,
}

impl Notable {
    pub(super) fn note(&mut self, row: &Row) {
        let Row::Event(row) = row else { return };
        let state = match (row.kind, row.state) {
            // It waits for the claim of its Task, as each of them does.
            (Kind::Held, _) if row.who.as_deref() == Some(MAILBOX) => return,
            (Kind::Held, _) => State::Held,
            (
                _,
                Some(state @ (State::Rejected | State::Expired | State::Cancelled | State::Dead)),
            ) => state,
            _ => return,
        };
        if self.pushes.len() < MOST {
            self.pushes.push((row.push, row.device, state));
        } else {
            self.more += 1;
        }
    }

    /// Once it is durable.
    pub(super) fn log(self, devices: &[(DeviceNo, DeviceConfig)]) {
        for (push, no, state) in self.pushes {
            let device = devices.iter().find(|(known, _)| *known == no);
            let device = device.map_or("", |(_, config)| config.name.as_str());
            let state = state.word();
            info!(%push, device, state, "a push did not simply arrive; see wardpost why");
        }
        if self.more > 0 {
            info!(pushes = self.more, "more of them in the same moment");
        }
    }
}

/// Of one batch: a queue that expires as a whole must not push everything else out of the log.
const MOST: usize = 20;
