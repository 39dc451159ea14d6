//! Tells the service manager that the agent lives, for as long as every unit does.
//!
//! A unit that is silent is named in the log; then nothing is said any more, and the service manager does what it was
//! told to: kill and start anew. That the agent has nothing to lose by it is the store's doing.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::pulse::{Pulses, Silence, Tether};
use crate::store::{Store, StoreError};
use crate::{clock, systemd};

/// Feeds the watchdog twice in each `period`, until told to stop; then the time limit for stopping counts.
pub async fn feed(pulses: Pulses, period: Duration, stop: CancellationToken) {
    let mut silence = None;
    loop {
        let heard = pulses.silent(clock::mono());
        tell(silence.as_ref(), heard.as_ref());
        if heard.is_none() {
            systemd::alive();
        }
        silence = heard;
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(period / 2) => {}
        }
    }
    systemd::alive();
}

/// Reports for the store's thread, which has no time to wake up: a question that goes through it comes back only if it
/// is not stuck, neither in a commit nor behind one.
pub async fn ask_store(store: Store, tether: Tether) -> Result<(), StoreError> {
    loop {
        tokio::select! {
            () = tether.stop.cancelled() => return Ok(()),
            () = tether.pulse.due() => {}
        }
        tokio::select! {
            () = tether.stop.cancelled() => return Ok(()),
            answer = store.barrier() => answer?,
        }
        tether.pulse.beat();
    }
}

/// One line when somebody falls silent, one when everybody is heard again.
fn tell(before: Option<&Silence>, now: Option<&Silence>) {
    match (before, now) {
        (before, Some(now)) if before != Some(now) => error!(
            unit = now.unit,
            silent_ms = clock::mono().0.saturating_sub(now.since.0),
            "no sign of life; the service manager is not told that the agent lives until there is one"
        ),
        (Some(before), None) => warn!(unit = before.unit, "every unit is heard again"),
        _ => {}
    }
}
