//! Dates as a search compares them.
//!
//! A date that is not written to the second stands for a period; what is compared is its beginning, as a real server does,
//! and only equality means the whole of it.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Compares an element with a wanted date and its prefix, such as `ge2026-03-01`. `None` if one of both is no date.
pub(super) fn compare(element: &str, wanted: &str) -> Option<bool> {
    let (prefix, date) = match wanted.split_at_checked(2) {
        Some((prefix, date)) if prefix.chars().all(|letter| letter.is_ascii_lowercase()) => {
            (prefix, date)
        }
        _ => ("eq", wanted),
    };
    let (start, end) = period(date)?;
    let (at, _) = period(element)?;
    let inside = start <= at && at < end;
    Some(match prefix {
        "eq" => inside,
        "ne" => !inside,
        "gt" => at > start,
        "sa" => at >= end,
        "ge" => at >= start,
        "lt" | "eb" => at < start,
        "le" => at < end,
        _ => false,
    })
}

/// The instant, or the beginning of the day, month or year.
pub(super) fn beginning(text: &str) -> Option<Timestamp> {
    period(text).map(|(start, _)| start)
}

/// First instant, and the first one after it.
fn period(text: &str) -> Option<(Timestamp, Timestamp)> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some((instant, instant.checked_add(1.millisecond()).ok()?));
    }
    if text.contains('T') {
        let instant = utc(text.parse().ok()?)?;
        return Some((instant, instant.checked_add(1.second()).ok()?));
    }
    let (first, span) = match text.split('-').count() {
        1 => (format!("{text}-01-01"), 1.year()),
        2 => (format!("{text}-01"), 1.month()),
        _ => (text.to_owned(), 1.day()),
    };
    let first: Date = first.parse().ok()?;
    let after = first.checked_add(span).ok()?;
    Some((utc(first.into())?, utc(after.into())?))
}

fn utc(time: DateTime) -> Option<Timestamp> {
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_compared_as_what_it_is_in_whatever_zone_it_is_written() {
        let element = "2026-03-01T09:00:00+01:00";
        for (wanted, holds) in [
            ("2026-03-01T08:00:00Z", true),
            ("eq2026-03-01", true),
            ("2026-03", true),
            ("2026", true),
            ("ne2026", false),
            ("gt2026-03-01T07:59:59.999Z", true),
            ("gt2026-03-01T08:00:00Z", false),
            ("ge2026-03-01T08:00:00Z", true),
            ("lt2026-03-01T08:00:00.001Z", true),
            ("le2026-03-01T08:00:00Z", true),
            ("lt2026-03-01", false),
            ("sa2026-02-28", true),
            ("eb2026-03-02", true),
        ] {
            assert_eq!(compare(element, wanted), Some(holds), "{wanted}");
        }
    }

    #[test]
    fn what_is_no_date_is_not_compared() {
        for (element, wanted) in [
            ("active", "2026"),
            ("2026-03-01", "active"),
            ("2026-03-01", ""),
            ("2026-03-01", "é2026"),
            ("2026-13-01", "2026"),
        ] {
            assert_eq!(compare(element, wanted), None, "{element} {wanted}");
        }
    }
}
