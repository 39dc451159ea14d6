//! The faults, worded as the shell words them.

use super::super::secs;
use super::super::world::{Connect, Endpoint, Net, Refusal, Session, World};
use crate::retry::AskedWait;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One way to fail.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) begin: Box<dyn Fn(&mut World)>,
    /// What the status says meanwhile.
    pub(super) words: &'static str,
    /// Tries of either kind in each minute, once the waits have grown.
    pub(super) tries: RangeInclusive<usize>,
}

pub(super) fn rows() -> Vec<Row> {
    [tokens(), ways(), sessions()]
        .into_iter()
        .flatten()
        .collect()
}

/// What the token endpoint can say instead of a token.
fn tokens() -> Vec<Row> {
    let many = "the server wants fewer requests (HTTP 429)";
    let secret = "the server does not know this client or its secret";
    vec![
        token(
            "502",
            refusing("the server cannot give a token now (HTTP 502)"),
        )
        .tries(6..=8),
        token("429", refusing(many)).tries(6..=8),
        token("429, in five seconds", asking(many, 5)).tries(6..=8),
        token("429, tomorrow", asking(many, 86_400)).tries(3..=4),
        token(
            "HTML",
            refusing("a page came instead of a token (HTTP 200)"),
        )
        .tries(6..=8),
        token(
            "garbage",
            refusing("the token endpoint's answer holds no access_token"),
        )
        .tries(6..=8),
        token("a revoked secret, 400", refusing(secret)).tries(6..=8),
        token("a revoked secret, 401", refusing(secret)).tries(6..=8),
        token("a mute token endpoint", Endpoint::Hangs)
            .says("no token: cloud.example did not answer within 15 s")
            .tries(2..=3),
        row("a server whose clock is wrong by years: its tokens are dead when they come")
            .begins(|world| world.outside.lived = Duration::ZERO)
            .says("the server refused the connection: Invalid access token")
            .tries(10..=16),
        row("renewals under way all the time, and every connect is refused")
            .begins(|world| {
                world.outside.promised = secs(20);
                world.outside.latency = Duration::from_millis(833);
                world.outside.connect = Connect::Refuses("Invalid access token");
            })
            .says("the server refused the connection: Invalid access token")
            .tries(6..=12),
    ]
}

/// What can lie between the box and the server, or be wrong with how they trust each other.
fn ways() -> Vec<Row> {
    let no_name = "cannot find the address of cloud.example";
    let slow = Refusal {
        after: secs(9),
        ..refusal(no_name)
    };
    vec![
        way(
            "the box's clock is at 1970",
            refusing("its certificate is not valid yet"),
        )
        .tries(6..=8),
        way(
            "the box's clock is at 2090",
            refusing("its certificate has expired"),
        )
        .tries(6..=8),
        way(
            "TLS for another name",
            refusing("its certificate is for another name"),
        )
        .tries(6..=8),
        way("DNS gone", refusing(no_name)).tries(6..=8),
        way("DNS slow and of no use", Endpoint::Says(slow)).tries(3..=4),
        way("no route", refusing("cannot connect to 192.0.2.1:443")).tries(6..=8),
        way(
            "a proxy answers 502",
            refusing("the proxy cannot reach the cloud"),
        )
        .tries(6..=8),
        way(
            "a proxy answers 407",
            refusing("the proxy wants a password"),
        )
        .tries(6..=8),
        way(
            "a captive portal",
            refusing("is a captive portal in the way"),
        )
        .tries(6..=8),
        way(
            "a server that takes connections and never answers",
            Endpoint::Hangs,
        )
        .says("cloud.example did not answer")
        .tries(2..=4),
        row("everything is lost without a word, open connections too")
            .begins(|world| {
                world.lose_connections();
                world.outside.net = Net::Silent;
            })
            .tries(2..=4),
        row("nothing arrives and nothing fails, and what was sent arrives in the end")
            .begins(|world| world.outside.net = Net::Silent)
            .tries(2..=4),
        row("everything takes seconds, and works")
            .begins(|world| world.outside.latency = Duration::from_millis(1_200)),
    ]
}

/// What can be wrong with the websocket and with what is said on it.
fn sessions() -> Vec<Row> {
    vec![
        upgrade("a websocket whose door is mute", Endpoint::Hangs)
            .says("did not answer the websocket request within 10 s")
            .tries(3..=4),
        upgrade(
            "503 in place of a websocket, for two minutes",
            asking("HTTP 503", 120),
        )
        .tries(3..=4),
        upgrade("HTML in place of a websocket", refusing("with HTTP 200")).tries(5..=8),
        upgrade(
            "a certificate that expires",
            refusing("certificate has expired"),
        )
        .tries(5..=8),
        row("a connect request that is never answered")
            .begins(|world| world.outside.connect = Connect::Mute)
            .says("the server did not answer the connect request in 10 s")
            .tries(3..=4),
        row("the connect is refused")
            .begins(|world| world.outside.connect = Connect::Refuses("Not found"))
            .says("the server refused the connection: Not found")
            .tries(10..=16),
        ending(
            "1001, again and again",
            Duration::from_millis(50),
            "going away (1001)",
        )
        .tries(5..=8),
        ending(
            "1006, again and again",
            Duration::from_millis(50),
            "connection broke",
        )
        .tries(5..=8),
        ending(
            "the end with the accepting",
            Duration::ZERO,
            "closed the connection",
        )
        .tries(5..=8),
        ending("sessions of six seconds", secs(6), "too busy (1013)").tries(5..=9),
        row("1009 for a long answer")
            .begins(|world| world.outside.session = Session::Takes(100_000)),
        row("sessions without a sound")
            .begins(|world| world.outside.session = Session::Mute)
            .says("the server did not answer the connect request in 10 s")
            .tries(3..=4),
        row("a server that speaks and does not read")
            .begins(|world| world.outside.session = Session::Deaf)
            .says("no heartbeat answered for 60 s")
            .tries(0..=2),
        row("a push before the connect response, and all in the same instant").begins(|world| {
            world.outside.connect = Connect::PushFirst;
            world.outside.latency = Duration::ZERO;
        }),
    ]
}

fn row(name: &'static str) -> Row {
    Row {
        name,
        begin: Box::new(|_| {}),
        words: "",
        tries: 0..=0,
    }
}

fn token(name: &'static str, says: Endpoint) -> Row {
    row(name)
        .begins(move |world| world.outside.token = says)
        .says(words(says))
}

/// Both the token and the websocket meet it.
fn way(name: &'static str, says: Endpoint) -> Row {
    row(name)
        .begins(move |world| {
            world.outside.token = says;
            world.outside.upgrade = says;
        })
        .says(words(says))
}

fn upgrade(name: &'static str, says: Endpoint) -> Row {
    row(name)
        .begins(move |world| world.outside.upgrade = says)
        .says(words(says))
}

/// Every session ends after a while, the one that is there first.
fn ending(name: &'static str, after: Duration, why: &'static str) -> Row {
    row(name)
        .begins(move |world| {
            world.outside.session = Session::Ends(after, why);
            world.hang_up(why);
        })
        .says(why)
}

fn words(says: Endpoint) -> &'static str {
    match says {
        Endpoint::Says(refusal) => refusal.why,
        Endpoint::Well | Endpoint::Hangs => "",
    }
}

fn refusal(why: &'static str) -> Refusal {
    Refusal {
        why,
        after: Duration::from_millis(5),
        asked: AskedWait::Nothing,
    }
}

fn refusing(why: &'static str) -> Endpoint {
    Endpoint::Says(refusal(why))
}

fn asking(why: &'static str, seconds: u64) -> Endpoint {
    Endpoint::Says(Refusal {
        asked: AskedWait::For(secs(seconds)),
        ..refusal(why)
    })
}

impl Row {
    fn begins(self, begin: impl Fn(&mut World) + 'static) -> Self {
        Self {
            begin: Box::new(begin),
            ..self
        }
    }

    fn says(self, words: &'static str) -> Self {
        Self { words, ..self }
    }

    fn tries(self, tries: RangeInclusive<usize>) -> Self {
        Self { tries, ..self }
    }
}
