//! A push and the words for what can become of it.

use std::fmt;
use std::time::Duration;

use crate::phi::Phi;

/// Number of a push, ascending in order of acceptance, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PushId(pub u64);

/// Number of an event, ascending in order of commit, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub u64);

/// Number of a device in the store; the name belongs to people, the number to rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNo(pub u32);

impl DeviceNo {
    /// The agent itself, `device://self`.
    pub const SELF: Self = Self(0);
}

/// UTC in milliseconds since 1970: what survives a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The boot-time clock in milliseconds: what waits within one life of the process are measured with.
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

/// Both clocks, read once for a batch of decisions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub mono: Mono,
    pub utc: Timestamp,
    /// A throw of the dice, for jitter.
    pub dice: u32,
}

/// Where a push is in its life. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// On disk, waits for its turn or for the next try.
    Queued = 1,
    /// An attempt is open.
    Sending = 2,
    /// Nobody may touch it until somebody decides.
    Held = 3,
    /// The device's yes, with a [`Level`] that may rise.
    Delivered = 4,
    /// The device's no, in its own words.
    Rejected = 5,
    Cancelled = 6,
    Expired = 7,
    /// The driver cannot send it, or a person settled it as not delivered.
    Dead = 8,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::Held,
        Self::Delivered,
        Self::Rejected,
        Self::Cancelled,
        Self::Expired,
        Self::Dead,
    ];

    /// Final stays final: later news are events on it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Held)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Dead => "dead",
        }
    }

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i64 == number)
    }
}

/// How far the device's yes has come. The numbers are on disk and ascend with certainty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Offered to a device that asks.
    Published = 1,
    /// The link took it: ASTM's last ACK, HL7's commit accept.
    Framed = 2,
    /// The device has fetched it.
    Fetched = 3,
    PartlyAccepted = 4,
    Accepted = 5,
    Performed = 6,
    Committed = 7,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::Published,
        Self::Framed,
        Self::Fetched,
        Self::PartlyAccepted,
        Self::Accepted,
        Self::Performed,
        Self::Committed,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Framed => "framed",
            Self::Fetched => "fetched",
            Self::PartlyAccepted => "partly-accepted",
            Self::Accepted => "accepted",
            Self::Performed => "performed",
            Self::Committed => "committed",
        }
    }

    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as i64 == number)
    }
}

/// Which HL7 acknowledgement ends the wait. The numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnAck {
    First = 1,
    Application = 2,
}

impl ReturnAck {
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::First, Self::Application]
            .into_iter()
            .find(|ack| *ack as i64 == number)
    }
}

/// A 64-bit print of something longer, stable across processes and versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Print(pub u64);

/// A push that has passed the border: parsed, routed, within its limits. Not on disk yet.
#[derive(Debug)]
pub struct NewPush {
    pub device: DeviceNo,
    pub callback: Option<Callback>,
    /// As it came, with its parameters.
    pub content_type: String,
    /// As it came, where it carries a query of its own; it is echoed in the answer.
    pub remote: String,
    pub return_ack: Option<ReturnAck>,
    /// The keys whose pushes must stay in order; never empty.
    pub order_keys: Vec<String>,
    /// A print of every order key, in the same order.
    pub key_prints: Vec<Print>,
    /// Print of effective options and join form (DESIGN: equal ones are the same push); `None` joins by callback only.
    pub content: Option<Print>,
    pub body_sha256: [u8; 32],
    pub body: Phi<String>,
    pub options: Options,
}

/// The server's correlation id and its print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Callback {
    pub text: String,
    pub print: Print,
}

/// Whether this callback is that of a Task in the cloud, `Task/ID/VERSION`, and not of somebody at the websocket.
pub fn is_task(callback: &str) -> bool {
    callback.starts_with(TASK)
}

/// How the callback of a Task begins.
pub const TASK: &str = "Task/";

/// What one push may say about itself, in the parameters of its media type.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    pub answer_within: Option<Duration>,
    pub expires: Option<Duration>,
    pub priority: Priority,
    pub dedupe: Dedupe,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Priority {
    #[default]
    Routine,
    Stat,
}

/// Whether a push may join an earlier equal one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dedupe {
    #[default]
    On,
    Off,
}

/// What a device file says about delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// After this the caller is told that the push is queued (202). The server itself waits 10 s by default.
    pub answer_within: Duration,
    pub when_unreachable: WhenUnreachable,
    /// How long a delivered push still absorbs an equal one.
    pub rejoin_window: Duration,
    pub on_uncertain: OnUncertain,
    pub hold_scope: HoldScope,
    /// How old a push may become before it is not sent any more; `None`: any age.
    pub expires: Option<Duration>,
    /// Keep, do not send.
    pub paused: bool,
    /// Pushes that may wait for this device; more are refused.
    pub max_queued: usize,
    pub completing: Completing,
}

/// What a push to a device that is away gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenUnreachable {
    Queue,
    /// A refusal at once, nothing kept: what the TypeScript agent does.
    Fail,
}

/// What is done when nobody knows whether the device has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnUncertain {
    Hold,
    /// The same bytes again, at most three times, then held.
    Resend,
}

/// What waits while a push of the device is uncertain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldScope {
    /// Pushes with the same order key.
    Order,
    Device,
}

/// When a driver's message can have its effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completing {
    /// The whole message is one completing part (MLLP).
    AtOnce,
    /// The conversation says when the completing part is next (ASTM, DICOM).
    Marked,
}

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
