//! HL7 v2 over MLLP, as the side that sends.
//!
//! A pushed text is checked once at the border by [`prepare`]: it begins with MSH, has a control id (MSH-10), fits the
//! device's character set and its size. What comes of it is a [`CheckedMessage`], which knows what the store asks of it
//! (control id, order keys, join form) and becomes the [`Order`] that a line submits.
//!
//! [`Settings::dial`] begins the conversation of one connection: one message at a time, each matched to its answer by
//! MSA-2 alone. The rules and the timers are in `send`, framing in `mllp`.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `prepare` | what may be sent |
//! | `message` | delimiters, segments, fields |
//! | `charset` | text and bytes |
//! | `mllp` | where a message begins and ends |
//! | `ack` | which message an answer answers, and how |
//! | `send` | one connection, from opened to closed |
//! | `recent` | answers that come when nobody waits |
//! | `settings` | the device's file |
//!
//! Content is carried, not understood: no value is read, changed or checked beyond the header and the order numbers.

mod ack;
mod charset;
mod message;
mod mllp;
mod prepare;
mod recent;
mod send;
mod settings;

pub use ack::Code;
pub use charset::{Charset, EncodeError, Place, UnknownCharset};
pub use message::{Message, ParseError, Segment};
pub use mllp::{Deframer, Found, FrameEnd, HalfFrame, encode};
pub use prepare::{CheckedMessage, Limits, Order, PrepareError, prepare};
pub use settings::{Lifetime, ReturnAck, Settings};
