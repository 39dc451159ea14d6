//! What the service manager is told, and nothing else of it. Without one every call does nothing.

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

pub fn stopping() {
    tell(&[(daemon::STATE_STOPPING, "1")]);
}

fn tell(state: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(state.iter()) {
        warn!(%error, "the service manager could not be told");
    }
}

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
