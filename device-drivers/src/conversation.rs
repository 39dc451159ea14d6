//! What a line and a conversation say to each other.
//!
//! Both enums are closed and nobody matches them with a wildcard: a new variant is a tour of the compiler
//! through every driver and every line.

use std::fmt;
use std::time::Duration;

use crate::hl7;
use crate::outcome::{CloseReason, News, Notice, Outcome};

/// One dialogue with one device over one open connection.
///
/// Dropped when the connection is closed. The line keeps to four rules:
///
/// 1. After every [`handle`](Self::handle) it takes [`poll`](Self::poll) until there is nothing left.
/// 2. It gives [`Input::Tick`] when [`deadline`](Self::deadline) has passed. Where bytes and a deadline are both
///    due, the bytes come first.
/// 3. It gives [`Input::Drained`] when the last byte of a [`Output::Transmit`] was handed to the kernel.
/// 4. It gives [`Input::Closed`] once, whoever closed the connection. From then on every submission is settled.
pub trait Conversation: Send {
    /// Takes in one thing that happened.
    fn handle(&mut self, input: Input<'_>, now: Mono);
    /// Hands out the next thing the line must do, until there is nothing left.
    fn poll(&mut self) -> Option<Output>;
    /// Says when to come back with [`Input::Tick`] if nothing happens first.
    fn deadline(&self) -> Option<Mono>;
    /// Says how many more submissions it can take now.
    fn free_slots(&self) -> u8;
}

/// The line's clock in milliseconds. Given by the caller, never read here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The line's name for one submission; the conversation only gives it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubmissionId(pub u64);

/// One thing that happened on the line.
pub enum Input<'a> {
    /// The connection is open; nothing has been sent.
    Opened,
    /// The device sent something.
    Bytes(&'a [u8]),
    /// All of the last [`Output::Transmit`] was handed to the kernel.
    Drained,
    /// Something to deliver. Without a free slot it is settled as not delivered.
    Submit(SubmissionId, Submission),
    /// The connection is closed.
    Closed {
        /// Bytes of the last [`Output::Transmit`] that were never handed to the kernel; 0 if all were.
        unsent: usize,
    },
    /// The deadline has passed.
    Tick,
    /// The agent stops: nothing new is taken, what is out may still be answered.
    Stop,
}

/// One thing the line must do.
#[derive(PartialEq, Eq)]
pub enum Output {
    /// Write these bytes to the device.
    Transmit(Vec<u8>),
    /// What came of a submission. Exactly one for each.
    Settled(SubmissionId, Outcome),
    /// Later news about a submission that is settled.
    News(SubmissionId, News),
    /// Something for the log and the counters.
    Noticed(Notice),
    /// Close the connection. Nothing is transmitted after it.
    Close(CloseReason),
}

/// What is delivered, in the words of the device's protocol.
#[derive(Debug)]
pub enum Submission {
    Hl7(hl7::Order),
}

/// When a message can have its effect on the device. Said by a driver's settings, for the record made before
/// the first byte leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completing {
    /// The message is one completing part: from its first byte on, an attempt that gets no answer is uncertain
    /// unless the line knows how many bytes left.
    AtOnce,
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("Opened"),
            Self::Bytes(bytes) => write!(f, "Bytes([phi; {}])", bytes.len()),
            Self::Drained => f.write_str("Drained"),
            Self::Submit(id, what) => f.debug_tuple("Submit").field(id).field(what).finish(),
            Self::Closed { unsent } => f.debug_struct("Closed").field("unsent", unsent).finish(),
            Self::Tick => f.write_str("Tick"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit(bytes) => write!(f, "Transmit([phi; {}])", bytes.len()),
            Self::Settled(id, outcome) => {
                f.debug_tuple("Settled").field(id).field(outcome).finish()
            }
            Self::News(id, news) => f.debug_tuple("News").field(id).field(news).finish(),
            Self::Noticed(notice) => f.debug_tuple("Noticed").field(notice).finish(),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_device_are_not_printed() {
        let input = Input::Bytes(b"PID|1||88||DOE^JANE");
        let output = Output::Transmit(b"PID|1||88||DOE^JANE".to_vec());
        assert_eq!(
            format!("{input:?} {output:?}"),
            "Bytes([phi; 19]) Transmit([phi; 19])"
        );
    }

    #[test]
    fn a_wait_without_end_does_not_overflow_the_clock() {
        assert_eq!(Mono(5).plus(Duration::MAX), Mono(u64::MAX));
    }
}
