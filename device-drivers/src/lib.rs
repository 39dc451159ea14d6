//! Conversations with clinical devices, as state machines that touch nothing.
//!
//! A [`Conversation`] is one dialogue with one device over one open connection. It holds no socket,
//! no clock and no disk. The line that owns the connection tells it what happened ([`Input`]) and does
//! what it asks for ([`Output`]); the time is an argument. So a wait of half a minute is tested in
//! microseconds, and a dialogue can be written down as text and played again.
//!
//! | module | what it speaks |
//! | --- | --- |
//! | [`hl7`] | HL7 v2 over MLLP, as the side that sends |
//!
//! What came of a message is an [`Outcome`]: the device's yes, its no, or what we know when it said neither.
//! A no is a value, not an error. Clinical content travels in [`Phi`], which prints as `[phi]`.
//!
//! A whole dialogue, without a device:
//!
//! ```
//! use device_drivers::{Conversation, Input, Level, Mono, Outcome, Output, Submission, SubmissionId, hl7};
//!
//! let settings = hl7::Settings::default();
//! let order = hl7::prepare("MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|4711|P|2.5.1\nPID|1||88||DOE^JANE",
//!     &settings.charset, settings.limits())?.into_order(None);
//!
//! let mut conversation = settings.dial();
//! conversation.handle(Input::Opened, Mono(0));
//! assert_eq!(conversation.free_slots(), 1);
//!
//! let id = SubmissionId(1);
//! conversation.handle(Input::Submit(id, Submission::Hl7(order)), Mono(10));
//! let Some(Output::Transmit(bytes)) = conversation.poll() else { panic!("nothing to send") };
//! assert!(bytes.starts_with(b"\x0bMSH|^~\\&|") && bytes.ends_with(b"DOE^JANE\r\x1c\r"));
//! conversation.handle(Input::Drained, Mono(11));
//!
//! let answer = b"\x0bMSH|^~\\&|LAB|H1|EHR|H1|20260301||ACK|1|P|2.5.1\rMSA|AA|4711\r\x1c\r";
//! conversation.handle(Input::Bytes(answer), Mono(40));
//! let Some(Output::Settled(settled, Outcome::Acknowledged { level, reply })) = conversation.poll() else {
//!     panic!("not acknowledged")
//! };
//! assert_eq!((settled, level), (id, Level::Accepted));
//! assert!(reply.0.contains("MSA|AA|4711"));
//! assert_eq!(conversation.free_slots(), 1);
//! # Ok::<(), hl7::PrepareError>(())
//! ```

#![deny(clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]

mod conversation;
pub mod hl7;
pub mod mutant;
mod outcome;
mod phi;

pub use conversation::{Completing, Conversation, Input, Mono, Output, Submission, SubmissionId};
pub use outcome::{
    BytesLeft, CloseReason, Level, News, NotDelivered, Notice, Outcome, Unknown, Unusable,
};
pub use phi::Phi;
