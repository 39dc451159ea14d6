//! What goes up: on each channel one at a time and in order, until the cloud has said that it has it.
//!
//! Pure. What waits is on disk; this holds no more than its numbers. The same upload may go out several times, each time
//! under a callback of its own and always with the same bytes; the answer to any of them closes it.
//!
//! | in flight | then |
//! | --- | --- |
//! | taken (an answer below 400, or without a status) | closed, the next one goes |
//! | refused (an answer of 400 or more) | again after a pause; the fifth refusal in a row lets the others pass |
//! | no answer in time, an error that answers nothing | again after a pause |
//! | the session ends | again at once in the next one |
//!
//! One that the others have passed is tried again now and then, and given up after [`MOST_REFUSALS`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::push::Mono;
use crate::retry::{Backoff, Dice};

/// Number of an upload, ascending in order of commit, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UploadId(pub u64);

/// What can happen to the sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    LinkUp,
    LinkDown,
    /// It is on disk and waits.
    Waits {
        id: UploadId,
        channel: String,
    },
    /// The server answered one of its callbacks.
    Answered {
        id: UploadId,
        reply: Reply,
    },
    /// The server reported an error; `None`: it did not say about what.
    Error {
        about: Option<UploadId>,
    },
    /// It cannot go out as it is, ever.
    Unsendable {
        id: UploadId,
        why: String,
    },
    /// It does not wait any more, whatever was said before.
    Gone {
        id: UploadId,
    },
    /// What waits is told anew.
    Forget,
    Tick,
}

/// What the cloud says of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    Taken,
    Refused { status: u16 },
}

/// What the shell must do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Sends it under a callback with this number, which no other one has in this process.
    Send { id: UploadId, attempt: u64 },
    /// Writes down that it waits no more.
    Close { id: UploadId, end: End },
}

/// How an upload ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    Taken,
    GivenUp(String),
}

/// All that waits to go up.
#[derive(Debug, Default)]
pub struct Sender {
    channels: BTreeMap<String, Channel>,
    session: Session,
    attempts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Session {
    Live,
    #[default]
    Down,
}

#[derive(Debug, Default)]
struct Channel {
    /// In order; what is in flight stays in its place.
    line: BTreeSet<UploadId>,
    /// Those that the others have passed.
    aside: BTreeMap<UploadId, Aside>,
    flight: Option<Flight>,
    /// Nothing goes out before this.
    not_before: Mono,
    /// In a row, without an answer.
    unheard: u32,
    /// In a row, of the first in line.
    refused: u32,
}

#[derive(Clone, Copy, Debug)]
struct Aside {
    refused: u32,
    at: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    id: UploadId,
    deadline: Mono,
}

impl Sender {
    /// Takes in one thing that happened, and starts what can go.
    pub fn step(&mut self, input: Input, (now, dice): (Mono, Dice), out: &mut Vec<Output>) {
        match input {
            Input::LinkUp => self.session = Session::Live,
            Input::LinkDown => self.link_down(),
            Input::Waits { id, channel } => {
                let channel = self.channels.entry(channel).or_default();
                if !channel.aside.contains_key(&id) {
                    channel.line.insert(id);
                }
            }
            Input::Answered { id, reply } => self.answered(id, reply, (now, dice), out),
            Input::Error { about } => self.error(about, (now, dice)),
            Input::Unsendable { id, why } => self.close(id, End::GivenUp(why), out),
            Input::Gone { id } => drop(self.remove(id)),
            Input::Forget => self.channels.clear(),
            Input::Tick => self.overdue((now, dice)),
        }
        self.channels
            .retain(|_, channel| !channel.line.is_empty() || !channel.aside.is_empty());
        if self.session == Session::Live {
            self.start(now, out);
        }
    }

    /// When to come back with [`Input::Tick`] if nothing happens first.
    pub fn deadline(&self) -> Option<Mono> {
        if self.session == Session::Down {
            return None;
        }
        self.channels.values().filter_map(Channel::deadline).min()
    }

    /// How many wait, or are in flight.
    pub fn waiting(&self) -> usize {
        let of_channel = |channel: &Channel| channel.line.len() + channel.aside.len();
        self.channels.values().map(of_channel).sum()
    }

    fn start(&mut self, now: Mono, out: &mut Vec<Output>) {
        for channel in self.channels.values_mut() {
            let Some(id) = channel.next(now) else {
                continue;
            };
            self.attempts += 1;
            channel.flight = Some(Flight {
                id,
                deadline: now.plus(PATIENCE),
            });
            let attempt = self.attempts;
            out.push(Output::Send { id, attempt });
        }
    }

    /// Whatever was in flight goes again in the next session, and without the pauses of this one.
    fn link_down(&mut self) {
        self.session = Session::Down;
        for channel in self.channels.values_mut() {
            channel.flight = None;
            channel.unheard = 0;
            channel.not_before = Mono(0);
        }
    }

    fn answered(&mut self, id: UploadId, reply: Reply, at: (Mono, Dice), out: &mut Vec<Output>) {
        let Reply::Refused { status } = reply else {
            return self.close(id, End::Taken, out);
        };
        let Some(channel) = self.in_flight(id) else {
            // A refusal of an earlier try says nothing about the one under way.
            return;
        };
        if channel.refuse(id, at) == Patience::Over {
            let why = format!("the cloud refused it {MOST_REFUSALS} times, with status {status}");
            self.close(id, End::GivenUp(why), out);
        }
    }

    fn close(&mut self, id: UploadId, end: End, out: &mut Vec<Output>) {
        if self.remove(id) == Found::Yes {
            out.push(Output::Close { id, end });
        }
    }

    fn remove(&mut self, id: UploadId) -> Found {
        for channel in self.channels.values_mut() {
            if channel.remove(id) == Found::Yes {
                return Found::Yes;
            }
        }
        Found::No
    }

    /// Where one alone is in flight, the error is about that one. Otherwise their time limits tell.
    fn error(&mut self, about: Option<UploadId>, at: (Mono, Dice)) {
        if let Some(id) = about {
            if let Some(channel) = self.in_flight(id) {
                channel.unheard(at);
            }
            return;
        }
        let mut flying = self.channels.values_mut().filter(|c| c.flight.is_some());
        if let (Some(channel), None) = (flying.next(), flying.next()) {
            channel.unheard(at);
        }
    }

    fn overdue(&mut self, at: (Mono, Dice)) {
        for channel in self.channels.values_mut() {
            if channel.flight.is_some_and(|flight| flight.deadline <= at.0) {
                channel.unheard(at);
            }
        }
    }

    fn in_flight(&mut self, id: UploadId) -> Option<&mut Channel> {
        let mut channels = self.channels.values_mut();
        channels.find(|channel| channel.flight.is_some_and(|flight| flight.id == id))
    }
}

impl Channel {
    fn next(&self, now: Mono) -> Option<UploadId> {
        if self.flight.is_some() || self.not_before > now {
            return None;
        }
        let mut due = self.aside.iter().filter(|(_, aside)| aside.at <= now);
        due.next()
            .map(|(id, _)| *id)
            .or_else(|| self.line.first().copied())
    }

    fn deadline(&self) -> Option<Mono> {
        if let Some(flight) = self.flight {
            return Some(flight.deadline);
        }
        let aside = self.aside.values().map(|aside| aside.at).min();
        let line = self.line.first().map(|_| self.not_before);
        let first = [aside, line].into_iter().flatten().min()?;
        Some(first.max(self.not_before))
    }

    /// Nobody knows what became of the one in flight.
    fn unheard(&mut self, (now, dice): (Mono, Dice)) {
        self.flight = None;
        self.not_before = now.plus(PAUSE.wait(self.unheard, dice));
        self.unheard = self.unheard.saturating_add(1);
    }

    fn refuse(&mut self, id: UploadId, (now, dice): (Mono, Dice)) -> Patience {
        self.flight = None;
        self.unheard = 0;
        if let Some(aside) = self.aside.get_mut(&id) {
            aside.refused = aside.refused.saturating_add(1);
            aside.at = now.plus(PAUSE.wait(aside.refused, dice));
            return if aside.refused >= MOST_REFUSALS {
                Patience::Over
            } else {
                Patience::Left
            };
        }
        let wait = PAUSE.wait(self.refused, dice);
        self.refused += 1;
        if self.refused < STEP_ASIDE {
            self.not_before = now.plus(wait);
            return Patience::Left;
        }
        self.line.remove(&id);
        let refused = std::mem::take(&mut self.refused);
        let at = now.plus(PAUSE.wait(refused, dice));
        self.aside.insert(id, Aside { refused, at });
        Patience::Left
    }

    fn remove(&mut self, id: UploadId) -> Found {
        if !self.line.remove(&id) && self.aside.remove(&id).is_none() {
            return Found::No;
        }
        if self.flight.is_some_and(|flight| flight.id == id) {
            self.flight = None;
        }
        self.not_before = Mono(0);
        (self.unheard, self.refused) = (0, 0);
        Found::Yes
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Left,
    Over,
}

/// How long the answer of a Bot is waited for. Medplum's own limit for a Bot is 10 s, and a queue may be before it.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Between two tries. A Bot that is repaired is heard of within the longest.
const PAUSE: Backoff = Backoff {
    min: Duration::from_secs(1),
    max: Duration::from_mins(5),
};
/// After so many refusals the others pass: one that its Bot cannot take must not keep all others.
const STEP_ASIDE: u32 = 5;
/// About a week of refusals at the longest pause: longer than a weekend without anybody to repair the Bot.
pub const MOST_REFUSALS: u32 = 2_000;

#[cfg(test)]
mod tests;
