//! What the head of an answer says beside its status: what time it is over there, and when to come back.

use std::time::Duration;

use agent_core::clock::CloudTime;
use agent_core::push::{Mono, Timestamp};
use agent_core::retry::AskedWait;
use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::fmt::rfc2822;

use crate::clock;

/// `Date`: the server's clock when it answered.
pub(super) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, &DATE)?)
}

/// What a `Date` that has just come says of the time there.
pub(super) fn time(date: Option<Timestamp>, asked: Mono) -> Option<CloudTime> {
    Some(CloudTime {
        date: date?,
        asked,
        answered: clock::mono(),
    })
}

/// `Retry-After`: a number of seconds, or a time by the server's own clock.
pub(super) fn asked_wait(headers: &HeaderMap) -> AskedWait {
    let Some(asked) = text(headers, &RETRY_AFTER) else {
        return AskedWait::Nothing;
    };
    if let Ok(seconds) = asked.parse() {
        return AskedWait::For(Duration::from_secs(seconds));
    }
    match (http_date(asked), date(headers)) {
        (Some(then), Some(now)) => AskedWait::For(then.since(now)),
        _ => AskedWait::Nothing,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    value.to_str().ok().map(str::trim)
}

fn http_date(text: &str) -> Option<Timestamp> {
    let parser = rfc2822::DateTimeParser::new();
    let at = parser.parse_timestamp(text).ok()?;
    Some(Timestamp(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn asked(pairs: &[(HeaderName, &str)]) -> Option<u64> {
        match asked_wait(&headers(pairs)) {
            AskedWait::Nothing => None,
            AskedWait::For(wait) => Some(wait.as_secs()),
        }
    }

    #[test]
    fn a_date_is_read_to_the_second() {
        let said = headers(&[(DATE, "Tue, 15 Nov 1994 08:12:31 GMT")]);
        assert_eq!(date(&said), Some(Timestamp(784_887_151_000)));
        for wrong in [
            "",
            "yesterday",
            "1994-11-15T08:12:31Z",
            "Tue, 35 Nov 1994 08:12:31 GMT",
        ] {
            assert_eq!(date(&headers(&[(DATE, wrong)])), None, "{wrong}");
        }
        assert_eq!(date(&HeaderMap::new()), None);
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_as_a_time_by_the_servers_clock() {
        let at_ten = (DATE, "Tue, 15 Nov 1994 10:00:00 GMT");
        assert_eq!(asked(&[(RETRY_AFTER, "120")]), Some(120));
        assert_eq!(asked(&[(RETRY_AFTER, " 7 ")]), Some(7));
        let later = (RETRY_AFTER, "Tue, 15 Nov 1994 10:01:30 GMT");
        assert_eq!(asked(&[at_ten.clone(), later.clone()]), Some(90));
        assert_eq!(asked(&[later]), None, "not by our own clock");
        let past = (RETRY_AFTER, "Tue, 15 Nov 1994 09:00:00 GMT");
        assert_eq!(asked(&[at_ten, past]), Some(0));
        for wrong in ["soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(asked(&[(RETRY_AFTER, wrong)]), None, "{wrong}");
        }
        assert_eq!(asked(&[]), None);
    }
}
