//! Durations as the files write them: a whole number and a unit, `500ms` `8s` `10m` `72h` `7d`.

use std::time::Duration;

/// Reads a duration; `None` if it is none.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let millis = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, millis)| *millis)?;
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(millis)
        .map(Duration::from_millis)
}

/// Writes a duration in the largest unit that fits it exactly.
pub(super) fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (unit, size) = UNITS
        .into_iter()
        .rev()
        .find(|(_, size)| millis >= u128::from(*size) && millis.is_multiple_of(u128::from(*size)))
        .unwrap_or(("s", 1000));
    format!("{}{unit}", millis / u128::from(size))
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", Some(500)),
            ("8s", Some(8000)),
            ("0s", Some(0)),
            ("10m", Some(600_000)),
            ("72h", Some(259_200_000)),
            ("7d", Some(604_800_000)),
            ("", None),
            ("8", None),
            ("s", None),
            ("8 s", None),
            ("8S", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("1h30m", None),
            ("2w", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("٣s", None),
        ] {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_exact_unit() {
        for text in ["500ms", "8s", "90s", "10m", "1h", "3d", "1001ms", "0s"] {
            assert_eq!(parse(text).map(shown).as_deref(), Some(text));
        }
        assert_eq!(parse("72h").map(shown).as_deref(), Some("3d"));
    }
}
