//! What is told about a push after its caller has stopped waiting.
//!
//! | event | told if |
//! | --- | --- |
//! | settled | it answers nobody |
//! | held, released | nobody waits for the answer any more |
//! | answered (202) | the push is held at that moment |
//! | later news of the device | always |
//!
//! A push that is answered in time has no news. Pushes to the agent itself are answered where they are stored.

use super::rows::{EventRow, Kind, Row, Told, Turn};
use super::{Phase, Queue};
use crate::push::{DeviceNo, Level, PushId, Seq, State, Timestamp};

/// Whether somebody is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Receipts {
    On,
    #[default]
    Off,
}

/// One piece of later news, in the commit of the event that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    pub seq: Seq,
    pub push: PushId,
    pub device: DeviceNo,
    pub at: Timestamp,
    pub kind: Kind,
    pub state: Option<State>,
    pub level: Option<Level>,
    pub reason: Option<String>,
    /// A person; `None` where the device or the agent decided.
    pub who: Option<String>,
    pub answer: Told,
}

impl Queue {
    /// Keeps news from now on, or none.
    pub fn keep_news(&mut self, receipts: Receipts) {
        self.receipts = receipts;
    }

    /// Writes an event, and before it what is told of it. The event stays the last row, where an attempt may ride.
    pub(super) fn record(&self, row: EventRow, turn: &mut Turn) {
        if self.receipts == Receipts::On && row.push != PushId(0) && row.device != DeviceNo::SELF {
            turn.rows.extend(self.news_of(&row).map(Row::News));
        }
        turn.rows.push(Row::Event(row));
    }

    fn news_of(&self, row: &EventRow) -> Option<News> {
        let live = self.live.get(&row.push);
        let unheard = live.is_none_or(|live| live.reply_to.is_none());
        let (state, answer) = match row.kind {
            Kind::Settled if row.status.is_none() => (row.state, row.answer.clone()),
            Kind::Held | Kind::Released if unheard => (row.state, Told::Nothing),
            Kind::Answered if live.is_some_and(|live| live.phase.is_held()) => {
                (Some(State::Held), Told::Nothing)
            }
            Kind::Level => (row.state, row.answer.clone()),
            Kind::Settled
            | Kind::Held
            | Kind::Released
            | Kind::Answered
            | Kind::Attempt
            | Kind::Completing
            | Kind::Retry
            | Kind::Taken => return None,
        };
        Some(News {
            seq: row.seq,
            push: row.push,
            device: row.device,
            at: row.at,
            kind: row.kind,
            state,
            level: row.level,
            reason: row.reason.clone(),
            who: row.who.clone(),
            answer,
        })
    }
}

impl Phase {
    fn is_held(&self) -> bool {
        matches!(self, Self::Uncertain(_) | Self::Operator(_))
    }
}
