//! The life of the access token. Its text stays in the shell; here are only its times.
//!
//! | state | token got | token failed | doubted | its time |
//! | --- | --- | --- | --- | --- |
//! | `Due{at}` | `Due{renewal}` | `Due{later}` | `Due{now}` | fetch: `UnderWay` |
//! | `UnderWay{deadline}` | `Due{renewal}` | `Due{later}` | – | failed: no answer |
//!
//! What is held stays held while its successor is fetched: a token ends by being replaced, by its
//! own expiry, or by a server that refuses a connect with it.

use std::time::Duration;

use super::Moment;
use crate::push::Mono;
use crate::retry::{AskedWait, Backoff, heeded, reconnect_wait};

/// When the token ends and when the next one is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    /// Zero while there is none.
    good_until: Mono,
    /// A server that refuses it before this means something else than its age.
    fresh_until: Mono,
    fetch: Fetch,
    /// Fetches that failed since one succeeded.
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fetch {
    Due { at: Mono },
    UnderWay { deadline: Mono },
}

/// What a failed fetch holds up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// There is no connection for want of a token.
    Blocking,
    /// The old token, or the session, still lives.
    Renewal,
}

impl Token {
    pub(super) fn none() -> Self {
        Self {
            good_until: Mono(0),
            fresh_until: Mono(0),
            fetch: Fetch::Due { at: Mono(0) },
            failures: 0,
        }
    }

    pub(super) fn is_good(&self, now: Mono) -> bool {
        self.good_until > now
    }

    pub(super) fn got(&mut self, lifetime: Duration, now: Mono) {
        self.good_until = now.plus(lifetime);
        self.fresh_until = now.plus(FRESH);
        self.fetch = Fetch::Due {
            at: now.plus(renewal_after(lifetime)),
        };
        self.failures = 0;
    }

    /// A renewal may take its time as long as there is a good token, and no longer than that.
    pub(super) fn failed(&mut self, urgency: Urgency, asked: AskedWait, at: Moment) {
        self.failures = self.failures.saturating_add(1);
        let patient = urgency == Urgency::Renewal && self.is_good(at.now);
        let wait = if patient {
            RENEWAL.wait(self.failures, at.dice)
        } else {
            reconnect_wait(self.failures, at.dice)
        };
        let next = at.now.plus(heeded(wait, asked, at.dice));
        let at = if patient {
            next.min(self.good_until.max(at.now.plus(RENEWAL.min)))
        } else {
            next
        };
        self.fetch = Fetch::Due { at };
    }

    /// Whether it is too new to have been revoked.
    pub(super) fn is_fresh(&self, now: Mono) -> bool {
        now < self.fresh_until
    }

    /// A server took it. Should one refuse it from now on, it was revoked meanwhile.
    pub(super) fn accepted(&mut self) {
        self.fresh_until = Mono(0);
    }

    /// The server refused to connect with it: it is gone, and another is asked for at `retry`.
    pub(super) fn refused(&mut self, retry: Mono) {
        self.good_until = Mono(0);
        self.fetch_by(retry);
    }

    /// Brings the next fetch forward, if it is not under way already.
    pub(super) fn fetch_by(&mut self, latest: Mono) {
        if let Fetch::Due { at } = &mut self.fetch {
            *at = latest.min(*at);
        }
    }

    /// Begins the fetch if it is time; says so.
    pub(super) fn begin_if_due(&mut self, now: Mono) -> bool {
        let due = matches!(self.fetch, Fetch::Due { at } if at <= now);
        if due {
            self.fetch = Fetch::UnderWay {
                deadline: now.plus(FETCH_TIMEOUT),
            };
        }
        due
    }

    pub(super) fn is_overdue(&self, now: Mono) -> bool {
        matches!(self.fetch, Fetch::UnderWay { deadline } if deadline <= now)
    }

    /// When to look again: the next fetch, or the end of patience with this one.
    pub(super) fn deadline(&self) -> Mono {
        match self.fetch {
            Fetch::Due { at } => at,
            Fetch::UnderWay { deadline } => deadline,
        }
    }
}

/// At 80 % of its life or five minutes before its end, whichever is earlier, but never in the first
/// half of its life (a token may live five minutes in all) and never within seconds.
fn renewal_after(lifetime: Duration) -> Duration {
    let well_before = (lifetime / 5 * 4).min(lifetime.saturating_sub(RENEWAL_MARGIN));
    well_before.max(lifetime / 2).max(SHORTEST_RENEWAL)
}

/// The shell has its own limits and better words; this one is for a shell that forgot.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(16);
/// Medplum's own client renews at this distance from the end; ours must not be later.
const RENEWAL_MARGIN: Duration = Duration::from_mins(5);
/// Longer than it takes to connect with it where nothing is wrong.
const FRESH: Duration = Duration::from_secs(30);
/// A server that hands out dead tokens is not asked more often than this.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(10);
/// A renewal that fails holds nobody up, and a quarter of a token's life is left for the next.
const RENEWAL: Backoff = Backoff {
    min: Duration::from_secs(2),
    max: Duration::from_mins(1),
};

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(n * 60)
    }

    #[test]
    fn an_hour_is_renewed_at_four_fifths() {
        assert_eq!(renewal_after(minutes(60)), minutes(48));
    }

    #[test]
    fn ten_minutes_are_renewed_five_minutes_before_the_end() {
        assert_eq!(renewal_after(minutes(10)), minutes(5));
    }

    #[test]
    fn five_minutes_are_renewed_at_half_time_and_not_at_once() {
        assert_eq!(renewal_after(minutes(5)), Duration::from_secs(150));
    }

    #[test]
    fn a_token_without_life_is_not_renewed_in_a_storm() {
        assert_eq!(renewal_after(Duration::ZERO), SHORTEST_RENEWAL);
    }

    #[test]
    fn a_life_beyond_all_clocks_does_not_overflow() {
        let mut token = Token::none();
        token.got(Duration::MAX, Mono(5));
        assert!(token.is_good(Mono(u64::MAX - 1)));
    }
}
