//! Signs of life of the units, and who has been silent for too long.
//!
//! A unit reports each time it goes round its loop, and wakes up to report while it waits: to be idle is not to be stuck.
//! One that waits for another that is stuck falls silent, too, and that is right: it does nothing for anybody. Without a
//! watchdog nobody listens, and nothing wakes up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use agent_core::push::Mono;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// All who report, and how long they may be silent.
#[derive(Clone, Debug)]
pub struct Pulses {
    patience: Option<Duration>,
    units: Arc<Mutex<Vec<Weak<Beat>>>>,
}

/// One unit's way to report. It is listened for as long as this, or a copy of it, is kept.
#[derive(Clone, Debug)]
pub struct Pulse {
    every: Option<Duration>,
    beat: Arc<Beat>,
}

/// What ties a unit to its supervisor: it is told to stop, and reports that it lives.
#[derive(Clone, Debug)]
pub struct Tether {
    pub stop: CancellationToken,
    pub pulse: Pulse,
}

#[derive(Debug)]
struct Beat {
    unit: String,
    /// Milliseconds of the boot-time clock.
    last: AtomicU64,
}

/// A unit that has not reported for longer than it may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Silence {
    pub unit: String,
    pub since: Mono,
}

impl Pulses {
    /// Expects a report of every unit within `patience`; `None`: nobody listens.
    pub fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            units: Arc::default(),
        }
    }

    /// Listens for one more unit, from now on.
    pub fn unit(&self, unit: impl Into<String>) -> Pulse {
        let beat = Arc::new(Beat {
            unit: unit.into(),
            last: AtomicU64::new(clock::mono().0),
        });
        let mut units = self.units();
        units.retain(|unit| unit.strong_count() > 0);
        units.push(Arc::downgrade(&beat));
        Pulse {
            every: self.patience.map(|patience| patience / BEATS),
            beat,
        }
    }

    /// The unit that has been silent for longest, if that is too long.
    pub fn silent(&self, now: Mono) -> Option<Silence> {
        let patience = self.patience?;
        let beats: Vec<Arc<Beat>> = self.units().iter().filter_map(Weak::upgrade).collect();
        let reports = beats
            .iter()
            .map(|beat| (beat.unit.as_str(), Mono(beat.last.load(Ordering::Relaxed))));
        longest_silent(reports, now, patience)
    }

    fn units(&self) -> MutexGuard<'_, Vec<Weak<Beat>>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Reports.
    pub fn beat(&self) {
        self.beat.last.store(clock::mono().0, Ordering::Relaxed);
    }

    /// Waits until the next report is due; for ever, where nobody listens.
    pub async fn due(&self) {
        match self.every {
            Some(every) => {
                let last = Mono(self.beat.last.load(Ordering::Relaxed));
                clock::sleep_until(last.plus(every)).await;
            }
            None => std::future::pending().await,
        }
    }
}

impl From<CancellationToken> for Tether {
    /// A unit that nobody listens for.
    fn from(stop: CancellationToken) -> Self {
        let pulse = Pulses::new(None).unit("");
        Self { stop, pulse }
    }
}

fn longest_silent<'a>(
    reports: impl Iterator<Item = (&'a str, Mono)>,
    now: Mono,
    patience: Duration,
) -> Option<Silence> {
    let (unit, since) = reports.min_by_key(|(_, last)| *last)?;
    (since.plus(patience) < now).then(|| Silence {
        unit: unit.into(),
        since,
    })
}

/// Reports within the time that a unit may be silent, so that one which comes late does no harm.
const BEATS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn silent(reports: &[(&str, u64)], now: u64) -> Option<(String, u64)> {
        let reports = reports.iter().map(|(unit, last)| (*unit, Mono(*last)));
        longest_silent(reports, Mono(now), PATIENCE).map(|silence| (silence.unit, silence.since.0))
    }

    #[test]
    fn nobody_is_silent_while_all_have_reported_lately() {
        assert_eq!(silent(&[], 1_000_000), None);
        assert_eq!(
            silent(&[("store", 70_000), ("uplink", 99_000)], 100_000),
            None
        );
    }

    #[test]
    fn one_silent_unit_is_enough_and_the_longest_silent_one_is_named() {
        let reports = [("store", 60_000), ("timer", 99_000), ("uplink", 65_000)];
        assert_eq!(silent(&reports, 100_000), Some(("store".into(), 60_000)));
        assert_eq!(
            silent(&[("store", 69_999)], 100_000),
            Some(("store".into(), 69_999))
        );
    }

    #[test]
    fn a_report_from_the_future_is_no_silence() {
        assert_eq!(silent(&[("store", 200_000)], 100_000), None);
    }

    #[test]
    fn a_unit_that_has_ended_is_not_listened_for() {
        let pulses = Pulses::new(Some(PATIENCE));
        let pulse = pulses.unit("line chem-1");
        let later = clock::mono().plus(PATIENCE * 2);
        assert_eq!(pulses.silent(later).unwrap().unit, "line chem-1");
        drop(pulse);
        assert_eq!(pulses.silent(later), None);
    }

    #[test]
    fn without_a_watchdog_nobody_is_ever_silent() {
        let pulses = Pulses::new(None);
        let _pulse = pulses.unit("store");
        assert_eq!(pulses.silent(clock::mono().plus(PATIENCE * 2)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_unit_is_woken_to_report() {
        let pulses = Pulses::new(Some(Duration::from_millis(4)));
        pulses.unit("timer").due().await;
    }
}
