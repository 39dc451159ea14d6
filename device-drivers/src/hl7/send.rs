//! One connection on which we send: a message, its answer, the next message.
//!
//! ```text
//! state                  | leaves it                                   | for
//! -----------------------|---------------------------------------------|----------------------------------------------
//! AwaitingOpened         | opened                                      | Idle
//! Idle                   | submit                                      | AwaitingAck             transmit
//!                        | stalled: a message of the device never ends | Closing                 close
//! AwaitingAck            | answer, if it ends the wait                 | next                    settled
//!                        | CA, if the application's answer is wanted   | AwaitingApplicationAck
//!                        | drained                                     | AwaitingAck             the wait begins anew
//!                        | due, all bytes left                         | Closing                 settled unknown, close
//!                        | due, bytes still here                       | AwaitingClosed          close
//!                        | closed                                      | Closed                  settled by what left
//! AwaitingApplicationAck | AA AE AR CE CR                              | next                    settled
//!                        | due                                         | next                    settled framed (CA)
//!                        | closed                                      | Closed                  settled framed (CA)
//! AwaitingDrain          | drained                                     | next
//!                        | due                                         | Closing                 close
//! AwaitingClosed         | answer, if it ends the wait                 | Closing                 settled
//!                        | closed                                      | Closed                  settled by what left
//! Closing                | closed                                      | Closed
//! Closed                 |                                             |
//! next = AwaitingDrain while bytes of the message are still here; else Closing after the last message
//!        (one a connection, or stopping); else Idle.
//! ```
//!
//! In every state: a submission that cannot be taken is settled as not delivered; `stop` makes the message that is out
//! the last one (and closes, where none is); an answer ends a wait only if its MSA-2 is the MSH-10 that is out. An answer
//! to a message in custody (settled by CA) is news about it. All other answers, and all that is no answer, are notices:
//! they end nothing, and are named if the wait ends without an answer.

mod desk;

use std::mem;

use desk::Desk;

use super::ack::{Ack, Says};
use super::mllp::Deframer;
use super::prepare::Order;
use super::recent::Standing;
use super::settings::{ReturnAck, Settings};
use crate::conversation::{Conversation, Input, Mono, Output, Submission, SubmissionId};
use crate::mutant::{self, Mutant};
use crate::outcome::{
    BytesLeft, CloseReason, Level, NotDelivered, Notice, Outcome, Unknown, Unusable,
};
use crate::phi::Phi;

/// The conversation of one connection.
#[derive(Debug)]
pub(super) struct Sender {
    state: State,
    deframer: Deframer,
    desk: Desk,
}

#[derive(Debug, Default)]
enum State {
    AwaitingOpened,
    Idle,
    AwaitingAck(AwaitingAck),
    AwaitingApplicationAck(AwaitingApplicationAck),
    /// Answered before all of it left; the next message must not follow its torso.
    AwaitingDrain {
        deadline: Mono,
    },
    AwaitingClosed(AwaitingClosed),
    Closing,
    #[default]
    Closed,
}

/// A message is out and has no answer.
#[derive(Debug)]
struct AwaitingAck {
    sent: Sent,
    heard: Option<Unusable>,
    deadline: Mono,
}

/// The device has the message in custody.
#[derive(Debug)]
struct AwaitingApplicationAck {
    sent: Sent,
    custody: Phi<String>,
    deadline: Mono,
}

/// The device did not take the message; how much of it left is known when the connection is closed.
#[derive(Debug)]
struct AwaitingClosed {
    sent: Sent,
    heard: Option<Unusable>,
}

/// The message that is out.
#[derive(Debug)]
struct Sent {
    id: SubmissionId,
    control_id: String,
    frame_len: usize,
    return_ack: ReturnAck,
    left: Left,
}

/// How much of a message has been handed to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Partly,
    Whole,
}

/// What a state is told.
#[derive(Debug)]
enum Event {
    Opened,
    Submit(SubmissionId, Order),
    Drained,
    Answer(Ack),
    Unusable(Unusable),
    /// The state's own deadline has passed; `half`: bytes of an answer that has begun.
    Due {
        half: Option<usize>,
    },
    Stop,
    Closed {
        unsent: usize,
    },
}

impl Sender {
    pub(super) fn new(settings: Settings) -> Self {
        let deframer = Deframer::new(settings.frame_end, settings.max_message);
        let desk = Desk::new(settings);
        Self {
            state: State::AwaitingOpened,
            deframer,
            desk,
        }
    }

    fn step(&mut self, event: Event, now: Mono) {
        self.state = mem::take(&mut self.state).step(event, now, &mut self.desk);
    }

    /// Hands over what the deframer has found.
    fn read(&mut self, now: Mono) {
        while let Some(found) = self.deframer.next_found() {
            let event = self.desk.read(found);
            self.step(event, now);
        }
    }

    fn tick(&mut self, now: Mono) {
        self.deframer.tick(now);
        self.read(now);
        let deadline = self.state.deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            let half = self.deframer.bytes_of_half();
            self.step(Event::Due { half }, now);
        }
    }

    fn closed(&mut self, unsent: usize, now: Mono) {
        let end = self.deframer.end();
        self.read(now);
        if let Err(half) = end {
            self.step(Event::Unusable(Unusable::Half { bytes: half.bytes }), now);
        }
        self.step(Event::Closed { unsent }, now);
    }
}

impl Conversation for Sender {
    fn handle(&mut self, input: Input<'_>, now: Mono) {
        match input {
            Input::Opened => self.step(Event::Opened, now),
            Input::Bytes(bytes) => {
                self.deframer.push(bytes, now);
                self.read(now);
            }
            Input::Drained => self.step(Event::Drained, now),
            Input::Submit(id, Submission::Hl7(order)) => self.step(Event::Submit(id, order), now),
            Input::Closed { unsent } => self.closed(unsent, now),
            Input::Tick => self.tick(now),
            Input::Stop => self.step(Event::Stop, now),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.desk.poll()
    }

    fn deadline(&self) -> Option<Mono> {
        let deadlines = [self.state.deadline(), self.deframer.deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn free_slots(&self) -> u8 {
        match self.state {
            State::Idle => 1,
            State::AwaitingOpened
            | State::AwaitingAck(_)
            | State::AwaitingApplicationAck(_)
            | State::AwaitingDrain { .. }
            | State::AwaitingClosed(_)
            | State::Closing
            | State::Closed => 0,
        }
    }
}

impl State {
    fn step(self, event: Event, now: Mono, desk: &mut Desk) -> Self {
        match self {
            Self::AwaitingOpened => awaiting_opened(event, desk),
            Self::Idle => idle(event, now, desk),
            Self::AwaitingAck(wait) => wait.step(event, now, desk),
            Self::AwaitingApplicationAck(wait) => wait.step(event, now, desk),
            Self::AwaitingDrain { deadline } => awaiting_drain(event, deadline, desk),
            Self::AwaitingClosed(wait) => wait.step(event, desk),
            Self::Closing => closing(event, desk),
            Self::Closed => closed(&event, desk),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        match self {
            Self::AwaitingAck(wait) => Some(wait.deadline),
            Self::AwaitingApplicationAck(wait) => Some(wait.deadline),
            Self::AwaitingDrain { deadline } => Some(*deadline),
            Self::AwaitingOpened
            | Self::Idle
            | Self::AwaitingClosed(_)
            | Self::Closing
            | Self::Closed => None,
        }
    }
}

fn awaiting_opened(event: Event, desk: &mut Desk) -> State {
    match event {
        Event::Opened => State::Idle,
        Event::Submit(id, _) => desk.not_ready(id, State::AwaitingOpened),
        Event::Answer(ack) => desk.unawaited(ack, State::AwaitingOpened),
        Event::Unusable(what) => desk.unusable(what, State::AwaitingOpened),
        Event::Drained | Event::Due { .. } => State::AwaitingOpened,
        Event::Stop => desk.close(CloseReason::Stopped),
        Event::Closed { .. } => State::Closed,
    }
}

fn idle(event: Event, now: Mono, desk: &mut Desk) -> State {
    match event {
        Event::Submit(id, order) => desk.transmit(id, order, now),
        Event::Answer(ack) => desk.unawaited(ack, State::Idle),
        Event::Unusable(what @ Unusable::Stalled { .. }) => {
            desk.unusable(what, State::Idle);
            desk.close(CloseReason::Stalled)
        }
        Event::Unusable(what) => desk.unusable(what, State::Idle),
        Event::Opened | Event::Drained | Event::Due { .. } => State::Idle,
        Event::Stop => desk.close(CloseReason::Stopped),
        Event::Closed { .. } => State::Closed,
    }
}

impl AwaitingAck {
    fn step(mut self, event: Event, now: Mono, desk: &mut Desk) -> State {
        match event {
            Event::Answer(_) if mutant::one_in(50, Mutant::Deaf) => State::AwaitingAck(self),
            Event::Answer(ack) if self.sent.is_answered_by(&ack) => self.answered(ack, now, desk),
            Event::Answer(ack) => {
                self.heard = desk.hear_unawaited(ack).or(self.heard);
                State::AwaitingAck(self)
            }
            Event::Unusable(what) => {
                self.heard = Some(what.clone());
                desk.unusable(what, State::AwaitingAck(self))
            }
            Event::Drained => {
                self.sent.left = Left::Whole;
                self.deadline = now.plus(desk.settings.ack_timeout);
                State::AwaitingAck(self)
            }
            Event::Due { half } => self.due(half, desk),
            Event::Submit(id, _) => desk.not_ready(id, State::AwaitingAck(self)),
            Event::Opened => State::AwaitingAck(self),
            Event::Stop => desk.stop_after(State::AwaitingAck(self)),
            Event::Closed { unsent } => self.closed(unsent, desk),
        }
    }

    fn answered(self, ack: Ack, now: Mono, desk: &mut Desk) -> State {
        let waits_on = self.sent.return_ack == ReturnAck::Application;
        if waits_on && ack.code.says() == Says::InCustody {
            let deadline = now.plus(desk.settings.app_ack_timeout);
            let (sent, custody) = (self.sent, ack.text);
            let wait = AwaitingApplicationAck {
                sent,
                custody,
                deadline,
            };
            return State::AwaitingApplicationAck(wait);
        }
        let left = desk.settle_by(self.sent, ack);
        desk.next(left, now)
    }

    fn due(mut self, half: Option<usize>, desk: &mut Desk) -> State {
        self.heard = half.map(|bytes| Unusable::Half { bytes }).or(self.heard);
        match self.sent.left {
            Left::Whole => {
                let within = desk.settings.ack_timeout;
                let why = Unknown::NoAnswer {
                    within,
                    heard: self.heard,
                };
                desk.settle(self.sent, Standing::GivenUp, Outcome::Unknown { why });
                desk.close(CloseReason::NoAnswer { within })
            }
            Left::Partly => {
                let within = desk.settings.time_to_leave(self.sent.frame_len);
                desk.close(CloseReason::NotTaken { within });
                State::AwaitingClosed(AwaitingClosed {
                    sent: self.sent,
                    heard: self.heard,
                })
            }
        }
    }

    fn closed(self, unsent: usize, desk: &mut Desk) -> State {
        let outcome = match self.sent.reach(unsent) {
            Reach::Nothing => not_delivered(NotDelivered::ClosedBeforeSending, BytesLeft::None),
            Reach::Beginning => not_delivered(NotDelivered::ClosedWhileSending, BytesLeft::Some),
            Reach::End => Outcome::Unknown {
                why: desk.closed_unanswered(self.heard),
            },
        };
        desk.settle(self.sent, Standing::GivenUp, outcome);
        State::Closed
    }
}

impl AwaitingApplicationAck {
    fn step(self, event: Event, now: Mono, desk: &mut Desk) -> State {
        match event {
            Event::Answer(ack) if self.sent.is_answered_by(&ack) => match ack.code.says() {
                Says::InCustody => {
                    desk.notice(Notice::SecondAnswer { code: ack.code });
                    State::AwaitingApplicationAck(self)
                }
                Says::Accepted | Says::Refused => {
                    let left = desk.settle_by(self.sent, ack);
                    desk.next(left, now)
                }
            },
            Event::Answer(ack) => desk.unawaited(ack, State::AwaitingApplicationAck(self)),
            Event::Unusable(what) => desk.unusable(what, State::AwaitingApplicationAck(self)),
            Event::Drained => State::AwaitingApplicationAck(self.drained()),
            Event::Due { .. } => {
                let left = self.settle_in_custody(desk);
                desk.next(left, now)
            }
            Event::Submit(id, _) => desk.not_ready(id, State::AwaitingApplicationAck(self)),
            Event::Opened => State::AwaitingApplicationAck(self),
            Event::Stop => desk.stop_after(State::AwaitingApplicationAck(self)),
            Event::Closed { .. } => {
                self.settle_in_custody(desk);
                State::Closed
            }
        }
    }

    fn drained(mut self) -> Self {
        self.sent.left = Left::Whole;
        self
    }

    /// The device has it; what its application thinks of it may still come as news.
    fn settle_in_custody(self, desk: &mut Desk) -> Left {
        desk.notice(Notice::NoApplicationAnswer);
        let outcome = Outcome::Acknowledged {
            level: Level::Framed,
            reply: self.custody,
        };
        desk.settle(self.sent, Standing::InCustody, outcome)
    }
}

fn awaiting_drain(event: Event, deadline: Mono, desk: &mut Desk) -> State {
    let same = State::AwaitingDrain { deadline };
    match event {
        Event::Drained => desk.next_message(),
        Event::Due { .. } => desk.close(CloseReason::NotTaken {
            within: desk.settings.ack_timeout,
        }),
        Event::Submit(id, _) => desk.not_ready(id, same),
        Event::Answer(ack) => desk.unawaited(ack, same),
        Event::Unusable(what) => desk.unusable(what, same),
        Event::Opened => same,
        Event::Stop => desk.stop_after(same),
        Event::Closed { .. } => State::Closed,
    }
}

impl AwaitingClosed {
    fn step(mut self, event: Event, desk: &mut Desk) -> State {
        match event {
            Event::Answer(ack) if self.sent.is_answered_by(&ack) => {
                desk.settle_by(self.sent, ack);
                State::Closing
            }
            Event::Answer(ack) => desk.unawaited(ack, State::AwaitingClosed(self)),
            Event::Unusable(what) => {
                self.heard = Some(what.clone());
                desk.unusable(what, State::AwaitingClosed(self))
            }
            Event::Submit(id, _) => desk.not_ready(id, State::AwaitingClosed(self)),
            Event::Opened | Event::Drained | Event::Due { .. } | Event::Stop => {
                State::AwaitingClosed(self)
            }
            Event::Closed { unsent } => self.closed(unsent, desk),
        }
    }

    fn closed(self, unsent: usize, desk: &mut Desk) -> State {
        let within = desk.settings.time_to_leave(self.sent.frame_len);
        let outcome = match self.sent.reach(unsent) {
            Reach::Nothing => not_delivered(NotDelivered::NotTaken { within }, BytesLeft::None),
            Reach::Beginning => not_delivered(NotDelivered::NotTaken { within }, BytesLeft::Some),
            Reach::End => Outcome::Unknown {
                why: Unknown::NoAnswer {
                    within,
                    heard: self.heard,
                },
            },
        };
        desk.settle(self.sent, Standing::GivenUp, outcome);
        State::Closed
    }
}

fn closing(event: Event, desk: &mut Desk) -> State {
    match event {
        Event::Submit(id, _) => desk.not_ready(id, State::Closing),
        Event::Answer(ack) => desk.unawaited(ack, State::Closing),
        Event::Unusable(what) => desk.unusable(what, State::Closing),
        Event::Opened | Event::Drained | Event::Due { .. } | Event::Stop => State::Closing,
        Event::Closed { .. } => State::Closed,
    }
}

fn closed(event: &Event, desk: &mut Desk) -> State {
    match event {
        Event::Submit(id, _) => desk.not_ready(*id, State::Closed),
        Event::Opened
        | Event::Drained
        | Event::Answer(_)
        | Event::Unusable(_)
        | Event::Due { .. }
        | Event::Stop
        | Event::Closed { .. } => State::Closed,
    }
}

/// What a message did not reach cannot have acted on it.
enum Reach {
    Nothing,
    /// Its end block is still here.
    Beginning,
    End,
}

impl Sent {
    fn is_answered_by(&self, ack: &Ack) -> bool {
        self.control_id == ack.control_id || mutant::is(Mutant::AnyAnswer)
    }

    /// How far it came, when so many bytes were never handed to the kernel.
    fn reach(&self, unsent: usize) -> Reach {
        match self.left {
            Left::Partly if unsent >= self.frame_len => Reach::Nothing,
            Left::Partly if unsent >= END_BLOCK => Reach::Beginning,
            Left::Partly | Left::Whole => Reach::End,
        }
    }
}

fn not_delivered(why: NotDelivered, bytes_left: BytesLeft) -> Outcome {
    Outcome::NotDelivered { why, bytes_left }
}

/// FS CR: without the FS a device has no message.
const END_BLOCK: usize = 2;

#[cfg(test)]
mod tests;
