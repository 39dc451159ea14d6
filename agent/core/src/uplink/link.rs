//! The states of the link, and what leads from one to the next. The table is in the module above.

use std::time::Duration;

use super::token::{Token, Urgency};
use super::{Input, Moment, Output, Phase, Status};
use crate::push::Mono;
use crate::retry::{AskedWait, heeded, reconnect_wait};

/// What the link waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Link {
    NeedToken,
    Dialing {
        deadline: Mono,
    },
    AwaitingConnectResponse {
        deadline: Mono,
    },
    Live(Live),
    /// For the next try.
    Waiting {
        until: Mono,
    },
    Stopped,
}

/// A session that the server accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Live {
    pub(super) since: Mono,
    pub(super) heard: Mono,
    pub(super) beat_at: Mono,
    pub(super) asked: Asked,
}

/// Whether the server owes us the answer to a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Nothing,
    Since(Mono),
}

/// What a transition may use besides its state.
pub(super) struct Step<'a> {
    pub(super) at: Moment,
    pub(super) token: &'a mut Token,
    pub(super) failures: &'a mut u32,
    pub(super) out: &'a mut Vec<Output>,
}

impl Link {
    pub(super) fn step(self, input: Input, step: &mut Step<'_>) -> Self {
        match input {
            Input::Stop => return self.stop(step),
            Input::SettingsChanged => return self.begin_anew(step),
            _ => {}
        }
        match self {
            Self::NeedToken => Self::need_token(input, step),
            Self::Dialing { deadline } => Self::dialing(deadline, input, step),
            Self::AwaitingConnectResponse { deadline } => Self::awaiting(deadline, input, step),
            Self::Live(live) => live.step(input, step),
            Self::Waiting { until } => Self::waiting(until, &input, step),
            Self::Stopped => Self::Stopped,
        }
    }

    pub(super) fn urgency(&self) -> Urgency {
        match self {
            Self::NeedToken => Urgency::Blocking,
            Self::Dialing { .. }
            | Self::AwaitingConnectResponse { .. }
            | Self::Live(_)
            | Self::Waiting { .. }
            | Self::Stopped => Urgency::Renewal,
        }
    }

    fn stop(self, step: &mut Step<'_>) -> Self {
        self.drop_socket("stopping", step);
        step.status(Phase::Stopped, "stopped".into(), None);
        Self::Stopped
    }

    fn begin_anew(self, step: &mut Step<'_>) -> Self {
        if self == Self::Stopped {
            return self;
        }
        self.drop_socket(CHANGED, step);
        step.status(Phase::Connecting, CHANGED.into(), None);
        Self::NeedToken
    }

    fn drop_socket(self, why: &str, step: &mut Step<'_>) {
        match self {
            Self::NeedToken | Self::Waiting { .. } | Self::Stopped => {}
            Self::Dialing { .. } | Self::AwaitingConnectResponse { .. } => {
                step.out.push(Output::CloseSocket);
            }
            Self::Live(_) => {
                step.out.push(Output::CloseSocket);
                step.out.push(Output::LinkDown { why: why.into() });
            }
        }
    }

    fn need_token(input: Input, step: &mut Step<'_>) -> Self {
        match input {
            Input::TokenGot { .. } => return step.dial(),
            Input::Tick if step.token.is_good(step.at.now) => return step.dial(),
            Input::TokenFailed { why, .. } => {
                let next_try = Some(step.token.deadline());
                step.status(Phase::Trouble, format!("no token: {why}"), next_try);
            }
            Input::Opened => step.out.push(Output::CloseSocket),
            Input::TokenRefused
            | Input::OpenFailed { .. }
            | Input::ConnectAccepted
            | Input::ServerError { .. }
            | Input::Heard
            | Input::HeartbeatAnswered
            | Input::HeartbeatWanted
            | Input::SocketClosed { .. }
            | Input::SettingsChanged
            | Input::Tick
            | Input::Stop => {}
        }
        Self::NeedToken
    }

    fn dialing(deadline: Mono, input: Input, step: &mut Step<'_>) -> Self {
        match input {
            Input::Opened => {
                step.out.push(Output::SendConnect);
                let words = "connected; the server has not accepted the agent yet";
                step.status(Phase::Connecting, words.into(), None);
                let deadline = step.at.now.plus(CONNECT_RESPONSE_TIMEOUT);
                return Self::AwaitingConnectResponse { deadline };
            }
            Input::OpenFailed { why, asked } => return step.wait_as_asked(why, asked),
            Input::Tick if step.at.now >= deadline => {
                step.out.push(Output::CloseSocket);
                return step.wait(format!("no connection within {} s", DIAL_TIMEOUT.as_secs()));
            }
            Input::TokenGot { .. }
            | Input::TokenFailed { .. }
            | Input::TokenRefused
            | Input::ConnectAccepted
            | Input::ServerError { .. }
            | Input::Heard
            | Input::HeartbeatAnswered
            | Input::HeartbeatWanted
            | Input::SocketClosed { .. }
            | Input::SettingsChanged
            | Input::Tick
            | Input::Stop => {}
        }
        Self::Dialing { deadline }
    }

    fn awaiting(deadline: Mono, input: Input, step: &mut Step<'_>) -> Self {
        match input {
            Input::ConnectAccepted => return step.go_live(),
            Input::ServerError { why } => {
                step.out.push(Output::CloseSocket);
                return step.refused(&why);
            }
            Input::SocketClosed { why } => return step.wait(why),
            Input::Tick if step.at.now >= deadline => {
                step.out.push(Output::CloseSocket);
                let limit = CONNECT_RESPONSE_TIMEOUT.as_secs();
                return step.wait(format!(
                    "the server did not answer the connect request in {limit} s"
                ));
            }
            Input::TokenGot { .. }
            | Input::TokenFailed { .. }
            | Input::TokenRefused
            | Input::Opened
            | Input::OpenFailed { .. }
            | Input::Heard
            | Input::HeartbeatAnswered
            | Input::HeartbeatWanted
            | Input::SettingsChanged
            | Input::Tick
            | Input::Stop => {}
        }
        Self::AwaitingConnectResponse { deadline }
    }

    fn waiting(until: Mono, input: &Input, step: &mut Step<'_>) -> Self {
        match input {
            Input::Tick if step.at.now >= until => {
                if step.token.is_good(step.at.now) {
                    return step.dial();
                }
                step.token.fetch_by(step.at.now);
                return Self::NeedToken;
            }
            Input::Opened => step.out.push(Output::CloseSocket),
            Input::TokenGot { .. }
            | Input::TokenFailed { .. }
            | Input::TokenRefused
            | Input::OpenFailed { .. }
            | Input::ConnectAccepted
            | Input::ServerError { .. }
            | Input::Heard
            | Input::HeartbeatAnswered
            | Input::HeartbeatWanted
            | Input::SocketClosed { .. }
            | Input::SettingsChanged
            | Input::Tick
            | Input::Stop => {}
        }
        Self::Waiting { until }
    }
}

impl Live {
    fn step(mut self, input: Input, step: &mut Step<'_>) -> Link {
        let now = step.at.now;
        match input {
            Input::Heard => self.heard = now,
            Input::HeartbeatAnswered => {
                self.heard = now;
                self.asked = Asked::Nothing;
            }
            Input::HeartbeatWanted => self.beat(step),
            Input::SocketClosed { why } => return self.end(why, step),
            Input::Tick => return self.tick(step),
            Input::TokenGot { .. } => step.status(Phase::Live, LIVE.into(), None),
            Input::TokenFailed { why, .. } => {
                let words = format!("{LIVE}, but the token cannot be renewed: {why}");
                step.status(Phase::Live, words, Some(step.token.deadline()));
            }
            Input::TokenRefused
            | Input::Opened
            | Input::OpenFailed { .. }
            | Input::ConnectAccepted
            | Input::ServerError { .. }
            | Input::SettingsChanged
            | Input::Stop => {}
        }
        Link::Live(self)
    }

    fn tick(mut self, step: &mut Step<'_>) -> Link {
        let now = step.at.now;
        if now >= self.heard.plus(SILENCE) {
            step.out.push(Output::CloseSocket);
            let why = format!("nothing heard from the server for {} s", SILENCE.as_secs());
            return self.end(why, step);
        }
        if self.answer_due().is_some_and(|due| now >= due) {
            step.out.push(Output::CloseSocket);
            let why = format!("no heartbeat answered for {} s", UNANSWERED.as_secs());
            return self.end(why, step);
        }
        if now >= self.beat_at {
            self.beat(step);
        }
        Link::Live(self)
    }

    fn beat(&mut self, step: &mut Step<'_>) {
        self.beat_at = step.at.now.plus(HEARTBEAT);
        if self.asked == Asked::Nothing {
            self.asked = Asked::Since(step.at.now);
        }
        step.out.push(Output::SendHeartbeat);
    }

    fn end(self, why: String, step: &mut Step<'_>) -> Link {
        if step.at.now >= self.since.plus(PROVEN_UPTIME) {
            *step.failures = 0;
        }
        step.out.push(Output::LinkDown { why: why.clone() });
        step.wait(why)
    }

    pub(super) fn deadline(&self) -> Mono {
        let silence = self.heard.plus(SILENCE);
        self.beat_at
            .min(silence)
            .min(self.answer_due().unwrap_or(silence))
    }

    fn answer_due(&self) -> Option<Mono> {
        match self.asked {
            Asked::Nothing => None,
            Asked::Since(since) => Some(since.plus(UNANSWERED)),
        }
    }
}

impl Step<'_> {
    fn dial(&mut self) -> Link {
        self.out.push(Output::Dial);
        self.status(Phase::Connecting, "connecting".into(), None);
        Link::Dialing {
            deadline: self.at.now.plus(DIAL_TIMEOUT),
        }
    }

    fn go_live(&mut self) -> Link {
        self.token.accepted();
        self.out.push(Output::LinkUp);
        self.status(Phase::Live, LIVE.into(), None);
        let now = self.at.now;
        let beat_at = now.plus(HEARTBEAT);
        Link::Live(Live {
            since: now,
            heard: now,
            beat_at,
            asked: Asked::Nothing,
        })
    }

    fn refused(&mut self, why: &str) -> Link {
        let until = if self.token.is_fresh(self.at.now) {
            self.next_try(AskedWait::Nothing)
        } else {
            // It was revoked, most likely; nothing is learnt by waiting long before a new one is tried.
            let (min, max) = AFTER_STALE_TOKEN;
            self.at.now.plus(self.at.dice.between(min, max))
        };
        self.token.refused(until);
        self.wait_until(until, format!("the server refused the connection: {why}"))
    }

    fn wait(&mut self, why: String) -> Link {
        self.wait_as_asked(why, AskedWait::Nothing)
    }

    fn wait_as_asked(&mut self, why: String, asked: AskedWait) -> Link {
        let until = self.next_try(asked);
        self.wait_until(until, why)
    }

    fn next_try(&mut self, asked: AskedWait) -> Mono {
        *self.failures = self.failures.saturating_add(1);
        let wait = reconnect_wait(*self.failures, self.at.dice);
        self.at.now.plus(heeded(wait, asked, self.at.dice))
    }

    fn wait_until(&mut self, until: Mono, why: String) -> Link {
        self.status(Phase::Trouble, why, Some(until));
        Link::Waiting { until }
    }

    fn status(&mut self, phase: Phase, words: String, next_try: Option<Mono>) {
        self.out.push(Output::Status(Status {
            phase,
            words,
            next_try,
        }));
    }
}

pub(super) const LIVE: &str = "live";
const CHANGED: &str = "the settings of the cloud have changed";
/// The shell has shorter limits for each part and better words; this one is for a shell that forgot.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that cannot check a token and an Agent in this time is not well.
pub(super) const CONNECT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// From and to of the wait after a connect was refused with a token that was good before.
const AFTER_STALE_TOKEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));
/// The period of Medplum's own agent.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// Two heartbeats of the server and two of ours. A connection that died without a word is left soon enough for a push
/// to come through within 30 s of its death.
pub(super) const SILENCE: Duration = Duration::from_secs(20);
/// A server that talks and never answers does not read: what we send it goes nowhere.
pub(super) const UNANSWERED: Duration = Duration::from_mins(1);
/// A session that lasted this long was a good one: the next wait is a short one again.
pub(super) const PROVEN_UPTIME: Duration = Duration::from_secs(5);
