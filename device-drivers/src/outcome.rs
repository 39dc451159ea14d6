//! What can come of a submission, and why. The reasons are sentences without clinical content:
//! they go to logs, to the store and to whoever pushed.

use std::fmt;
use std::time::Duration;

use crate::hl7::Code;
use crate::phi::Phi;

/// What came of one submission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The device's yes, in its own words.
    Acknowledged { level: Level, reply: Phi<String> },
    /// The device's no, in its own words.
    Refused { reply: Phi<String> },
    /// The end of the message never left, so the device cannot have acted on it.
    NotDelivered {
        why: NotDelivered,
        bytes_left: BytesLeft,
    },
    /// The whole message left and no answer came: the device may have acted on it.
    Unknown { why: Unknown },
}

/// How far the device's yes has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// It has the message (HL7: CA).
    Framed,
    /// It has taken the content (HL7: AA).
    Accepted,
}

/// What the device said about a submission after it was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    Level { level: Level, reply: Phi<String> },
    Refused { reply: Phi<String> },
}

/// Whether any byte of a message that was not delivered has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BytesLeft {
    None,
    Some,
}

/// Why the device cannot have acted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotDelivered {
    /// No connection, or another message is still out.
    NotReady,
    ClosedBeforeSending,
    ClosedWhileSending,
    /// The device holds the connection open and does not read.
    NotTaken {
        within: Duration,
    },
}

/// Why nobody knows whether the device has acted. `heard`: what came instead of an answer, the last of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unknown {
    NoAnswer {
        within: Duration,
        heard: Option<Unusable>,
    },
    ClosedBeforeAnswer {
        heard: Option<Unusable>,
    },
    /// The connection closed while the agent was stopping; either side may have done it.
    StoppedBeforeAnswer {
        heard: Option<Unusable>,
    },
}

/// Something a device sent that answers nothing. The sizes are bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// Bytes outside any frame.
    Junk { bytes: usize },
    /// Begins like HL7 and has no frame around it.
    NotFramed { bytes: usize },
    /// A frame with something else in it.
    NotHl7 { bytes: usize },
    /// A message that acknowledges nothing, for example one of the device's own.
    WithoutMsa { bytes: usize },
    /// An acknowledgement whose MSA-1 is none of the six codes.
    UnknownCode { bytes: usize },
    /// The beginning of a frame, cut short by the next one or by the end of the connection.
    Half { bytes: usize },
    /// The beginning of a frame, and then nothing for longer than anything may take.
    Stalled { bytes: usize },
    /// A frame over the limit; it was dropped.
    TooLong { limit: usize },
    /// An answer to a message that was not sent on this connection; so many of them by now.
    Foreign { count: u32 },
}

/// Something for the log and the counters; it changes no delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    Unusable(Unusable),
    /// The answer to a message that was given up, while the connection is being closed.
    LateAnswer {
        code: Code,
    },
    /// One more answer to a message that was answered before.
    SecondAnswer {
        code: Code,
    },
    /// The device took the message in custody and never said what became of it.
    NoApplicationAnswer,
    /// The answer holds bytes that are not of the device's character set; they were replaced.
    Undecodable {
        charset: &'static str,
    },
}

/// Why the conversation wants the connection closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// A late answer must not meet the next message.
    NoAnswer {
        within: Duration,
    },
    NotTaken {
        within: Duration,
    },
    /// The device began a message of its own and did not end it.
    Stalled,
    /// One message a connection, as configured.
    OneMessage,
    Stopped,
}

impl fmt::Display for NotDelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("the connection was not ready for another message"),
            Self::ClosedBeforeSending => {
                f.write_str("the connection closed before anything was sent")
            }
            Self::ClosedWhileSending => {
                f.write_str("the connection closed before the whole message was sent")
            }
            Self::NotTaken { within } => {
                write!(
                    f,
                    "the device did not take the whole message within {}",
                    Wait(*within)
                )
            }
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer {
                within,
                heard: None,
            } => write!(f, "no answer within {}", Wait(*within)),
            Self::NoAnswer {
                within,
                heard: Some(heard),
            } => {
                write!(
                    f,
                    "the device sent {heard}, and no answer within {}",
                    Wait(*within)
                )
            }
            Self::ClosedBeforeAnswer { heard: None } => {
                f.write_str("the device closed the connection before it answered")
            }
            Self::ClosedBeforeAnswer { heard: Some(heard) } => {
                write!(f, "the device sent {heard}, then the connection closed")
            }
            Self::StoppedBeforeAnswer { heard: None } => {
                f.write_str("the agent was stopping and the connection closed before an answer")
            }
            Self::StoppedBeforeAnswer { heard: Some(heard) } => {
                write!(
                    f,
                    "the device sent {heard}, then the connection closed while the agent was stopping"
                )
            }
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Junk { bytes } => write!(f, "{bytes} bytes outside any MLLP frame"),
            Self::NotFramed { bytes } => {
                write!(f, "a reply that is not framed ({bytes} bytes)")
            }
            Self::NotHl7 { bytes } => write!(f, "something that is not HL7 ({bytes} bytes)"),
            Self::WithoutMsa { bytes } => {
                write!(
                    f,
                    "a message without MSA, which answers nothing ({bytes} bytes)"
                )
            }
            Self::UnknownCode { bytes } => {
                write!(
                    f,
                    "an acknowledgement with an unknown code in MSA-1 ({bytes} bytes)"
                )
            }
            Self::Half { bytes } => write!(f, "half a message ({bytes} bytes)"),
            Self::Stalled { bytes } => write!(f, "half a message ({bytes} bytes) and then nothing"),
            Self::TooLong { limit } => write!(f, "a message of more than {limit} bytes"),
            Self::Foreign { count } => {
                write!(
                    f,
                    "an answer to another message ({count} on this connection)"
                )
            }
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(what) => write!(f, "the device sent {what}"),
            Self::LateAnswer { code } => {
                write!(
                    f,
                    "the device answered {code} after the wait for it had ended"
                )
            }
            Self::SecondAnswer { code } => {
                write!(
                    f,
                    "the device answered {code} to a message that it had answered before"
                )
            }
            Self::NoApplicationAnswer => {
                f.write_str("the device took the message and did not say what became of it")
            }
            Self::Undecodable { charset } => {
                write!(
                    f,
                    "the device's answer holds bytes that are not {charset}; they were replaced"
                )
            }
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { within } => write!(f, "no answer within {}", Wait(*within)),
            Self::NotTaken { within } => {
                write!(
                    f,
                    "the device did not take the whole message within {}",
                    Wait(*within)
                )
            }
            Self::Stalled => f.write_str("the device began a message and did not end it"),
            Self::OneMessage => f.write_str("one message a connection"),
            Self::Stopped => f.write_str("the agent stops"),
        }
    }
}

/// Prints a wait as people say it.
struct Wait(Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reason: &dyn fmt::Display, sentence: &str) {
        assert_eq!(reason.to_string(), sentence);
    }

    #[test]
    fn an_unknown_outcome_names_what_was_heard_and_how_the_wait_ended() {
        let within = Duration::from_secs(30);
        check(
            &Unknown::NoAnswer {
                within,
                heard: None,
            },
            "no answer within 30 s",
        );
        let heard = Some(Unusable::NotHl7 { bytes: 37 });
        check(
            &Unknown::NoAnswer {
                within: Duration::from_millis(1500),
                heard,
            },
            "the device sent something that is not HL7 (37 bytes), and no answer within 1500 ms",
        );
        check(
            &Unknown::ClosedBeforeAnswer {
                heard: Some(Unusable::Half { bytes: 9 }),
            },
            "the device sent half a message (9 bytes), then the connection closed",
        );
    }

    #[test]
    fn notices_and_reasons_to_close_are_sentences() {
        check(
            &Notice::Unusable(Unusable::Foreign { count: 2 }),
            "the device sent an answer to another message (2 on this connection)",
        );
        check(
            &Notice::SecondAnswer { code: Code::Ae },
            "the device answered AE to a message that it had answered before",
        );
        check(&CloseReason::OneMessage, "one message a connection");
    }

    #[test]
    fn the_words_of_a_device_are_not_printed() {
        let outcome = Outcome::Refused {
            reply: Phi("MSA|AE|1|DOE^JANE".into()),
        };
        assert_eq!(format!("{outcome:?}"), "Refused { reply: [phi] }");
    }
}
