//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// Waits until the condition holds, and fails with its name if that takes far too long.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until there is something, and returns it.
pub fn wait_for<T>(what: &str, thing: impl FnMut() -> Option<T>) -> T {
    wait(what, PATIENCE, thing)
}

/// Waits for what takes its time by design: several time limits of the agent, one after the other.
pub fn wait_long_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait(what, LONG_PATIENCE, || condition().then_some(()));
}

fn wait<T>(what: &str, patience: Duration, mut thing: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(thing) = thing() {
            return thing;
        }
        assert!(began.elapsed() < patience, "waited in vain for {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Far longer than anything takes on a machine that builds meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);
const LONG_PATIENCE: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(3);
