//! An acknowledgement, read for one question: which message does it answer, and with which code?
//!
//! Nothing else is judged. Whoever sends an ACK in HL7 2.3 to a 2.5.1 message, or forgets MSH-10, has still answered.

use std::fmt;

use super::message::{Delimiters, segments, skip_leading};
use crate::phi::Phi;

/// MSA-1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// Application accept: taken.
    Aa,
    /// Application error: not taken.
    Ae,
    /// Application reject: not taken.
    Ar,
    /// Commit accept: safely stored, not yet judged.
    Ca,
    /// Commit error: not taken.
    Ce,
    /// Commit reject: not taken.
    Cr,
}

/// What the code says to whoever waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Says {
    Accepted,
    InCustody,
    Refused,
}

/// One acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ack {
    pub(super) code: Code,
    /// MSA-2, without blanks around it: the MSH-10 of what it answers. Empty where the device left it out.
    pub(super) control_id: String,
    pub(super) text: Phi<String>,
}

/// Why a text is no acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoAck {
    NotHl7,
    WithoutMsa,
    UnknownCode,
}

impl Ack {
    pub(super) fn read(text: String) -> Result<Self, NoAck> {
        let message = skip_leading(&text);
        let delimiters = Delimiters::read(message).map_err(|_| NoAck::NotHl7)?;
        let msa = segments(message, delimiters)
            .find(|segment| segment.is("MSA"))
            .ok_or(NoAck::WithoutMsa)?;
        let code = msa
            .value(1)
            .and_then(Code::read)
            .ok_or(NoAck::UnknownCode)?;
        let control_id = msa.value(2).unwrap_or_default().to_owned();
        Ok(Self {
            code,
            control_id,
            text: Phi(text),
        })
    }
}

impl Code {
    fn read(text: &str) -> Option<Self> {
        [Self::Aa, Self::Ae, Self::Ar, Self::Ca, Self::Ce, Self::Cr]
            .into_iter()
            .find(|code| code.letters().eq_ignore_ascii_case(text))
    }

    /// As it stands in MSA-1.
    pub fn letters(self) -> &'static str {
        match self {
            Self::Aa => "AA",
            Self::Ae => "AE",
            Self::Ar => "AR",
            Self::Ca => "CA",
            Self::Ce => "CE",
            Self::Cr => "CR",
        }
    }

    pub(super) fn says(self) -> Says {
        match self {
            Self::Aa => Says::Accepted,
            Self::Ca => Says::InCustody,
            Self::Ae | Self::Ar | Self::Ce | Self::Cr => Says::Refused,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(Code, &str), NoAck>) {
        let read = Ack::read(text.to_owned()).map(|ack| {
            assert_eq!(ack.text.0, text, "the device's own words");
            (ack.code, ack.control_id)
        });
        assert_eq!(read, expected.map(|(code, id)| (code, id.to_owned())));
    }

    #[test]
    fn code_and_control_id_are_read_and_nothing_else() {
        check(
            "MSH|^~\\&|L||||||ACK|1|P|2.3\rMSA|AA|4711\r",
            Ok((Code::Aa, "4711")),
        );
        check(
            "MSH|^~\\&\nERR|x\nMSA|ae| 4711 |text",
            Ok((Code::Ae, "4711")),
        );
        check("\u{feff}MSH#*\rMSA#CR#A|1", Ok((Code::Cr, "A|1")));
        check("MSH|^~\\&|\rMSA|CA", Ok((Code::Ca, "")));
    }

    #[test]
    fn what_acknowledges_nothing_is_told_apart() {
        check("", Err(NoAck::NotHl7));
        check("ERROR 17", Err(NoAck::NotHl7));
        check(
            "MSH|^~\\&|L||||||ORU^R01|1|P|2.3\rPID|1\r",
            Err(NoAck::WithoutMsa),
        );
        check("MSH|^~\\&|\rMSA|OK|4711\r", Err(NoAck::UnknownCode));
        check("MSH|^~\\&|\rMSA||4711\r", Err(NoAck::UnknownCode));
    }
}
