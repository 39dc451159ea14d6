//! What the queue decides: rows for the disk, and effects for after the commit.

use std::sync::Arc;

use super::news::News;
use crate::delivery::Words;
use crate::push::{DeviceNo, Level, NewPush, Now, PushId, Seq, State, Timestamp};

/// One decision: when it is made, and everything it asks for. Rows go into the running commit, effects wait for its end.
#[derive(Debug, Default)]
pub struct Turn {
    pub now: Now,
    pub rows: Vec<Row>,
    pub effects: Vec<Effect>,
}

impl Turn {
    pub fn at(now: Now) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }
}

#[derive(Debug)]
pub enum Row {
    Push(Box<PushRow>),
    /// A final push once more, as a new one without callback.
    Copy {
        id: PushId,
        from: PushId,
        at: Timestamp,
        expires: Option<Timestamp>,
    },
    Event(EventRow),
    Audit(AuditRow),
    /// What the cloud is told of the event in the same commit.
    News(News),
}

#[derive(Debug)]
pub struct PushRow {
    pub id: PushId,
    pub at: Timestamp,
    /// Set: the first attempt is recorded by this very row.
    pub tried: Option<Attempted>,
    pub expires: Option<Timestamp>,
    /// Set: it joined that push and has no body of its own.
    pub joins: Option<PushId>,
    pub push: Arc<NewPush>,
}

/// How an attempt is recorded. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempted {
    /// After a crash it is tried again: its completing part had not left.
    Attempt = 1,
    /// After a crash it is uncertain.
    Completing = 2,
}

/// What an event is about. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Attempt = 1,
    Completing = 2,
    Settled = 3,
    Retry = 4,
    Held = 5,
    Released = 6,
    Level = 7,
    /// The caller was answered while the push goes on (202).
    Answered = 8,
    /// Nothing happened but that answers had left the socket.
    Taken = 9,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Attempt,
        Self::Completing,
        Self::Settled,
        Self::Retry,
        Self::Held,
        Self::Released,
        Self::Level,
        Self::Answered,
        Self::Taken,
    ];

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i64 == number)
    }
}

impl Attempted {
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Attempt, Self::Completing]
            .into_iter()
            .find(|kind| *kind as i64 == number)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Attempt => Kind::Attempt,
            Self::Completing => Kind::Completing,
        }
    }
}

#[derive(Debug)]
pub struct EventRow {
    pub seq: Seq,
    pub push: PushId,
    pub device: DeviceNo,
    pub at: Timestamp,
    pub kind: Kind,
    pub state: Option<State>,
    pub level: Option<Level>,
    /// On a retry after an unknown outcome: how many times the same bytes went out again. On a release, set: a person sends
    /// it again, whatever its age.
    pub resend: Option<u8>,
    pub reason: Option<String>,
    pub who: Option<String>,
    /// Set: this event answers the callback.
    pub status: Option<u16>,
    /// Set: this row also records an attempt of that push.
    pub next: Option<(PushId, Attempted)>,
    /// Every answer up to here had left the socket.
    pub taken: Option<Seq>,
    pub answer: Told,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    /// The device's own words; kept also where nobody waits for them any more.
    Device(Words),
    /// A sentence of ours.
    Sentence(String),
    /// What that push, which is settled, was told.
    SameAs(PushId),
}

/// What a person or a configuration did.
#[derive(Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub at: Timestamp,
    pub who: String,
    pub verb: &'static str,
    pub push: Option<PushId>,
    pub reason: Option<String>,
}

/// What may be done once the rows are durable.
#[derive(Debug)]
pub enum Effect {
    Attempt {
        push: PushId,
        device: DeviceNo,
        kind: Attempted,
    },
    Answer(Answer),
    /// The callback came again and has its answer: tell it the same.
    Again(PushId),
    /// Nothing was kept; the caller is told why.
    Refused {
        to: ReplyTo,
        why: String,
    },
    /// A push of this device is ready to go, or none is any more.
    Wanted {
        device: DeviceNo,
        wanted: bool,
    },
}

#[derive(Debug)]
pub struct Answer {
    pub seq: Seq,
    /// The answer before this one.
    pub prev: Seq,
    pub push: PushId,
    pub to: ReplyTo,
    pub status: u16,
    pub told: Told,
}

/// Who waits for the answer, and how it must be addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    pub callback: String,
    pub remote: String,
    /// As it was pushed, with its parameters.
    pub content_type: String,
}
