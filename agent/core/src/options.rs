//! What one push says about itself in the parameters of its media type.
//!
//! `x-application/hl7-v2+er7; answer-within=28; expires=PT4H; priority=stat; dedupe=off`
//!
//! | parameter | allowed |
//! | --- | --- |
//! | `answer-within` | whole seconds, 0 to 55 |
//! | `expires` | ISO 8601 duration of weeks, or of days, hours, minutes, seconds; 1 second to 90 days |
//! | `priority` | `routine`, `stat` |
//! | `dedupe` | `on`, `off` |
//! | `charset` | anything; ignored, because the websocket carries text |
//!
//! Any other parameter is refused: it may be a misspelt one of ours, and a push that was meant to
//! expire must not be delivered a week late because of a typing error.

use std::time::Duration;

use thiserror::Error;

use crate::push::{Dedupe, Options, Priority};

/// A media type taken apart: what the body is, and what the push says about its delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaType {
    /// Type and subtype in lower case, without parameters.
    pub essence: String,
    pub options: Options,
}

/// Why a media type was refused, as a sentence for the caller of the push.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum OptionError {
    #[error(
        "the content type is not a media type; write type/subtype, for example x-application/hl7-v2+er7"
    )]
    Essence,
    #[error(
        "the content type has a parameter that is not name=value; write it without blanks around the equals sign, for example answer-within=28"
    )]
    Shape,
    #[error("the content type parameter {0} has a quoted value that does not end; close the quote")]
    OpenQuote(String),
    #[error("the content type gives {0} twice; give it once")]
    Twice(String),
    #[error(
        "the content type parameter {0} is not known; known are answer-within, expires, priority, dedupe and charset"
    )]
    Unknown(String),
    #[error("answer-within takes whole seconds from 0 to 55, for example answer-within=28")]
    AnswerWithin,
    #[error(
        "expires takes an ISO 8601 duration of days, hours, minutes and seconds (or weeks) from 1 second to 90 days, for example expires=PT4H"
    )]
    Expires,
    #[error("priority takes stat or routine")]
    Priority,
    #[error("dedupe takes on or off")]
    Dedupe,
}

/// Takes a content type apart.
pub fn parse(content_type: &str) -> Result<MediaType, OptionError> {
    let (essence, mut rest) = match content_type.split_once(';') {
        Some((essence, rest)) => (essence, rest),
        None => (content_type, ""),
    };
    let essence = parse_essence(essence)?;
    let mut options = Options::default();
    let mut seen = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Ok(MediaType { essence, options });
        }
        let (name, value, after) = next_parameter(rest)?;
        if seen.contains(&name) {
            return Err(OptionError::Twice(name));
        }
        apply(&mut options, &name, &value)?;
        seen.push(name);
        rest = after;
    }
}

/// Only the essence, for a content type whose parameters are nobody's business here.
pub fn essence(content_type: &str) -> Result<String, OptionError> {
    parse_essence(content_type.split(';').next().unwrap_or_default())
}

fn parse_essence(text: &str) -> Result<String, OptionError> {
    let text = text.trim_matches([' ', '\t']);
    let Some((kind, subtype)) = text.split_once('/') else {
        return Err(OptionError::Essence);
    };
    if !is_token(kind) || !is_token(subtype) {
        return Err(OptionError::Essence);
    }
    Ok(text.to_ascii_lowercase())
}

/// Name in lower case, value without quotes, and what comes after it.
fn next_parameter(text: &str) -> Result<(String, String, &str), OptionError> {
    let Some((name, rest)) = text.split_once('=') else {
        return Err(OptionError::Shape);
    };
    if !is_token(name) {
        return Err(OptionError::Shape);
    }
    let name = shown(name);
    let (value, after) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted).ok_or_else(|| OptionError::OpenQuote(name.clone()))?,
        None => plain(rest)?,
    };
    let after = after.trim_start_matches([' ', '\t']);
    if after.is_empty() || after.starts_with(';') {
        Ok((name, value, after))
    } else {
        Err(OptionError::Shape)
    }
}

fn plain(text: &str) -> Result<(String, &str), OptionError> {
    let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
    let (value, after) = text.split_at_checked(end).unwrap_or((text, ""));
    if is_token(value) {
        Ok((value.to_owned(), after))
    } else {
        Err(OptionError::Shape)
    }
}

/// The value up to the closing quote (RFC 9110, 5.6.4), and what follows the quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

fn apply(options: &mut Options, name: &str, value: &str) -> Result<(), OptionError> {
    match name {
        "answer-within" => options.answer_within = Some(parse_answer_within(value)?),
        "expires" => options.expires = Some(parse_expires(value)?),
        "priority" => {
            options.priority = word(
                value,
                &[("stat", Priority::Stat), ("routine", Priority::Routine)],
            )
            .ok_or(OptionError::Priority)?;
        }
        "dedupe" => {
            options.dedupe = word(value, &[("on", Dedupe::On), ("off", Dedupe::Off)])
                .ok_or(OptionError::Dedupe)?;
        }
        "charset" => {}
        _ => return Err(OptionError::Unknown(name.to_owned())),
    }
    Ok(())
}

fn word<T: Copy>(value: &str, words: &[(&str, T)]) -> Option<T> {
    words
        .iter()
        .find(|(word, _)| value.eq_ignore_ascii_case(word))
        .map(|(_, meaning)| *meaning)
}

fn parse_answer_within(value: &str) -> Result<Duration, OptionError> {
    match digits(value) {
        Some(seconds) if seconds <= LONGEST_ANSWER_WITHIN => Ok(Duration::from_secs(seconds)),
        _ => Err(OptionError::AnswerWithin),
    }
}

fn parse_expires(value: &str) -> Result<Duration, OptionError> {
    let value = value.to_ascii_uppercase();
    let seconds = value
        .strip_prefix('P')
        .and_then(duration_seconds)
        .ok_or(OptionError::Expires)?;
    if (1..=LONGEST_EXPIRES).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(OptionError::Expires)
    }
}

/// Seconds of what follows the `P`. Months and years are no fixed time and are not taken.
fn duration_seconds(text: &str) -> Option<u64> {
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let date_seconds = match date.strip_suffix('W') {
        Some(weeks) if time.is_empty() => digits(weeks)?.checked_mul(7 * DAY),
        _ => units(date, &[('D', DAY)]),
    }?;
    date_seconds.checked_add(units(time, &[('H', 3600), ('M', 60), ('S', 1)])?)
}

/// Sums numbers with these unit letters, each at most once, in this order.
fn units(mut text: &str, allowed: &[(char, u64)]) -> Option<u64> {
    let mut total: u64 = 0;
    for (letter, seconds) in allowed {
        if let Some((number, rest)) = text.split_once(*letter) {
            total = total.checked_add(digits(number)?.checked_mul(*seconds)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(total)
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A parameter name as it may stand in an answer: lower case and short.
fn shown(name: &str) -> String {
    name.chars()
        .take(LONGEST_NAME)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// The server never waits longer than a minute, and the answer must reach it within that.
const LONGEST_ANSWER_WITHIN: u64 = 55;
const DAY: u64 = 24 * 3600;
/// Rows are kept for 90 days.
const LONGEST_EXPIRES: u64 = 90 * DAY;
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const HL7: &str = "x-application/hl7-v2+er7";

    fn with(parameters: &str) -> Result<Options, OptionError> {
        parse(&format!("{HL7}{parameters}")).map(|media_type| media_type.options)
    }

    fn seconds(duration: Option<Duration>) -> Option<u64> {
        duration.map(|duration| duration.as_secs())
    }

    #[test]
    fn the_example_of_the_design_is_understood_whole() {
        let parsed = parse(
            "x-application/hl7-v2+er7; answer-within=28; expires=PT4H; priority=stat; dedupe=off",
        )
        .unwrap();
        assert_eq!(parsed.essence, HL7);
        assert_eq!(
            parsed.options,
            Options {
                answer_within: Some(Duration::from_secs(28)),
                expires: Some(Duration::from_hours(4)),
                priority: Priority::Stat,
                dedupe: Dedupe::Off,
            }
        );
    }

    #[test]
    fn the_essence_is_lower_case_and_must_be_a_media_type() {
        for (text, expected) in [
            ("X-Application/HL7-v2+ER7", Some(HL7)),
            (" text/plain ; charset=utf-8", Some("text/plain")),
            (
                "application/vnd.wardpost.command+json",
                Some("application/vnd.wardpost.command+json"),
            ),
            ("", None),
            (";priority=stat", None),
            ("text", None),
            ("text/", None),
            ("/plain", None),
            ("text/pl ain", None),
            ("text/plain/x", None),
        ] {
            let got = parse(text).map(|media_type| media_type.essence);
            assert_eq!(got.as_deref().ok(), expected, "{text}");
            assert_eq!(essence(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn parameters_may_be_absent_empty_spaced_quoted_and_in_any_case() {
        for (text, answer_within) in [
            ("", None),
            (";", None),
            (" ; ; ", None),
            (";answer-within=5", Some(5)),
            (" ;\tanswer-within=5 ;", Some(5)),
            ("; Answer-Within=\"5\"", Some(5)),
            ("; ANSWER-WITHIN=\"\\5\" ; charset=utf-8", Some(5)),
            ("; charset=\"a;b=c\"; answer-within=5", Some(5)),
        ] {
            assert_eq!(
                with(text).map(|o| seconds(o.answer_within)),
                Ok(answer_within),
                "{text}"
            );
        }
    }

    #[test]
    fn a_parameter_of_the_wrong_shape_is_refused() {
        for (text, error) in [
            ("; answer-within", OptionError::Shape),
            ("; answer-within =5", OptionError::Shape),
            ("; answer-within= 5", OptionError::Shape),
            ("; answer-within=", OptionError::Shape),
            ("; =5", OptionError::Shape),
            ("; priority=\"stat\"x", OptionError::Shape),
            ("; priority=stat dedupe=off", OptionError::Shape),
            ("; priority=st@t", OptionError::Shape),
            (
                "; priority=\"stat",
                OptionError::OpenQuote("priority".into()),
            ),
            (
                "; priority=\"stat\\",
                OptionError::OpenQuote("priority".into()),
            ),
            (
                "; priority=stat; Priority=stat",
                OptionError::Twice("priority".into()),
            ),
            (
                "; charset=a; charset=b",
                OptionError::Twice("charset".into()),
            ),
        ] {
            assert_eq!(with(text), Err(error), "{text}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name_and_told_what_is_known() {
        assert_eq!(
            with("; Expire=PT4H"),
            Err(OptionError::Unknown("expire".into()))
        );
        assert_eq!(with("; q=0.5"), Err(OptionError::Unknown("q".into())));
        let sentence = with("; anser-within=5").unwrap_err().to_string();
        assert_eq!(
            sentence,
            "the content type parameter anser-within is not known; known are answer-within, expires, priority, dedupe and charset"
        );
        let long = format!("; {}=1", "x".repeat(5000));
        assert!(with(&long).unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn answer_within_takes_whole_seconds_up_to_55() {
        for (text, expected) in [
            ("0", Some(0)),
            ("28", Some(28)),
            ("055", Some(55)),
            ("55", Some(55)),
            ("56", None),
            ("2.5", None),
            ("-1", None),
            ("+1", None),
            ("8s", None),
            ("99999999999999999999999", None),
        ] {
            let got = with(&format!("; answer-within={text}")).map(|o| seconds(o.answer_within));
            assert_eq!(
                got,
                expected.map(Some).ok_or(OptionError::AnswerWithin),
                "{text}"
            );
        }
    }

    #[test]
    fn expires_takes_iso_durations_without_months_up_to_90_days() {
        for (text, expected) in [
            ("PT4H", Some(4 * 3600)),
            ("pt4h", Some(4 * 3600)),
            ("PT90M", Some(5400)),
            ("PT1S", Some(1)),
            ("P1D", Some(DAY)),
            ("P1DT1H1M1S", Some(DAY + 3661)),
            ("P2W", Some(14 * DAY)),
            ("P90D", Some(90 * DAY)),
            ("P0DT1S", Some(1)),
            ("P90DT1S", None),
            ("P13W", None),
            ("PT0S", None),
            ("P0D", None),
            ("P", None),
            ("PT", None),
            ("P1DT", None),
            ("P1W1D", None),
            ("P1WT1H", None),
            ("P1M", None),
            ("P1Y", None),
            ("PT1M1H", None),
            ("PT1H1H", None),
            ("PT1.5H", None),
            ("P1H", None),
            ("PT1D", None),
            ("PD", None),
            ("PTH", None),
            ("-PT1H", None),
            ("4h", None),
            ("P99999999999999999999D", None),
            ("P213503982334602D", None),
            ("PT5124095576030431H", None),
        ] {
            let got = with(&format!("; expires={text}")).map(|o| seconds(o.expires));
            assert_eq!(
                got,
                expected.map(Some).ok_or(OptionError::Expires),
                "{text}"
            );
        }
    }

    #[test]
    fn priority_and_dedupe_take_their_two_words() {
        for (text, expected) in [
            ("; priority=STAT", Ok((Priority::Stat, Dedupe::On))),
            (
                "; priority=routine; dedupe=Off",
                Ok((Priority::Routine, Dedupe::Off)),
            ),
            ("; dedupe=on", Ok((Priority::Routine, Dedupe::On))),
            ("; priority=urgent", Err(OptionError::Priority)),
            ("; priority=\"\"", Err(OptionError::Priority)),
            ("; dedupe=false", Err(OptionError::Dedupe)),
        ] {
            assert_eq!(
                with(text).map(|o| (o.priority, o.dedupe)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn no_value_is_repeated_in_a_refusal() {
        for parameters in [
            "answer-within=4711",
            "expires=DOE",
            "priority=DOE",
            "dedupe=DOE",
        ] {
            let sentence = with(&format!("; {parameters}")).unwrap_err().to_string();
            assert!(
                !sentence.contains("4711") && !sentence.contains("DOE"),
                "{sentence}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_content_type_is_understood_or_refused(text in ".{0,80}", tail in "[ -~]{0,60}") {
            for content_type in [text.clone(), format!("{HL7};{tail}"), format!("{HL7}; expires={tail}")] {
                if let Err(error) = parse(&content_type) {
                    proptest::prop_assert!(!error.to_string().contains(char::is_control));
                }
            }
        }
    }
}
