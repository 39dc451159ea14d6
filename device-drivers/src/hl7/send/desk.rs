//! What outlives the states of a connection, and what all of them do with it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{AwaitingAck, Event, Left, Sent, State, not_delivered};
use crate::conversation::{Mono, Output, SubmissionId};
use crate::hl7::ack::{Ack, NoAck, Says};
use crate::hl7::charset::{Charset, Fidelity};
use crate::hl7::mllp::{self, Found};
use crate::hl7::prepare::Order;
use crate::hl7::recent::{Past, Recent, Standing};
use crate::hl7::settings::{Lifetime, Settings};
use crate::mutant::{self, Mutant};
use crate::outcome::{
    BytesLeft, CloseReason, Level, News, NotDelivered, Notice, Outcome, Unknown, Unusable,
};

/// What outlives a state.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) settings: Settings,
    /// What the device's answers are read in: the charset of the last message sent here, since a device answers in the
    /// charset it was asked in. Only one message is out at a time, so the last sent is the one that is out, if any is.
    charset: Charset,
    then: Then,
    recent: Recent,
    /// Answers to messages that were not sent on this connection.
    foreign: u32,
    out: VecDeque<Output>,
}

/// What happens when the message that is out has its end.
#[derive(Clone, Debug)]
enum Then {
    NextMessage,
    Close(CloseReason),
}

impl Settings {
    /// How long a message may take to leave.
    pub(super) fn time_to_leave(&self, frame_len: usize) -> Duration {
        let at_slowest = u64::try_from(frame_len).unwrap_or(u64::MAX) / SLOWEST_BYTES_PER_SECOND;
        self.ack_timeout
            .saturating_add(Duration::from_secs(at_slowest))
    }
}

impl Desk {
    pub(super) fn new(mut settings: Settings) -> Self {
        if mutant::is(Mutant::Impatient) {
            settings.ack_timeout /= 2;
        }
        let then = match settings.lifetime {
            Lifetime::Persistent => Then::NextMessage,
            Lifetime::PerMessage => Then::Close(CloseReason::OneMessage),
        };
        let (recent, out) = (Recent::default(), VecDeque::new());
        Self {
            charset: settings.charset,
            settings,
            then,
            recent,
            foreign: 0,
            out,
        }
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(super) fn transmit(&mut self, id: SubmissionId, order: Order, now: Mono) -> State {
        self.charset = order.charset;
        let mut bytes = order.bytes.0;
        if mutant::is(Mutant::ForeignBytes) {
            bytes.push(b' ');
        }
        let frame = mllp::encode(&bytes);
        let sent = Sent {
            id,
            control_id: order.control_id,
            frame_len: frame.len(),
            return_ack: order.return_ack.unwrap_or(self.settings.return_ack),
            left: Left::Partly,
        };
        let deadline = now.plus(self.settings.time_to_leave(frame.len()));
        if !mutant::one_in(50, Mutant::NeverSent) {
            self.out.push_back(Output::Transmit(frame));
        }
        State::AwaitingAck(AwaitingAck {
            sent,
            heard: None,
            deadline,
        })
    }

    /// Settles a message by its answer.
    pub(super) fn settle_by(&mut self, sent: Sent, ack: Ack) -> Left {
        let reply = ack.text;
        let (standing, outcome) = match ack.code.says() {
            Says::InCustody => (
                Standing::InCustody,
                Outcome::Acknowledged {
                    level: Level::Framed,
                    reply,
                },
            ),
            Says::Accepted => (
                Standing::Answered,
                Outcome::Acknowledged {
                    level: Level::Accepted,
                    reply,
                },
            ),
            Says::Refused => (Standing::Answered, Outcome::Refused { reply }),
        };
        self.settle(sent, standing, outcome)
    }

    pub(super) fn settle(&mut self, sent: Sent, standing: Standing, outcome: Outcome) -> Left {
        self.out.push_back(Output::Settled(sent.id, outcome));
        self.recent.remember(Past {
            id: sent.id,
            control_id: sent.control_id,
            standing,
        });
        sent.left
    }

    pub(super) fn not_ready(&mut self, id: SubmissionId, same: State) -> State {
        let outcome = not_delivered(NotDelivered::NotReady, BytesLeft::None);
        self.out.push_back(Output::Settled(id, outcome));
        same
    }

    /// Goes on after a message was settled.
    pub(super) fn next(&mut self, left: Left, now: Mono) -> State {
        match left {
            Left::Whole => self.next_message(),
            Left::Partly => State::AwaitingDrain {
                deadline: now.plus(self.settings.ack_timeout),
            },
        }
    }

    pub(super) fn next_message(&mut self) -> State {
        match self.then.clone() {
            Then::NextMessage => State::Idle,
            Then::Close(reason) => self.close(reason),
        }
    }

    pub(super) fn stop_after(&mut self, same: State) -> State {
        self.then = Then::Close(CloseReason::Stopped);
        same
    }

    pub(super) fn close(&mut self, reason: CloseReason) -> State {
        self.out.push_back(Output::Close(reason));
        State::Closing
    }

    pub(super) fn closed_unanswered(&self, heard: Option<Unusable>) -> Unknown {
        match self.then {
            Then::Close(CloseReason::Stopped) => Unknown::StoppedBeforeAnswer { heard },
            Then::Close(_) | Then::NextMessage => Unknown::ClosedBeforeAnswer { heard },
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.out.push_back(Output::Noticed(notice));
    }

    pub(super) fn unusable(&mut self, what: Unusable, same: State) -> State {
        self.notice(Notice::Unusable(what));
        same
    }

    pub(super) fn unawaited(&mut self, ack: Ack, same: State) -> State {
        self.hear_unawaited(ack);
        same
    }

    /// Takes an answer that is not to the message that is out: news about an earlier one, or a notice.
    pub(super) fn hear_unawaited(&mut self, ack: Ack) -> Option<Unusable> {
        let Some(past) = self.recent.find(&ack.control_id) else {
            self.foreign = self.foreign.saturating_add(1);
            let foreign = Unusable::Foreign {
                count: self.foreign,
            };
            self.notice(Notice::Unusable(foreign.clone()));
            return Some(foreign);
        };
        let output = match (past.standing, ack.code.says()) {
            (Standing::InCustody, Says::Accepted) => {
                past.standing = Standing::Answered;
                Output::News(
                    past.id,
                    News::Level {
                        level: Level::Accepted,
                        reply: ack.text,
                    },
                )
            }
            (Standing::InCustody, Says::Refused) => {
                past.standing = Standing::Answered;
                Output::News(past.id, News::Refused { reply: ack.text })
            }
            (Standing::InCustody, Says::InCustody) | (Standing::Answered, _) => {
                Output::Noticed(Notice::SecondAnswer { code: ack.code })
            }
            (Standing::GivenUp, _) => Output::Noticed(Notice::LateAnswer { code: ack.code }),
        };
        self.out.push_back(output);
        None
    }

    /// Says what something found on the line is.
    pub(super) fn read(&mut self, found: Found) -> Event {
        let unusable = match found {
            Found::Frame(content) => return self.read_frame(&content.0),
            Found::NotFramed { bytes } => Unusable::NotFramed { bytes },
            Found::Junk { bytes } => Unusable::Junk { bytes },
            Found::Half { bytes } => Unusable::Half { bytes },
            Found::Stalled { bytes } => Unusable::Stalled { bytes },
            Found::TooLong { limit } => Unusable::TooLong { limit },
        };
        Event::Unusable(unusable)
    }

    fn read_frame(&mut self, content: &[u8]) -> Event {
        let bytes = content.len();
        let charset = self.charset;
        let decoded = charset.decode(content);
        if decoded.fidelity == Fidelity::Replaced {
            self.notice(Notice::Undecodable {
                charset: charset.name(),
            });
        }
        match Ack::read(decoded.text) {
            Ok(ack) => Event::Answer(ack),
            Err(NoAck::NotHl7) => Event::Unusable(Unusable::NotHl7 { bytes }),
            Err(NoAck::WithoutMsa) => Event::Unusable(Unusable::WithoutMsa { bytes }),
            Err(NoAck::UnknownCode) => Event::Unusable(Unusable::UnknownCode { bytes }),
        }
    }
}

/// A message leaves at least this fast: a line that is slower is not read from.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;
