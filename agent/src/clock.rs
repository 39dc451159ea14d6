//! The one place that reads a clock.
//!
//! Waits use the boot-time clock, which goes on while the box sleeps and never jumps; what is written down uses UTC.

use agent_core::push::{Mono, Now, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks and a throw of the dice.
pub fn now() -> Now {
    Now {
        mono: mono(),
        utc: utc(),
        dice: rand::random(),
    }
}

pub fn mono() -> Mono {
    Mono(u64::try_from(millis(clock_gettime(ClockId::Boottime))).unwrap_or(0))
}

pub fn utc() -> Timestamp {
    Timestamp(millis(clock_gettime(ClockId::Realtime)))
}

/// Microseconds of the clock that stands still while the box sleeps: the service manager compares by it.
pub fn monotonic_us() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1000)
}

/// A time as people and FHIR read it, to the millisecond.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.3}"))
}

/// Waits until the boot-time clock shows `at`.
pub async fn sleep_until(at: Mono) {
    let wait = at.0.saturating_sub(mono().0);
    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_millisecond_in_utc() {
        assert_eq!(
            rfc3339(Timestamp(1_700_000_000_123)),
            "2023-11-14T22:13:20.123Z"
        );
        assert_eq!(rfc3339(Timestamp(i64::MAX)), format!("{} ms", i64::MAX));
    }
}
