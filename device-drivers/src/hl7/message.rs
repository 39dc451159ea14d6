//! The text of an HL7 v2 message: read as it declares itself, changed only at the ends of its segments.
//!
//! [`Message::parse`] is for what we send, and asks what sending needs: a header, a control id, no framing characters.
//! What a device answers is read with less (see `ack`). Content is not judged, and escapes stay as they are.

use std::collections::HashSet;
use std::fmt;

use memchr::{memchr2, memchr2_iter};

use super::mllp::{FS, VT};

/// A message in normal form: no leading blanks, no blank segments, every segment ended by CR. All else is as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    text: String,
    delimiters: Delimiters,
    control_id: String,
}

/// Why a text cannot be sent. Each says what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    #[error(
        "the message does not start with MSH: push one HL7 v2 message, beginning with MSH|^~\\&|"
    )]
    NotHl7,
    #[error(
        "the MSH segment is too short: its first two fields must name the delimiters, as in MSH|^~\\&|"
    )]
    HeaderTooShort,
    #[error(
        "MSH-10 (message control id) is empty: set it from the order's id and version, or no answer can be matched to it"
    )]
    NoControlId,
    #[error(
        "the message holds VT or FS (0B, 1C), which only frame a message: push the HL7 text alone, the agent frames it"
    )]
    FramingCharacter,
    #[error("segment {segment} is a second MSH: push one message at a time")]
    SecondHeader { segment: usize },
}

/// One segment, in the delimiters of its message.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    text: &'a str,
    delimiters: Delimiters,
}

/// What MSH-1 and MSH-2 declare, as far as anybody here needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delimiters {
    pub(super) field: char,
    component: char,
}

impl Message {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if memchr2(VT, FS, text.as_bytes()).is_some() {
            return Err(ParseError::FramingCharacter);
        }
        let text = normal_form(text);
        let delimiters = Delimiters::read(&text)?;
        if let Some(at) = segments(&text, delimiters)
            .skip(1)
            .position(|s| s.is("MSH"))
        {
            return Err(ParseError::SecondHeader { segment: at + 2 });
        }
        let control_id = segments(&text, delimiters)
            .next()
            .and_then(|header| header.value(10))
            .ok_or(ParseError::NoControlId)?
            .to_owned();
        Ok(Self {
            text,
            delimiters,
            control_id,
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// MSH-10.
    pub fn control_id(&self) -> &str {
        &self.control_id
    }

    /// MSH-9, for example `OML^O21^OML_O21`; empty where the message has none.
    pub fn message_type(&self) -> &str {
        self.segments()
            .next()
            .and_then(|header| header.value(9))
            .unwrap_or_default()
    }

    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        segments(&self.text, self.delimiters)
    }

    /// The message with MSH-7 emptied: what two copies of one order have in common, whenever they were made.
    pub fn without_time(&self) -> String {
        let Some((header, rest)) = self.text.split_once('\r') else {
            return self.text.clone();
        };
        let separator = self.delimiters.field;
        let mut join_form = String::with_capacity(self.text.len());
        for (index, field) in header.split(separator).enumerate() {
            if index > 0 {
                join_form.push(separator);
            }
            if index != MSH_7 {
                join_form.push_str(field);
            }
        }
        join_form.push('\r');
        join_form.push_str(rest);
        join_form
    }

    /// What must stay in order with other messages about the same: every placer order number (ORC-2), else every
    /// OBR-2, else MSH-10. Never empty; each key once, in the order of the message.
    pub fn order_keys(&self) -> Vec<String> {
        let mut keys = self.distinct("ORC", 2);
        if keys.is_empty() {
            keys = self.distinct("OBR", 2);
        }
        if keys.is_empty() {
            keys.push(self.control_id.clone());
        }
        keys
    }

    fn distinct(&self, segment: &str, field: usize) -> Vec<String> {
        let mut seen = HashSet::new();
        self.segments()
            .filter(|candidate| candidate.is(segment))
            .filter_map(|found| found.value(field))
            .map(|value| value.trim_end_matches(self.delimiters.component).trim_end())
            .filter(|value| !value.is_empty() && seen.insert(*value))
            .map(str::to_owned)
            .collect()
    }
}

impl<'a> Segment<'a> {
    pub fn name(&self) -> &'a str {
        self.text
            .split(self.delimiters.field)
            .next()
            .unwrap_or_default()
    }

    /// Whether this is its name: a look at its beginning.
    pub(super) fn is(&self, name: &str) -> bool {
        let rest = self.text.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(self.delimiters.field))
    }

    /// The text of a field, counted as HL7 counts: MSH-1 is the separator itself. `None` where the segment is shorter.
    pub fn field(&self, number: usize) -> Option<&'a str> {
        let index = match (self.name(), number) {
            (_, 0) => return None,
            ("MSH", 1) => return self.text.matches(self.delimiters.field).next(),
            ("MSH", number) => number - 1,
            (_, number) => number,
        };
        self.text.split(self.delimiters.field).nth(index)
    }

    /// The text of a component of a field, both counted from 1.
    pub fn component(&self, field: usize, number: usize) -> Option<&'a str> {
        self.field(field)?
            .split(self.delimiters.component)
            .nth(number.checked_sub(1)?)
    }

    /// A field without blanks around it; `None` where it is empty or HL7's null.
    pub(super) fn value(&self, field: usize) -> Option<&'a str> {
        self.field(field)
            .map(str::trim)
            .filter(|value| !value.is_empty() && *value != NULL)
    }
}

impl Delimiters {
    /// Reads them from the start of a message.
    pub(super) fn read(text: &str) -> Result<Self, ParseError> {
        let mut declared = text.strip_prefix("MSH").ok_or(ParseError::NotHl7)?.chars();
        let field = declared.next().ok_or(ParseError::HeaderTooShort)?;
        if field.is_alphanumeric() {
            return Err(ParseError::NotHl7);
        }
        let component = declared.next().ok_or(ParseError::HeaderTooShort)?;
        if component == field || !can_delimit(field) || !can_delimit(component) {
            return Err(ParseError::HeaderTooShort);
        }
        Ok(Self { field, component })
    }
}

/// The segments of a text whose segments may end in CR, LF or CR LF.
pub(super) fn segments(text: &str, delimiters: Delimiters) -> impl Iterator<Item = Segment<'_>> {
    segment_texts(text).map(move |text| Segment { text, delimiters })
}

/// Drops what may stand before a message: a byte order mark and blanks.
pub(super) fn skip_leading(text: &str) -> &str {
    text.trim_start_matches(|c: char| c == BYTE_ORDER_MARK || c.is_whitespace())
}

fn normal_form(text: &str) -> String {
    let mut normal = String::with_capacity(text.len() + 1);
    for segment in segment_texts(skip_leading(text)) {
        normal.push_str(segment);
        normal.push('\r');
    }
    normal
}

fn segment_texts(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    memchr2_iter(b'\r', b'\n', text.as_bytes())
        .chain([text.len()])
        .filter_map(move |end| text.get(std::mem::replace(&mut start, end + 1)..end))
        .filter(|segment| segment.contains(|c: char| !c.is_whitespace()))
}

fn can_delimit(c: char) -> bool {
    !c.is_alphanumeric() && !c.is_whitespace() && !c.is_control()
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message([phi; {}])", self.text.len())
    }
}

impl fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment([phi; {}])", self.text.len())
    }
}

const BYTE_ORDER_MARK: char = '\u{feff}';
/// "Delete what you have": no value of its own.
const NULL: &str = "\"\"";
/// Where MSH-7 is when the header is split at its separators; MSH-1 is the separator itself.
const MSH_7: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "MSH|^~\\&|EHR|H1|LAB|H1|20260301081500||OML^O21|4711|P|2.5.1";

    fn message(rest: &str) -> Message {
        Message::parse(&format!("{HEADER}\r{rest}")).unwrap()
    }

    #[test]
    fn segments_end_in_cr_whatever_they_ended_in() {
        let text = format!("\u{feff} \r\n{HEADER}\r\nPID|1||88\nPV1|1\r\r\n \nORC|NW");
        let expected = format!("{HEADER}\rPID|1||88\rPV1|1\rORC|NW\r");
        assert_eq!(Message::parse(&text).unwrap().text(), expected);
    }

    #[test]
    fn unknown_segments_escapes_and_blanks_survive() {
        let rest = "ZZZ|a\\T\\b|  |^^&\rPID|1||88 | \r";
        assert_eq!(message(rest).text(), format!("{HEADER}\r{rest}"));
    }

    #[test]
    fn the_header_is_read_in_its_own_delimiters() {
        let other = "MSH$*~\\&$EHR$$$$20260301$$OML*O21$77$P$2.5.1\rORC$NW$A|1*EHR";
        let message = Message::parse(other).unwrap();
        assert_eq!(
            (message.control_id(), message.message_type()),
            ("77", "OML*O21")
        );
        assert_eq!(message.order_keys(), ["A|1*EHR"]);
        assert!(
            message
                .without_time()
                .starts_with("MSH$*~\\&$EHR$$$$$$OML*O21$77$P")
        );
    }

    #[test]
    fn fields_and_components_are_counted_as_in_the_standard() {
        let message = message("PID|1||88^^^H1");
        let header = message.segments().next().unwrap();
        assert_eq!(
            (header.field(1), header.field(2)),
            (Some("|"), Some("^~\\&"))
        );
        assert_eq!(
            (header.field(9), header.component(9, 2)),
            (Some("OML^O21"), Some("O21"))
        );
        let patient = message.segments().nth(1).unwrap();
        assert_eq!(
            (patient.field(3), patient.component(3, 4)),
            (Some("88^^^H1"), Some("H1"))
        );
        assert_eq!(
            (patient.field(4), patient.field(0), patient.component(3, 0)),
            (None, None, None)
        );
    }

    #[track_caller]
    fn refused(text: &str, why: ParseError) {
        assert_eq!(Message::parse(text), Err(why));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        refused("", ParseError::NotHl7);
        refused("H|\\^&|||LAB", ParseError::NotHl7);
        refused("MSHAPE", ParseError::NotHl7);
        refused("FHS|^~\\&|\rMSH|^~\\&|", ParseError::NotHl7);
        refused("MSH", ParseError::HeaderTooShort);
        refused("MSH|", ParseError::HeaderTooShort);
        refused("MSH||EHR", ParseError::HeaderTooShort);
        refused("MSH|^~\\&|EHR", ParseError::NoControlId);
        refused(
            "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21| |P",
            ParseError::NoControlId,
        );
        refused(
            "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|\"\"|P",
            ParseError::NoControlId,
        );
        refused(
            &format!("\u{0b}{HEADER}\r\u{1c}\r"),
            ParseError::FramingCharacter,
        );
        refused(
            &format!("{HEADER}\rPID|1\r{HEADER}"),
            ParseError::SecondHeader { segment: 3 },
        );
    }

    #[test]
    fn two_copies_made_at_different_times_have_one_join_form() {
        let earlier = message("PID|1||88\r");
        let later =
            Message::parse(&earlier.text().replace("20260301081500", "20260301081533")).unwrap();
        assert_ne!(earlier.text(), later.text());
        assert_eq!(earlier.without_time(), later.without_time());
        let other = message("PID|1||89\r");
        assert_ne!(earlier.without_time(), other.without_time());
    }

    #[track_caller]
    fn keys(rest: &str, expected: &[&str]) {
        assert_eq!(message(rest).order_keys(), expected);
    }

    #[test]
    fn the_order_key_is_the_placer_number_else_the_control_id() {
        keys("ORC|NW|A1^EHR\rOBR|1|B1\r", &["A1^EHR"]);
        keys("ORC|NW| A1^^ \rORC|NW|A2\rORC|CA|A1\r", &["A1", "A2"]);
        keys("ORC|NW\rOBR|1|B1\rOBR|2|B2\r", &["B1", "B2"]);
        keys("PID|1||88\r", &["4711"]);
        keys("ORC|NW|\"\"\r", &["4711"]);
    }

    #[test]
    fn a_message_is_not_printed() {
        let message = message("PID|1||88||DOE^JANE");
        assert!(!format!("{message:?} {:?}", message.segments().next()).contains("MSH"));
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC*|[|^~&\\\\\r\n A-Z0-9\"]*") {
            for text in [text.clone(), format!("MSH{text}"), format!("{HEADER}\r{text}")] {
                let Ok(message) = Message::parse(&text) else { continue };
                prop_assert_eq!(Message::parse(message.text()), Ok(message.clone()), "a normal form stays as it is");
                prop_assert!(!message.order_keys().is_empty());
                prop_assert!(Message::parse(&message.without_time()).is_ok());
            }
        }
    }
}
