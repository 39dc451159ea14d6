//! A Task of the mailbox as far as decisions need it, and what may be said on it.

use std::fmt;
use std::sync::Arc;

use crate::push::{PushId, Timestamp};
use crate::retry::AskedWait;

/// `Task.id`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub Arc<str>);

/// `Task.meta.versionId`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Version(pub Arc<str>);

/// A Task as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    pub id: TaskId,
    pub version: Version,
    pub status: Status,
    pub authored: Option<Timestamp>,
    /// The Device whose order it must keep, as the Task refers to it.
    pub owner: Arc<str>,
    /// What this agent has written on it when it claimed it.
    pub mark: Option<Mark>,
}

/// A claim of this agent: the push that was made of the Task, and the version it was made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    pub push: PushId,
    pub version: Version,
}

/// `Task.status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Draft,
    Requested,
    Received,
    Accepted,
    Rejected,
    Ready,
    Cancelled,
    InProgress,
    OnHold,
    Failed,
    Completed,
    EnteredInError,
}

impl Status {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Draft, "draft"),
        (Self::Requested, "requested"),
        (Self::Received, "received"),
        (Self::Accepted, "accepted"),
        (Self::Rejected, "rejected"),
        (Self::Ready, "ready"),
        (Self::Cancelled, "cancelled"),
        (Self::InProgress, "in-progress"),
        (Self::OnHold, "on-hold"),
        (Self::Failed, "failed"),
        (Self::Completed, "completed"),
        (Self::EnteredInError, "entered-in-error"),
    ];

    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == word);
        found.map(|(status, _)| *status)
    }

    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(status, _)| *status == self);
        found.map_or("", |(_, word)| word)
    }

    /// Whether nothing is to come any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Rejected
            | Self::Cancelled
            | Self::Failed
            | Self::Completed
            | Self::EnteredInError => true,
            Self::Draft
            | Self::Requested
            | Self::Received
            | Self::Accepted
            | Self::Ready
            | Self::InProgress
            | Self::OnHold => false,
        }
    }
}

/// How the push of a Task stands here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Held until the Task is claimed.
    Unclaimed,
    Waiting,
    Sending,
    /// Nobody knows whether the device has it.
    Uncertain,
    /// A person keeps it back.
    Held,
    Delivered,
    Rejected,
    Cancelled,
    /// Expired, or given up.
    Failed,
    /// There is no record of it: the store it was in is gone.
    Lost,
}

impl Fate {
    pub fn is_final(self) -> bool {
        match self {
            Self::Delivered | Self::Rejected | Self::Cancelled | Self::Failed => true,
            Self::Unclaimed
            | Self::Waiting
            | Self::Sending
            | Self::Uncertain
            | Self::Held
            | Self::Lost => false,
        }
    }

    /// Whether the device will get it without anybody's doing.
    pub(super) fn goes_on(self) -> bool {
        matches!(self, Self::Unclaimed | Self::Waiting | Self::Sending)
    }

    /// What the Task should say, where it says `now`.
    pub(super) fn status(self, now: Status) -> Status {
        match self {
            Self::Unclaimed | Self::Waiting if now == Status::InProgress => Status::InProgress,
            Self::Unclaimed | Self::Waiting => Status::Accepted,
            Self::Sending => Status::InProgress,
            Self::Uncertain | Self::Held | Self::Lost => Status::OnHold,
            Self::Delivered => Status::Completed,
            Self::Rejected => Status::Rejected,
            Self::Cancelled => Status::Cancelled,
            Self::Failed => Status::Failed,
        }
    }
}

/// What became of taking a Task in: its payload read, checked, and on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// On disk. It may have been there before.
    Kept(PushId),
    /// It has another version by now.
    Changed(Task),
    /// It is not there any more.
    Gone,
    /// No device can ever be given this, and why.
    Bad(String),
    /// Another agent may be meant.
    NotOurs(String),
    /// Not now, and why.
    Later(String, AskedWait),
}

/// Why a request to the cloud did not bring what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The Task has another version than was said (412).
    Conflict,
    /// There is no such Task, or not for us.
    Gone,
    /// The server will never take this, and has not.
    Refused(String),
    /// More came than is read at once.
    TooLarge(String),
    /// Nobody knows whether the server did it.
    Unknown(String, AskedWait),
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task/{}", self.0)
    }
}

impl Task {
    /// Its place among the Tasks of its device: by when it was written, then by id. Who does not say when comes last.
    pub(super) fn place(&self) -> (Timestamp, TaskId) {
        let authored = self.authored.unwrap_or(Timestamp(i64::MAX));
        (authored, self.id.clone())
    }

    /// Whether it carries the claim that was made for this push of this version.
    pub(super) fn is_claimed_for(&self, push: PushId, version: &Version) -> bool {
        self.mark
            .as_ref()
            .is_some_and(|mark| mark.push == push && mark.version == *version)
    }
}
