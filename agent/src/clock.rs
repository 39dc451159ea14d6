//! The one place that reads a clock.
//!
//! Waits use the boot-time clock, which goes on while the box sleeps and never jumps; what is written down uses UTC.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_core::clock::{Kept, Reading};
use agent_core::push::{Mono, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Both clocks, and what the system says of the one that can be wrong.
pub fn reading() -> Reading {
    Reading {
        mono: mono(),
        utc: utc(),
        kept: kept(),
    }
}

pub fn mono() -> Mono {
    Mono(u64::try_from(millis(clock_gettime(ClockId::Boottime))).unwrap_or(0))
}

pub fn utc() -> Timestamp {
    let now = SystemTime::now();
    Timestamp(match now.duration_since(UNIX_EPOCH) {
        Ok(since) => whole_millis(since),
        Err(before) => -whole_millis(before.duration()),
    })
}

/// Microseconds of the clock that stands still while the box sleeps: the service manager compares by it.
pub fn monotonic_us() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1000)
}

/// A moment to measure a short span from.
pub fn instant() -> Instant {
    Instant::now()
}

pub fn since(instant: Instant) -> Duration {
    instant.elapsed()
}

/// Does something and says how long it took.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = instant();
    let done = work();
    (done, since(begun))
}

/// Which boot of the system this is; `None` where it does not say.
pub fn boot() -> Option<String> {
    let told = || std::env::var(BOOT_ID_VARIABLE).ok();
    let id = std::fs::read_to_string(BOOT_ID).ok().or_else(told)?;
    Some(id.trim().replace('-', "")).filter(|id| !id.is_empty())
}

/// Whether systemd's time service has heard from a time server lately. The kernel would know it of any service, but the
/// call that asks it can set the clock, too, and is forbidden to the agent.
fn kept() -> Kept {
    let heard = std::fs::metadata(TIME_SERVICE).and_then(|file| file.modified());
    let lately = heard.is_ok_and(|heard| {
        SystemTime::now()
            .duration_since(heard)
            .is_ok_and(|ago| ago <= LATELY)
    });
    if lately {
        Kept::Synchronised
    } else {
        Kept::Unknown
    }
}

/// A time as people and FHIR read it, to the millisecond.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.3}"))
}

/// Waits until the boot-time clock shows `at`.
pub async fn sleep_until(at: Mono) {
    let wait = at.0.saturating_sub(mono().0);
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

fn whole_millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000)
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The unit file says it here, since the service sees nothing of `/proc` but processes.
const BOOT_ID_VARIABLE: &str = "WARDPOST_BOOT_ID";
/// Touched at each answer of the time server.
const TIME_SERVICE: &str = "/run/systemd/timesync/synchronized";
/// Twice the longest pause between two questions to the time server.
const LATELY: Duration = Duration::from_secs(2 * 2_048);

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
