//! When to try again: waits that grow, never end, and never fall in step with the neighbours'.
//!
//! A wait is a function of how often it failed and of a random number that the caller drew.
//! There is no count after which anybody gives up.

use std::time::Duration;

/// A random number, uniform over its whole range, drawn by whoever calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dice(pub u32);

impl Dice {
    /// A point between the two, both included.
    pub fn between(self, low: Duration, high: Duration) -> Duration {
        low + high
            .saturating_sub(low)
            .mul_f64(f64::from(self.0) / f64::from(u32::MAX))
    }
}

/// For how long a server asked to be left alone, with the refusal that said so (`Retry-After`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AskedWait {
    #[default]
    Nothing,
    For(Duration),
}

/// A wait that doubles from `min` to `max`. No wait is ever outside of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl Backoff {
    /// Between two attempts to open a line.
    pub const LINE: Self = Self {
        min: Duration::from_millis(500),
        max: Duration::from_secs(30),
    };
    /// Between two attempts to deliver a push.
    pub const PUSH: Self = Self {
        min: Duration::from_secs(1),
        max: Duration::from_mins(1),
    };

    /// How long to wait after this many failures in a row.
    ///
    /// The upper end doubles with each failure; the dice picks from its upper half, so that
    /// everyone who lost the same peer at the same moment comes back at another one.
    pub fn wait(self, failures: u32, dice: Dice) -> Duration {
        let doubled = self.min.saturating_mul(2_u32.saturating_pow(failures));
        let high = doubled.min(self.max);
        let low = self.min.max(high / 2).min(high);
        dice.between(low, high)
    }
}

/// How long the uplink waits before its next attempt, after this many failures in a row.
///
/// Medplum's own agent waits `min(10 s, d · 1.3^(n-1))` with `d` between 1 and 5 s. So does this one,
/// but the cap itself is drawn too: a fleet that lost its server for an hour does not return as one.
pub fn reconnect_wait(failures: u32, dice: Dice) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let growth = 1.3_f64.powi(
        i32::try_from(failures - 1)
            .unwrap_or(i32::MAX)
            .min(MAX_GROWTHS),
    );
    let grown = dice
        .between(RECONNECT_FIRST.0, RECONNECT_FIRST.1)
        .mul_f64(growth);
    grown.min(dice.between(RECONNECT_CAP.0, RECONNECT_CAP.1))
}

/// A wait that heeds what a server asked for, within reason.
///
/// It is never shorter than asked, and somewhat longer, since others were asked for the same; but nobody may ask for
/// so much that an outage outlives its cause.
pub fn heeded(wait: Duration, asked: AskedWait, dice: Dice) -> Duration {
    let AskedWait::For(asked) = asked else {
        return wait;
    };
    let asked = asked.min(LONGEST_ASKED);
    wait.max(dice.between(asked, asked + SPREAD_OF_ASKED))
}

/// So much of a server's wish is granted.
const LONGEST_ASKED: Duration = Duration::from_secs(15);
/// Those who were asked to come back at the same moment come back within this time after it.
const SPREAD_OF_ASKED: Duration = Duration::from_secs(5);
/// From and to of the first wait.
const RECONNECT_FIRST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// From and to of the longest wait.
const RECONNECT_CAP: (Duration, Duration) = (Duration::from_secs(8), Duration::from_secs(10));
/// 1.3 to the power of 20 is far above what the cap lets through, and far below what overflows.
const MAX_GROWTHS: i32 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOWEST: Dice = Dice(0);
    const HIGHEST: Dice = Dice(u32::MAX);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_line_waits_half_a_second_to_thirty_seconds() {
        assert_eq!(Backoff::LINE.wait(0, HIGHEST), Duration::from_millis(500));
        assert_eq!(Backoff::LINE.wait(1, LOWEST), Duration::from_millis(500));
        assert_eq!(Backoff::LINE.wait(1, HIGHEST), secs(1));
        assert_eq!(Backoff::LINE.wait(3, LOWEST), secs(2));
        assert_eq!(Backoff::LINE.wait(3, HIGHEST), secs(4));
        assert_eq!(Backoff::LINE.wait(50, LOWEST), secs(15));
        assert_eq!(Backoff::LINE.wait(u32::MAX, HIGHEST), secs(30));
    }

    #[test]
    fn a_minimum_above_the_maximum_waits_the_maximum() {
        let turned = Backoff {
            min: secs(9),
            max: secs(3),
        };
        assert_eq!(turned.wait(4, LOWEST), secs(3));
        assert_eq!(turned.wait(4, HIGHEST), secs(3));
    }

    #[test]
    fn the_uplink_tries_at_once_then_after_one_to_five_seconds_then_longer() {
        assert_eq!(reconnect_wait(0, HIGHEST), Duration::ZERO);
        assert_eq!(reconnect_wait(1, LOWEST), secs(1));
        assert_eq!(reconnect_wait(1, HIGHEST), secs(5));
        assert_eq!(reconnect_wait(2, LOWEST), Duration::from_millis(1300));
        assert_eq!(reconnect_wait(u32::MAX, LOWEST), secs(8));
        assert_eq!(reconnect_wait(u32::MAX, HIGHEST), secs(10));
    }

    #[test]
    fn a_server_that_asks_for_a_pause_gets_it_but_never_more_than_twenty_seconds() {
        let asked = |n| AskedWait::For(secs(n));
        assert_eq!(heeded(secs(2), AskedWait::Nothing, HIGHEST), secs(2));
        assert_eq!(heeded(secs(2), asked(7), LOWEST), secs(7));
        assert_eq!(heeded(secs(2), asked(7), HIGHEST), secs(12));
        assert_eq!(heeded(secs(9), asked(0), LOWEST), secs(9));
        assert_eq!(heeded(secs(2), asked(u64::MAX), LOWEST), secs(15));
        assert_eq!(heeded(secs(2), asked(u64::MAX), HIGHEST), secs(20));
    }

    proptest! {
        #[test]
        fn every_wait_keeps_its_bounds(failures: u32, dice: u32) {
            let push = Backoff::PUSH.wait(failures, Dice(dice));
            prop_assert!((Backoff::PUSH.min..=Backoff::PUSH.max).contains(&push));
            let reconnect = reconnect_wait(failures.max(1), Dice(dice));
            prop_assert!((secs(1)..=secs(10)).contains(&reconnect));
        }
    }
}
