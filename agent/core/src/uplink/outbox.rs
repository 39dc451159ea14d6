//! Which recorded answer goes out next, and up to which one all are known to have arrived.
//!
//! Every answer has a number and names the one before it. The channel that brings them may drop some
//! (nobody listens while the link is down); the disk has them all. So a session keeps three marks:
//!
//! ```text
//!   taken ≤ cursor ≤ newest
//!     │       │        └ the newest answer heard of
//!     │       └ the last one handed to the socket in this session
//!     └ all up to here left the socket, and the server answered a heartbeat that was sent after them
//! ```
//!
//! A new session begins again at `taken`: an answer goes out at least once, always in order.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mutant::{self, Mutant};
use crate::push::{Mono, Seq};

/// The marks of one session, and what the sessions before it taught.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outbox {
    taken: Seq,
    cursor: Seq,
    newest: Seq,
    /// For each heartbeat that is not answered yet, oldest first: where the cursor was.
    beats: VecDeque<Seq>,
    unasked: Unasked,
    largest_untaken: usize,
    largest_allowed: usize,
}

/// Answers that went out after the newest heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unasked {
    None,
    Some { since: Mono, count: u32 },
}

/// What to do with an answer that is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// It is the next one.
    Send,
    /// It went out already.
    Known,
    /// There are others between; read them from disk first.
    Gap,
}

/// Answers that are on disk and did not come by the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    pub after: Seq,
    pub newest: Seq,
}

impl Outbox {
    /// Begins with the mark that the store knows.
    pub fn new(taken: Seq, largest_allowed: usize) -> Self {
        Self {
            taken,
            cursor: taken,
            newest: taken,
            beats: VecDeque::new(),
            unasked: Unasked::None,
            largest_untaken: 0,
            largest_allowed,
        }
    }

    /// A session began: nothing that was not taken counts as sent.
    pub fn begin_session(&mut self) {
        self.cursor = self.taken;
        self.beats.clear();
        self.unasked = Unasked::None;
        self.largest_untaken = 0;
    }

    /// An answer with this number exists.
    pub fn heard_of(&mut self, newest: Seq) {
        self.newest = self.newest.max(newest);
    }

    /// What to read from disk, if there is something to read.
    pub fn behind(&self) -> Option<Gap> {
        let gap = Gap {
            after: self.cursor,
            newest: self.newest,
        };
        (gap.newest > gap.after).then_some(gap)
    }

    /// The disk had nothing there: unless more was heard of meanwhile, there is nothing more.
    pub fn nothing_in(&mut self, gap: Gap) {
        if self.newest == gap.newest {
            self.newest = self.cursor;
        }
    }

    /// Judges an answer by its number and that of the answer before it.
    pub fn offer(&mut self, seq: Seq, prev: Seq) -> Offer {
        self.heard_of(seq);
        if seq <= self.cursor {
            Offer::Known
        } else if prev <= self.cursor {
            Offer::Send
        } else {
            Offer::Gap
        }
    }

    /// Whether the server takes a message of this many bytes.
    pub fn fits(&self, bytes: usize) -> bool {
        bytes <= self.largest_allowed
    }

    /// It went to the socket.
    pub fn sent(&mut self, seq: Seq, bytes: usize, now: Mono) {
        self.cursor = self.cursor.max(seq);
        if mutant::is(Mutant::TakenTooEarly) {
            self.taken = self.cursor;
        }
        self.largest_untaken = self.largest_untaken.max(bytes);
        self.unasked = match self.unasked {
            Unasked::None => Unasked::Some {
                since: now,
                count: 1,
            },
            Unasked::Some { since, count } => Unasked::Some {
                since,
                count: count.saturating_add(1),
            },
        };
    }

    /// It can never go out; the ones behind it can.
    pub fn skipped(&mut self, seq: Seq) {
        self.cursor = self.cursor.max(seq);
    }

    /// When a heartbeat is due for the sake of the answers that went out.
    pub fn heartbeat_due(&self) -> Option<Mono> {
        match self.unasked {
            Unasked::None => None,
            Unasked::Some { .. } if self.beats.len() >= MOST_OPEN_BEATS => None,
            Unasked::Some { since, count } if count >= MOST_UNASKED => Some(since),
            Unasked::Some { since, .. } => Some(since.plus(LONGEST_UNASKED)),
        }
    }

    /// A heartbeat went to the socket, behind all that was sent.
    pub fn heartbeat_sent(&mut self) {
        self.beats.push_back(self.cursor);
        self.unasked = Unasked::None;
    }

    /// The oldest open heartbeat was answered. Gives the mark if it rose.
    ///
    /// Answers carry no number, but the server gives them in order; one too few only means a later mark.
    pub fn heartbeat_answered(&mut self) -> Option<Seq> {
        let mark = self.beats.pop_front()?;
        if mark == self.cursor {
            self.largest_untaken = 0;
        }
        let rose = mark > self.taken;
        self.taken = self.taken.max(mark);
        rose.then_some(mark)
    }

    /// The server closed the session because a message was too large for it (close code 1009).
    ///
    /// Its limit may be lower than the one we know. The largest that went out since must be the culprit,
    /// and would be so for ever: from now on its size is over the limit. Gives the new limit.
    pub fn server_found_one_too_large(&mut self) -> Option<usize> {
        if self.largest_untaken <= SURELY_ALLOWED {
            return None;
        }
        self.largest_allowed = self.largest_allowed.min(self.largest_untaken - 1);
        Some(self.largest_allowed)
    }
}

/// Answers that may be out before a heartbeat asks whether they arrived: a lost session resends them all.
const MOST_UNASKED: u32 = 1_000;
/// The longest that the last of them waits for that heartbeat.
const LONGEST_UNASKED: Duration = Duration::from_secs(1);
/// Heartbeats without an answer; a server that is this far behind gets no more for the answers' sake.
const MOST_OPEN_BEATS: usize = 32;
/// No server has a limit below this; a 1009 after smaller messages is about something else.
const SURELY_ALLOWED: usize = 64 * 1024;

#[cfg(test)]
mod tests;
