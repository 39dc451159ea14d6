//! The character set of a device: text to bytes, and its answers back to text.
//!
//! Names are the web's labels (`shift_jis`, `gb18030`, `windows-1252`, …), HL7's (`8859/1`, `UNICODE UTF-8`) and a few
//! that are in use besides. A set must keep ASCII as it is, so UTF-16 is refused.
//!
//! The tables are those of the web, and the web reads `iso-8859-1` and `us-ascii` as windows-1252. In the ISO sets
//! 80..9F are control characters, which no message means: there we neither send such a byte (a euro sign would become
//! one that the device does not know) nor take one for text.

use std::fmt;

use encoding_rs::Encoding;

use super::message::{Delimiters, segments};

/// A character set by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    encoding: &'static Encoding,
    valid: Valid,
}

/// Which bytes of the table the set really has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Valid {
    All,
    /// ISO 8859: without 80..9F.
    NoC1,
    /// ASCII: below 80.
    Seven,
}

/// No such set, or none that can carry HL7.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{name:?} is not a character set for HL7: use utf-8, iso-8859-1 (or another part), windows-1252, us-ascii, shift_jis, gb18030, gbk, big5 or euc-kr"
)]
pub struct UnknownCharset {
    pub name: String,
}

/// A character that the set does not have. The text itself is not told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{place} holds a character that {charset} does not have: change the text, or the device's charset"
)]
pub struct EncodeError {
    pub charset: &'static str,
    pub place: Place,
}

/// Where in a message something is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name of the segment, where it looks like one.
    pub name: Option<String>,
    /// Number of the segment, from 1.
    pub segment: usize,
    /// Number of the field as HL7 counts; 0 is the segment's name.
    pub field: usize,
}

/// Text of a device.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    pub(super) fidelity: Fidelity,
}

/// Whether all bytes of a text could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fidelity {
    Exact,
    /// What could not be read is U+FFFD.
    Replaced,
}

impl Charset {
    pub const UTF_8: Self = Self {
        name: "UTF-8",
        encoding: encoding_rs::UTF_8,
        valid: Valid::All,
    };

    pub fn by_name(name: &str) -> Result<Self, UnknownCharset> {
        let label = label(name);
        Encoding::for_label(label.as_bytes())
            .filter(|encoding| encoding.is_ascii_compatible())
            .map(|encoding| Self::of(encoding, &label))
            .ok_or_else(|| UnknownCharset {
                name: name.to_owned(),
            })
    }

    /// Undoes what the web made of a label.
    fn of(encoding: &'static Encoding, label: &str) -> Self {
        let name = encoding.name();
        let (name, valid) = match (name, label) {
            ("windows-1252", "windows-1252" | "cp1252" | "x-cp1252")
            | ("windows-1254", "windows-1254" | "cp1254" | "x-cp1254")
            | ("windows-874", "windows-874" | "dos-874") => (name, Valid::All),
            ("windows-1252", "us-ascii" | "ascii" | "ansi_x3.4-1968") => ("US-ASCII", Valid::Seven),
            ("windows-1252", _) => ("ISO-8859-1", Valid::NoC1),
            ("windows-1254", _) => ("ISO-8859-9", Valid::NoC1),
            ("windows-874", _) => ("ISO-8859-11", Valid::NoC1),
            _ if name.starts_with("ISO-8859-") => (name, Valid::NoC1),
            _ => (name, Valid::All),
        };
        Self {
            name,
            encoding,
            valid,
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Text as bytes, or the place of the first character that the set does not have.
    pub fn encode(&self, text: &str) -> Result<Vec<u8>, EncodeError> {
        let (bytes, _, unmappable) = self.encoding.encode(text);
        if unmappable || !bytes.iter().all(|byte| self.valid.has(*byte)) {
            let at = text
                .char_indices()
                .find(|(_, c)| !self.has(*c))
                .map_or(0, |(at, _)| at);
            return Err(EncodeError {
                charset: self.name,
                place: Place::of(text, at),
            });
        }
        Ok(bytes.into_owned())
    }

    fn has(&self, c: char) -> bool {
        let mut buffer = [0; 4];
        let (bytes, _, unmappable) = self.encoding.encode(c.encode_utf8(&mut buffer));
        !unmappable && bytes.iter().all(|byte| self.valid.has(*byte))
    }

    /// Bytes as text; what cannot be read is replaced, and that is told.
    pub(super) fn decode(&self, bytes: &[u8]) -> Decoded {
        let (text, malformed) = self.encoding.decode_without_bom_handling(bytes);
        if bytes.iter().all(|byte| self.valid.has(*byte)) {
            let fidelity = if malformed {
                Fidelity::Replaced
            } else {
                Fidelity::Exact
            };
            return Decoded {
                text: text.into_owned(),
                fidelity,
            };
        }
        // Sets without all bytes have one byte a character.
        let text = text.chars().zip(bytes);
        let text = text.map(|(c, byte)| {
            if self.valid.has(*byte) {
                c
            } else {
                REPLACEMENT
            }
        });
        Decoded {
            text: text.collect(),
            fidelity: Fidelity::Replaced,
        }
    }
}

impl Valid {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::All => true,
            Self::NoC1 => !(0x80..0xa0).contains(&byte),
            Self::Seven => byte < 0x80,
        }
    }
}

impl Place {
    /// Finds the place of a byte in a message whose segments end in CR.
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let segment = before.matches('\r').count() + 1;
        let Ok(delimiters) = Delimiters::read(text) else {
            return Self {
                name: None,
                segment,
                field: 0,
            };
        };
        let line = before.rsplit('\r').next().unwrap_or_default();
        let name = segments(text, delimiters)
            .nth(segment - 1)
            .map(|found| found.name());
        let name = name.filter(|name| name.len() == 3 && name.chars().all(can_name));
        // MSH-1 is the first separator itself.
        let ahead = usize::from(name == Some("MSH"));
        let field = line.matches(delimiters.field).count() + ahead;
        Self {
            name: name.map(str::to_owned),
            segment,
            field,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}-{} (segment {})", self.field, self.segment),
            None => write!(f, "field {} of segment {}", self.field, self.segment),
        }
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charset({})", self.name)
    }
}

/// The web's label for a name as HL7, Node or a person writes it.
fn label(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "unicode utf-8" => "utf-8".to_owned(),
        "latin-1" => "iso-8859-1".to_owned(),
        "shiftjis" => "shift_jis".to_owned(),
        "gb 18030-2000" => "gb18030".to_owned(),
        _ => match (name.strip_prefix("8859/"), name.strip_prefix("win125")) {
            (Some(part), _) => format!("iso-8859-{part}"),
            (_, Some(page)) => format!("windows-125{page}"),
            (None, None) => name,
        },
    }
}

fn can_name(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit()
}

const REPLACEMENT: char = '\u{fffd}';

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn charset(name: &str) -> Charset {
        Charset::by_name(name).unwrap()
    }

    #[track_caller]
    fn named(name: &str, expected: &str) {
        assert_eq!(charset(name).name(), expected);
    }

    #[test]
    fn names_of_the_web_of_hl7_and_of_people_are_known() {
        named("UTF8", "UTF-8");
        named("UNICODE UTF-8", "UTF-8");
        named("8859/1", "ISO-8859-1");
        named("latin1", "ISO-8859-1");
        named("iso-8859-15", "ISO-8859-15");
        named("8859/9", "ISO-8859-9");
        named("win1252", "windows-1252");
        named("cp1252", "windows-1252");
        named("ASCII", "US-ASCII");
        named("shift_jis", "Shift_JIS");
        named("GB 18030-2000", "gb18030");
    }

    #[test]
    fn sets_that_do_not_keep_ascii_are_refused() {
        for name in ["utf-16", "utf-16le", "hz-gb-2312", "ebcdic", ""] {
            assert_eq!(
                Charset::by_name(name),
                Err(UnknownCharset {
                    name: name.to_owned()
                })
            );
        }
    }

    #[test]
    fn text_becomes_the_bytes_of_the_set() {
        assert_eq!(
            charset("8859/1").encode("M\u{dc}LLER").unwrap(),
            b"M\xdcLLER"
        );
        assert_eq!(charset("windows-1252").encode("\u{20ac}").unwrap(), b"\x80");
        assert_eq!(charset("shift_jis").encode("\u{5c71}").unwrap(), b"\x8eR");
        assert_eq!(charset("utf-8").encode("\u{dc}").unwrap(), b"\xc3\x9c");
    }

    #[track_caller]
    fn refused(name: &str, text: &str, place: &str) {
        let error = charset(name).encode(text).unwrap_err();
        assert_eq!(error.place.to_string(), place);
    }

    #[test]
    fn what_cannot_be_encoded_is_told_by_its_place() {
        let header = "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|4711|P|2.5.1\r";
        refused(
            "8859/1",
            &format!("{header}PID|1||88||\u{5c71}^J\r"),
            "PID-5 (segment 2)",
        );
        refused(
            "ascii",
            &header.replace("EHR", "\u{c4}"),
            "MSH-3 (segment 1)",
        );
        refused(
            "8859/1",
            &format!("{header}PID|1\rjane|\u{20ac}"),
            "field 1 of segment 3",
        );
        refused(
            "8859/1",
            &format!("{header}NTE|1||\u{85}"),
            "NTE-3 (segment 2)",
        );
    }

    #[track_caller]
    fn decoded(name: &str, bytes: &[u8], text: &str, fidelity: Fidelity) {
        let decoded = charset(name).decode(bytes);
        assert_eq!((decoded.text.as_str(), decoded.fidelity), (text, fidelity));
    }

    #[test]
    fn bytes_become_text_and_doubtful_ones_are_flagged() {
        decoded("8859/1", b"M\xdcLLER", "M\u{dc}LLER", Fidelity::Exact);
        decoded("8859/1", b"5 \x80", "5 \u{fffd}", Fidelity::Replaced);
        decoded("windows-1252", b"5 \x80", "5 \u{20ac}", Fidelity::Exact);
        decoded("ascii", b"\xdc", "\u{fffd}", Fidelity::Replaced);
        decoded("utf-8", b"M\xdcLLER", "M\u{fffd}LLER", Fidelity::Replaced);
    }

    proptest! {
        #[test]
        fn what_a_set_encodes_it_reads_again(text in any::<String>(), name in prop_oneof![
            Just("utf-8"), Just("ascii"), Just("8859/1"), Just("8859/15"), Just("windows-1252"), Just("gb18030"),
        ]) {
            if let Ok(bytes) = charset(name).encode(&text) {
                let decoded = charset(name).decode(&bytes);
                prop_assert_eq!(decoded.fidelity, Fidelity::Exact);
                prop_assert_eq!(decoded.text, text);
            }
        }

        #[test]
        fn any_bytes_become_some_text(bytes in any::<Vec<u8>>(), name in prop_oneof![
            Just("utf-8"), Just("ascii"), Just("8859/1"), Just("shift_jis"), Just("gb18030"), Just("euc-kr"),
        ]) {
            charset(name).decode(&bytes);
        }
    }
}
