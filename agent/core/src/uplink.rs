//! The life of the connection to the cloud: token, connect, heartbeats, and always another try.
//!
//! Pure: time and chance are arguments, the socket is somebody else's. No state is an end but `Stopped`;
//! every state that waits for the outside has a deadline of its own, so that a lost report is a late try
//! and nothing worse. The token has its own small machine beside the link (`token.rs`): it is renewed in
//! any state, and a renewal that fails ends no session.
//!
//! | state | waits for | then |
//! | --- | --- | --- |
//! | `NeedToken` | a token | `Dialing` |
//! | | a failed fetch | stays; the fetch is tried again after its wait |
//! | `Dialing{deadline}` | the socket | `AwaitingConnectResponse`, connect request sent |
//! | | a failure, the deadline | `Waiting` |
//! | `AwaitingConnectResponse{deadline}` | the connect response | `Live` |
//! | | `agent:error` without callback | `Waiting`, the token is thrown away |
//! | | the end of the socket, the deadline | `Waiting` |
//! | `Live` | its heartbeat time | stays, heartbeat sent |
//! | | the end of the socket, 20 s of silence, 60 s without an answer to a heartbeat | `Waiting` |
//! | `Waiting{until}` | its time, with a good token | `Dialing` |
//! | | its time, without one | `NeedToken`, fetched at once |
//! | any but `Stopped` | other settings | `NeedToken`, everything of the old ones dropped |
//! | any | stop | `Stopped` |
//!
//! Every wait is short enough that a push is taken within 30 s of the end of any outage, however long it was: 15 s for
//! an attempt that hangs and 10 s until the next, or 20 s that a server may ask for. `tests/recovery.rs` holds it to that.
//!
//! Anything else leaves the state as it is; a socket that nobody waits for any more is closed.
//! `uplink/transitions.txt` has every state with every input, and a test holds the machine to it.

mod link;
pub mod outbox;
mod token;

use std::mem;
use std::time::Duration;

use self::link::{Link, Step};
use self::token::Token;
use crate::push::Mono;
use crate::retry::{AskedWait, Dice};

/// When something happens, and a random number for whatever wait comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Mono,
    pub dice: Dice,
}

/// What can happen to the uplink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    TokenGot {
        lifetime: Duration,
    },
    TokenFailed {
        why: String,
        asked: AskedWait,
    },
    /// A request was turned away for its token, while the session goes on.
    TokenRefused,
    /// The websocket is open.
    Opened,
    OpenFailed {
        why: String,
        asked: AskedWait,
    },
    ConnectAccepted,
    /// An `agent:error` that belongs to no callback.
    ServerError {
        why: String,
    },
    /// Anything at all came from the server.
    Heard,
    /// One of our heartbeats was answered.
    HeartbeatAnswered,
    /// Answers wait for the proof that the next heartbeat brings.
    HeartbeatWanted,
    SocketClosed {
        why: String,
    },
    /// Where the cloud is, or who we are to it, is another thing from now on.
    SettingsChanged,
    Tick,
    Stop,
}

/// What the shell must do, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Asks for a token, dropping a request that is still under way.
    FetchToken,
    /// Opens a websocket, dropping one that is still being opened.
    Dial,
    /// Sends the connect request with the newest token.
    SendConnect,
    SendHeartbeat,
    /// Drops the socket, or the attempt to open one.
    CloseSocket,
    /// The session has begun: answers may go out.
    LinkUp,
    LinkDown {
        why: String,
    },
    Status(Status),
}

/// How the uplink is, in words for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub phase: Phase,
    pub words: String,
    /// When it tries again, if it waits for that.
    pub next_try: Option<Mono>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Connecting,
    Live,
    /// Something is wrong; it is tried again.
    Trouble,
    Stopped,
}

/// The uplink as a state machine.
#[derive(Debug)]
pub struct Uplink {
    link: Link,
    token: Token,
    /// Connections that failed, or ended young, since one lasted.
    failures: u32,
}

impl Uplink {
    /// Nothing is tried before the first [`Input::Tick`], which is due at once.
    pub fn new() -> Self {
        Self {
            link: Link::NeedToken,
            token: Token::none(),
            failures: 0,
        }
    }

    /// Takes in one thing that happened.
    pub fn step(&mut self, input: Input, at: Moment, out: &mut Vec<Output>) {
        if self.is_stopped() {
            return;
        }
        if input == Input::Tick && self.token.is_overdue(at.now) {
            let why = format!("no answer within {} s", token::FETCH_TIMEOUT.as_secs());
            let asked = AskedWait::Nothing;
            self.take(Input::TokenFailed { why, asked }, at, out);
        }
        self.take(input, at, out);
        if !self.is_stopped() && self.token.begin_if_due(at.now) {
            out.push(Output::FetchToken);
        }
    }

    /// When to come back with [`Input::Tick`] if nothing happens first; `None` once stopped.
    pub fn deadline(&self) -> Option<Mono> {
        let token = self.token.deadline();
        match &self.link {
            Link::NeedToken => Some(token),
            Link::Dialing { deadline } | Link::AwaitingConnectResponse { deadline } => {
                Some(token.min(*deadline))
            }
            Link::Live(live) => Some(token.min(live.deadline())),
            Link::Waiting { until } => Some(token.min(*until)),
            Link::Stopped => None,
        }
    }

    pub fn is_live(&self) -> bool {
        matches!(self.link, Link::Live(_))
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.link, Link::Stopped)
    }

    fn take(&mut self, input: Input, at: Moment, out: &mut Vec<Output>) {
        match &input {
            Input::TokenGot { lifetime } => self.token.got(*lifetime, at.now),
            Input::TokenFailed { asked, .. } => self.token.failed(self.link.urgency(), *asked, at),
            Input::TokenRefused => self.token.fetch_by(at.now),
            Input::SettingsChanged => {
                self.token = Token::none();
                self.failures = 0;
            }
            Input::Opened
            | Input::OpenFailed { .. }
            | Input::ConnectAccepted
            | Input::ServerError { .. }
            | Input::Heard
            | Input::HeartbeatAnswered
            | Input::HeartbeatWanted
            | Input::SocketClosed { .. }
            | Input::Tick
            | Input::Stop => {}
        }
        let link = mem::replace(&mut self.link, Link::Stopped);
        let mut step = Step {
            at,
            token: &mut self.token,
            failures: &mut self.failures,
            out,
        };
        self.link = link.step(input, &mut step);
    }
}

impl Default for Uplink {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
