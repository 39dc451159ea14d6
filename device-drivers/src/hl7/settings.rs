//! What a device's file says about HL7, and the conversations that come of it.

use std::time::Duration;

use super::charset::Charset;
use super::mllp::FrameEnd;
use super::prepare::Limits;
use super::send::Sender;
use crate::conversation::{Completing, Conversation};

/// One device's way of speaking HL7. Every default is the standard's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Which acknowledgement ends the wait, where the push does not say.
    pub return_ack: ReturnAck,
    /// The usual set of the device. An answer is read in that of the last message sent, and in this before the first.
    pub charset: Charset,
    /// From the end of a message to its first answer.
    pub ack_timeout: Duration,
    /// From CA to the application's answer.
    pub app_ack_timeout: Duration,
    pub frame_end: FrameEnd,
    /// Bytes of one message, in either direction.
    pub max_message: usize,
    pub lifetime: Lifetime,
}

/// Which acknowledgement ends the wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnAck {
    /// The first that names the message, a commit accept (CA) too.
    First,
    /// The application's: CA is custody, and the wait goes on for AA, AE or AR.
    Application,
}

/// How long a connection is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    Persistent,
    /// Closed after the first message is settled.
    PerMessage,
}

impl Settings {
    /// Begins a conversation for a connection that we open.
    pub fn dial(&self) -> Box<dyn Conversation> {
        Box::new(Sender::new(self.clone()))
    }

    /// An MLLP message is one completing part: there is no point in it before which the device cannot act.
    pub fn completing(&self) -> Completing {
        Completing::AtOnce
    }

    /// What a message for this device may be.
    pub fn limits(&self) -> Limits {
        Limits {
            max_message: self.max_message,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            return_ack: ReturnAck::First,
            charset: Charset::UTF_8,
            ack_timeout: Duration::from_secs(30),
            app_ack_timeout: Duration::from_mins(2),
            frame_end: FrameEnd::Lenient,
            max_message: 16 * 1024 * 1024,
            lifetime: Lifetime::Persistent,
        }
    }
}
