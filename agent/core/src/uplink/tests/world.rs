//! The shell, the net and the server in virtual time, around the real machine and the real outbox.
//!
//! What is under way when the outside changes ends as it would have ended: a lookup that hangs goes on hanging until the
//! shell's own limit, though the network is back. That is the worst case, and the one that counts.

use std::collections::BTreeMap;

use super::super::outbox::{Offer, Outbox};
use super::super::{Input, Moment, Output, Phase, Status, Uplink};
use super::secs;
use crate::push::{Mono, Seq};
use crate::retry::{AskedWait, Dice};
use std::time::Duration;

/// How every part of the outside behaves now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outside {
    pub(super) net: Net,
    pub(super) token: Endpoint,
    pub(super) upgrade: Endpoint,
    pub(super) connect: Connect,
    pub(super) session: Session,
    /// One way.
    pub(super) latency: Duration,
    /// What a token is said to live, and what it does live.
    pub(super) promised: Duration,
    pub(super) lived: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Net {
    Up,
    /// Nothing arrives, nothing fails.
    Silent,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    Well,
    Says(Refusal),
    Hangs,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) why: &'static str,
    pub(super) after: Duration,
    pub(super) asked: AskedWait,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Connect {
    Accepts,
    Refuses(&'static str),
    Mute,
    /// It subscribes first, so that a push comes before its answer.
    PushFirst,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Session {
    Well,
    /// It neither reads nor speaks.
    Mute,
    /// It speaks and does not read.
    Deaf,
    Ends(Duration, &'static str),
    /// A larger message than this ends the session with 1009.
    Takes(usize),
}

pub(super) const WELL: Outside = Outside {
    net: Net::Up,
    token: Endpoint::Well,
    upgrade: Endpoint::Well,
    connect: Connect::Accepts,
    session: Session::Well,
    latency: Duration::from_millis(10),
    promised: Duration::from_hours(1),
    lived: Duration::from_hours(1),
};

/// Where the waits' random numbers come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chance {
    Always(Dice),
    Seeded(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Try {
    Fetch,
    Dial,
}

type Push = u32;
type Token = u32;
type Conn = u32;

#[derive(Clone, Copy, Debug)]
enum Event {
    Fetched(u32, Result<Duration, Refusal>),
    Dialled(u32, Result<(), Refusal>),
    ToServer(Conn, Up),
    ToAgent(Conn, Down),
    /// The agent sees its socket end.
    Broken(Conn, &'static str),
    ServerBeat(Conn),
    /// The caller asks again, as long as it has patience.
    Ask(Push, Mono),
}

#[derive(Clone, Copy, Debug)]
enum Up {
    Connect(Option<Token>),
    Beat,
    BeatAnswer,
    Answer(Push),
}

#[derive(Clone, Copy, Debug)]
enum Down {
    Accepted,
    Error(&'static str),
    Beat,
    BeatAnswer,
    Push(Push),
}

pub(super) struct World {
    pub(super) outside: Outside,
    pub(super) now: Mono,
    pub(super) tries: Vec<(Mono, Try)>,
    pub(super) told: Vec<Status>,
    /// When the caller had its answer.
    pub(super) answered: BTreeMap<Push, Mono>,
    machine: Uplink,
    chance: Chance,
    due: BTreeMap<(Mono, u64), Event>,
    stalled: Vec<Event>,
    events: u64,
    agent: Agent,
    server: Server,
    next_push: Push,
}

struct Agent {
    fetch: u32,
    dial: u32,
    conn: Option<Conn>,
    token: Option<Token>,
    outbox: Outbox,
    /// The answers on its disk, oldest first.
    answers: Vec<Push>,
}

#[derive(Default)]
struct Server {
    /// Each open socket, and whether it speaks for the agent.
    conns: BTreeMap<Conn, bool>,
    next_conn: Conn,
    tokens: BTreeMap<Token, Mono>,
    next_token: Token,
}

impl World {
    pub(super) fn new(outside: Outside, chance: Chance) -> Self {
        let agent = Agent {
            fetch: 0,
            dial: 0,
            conn: None,
            token: None,
            outbox: Outbox::new(Seq(0), 1 << 20),
            answers: Vec::new(),
        };
        Self {
            outside,
            now: super::T0,
            tries: Vec::new(),
            told: Vec::new(),
            answered: BTreeMap::new(),
            machine: Uplink::new(),
            chance,
            due: BTreeMap::new(),
            stalled: Vec::new(),
            events: 0,
            agent,
            server: Server::default(),
            next_push: 0,
        }
    }

    /// Somebody pushes, and again each second until the answer is there or the patience is over.
    pub(super) fn offer(&mut self, patience: Duration) -> Push {
        let push = self.next_push;
        self.next_push += 1;
        self.at(Duration::ZERO, Event::Ask(push, self.now.plus(patience)));
        push
    }

    /// All is well again; what was stuck on the way arrives, if its socket is still one.
    pub(super) fn heal(&mut self) {
        self.outside = WELL;
        for event in std::mem::take(&mut self.stalled) {
            self.at(WELL.latency, event);
        }
    }

    /// Every open socket dies without a word to either end.
    pub(super) fn lose_connections(&mut self) {
        self.server.conns.clear();
    }

    /// The server ends every open socket.
    pub(super) fn hang_up(&mut self, why: &'static str) {
        for conn in std::mem::take(&mut self.server.conns).into_keys() {
            self.at(self.outside.latency, Event::Broken(conn, why));
        }
    }

    pub(super) fn revoke_tokens(&mut self) {
        self.server.tokens.clear();
    }

    pub(super) fn is_live(&self) -> bool {
        self.machine.is_live()
    }

    /// The last words about the way to the cloud, leaving out that it is being tried.
    pub(super) fn last_words(&self) -> &str {
        let news = |status: &&Status| status.phase != Phase::Connecting;
        let last = self.told.iter().rev().find(news);
        last.map_or("", |status| &status.words)
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.advance(end) {}
    }

    /// Runs until the push has its answer. Says how long that took.
    pub(super) fn run_until_answered(
        &mut self,
        push: Push,
        patience: Duration,
    ) -> Option<Duration> {
        let (begin, end) = (self.now, self.now.plus(patience));
        while !self.answered.contains_key(&push) && self.advance(end) {}
        let at = self.answered.get(&push)?;
        Some(Duration::from_millis(at.0 - begin.0))
    }

    /// Lets the next thing happen, but nothing after `end`. Says whether there was one.
    fn advance(&mut self, end: Mono) -> bool {
        let event = self.due.first_key_value().map(|((at, _), _)| *at);
        let next = [event, self.deadline()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        if event.is_some_and(|at| at <= self.now)
            && let Some((_, event)) = self.due.pop_first()
        {
            self.happens(event);
        } else {
            self.step(Input::Tick);
        }
        self.work();
        true
    }

    fn deadline(&self) -> Option<Mono> {
        let heartbeat = self.agent.outbox.heartbeat_due();
        let heartbeat = heartbeat.filter(|_| self.machine.is_live());
        [self.machine.deadline(), heartbeat]
            .into_iter()
            .flatten()
            .min()
    }

    fn at(&mut self, later: Duration, event: Event) {
        self.events += 1;
        self.due.insert((self.now.plus(later), self.events), event);
    }

    fn throw(&mut self) -> Dice {
        match &mut self.chance {
            Chance::Always(dice) => *dice,
            Chance::Seeded(seed) => {
                *seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                Dice(u32::try_from(*seed >> 32).unwrap_or(0))
            }
        }
    }

    fn step(&mut self, input: Input) {
        let dice = self.throw();
        let mut out = Vec::new();
        let at = Moment {
            now: self.now,
            dice,
        };
        self.machine.step(input, at, &mut out);
        for output in out {
            self.obey(output);
        }
    }
}

/// The shell.
impl World {
    fn obey(&mut self, output: Output) {
        match output {
            Output::FetchToken => self.fetch(),
            Output::Dial => self.dial(),
            Output::SendConnect => self.send_up(Up::Connect(self.agent.token)),
            Output::SendHeartbeat => {
                self.send_up(Up::Beat);
                self.agent.outbox.heartbeat_sent();
            }
            Output::CloseSocket => self.close(),
            Output::LinkUp => self.agent.outbox.begin_session(),
            Output::LinkDown { .. } => {}
            Output::Status(status) => self.told.push(status),
        }
    }

    fn fetch(&mut self) {
        self.tries.push((self.now, Try::Fetch));
        self.agent.fetch += 1;
        let gone = "cloud.example did not answer within 15 s";
        let (after, result) = self.request(self.outside.token, secs(15), gone);
        let result = result.map(|()| self.outside.promised);
        self.at(after, Event::Fetched(self.agent.fetch, result));
    }

    fn dial(&mut self) {
        self.tries.push((self.now, Try::Dial));
        self.agent.dial += 1;
        let gone = match self.outside.net {
            Net::Silent => "connecting to 192.0.2.1:443 took longer than 10 s",
            Net::Up => "cloud.example did not answer the websocket request within 10 s",
        };
        let (after, result) = self.request(self.outside.upgrade, secs(10), gone);
        self.at(after, Event::Dialled(self.agent.dial, result));
    }

    fn request(
        &self,
        endpoint: Endpoint,
        limit: Duration,
        gone: &'static str,
    ) -> (Duration, Result<(), Refusal>) {
        let hung = Refusal {
            why: gone,
            after: limit,
            asked: AskedWait::Nothing,
        };
        match (self.outside.net, endpoint) {
            (Net::Silent, _) | (Net::Up, Endpoint::Hangs) => (limit, Err(hung)),
            (Net::Up, Endpoint::Says(refusal)) => (refusal.after, Err(refusal)),
            // Name, TCP and TLS, request and answer.
            (Net::Up, Endpoint::Well) => (self.outside.latency * 6, Ok(())),
        }
    }

    fn close(&mut self) {
        self.agent.dial += 1;
        if let Some(conn) = self.agent.conn.take()
            && self.outside.net == Net::Up
        {
            self.server.conns.remove(&conn);
        }
    }

    fn send_up(&mut self, up: Up) {
        if let Some(conn) = self.agent.conn {
            self.travel(Event::ToServer(conn, up));
        }
    }

    fn travel(&mut self, event: Event) {
        match self.outside.net {
            Net::Up => self.at(self.outside.latency, event),
            Net::Silent => self.stalled.push(event),
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Fetched(number, result) if number == self.agent.fetch => self.fetched(result),
            Event::Dialled(number, result) if number == self.agent.dial => self.dialled(result),
            Event::ToServer(conn, up) => self.server_hears(conn, up),
            Event::ToAgent(conn, down) if self.agent.conn == Some(conn) => self.agent_hears(down),
            Event::Fetched(..) | Event::Dialled(..) | Event::ToAgent(..) => {}
            Event::Broken(conn, why) => {
                self.server.conns.remove(&conn);
                if self.agent.conn == Some(conn) {
                    self.agent.conn = None;
                    self.step(Input::SocketClosed { why: why.into() });
                }
            }
            Event::ServerBeat(conn) => self.server_beats(conn),
            Event::Ask(push, until) => self.ask(push, until),
        }
    }

    fn fetched(&mut self, result: Result<Duration, Refusal>) {
        match result {
            Ok(lifetime) => {
                let token = self.server.next_token;
                self.server.next_token += 1;
                let end = self.now.plus(self.outside.lived);
                self.server.tokens.insert(token, end);
                self.agent.token = Some(token);
                self.step(Input::TokenGot { lifetime });
            }
            Err(Refusal { why, asked, .. }) => self.step(Input::TokenFailed {
                why: why.into(),
                asked,
            }),
        }
    }

    fn dialled(&mut self, result: Result<(), Refusal>) {
        match result {
            Ok(()) => {
                let conn = self.server.next_conn;
                self.server.next_conn += 1;
                self.server.conns.insert(conn, false);
                self.agent.conn = Some(conn);
                self.step(Input::Opened);
            }
            Err(Refusal { why, asked, .. }) => self.step(Input::OpenFailed {
                why: why.into(),
                asked,
            }),
        }
    }

    fn agent_hears(&mut self, down: Down) {
        self.step(Input::Heard);
        match down {
            Down::Accepted => self.step(Input::ConnectAccepted),
            Down::Error(why) if !self.machine.is_live() => {
                self.step(Input::ServerError { why: why.into() });
            }
            Down::Error(_) => {}
            Down::Beat => self.send_up(Up::BeatAnswer),
            Down::BeatAnswer => {
                self.agent.outbox.heartbeat_answered();
                self.step(Input::HeartbeatAnswered);
            }
            Down::Push(push) if self.agent.answers.contains(&push) => {
                if self.machine.is_live() && self.agent.outbox.fits(bytes_of(push)) {
                    self.send_up(Up::Answer(push));
                }
            }
            Down::Push(push) => self.agent.answers.push(push),
        }
    }

    /// Does what became possible, as the shell does after every event.
    fn work(&mut self) {
        if !self.machine.is_live() {
            return;
        }
        for (number, push) in (1..).zip(self.agent.answers.clone()) {
            if self.agent.outbox.offer(Seq(number), Seq(number - 1)) != Offer::Send {
                continue;
            }
            let bytes = bytes_of(push);
            if self.agent.outbox.fits(bytes) {
                self.agent.outbox.sent(Seq(number), bytes, self.now);
                self.send_up(Up::Answer(push));
            } else {
                self.agent.outbox.skipped(Seq(number));
            }
        }
        let due = self.agent.outbox.heartbeat_due();
        if due.is_some_and(|due| due <= self.now) {
            self.step(Input::HeartbeatWanted);
        }
    }
}

/// The server and its callers.
impl World {
    fn ask(&mut self, push: Push, until: Mono) {
        if self.answered.contains_key(&push) || self.now > until {
            return;
        }
        let agents = self.server.conns.iter().filter(|(_, speaks)| **speaks);
        for conn in agents.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            if !matches!(self.outside.session, Session::Mute) {
                self.travel(Event::ToAgent(conn, Down::Push(push)));
            }
        }
        self.at(secs(1), Event::Ask(push, until));
    }

    fn server_hears(&mut self, conn: Conn, up: Up) {
        if !self.server.conns.contains_key(&conn) || matches!(self.outside.session, Session::Mute) {
            return;
        }
        match up {
            Up::Connect(token) => self.connects(conn, token),
            Up::Beat if !matches!(self.outside.session, Session::Deaf) => {
                self.say(conn, Down::BeatAnswer);
            }
            Up::Beat | Up::BeatAnswer => {}
            Up::Answer(push) => self.answer_came(conn, push),
        }
    }

    fn connects(&mut self, conn: Conn, token: Option<Token>) {
        let known = token.and_then(|token| self.server.tokens.get(&token));
        let good = known.is_some_and(|end| *end > self.now);
        match self.outside.connect {
            Connect::Mute => return,
            Connect::Refuses(why) => return self.say(conn, Down::Error(why)),
            Connect::Accepts | Connect::PushFirst if !good => {
                return self.say(conn, Down::Error("Invalid access token"));
            }
            Connect::Accepts => {}
            Connect::PushFirst => {
                let push = self.next_push;
                self.next_push += 1;
                self.say(conn, Down::Push(push));
            }
        }
        self.say(conn, Down::Accepted);
        self.server.conns.insert(conn, true);
        self.at(secs(10), Event::ServerBeat(conn));
        if let Session::Ends(after, why) = self.outside.session {
            self.at(after, Event::Broken(conn, why));
        }
    }

    fn answer_came(&mut self, conn: Conn, push: Push) {
        match self.outside.session {
            Session::Takes(most) if bytes_of(push) > most => {
                self.server.conns.remove(&conn);
                self.agent.outbox.server_found_one_too_large();
                let why = "the server closed the connection: a message of ours is too large for it (1009)";
                self.at(self.outside.latency, Event::Broken(conn, why));
            }
            Session::Deaf | Session::Mute => {}
            Session::Well | Session::Ends(..) | Session::Takes(_) => {
                self.answered.entry(push).or_insert(self.now);
            }
        }
    }

    fn server_beats(&mut self, conn: Conn) {
        if self.server.conns.contains_key(&conn) {
            if !matches!(self.outside.session, Session::Mute) {
                self.say(conn, Down::Beat);
            }
            self.at(secs(10), Event::ServerBeat(conn));
        }
    }

    fn say(&mut self, conn: Conn, down: Down) {
        self.travel(Event::ToAgent(conn, down));
    }
}

/// The first push of every story gets a long answer.
fn bytes_of(push: Push) -> usize {
    if push == 0 { 700_000 } else { 300 }
}
