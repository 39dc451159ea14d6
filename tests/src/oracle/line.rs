//! What is known of the way to a device, and what of it excuses that an attempt is called uncertain.
//!
//! The proxy writes down which message of the agent came by on which connection, which acknowledgement went back, and
//! what it did to which connection. An attempt whose message came by is excused by what befell its own connection from
//! then on, and not if its answer had been passed on before that; what only spoilt bytes excuses it when the agent has waited. One whose message never came by is excused only by a
//! connection that was dropped while it was open, with whatever nobody had read. An answer is late if the proxy passed
//! it on when the agent's patience was over, or if the device got the message only then. That no answer is known excuses
//! nothing.

/// What befell a connection. Times are UTC in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: Harm,
    /// None: whatever had been let in and was not seen by anybody.
    pub connection: Option<u64>,
    pub from: i64,
    pub until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Bytes that came by were lost or changed. The connection went on.
    Spoilt,
    /// The agent was told that nothing more comes.
    Ended,
    /// It was dropped, and what was in it unread is lost.
    Dropped,
}

/// What is known of the way to a device. Times are UTC in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub troubles: Vec<Trouble>,
    /// The agent's messages as they came by, ascending.
    pub said: Vec<Said>,
    /// The acknowledgements that were passed on to the agent, ascending.
    pub heard: Vec<Heard>,
    /// How long the agent has to wait for an answer.
    pub patience: i64,
    pub answers: Answers,
}

/// Whether a device ever answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    AsItShould,
    /// It takes everything and says nothing, and nobody watches its line.
    Never,
}

/// A message of the agent: the control id in its MSH-10, and when its first bytes came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub control_id: String,
    pub connection: u64,
    pub at: i64,
}

/// A whole acknowledgement: the control id in its MSA-2, and when it was passed on: not before, and not after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub about: String,
    pub connection: u64,
    pub from: i64,
    pub until: i64,
}

/// An attempt, as its line can know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try<'a> {
    pub(super) control_id: &'a str,
    pub(super) began: i64,
    pub(super) ended: i64,
    /// When the same message was tried the next time.
    pub(super) next: i64,
    /// When the device got a message with these bytes, by its own record; the first between `began` and `next`.
    pub(super) arrived: Option<i64>,
}

/// What has made an attempt uncertain that no kill found open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Excuse {
    /// Its connection was in trouble.
    Trouble,
    /// The answer to it was passed on when the agent had written down already that it had given up.
    Late,
    /// It was passed on after the agent's patience, counted from the record of the attempt, and before the record of its
    /// end: the agent's own wait began a commit later than its record.
    LateClose,
    /// This device never answers anything.
    Mute,
}

impl Line {
    /// What can have made an attempt uncertain.
    pub(super) fn excuse(&self, one: Try<'_>) -> Option<Excuse> {
        let gave_up_at = one.began.saturating_add(self.patience);
        let waited = gave_up_at <= one.ended;
        if self.answers == Answers::Never {
            return (waited && one.arrived.is_some()).then_some(Excuse::Mute);
        }
        let Some(said) = self.said_in(one) else {
            let dropped = self.troubles.iter().any(|trouble| {
                trouble.what == Harm::Dropped
                    && trouble.from <= one.ended
                    && one.began <= trouble.until
            });
            return dropped.then_some(Excuse::Trouble);
        };
        let answered_at = self.answer_to(said);
        let in_trouble = |trouble: &Trouble| {
            trouble.connection == Some(said.connection)
                && trouble.from <= one.ended
                && said.at <= trouble.until
                && (waited || trouble.what != Harm::Spoilt)
                && answered_at.is_none_or(|at| trouble.from <= at)
        };
        if self.troubles.iter().any(in_trouble) {
            return Some(Excuse::Trouble);
        }
        let arrived = one.arrived.filter(|_| waited)?;
        // What the device got too late it cannot have answered in time, whatever has become of the answer.
        let too_late = [Some(arrived), answered_at].into_iter().flatten().max()?;
        if too_late < gave_up_at {
            return None;
        }
        Some(if too_late < one.ended {
            Excuse::LateClose
        } else {
            Excuse::Late
        })
    }

    /// The message of this attempt as it came by.
    fn said_in(&self, one: Try<'_>) -> Option<&Said> {
        let before = self.said.partition_point(|said| said.at < one.began);
        let since = self.said.get(before..)?;
        let mut in_time = since.iter().take_while(|said| said.at < one.next);
        in_time.find(|said| said.control_id == one.control_id)
    }

    /// When all of the first answer to this message had been passed on.
    fn answer_to(&self, said: &Said) -> Option<i64> {
        let before = self.heard.partition_point(|heard| heard.from < said.at);
        let since = self.heard.get(before..)?;
        let is_it =
            |heard: &&Heard| heard.about == said.control_id && heard.connection == said.connection;
        since.iter().find(is_it).map(|heard| heard.until)
    }
}
