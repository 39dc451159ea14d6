//! What a device url says about delivery in its query: `?encoding=iso-8859-1&defaultReturnAck=application`.
//!
//! Both are Medplum's own options of `Device.url`, and mean what they mean to its agent: names are
//! exact, the first of two counts, and what cannot be understood is not an error.

use crate::push::ReturnAck;

/// The options of a device url that this agent knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UrlOptions {
    /// Name of a character set, as written.
    pub encoding: Option<String>,
    pub return_ack: Option<ReturnAck>,
    /// A sentence for the log, if something was not understood.
    pub warning: Option<&'static str>,
}

impl UrlOptions {
    /// Reads the options of a url; what is no url has none.
    pub fn of(url: &str) -> Self {
        let mut options = Self {
            encoding: value(url, "encoding"),
            ..Self::default()
        };
        let Some(written) = value(url, "defaultReturnAck") else {
            return options;
        };
        options.return_ack = Some(ReturnAck::First);
        if written.eq_ignore_ascii_case("application") {
            options.return_ack = Some(ReturnAck::Application);
        } else if !written.eq_ignore_ascii_case("first") {
            options.warning = Some(UNKNOWN_RETURN_ACK);
        }
        options
    }

    /// Fills what is not said here from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            encoding: self.encoding.or(other.encoding),
            return_ack: self.return_ack.or(other.return_ack),
            warning: self.warning.or(other.warning),
        }
    }
}

/// Whether a url carries a query, and so says more than where its device is.
pub fn has_query(url: &str) -> bool {
    query(url).is_some_and(|query| !query.is_empty())
}

fn query(url: &str) -> Option<&str> {
    let (before_fragment, _) = url.split_once('#').unwrap_or((url, ""));
    before_fragment.split_once('?').map(|(_, query)| query)
}

/// The first non-empty value of this name.
fn value(url: &str, name: &str) -> Option<String> {
    query(url)?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| form_decoded(key) == name)
        .map(|(_, value)| form_decoded(value).trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn form_decoded(text: &str) -> String {
    percent_decoded(&text.replace('+', " "))
}

/// Decodes `%41`; what is no such code stays as it is, what is not UTF-8 becomes a replacement character.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let code = (byte == b'%')
            .then(|| hex(ahead.next()?).zip(hex(ahead.next()?)))
            .flatten();
        match code {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes what would end a part of a url, or a line of a log, as a percent code.
pub(super) fn percent_encoded(text: &str, ends: &[char]) -> String {
    let mut encoded = String::with_capacity(text.len());
    let mut buffer = [0; 4];
    for letter in text.chars() {
        if letter.is_control() || letter == '%' || ends.contains(&letter) {
            for byte in letter.encode_utf8(&mut buffer).bytes() {
                encoded.push('%');
                encoded.extend([byte >> 4, byte & 15].iter().map(|half| hex_digit(*half)));
            }
        } else {
            encoded.push(letter);
        }
    }
    encoded
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn hex_digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

const UNKNOWN_RETURN_ACK: &str = "defaultReturnAck in the device url is neither first nor application; first is used; correct Device.url";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_device_url_gives_encoding_and_return_ack() {
        use ReturnAck::{Application, First};
        for (query, encoding, return_ack, warns) in [
            ("", None, None, false),
            ("?", None, None, false),
            ("?encoding=iso-8859-1", Some("iso-8859-1"), None, false),
            ("?encoding=GB+18030", Some("GB 18030"), None, false),
            (
                "?encoding=iso%2D8859%2d1#x",
                Some("iso-8859-1"),
                None,
                false,
            ),
            ("#?encoding=x", None, None, false),
            ("?encoding=", None, None, false),
            ("?Encoding=latin1", None, None, false),
            ("?encoding=a&encoding=b", Some("a"), None, false),
            ("?defaultReturnAck=first", None, Some(First), false),
            (
                "?defaultReturnAck=APPLICATION&x=y",
                None,
                Some(Application),
                false,
            ),
            (
                "?encoding=utf-8&defaultReturnAck=Application",
                Some("utf-8"),
                Some(Application),
                false,
            ),
            ("?defaultReturnAck=both", None, Some(First), true),
            ("?defaultReturnAck=", None, None, false),
            ("?defaultreturnack=application", None, None, false),
        ] {
            let got = UrlOptions::of(&format!("mllp://10.0.0.7:2575{query}"));
            assert_eq!(got.encoding.as_deref(), encoding, "{query}");
            assert_eq!(got.return_ack, return_ack, "{query}");
            assert_eq!(got.warning.is_some(), warns, "{query}");
        }
    }

    #[test]
    fn the_first_url_that_says_something_is_heard() {
        let file = UrlOptions::of("x?encoding=a");
        let cloud = UrlOptions::of("x?encoding=b&defaultReturnAck=application");
        let both = file.or(cloud);
        assert_eq!(both.encoding.as_deref(), Some("a"));
        assert_eq!(both.return_ack, Some(ReturnAck::Application));
    }

    #[test]
    fn only_a_query_with_something_in_it_counts_as_one() {
        for (url, expected) in [
            ("a", false),
            ("a?", false),
            ("a?b", true),
            ("a#?b", false),
            ("a?#b", false),
        ] {
            assert_eq!(has_query(url), expected, "{url}");
        }
    }

    #[test]
    fn percent_codes_are_decoded_and_anything_else_is_left() {
        for (text, expected) in [
            ("", ""),
            ("%41%5a", "AZ"),
            ("%C3%A4", "ä"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("100%", "100%"),
            ("%%41", "%A"),
            ("%FF", "\u{fffd}"),
        ] {
            assert_eq!(percent_decoded(text), expected, "{text}");
        }
    }
}
