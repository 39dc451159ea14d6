//! The `[hl7]` table of a device file.

use agent_core::push::ReturnAck;
use device_drivers::hl7::Charset;

use super::raw::Section;
use super::values::Found;
use super::{HOUR, Hl7, MINUTE, MOST_BYTES, SHORTEST_WAIT};

/// Reads `[hl7]`.
pub(super) fn read(section: &mut Section<'_>) -> Hl7 {
    let defaults = Hl7::default();
    let acks = [
        ("first", ReturnAck::First),
        ("application", ReturnAck::Application),
    ];
    let return_ack = section.one_of("return_ack", &acks);
    let charset = read_charset(section);
    let ack_timeout = section.duration("ack_timeout", SHORTEST_WAIT..=10 * MINUTE);
    let app_ack_timeout = section.duration("app_ack_timeout", SHORTEST_WAIT..=HOUR);
    let strict_end = section.flag("strict_end");
    let max_message = section.count("max_message", 1024..=MOST_BYTES);
    Hl7 {
        return_ack: return_ack.map(Found::into_value),
        charset,
        ack_timeout: ack_timeout.map_or(defaults.ack_timeout, Found::into_value),
        app_ack_timeout: app_ack_timeout.map_or(defaults.app_ack_timeout, Found::into_value),
        strict_end: strict_end.unwrap_or(defaults.strict_end),
        max_message: max_message.map_or(defaults.max_message, Found::into_value),
    }
}

fn read_charset(section: &mut Section<'_>) -> Option<Charset> {
    let found = section.text("charset")?;
    let charset = Charset::by_name(&found.value).ok();
    if charset.is_none() {
        section.refuse(
            "charset",
            found.place,
            ["is not a character set for HL7", CHARSETS],
        );
    }
    charset
}

/// What to write where a character set is not known.
pub(super) const CHARSETS: &str = "use utf-8, iso-8859-1 (or another part), windows-1252, us-ascii, shift_jis, gb18030, gbk, big5 or euc-kr";
