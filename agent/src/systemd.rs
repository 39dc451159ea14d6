//! What the service manager is told, and nothing else of it. Without one every call does nothing.

use std::sync::mpsc;
use std::time::Duration;

use systemd::daemon;
use tracing::warn;

use crate::clock;

/// The agent is up: listening, queue readable. The cloud may still be away.
pub fn ready(status: &str) {
    tell(&[
        (daemon::STATE_READY, "1"),
        (daemon::STATE_STATUS, &clean(status)),
    ]);
}

/// The configuration is being read anew; [`ready`] says that it is done. The time tells the service manager that this
/// came after its own wish for it.
pub fn reloading() {
    tell(&[
        (daemon::STATE_RELOADING, "1"),
        ("MONOTONIC_USEC", &clock::monotonic_us().to_string()),
    ]);
}

pub fn status(status: &str) {
    tell(&[(daemon::STATE_STATUS, &clean(status))]);
}

/// Feeds the watchdog.
pub fn alive() {
    tell(&[(daemon::STATE_WATCHDOG, "1")]);
}

/// How often the service manager wants to hear [`alive`] from this process; `None` if it does not.
pub fn watchdog() -> Option<Duration> {
    match daemon::watchdog_enabled() {
        Ok(0) => None,
        Ok(microseconds) => Some(Duration::from_micros(microseconds)),
        Err(error) => {
            warn!(%error, "the service manager's wish for a watchdog cannot be read");
            None
        }
    }
}

pub fn stopping() {
    tell(&[(daemon::STATE_STOPPING, "1")]);
}

fn tell(state: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(state.iter()) {
        warn!(%error, "the service manager could not be told");
    }
}

/// A long start, for which the service manager is asked for time until this is dropped.
#[derive(Debug)]
pub struct Starting {
    _over: mpsc::Sender<()>,
}

impl Starting {
    /// Says what takes so long, and asks for more time again and again; but not for ever.
    pub fn begin(what: &str) -> Self {
        status(what);
        let (over, asked) = mpsc::channel();
        let ask = std::thread::Builder::new().name("starting".into());
        // Without the thread the start has the time of the unit file, which is long.
        if let Err(error) = ask.spawn(move || ask_for_time(&asked)) {
            warn!(%error, "the service manager cannot be asked for time");
        }
        Self { _over: over }
    }
}

fn ask_for_time(over: &mpsc::Receiver<()>) {
    let more = ASK_FOR.as_micros().to_string();
    for _ in 0..MOST_ASKED {
        tell(&[(daemon::STATE_EXTEND_TIMEOUT_USEC, &more)]);
        if over.recv_timeout(ASK_EVERY) == Err(mpsc::RecvTimeoutError::Disconnected) {
            return;
        }
    }
    warn!("the start takes too long; the service manager is not asked for more time");
}

const ASK_FOR: Duration = Duration::from_mins(1);
/// Well before the time is over that was asked for last.
const ASK_EVERY: Duration = Duration::from_secs(20);
/// Fifteen minutes: the longest start that is not a hang.
const MOST_ASKED: u32 = 45;

/// A newline would begin another message, and a NUL ends the process.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_from_a_peer_cannot_speak_to_the_service_manager() {
        assert_eq!(clean("away\nREADY=1\0"), "away READY=1 ");
    }
}
