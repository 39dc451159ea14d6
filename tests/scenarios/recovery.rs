//! Every way in which the way to the cloud fails, with the real process: it says what is wrong, it never ends, and what
//! was pushed meanwhile is delivered when the fault is over.
//!
//! The same faults and more, of any length and in virtual time, are in `agent/core/src/uplink/tests/recovery.rs`.

use std::time::Duration;

use scenarios::bench::{Bench, DeviceSetup, SECRET, Setup, wait_for, wait_long_until};
use scenarios::cloud::AGENT;
use scenarios::sim::Order;
use scenarios::wire::{Cut, Fault, Way};
use wardpost_cloud::{Ending, Faults, Instead};

/// One fault from its beginning to its end.
struct Story {
    bench: Bench,
    agent: u32,
    pushed: u32,
}

impl Story {
    /// An agent that is connected and has delivered a push.
    fn begin() -> Self {
        Self::with(|_| {})
    }

    fn with(prepare: impl FnOnce(&Bench)) -> Self {
        let setup = Setup::new().scripted().wired();
        let mut bench = setup.device(DeviceSetup::new("chem")).start_without_agent();
        prepare(&bench);
        bench.start_agent();
        let agent = bench.agent().id();
        let mut story = Self {
            bench,
            agent,
            pushed: 0,
        };
        story.push();
        story.wait_delivered();
        story
    }

    fn push(&mut self) {
        self.bench.push_and_go("chem", &Order::new(self.pushed));
        self.pushed += 1;
    }

    /// The session ends, and every token is worth nothing any more: nothing can go on as it did.
    fn lose_session_under(&mut self, fault: impl FnOnce(&mut Faults)) {
        self.bench.stub().revoke_tokens();
        self.bench.log_in();
        self.bench.faults(fault);
        self.bench.stub().end_sockets(AGENT, Ending::Abort);
    }

    fn wait_told(&self, words: &str) {
        wait_long_until(&format!("the status to say «{words}»"), || {
            self.bench.uplink_words().contains(words)
        });
    }

    /// Every push is with the device once, and its answer with the cloud.
    fn wait_delivered(&self) {
        let expected: Vec<_> = (0..self.pushed).map(|push| format!("C{push}")).collect();
        wait_long_until("every push to be delivered", || {
            self.bench.control_ids("chem").len() >= expected.len()
        });
        assert_eq!(self.bench.control_ids("chem"), expected);
        wait_long_until("every answer to be with the cloud", || {
            self.bench.stub().unanswered(AGENT) == 0
        });
        assert_eq!(self.bench.stub().conflicting_answers(), 0);
    }

    /// The fault is over.
    fn ends_well(mut self) {
        self.bench.faults(|faults| *faults = Faults::default());
        self.bench.cloud_wire().calm();
        self.push();
        self.wait_delivered();
        self.wait_told("live");
        assert!(self.bench.agent().ended().is_none());
        assert_eq!(self.bench.agent().id(), self.agent, "the same process");
    }
}

/// A fault that the stub plays until the status says these words; one push comes meanwhile and one afterwards.
fn check(words: &str, fault: impl FnOnce(&mut Faults)) {
    let mut story = Story::begin();
    story.lose_session_under(fault);
    story.push();
    story.wait_told(words);
    story.ends_well();
}

fn check_tokens(words: &str, instead: Instead) {
    check(words, |faults| faults.instead_of_tokens = Some(instead));
}

fn check_ending(words: &str, ending: Ending) {
    check(words, |faults| faults.end_on_connect = Some(ending));
}

/// Runs stories beside each other: most of their time is waiting.
fn together(stories: &[(&str, fn())]) {
    std::thread::scope(|scope| {
        for (name, story) in stories {
            let thread = std::thread::Builder::new().name((*name).into());
            let started = thread.spawn_scoped(scope, story);
            started.expect("a thread starts");
        }
    });
}

#[test]
fn whatever_the_token_endpoint_answers() {
    together(&[
        ("a_token_endpoint_answers_502", a_token_endpoint_answers_502),
        (
            "a_token_endpoint_asks_for_a_pause",
            a_token_endpoint_asks_for_a_pause,
        ),
        (
            "a_token_endpoint_answers_garbage",
            a_token_endpoint_answers_garbage,
        ),
        (
            "a_token_endpoint_never_answers",
            a_token_endpoint_never_answers,
        ),
        (
            "a_captive_portal_answers_everything",
            a_captive_portal_answers_everything,
        ),
    ]);
}

#[test]
fn whatever_comes_in_place_of_a_session() {
    together(&[
        (
            "a_page_comes_in_place_of_the_websocket",
            a_page_comes_in_place_of_the_websocket,
        ),
        (
            "a_server_takes_the_websocket_request_and_never_answers",
            a_server_takes_the_websocket_request_and_never_answers,
        ),
        (
            "a_server_asks_for_a_pause_in_place_of_the_websocket",
            a_server_asks_for_a_pause_in_place_of_the_websocket,
        ),
        ("the_connect_is_refused", the_connect_is_refused),
        (
            "the_connect_is_never_answered",
            the_connect_is_never_answered,
        ),
    ]);
}

#[test]
fn however_every_session_ends() {
    together(&[
        (
            "every_session_is_cut_as_it_begins",
            every_session_is_cut_as_it_begins,
        ),
        (
            "every_session_is_closed_with_1001_as_it_begins",
            every_session_is_closed_with_1001_as_it_begins,
        ),
        (
            "every_session_is_closed_with_1009_as_it_begins",
            every_session_is_closed_with_1009_as_it_begins,
        ),
    ]);
}

#[test]
fn whatever_becomes_of_tokens_and_connections() {
    together(&[
        (
            "a_push_comes_before_the_connect_response_after_every_cut",
            a_push_comes_before_the_connect_response_after_every_cut,
        ),
        ("a_revoked_secret_comes_back", a_revoked_secret_comes_back),
        (
            "a_token_that_cannot_be_renewed_ends_no_session",
            a_token_that_cannot_be_renewed_ends_no_session,
        ),
        ("nobody_listens", nobody_listens),
        (
            "a_connection_dies_without_a_word",
            a_connection_dies_without_a_word,
        ),
        ("everything_takes_its_time", everything_takes_its_time),
    ]);
}

fn a_token_endpoint_answers_502() {
    check_tokens(
        "no token: the server cannot give a token now (HTTP 502)",
        Instead::Status(502),
    );
}

fn a_token_endpoint_asks_for_a_pause() {
    let later = Instead::Later {
        status: 429,
        seconds: 5,
    };
    check_tokens(
        "no token: the server wants fewer requests (HTTP 429)",
        later,
    );
}

fn a_token_endpoint_answers_garbage() {
    check_tokens("holds no access_token", Instead::Garbage);
}

fn a_token_endpoint_never_answers() {
    check_tokens("did not answer within 15 s", Instead::Silence);
}

fn a_captive_portal_answers_everything() {
    check("is a captive portal in the way", |faults| {
        faults.instead_of_tokens = Some(Instead::Page);
        faults.instead_of_websockets = Some(Instead::Page);
    });
}

fn a_page_comes_in_place_of_the_websocket() {
    check(
        "answered the websocket request with HTTP 200; is a captive portal in the way",
        |faults| faults.instead_of_websockets = Some(Instead::Page),
    );
}

fn a_server_takes_the_websocket_request_and_never_answers() {
    check(
        "did not answer the websocket request within 10 s",
        |faults| {
            faults.instead_of_websockets = Some(Instead::Silence);
        },
    );
}

fn a_server_asks_for_a_pause_in_place_of_the_websocket() {
    let later = Instead::Later {
        status: 503,
        seconds: 3600,
    };
    check(
        "HTTP 503; it, or something before it, is not well",
        |faults| {
            faults.instead_of_websockets = Some(later);
        },
    );
}

fn the_connect_is_refused() {
    check("the server refused the connection: Not found", |faults| {
        faults.refuse_connect = Some("Not found".into());
    });
}

fn the_connect_is_never_answered() {
    check(
        "the server did not answer the connect request in 10 s",
        |faults| {
            faults.drop_connect_response = true;
        },
    );
}

fn every_session_is_cut_as_it_begins() {
    check_ending("the connection broke", Ending::Abort);
}

fn every_session_is_closed_with_1001_as_it_begins() {
    check_ending("it is going away (1001)", Ending::Code(1001));
}

fn every_session_is_closed_with_1009_as_it_begins() {
    check_ending(
        "a message of ours is too large for it (1009)",
        Ending::Code(1009),
    );
}

fn a_push_comes_before_the_connect_response_after_every_cut() {
    let mut story = Story::begin();
    story.bench.faults(|faults| {
        faults.subscribe_first = true;
        faults.delay_connect = Some(Duration::from_millis(300));
    });
    for _ in 0..3 {
        story.bench.stub().end_sockets(AGENT, Ending::Abort);
        story.push();
        story.wait_delivered();
    }
    story.ends_well();
}

fn a_revoked_secret_comes_back() {
    let mut story = Story::begin();
    story.bench.change_secret("another");
    story.bench.stub().revoke_tokens();
    story.bench.stub().end_sockets(AGENT, Ending::Code(1001));
    story
        .wait_told("the server does not know this client or its secret: Invalid secret (HTTP 400)");
    story.bench.change_secret(SECRET);
    story.bench.log_in();
    story.ends_well();
}

fn a_token_that_cannot_be_renewed_ends_no_session() {
    let mut story = Story::with(|bench| bench.change_client("accessTokenLifetime", "20s"));
    // The caller is to live on.
    story.bench.change_client("accessTokenLifetime", "1h");
    story.bench.log_in();
    story
        .bench
        .faults(|faults| faults.instead_of_tokens = Some(Instead::Status(502)));
    story.wait_told("live, but the token cannot be renewed");
    story.push();
    story.wait_delivered();
    wait_long_until("the token to be dead, too", || {
        story.bench.stub().end_sockets(AGENT, Ending::Abort);
        story.bench.uplink_words().contains("no token")
    });
    story.ends_well();
}

fn nobody_listens() {
    let mut story = Story::begin();
    story.bench.cloud_wire().refuse();
    story.bench.cloud_wire().cut(Cut::Reset);
    story.push();
    story.wait_told("cannot connect to 127.0.0.1");
    story.ends_well();
}

fn a_connection_dies_without_a_word() {
    let mut story = Story::begin();
    for way in [Way::FromPeer, Way::ToPeer] {
        story.bench.cloud_wire().next(way, Fault::Silence);
    }
    wait_for("the connection to be silent", || {
        (story.bench.cloud_wire().silent() == 1).then_some(())
    });
    story.push();
    // Nobody says that the fault is over: the agent finds out that there is a better connection to be had.
    story.wait_delivered();
    story.ends_well();
}

fn everything_takes_its_time() {
    let mut story = Story::begin();
    let wire = story.bench.cloud_wire();
    wire.delay(Duration::from_millis(400));
    wire.cut(Cut::Reset);
    story.push();
    story.wait_delivered();
    story.ends_well();
}
