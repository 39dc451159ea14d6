mod recovery;
mod world;

use proptest::prelude::*;

use super::link::*;
use super::*;

const T0: Mono = Mono(1_000_000);
const LOWEST: Dice = Dice(0);
const HOUR: Duration = Duration::from_hours(1);

fn at(now: Mono) -> Moment {
    Moment { now, dice: LOWEST }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn token_failed(why: &str) -> Input {
    let (why, asked) = (why.to_owned(), AskedWait::Nothing);
    Input::TokenFailed { why, asked }
}

fn open_failed(why: &str) -> Input {
    let (why, asked) = (why.to_owned(), AskedWait::Nothing);
    Input::OpenFailed { why, asked }
}

/// One of each input, with the name it has in the table.
fn inputs() -> Vec<(&'static str, Input)> {
    let why = || "why".to_owned();
    vec![
        ("token got", Input::TokenGot { lifetime: HOUR }),
        ("token failed", token_failed(&why())),
        ("token refused", Input::TokenRefused),
        ("opened", Input::Opened),
        ("open failed", open_failed(&why())),
        ("connect accepted", Input::ConnectAccepted),
        ("server error", Input::ServerError { why: why() }),
        ("heard", Input::Heard),
        ("heartbeat answered", Input::HeartbeatAnswered),
        ("heartbeat wanted", Input::HeartbeatWanted),
        ("socket closed", Input::SocketClosed { why: why() }),
        ("settings changed", Input::SettingsChanged),
        ("tick", Input::Tick),
        ("stop", Input::Stop),
    ]
}

/// A machine whose token is good, in each state; and how long until that state's own deadline.
fn states() -> Vec<(&'static str, Link, Duration)> {
    let beat_at = T0.plus(HEARTBEAT);
    let live = Live {
        since: T0,
        heard: T0,
        beat_at,
        asked: Asked::Nothing,
    };
    let until = T0.plus(secs(4));
    let dialing = Link::Dialing {
        deadline: T0.plus(DIAL_TIMEOUT),
    };
    let deadline = T0.plus(CONNECT_RESPONSE_TIMEOUT);
    vec![
        ("NeedToken", Link::NeedToken, Duration::ZERO),
        ("Dialing", dialing, DIAL_TIMEOUT),
        (
            "Awaiting",
            Link::AwaitingConnectResponse { deadline },
            CONNECT_RESPONSE_TIMEOUT,
        ),
        ("Live", Link::Live(live), SILENCE),
        ("Waiting", Link::Waiting { until }, secs(4)),
        ("Stopped", Link::Stopped, Duration::ZERO),
    ]
}

fn machine(link: Link) -> Uplink {
    let mut token = Token::none();
    token.got(HOUR, T0);
    Uplink {
        link,
        token,
        failures: 0,
    }
}

fn name_of(link: &Link) -> &'static str {
    match link {
        Link::NeedToken => "NeedToken",
        Link::Dialing { .. } => "Dialing",
        Link::AwaitingConnectResponse { .. } => "Awaiting",
        Link::Live(_) => "Live",
        Link::Waiting { .. } => "Waiting",
        Link::Stopped => "Stopped",
    }
}

fn shown(out: &[Output]) -> String {
    let words = out.iter().map(|output| match output {
        Output::FetchToken => "fetch".to_owned(),
        Output::Dial => "dial".into(),
        Output::SendConnect => "connect".into(),
        Output::SendHeartbeat => "heartbeat".into(),
        Output::CloseSocket => "close".into(),
        Output::LinkUp => "up".into(),
        Output::LinkDown { why } => format!("down: {why}"),
        Output::Status(status) => format!("«{}»", status.words),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn row(state: &str, link: Link, input: &str, step: Input, now: Mono) -> String {
    let mut uplink = machine(link);
    let mut out = Vec::new();
    uplink.step(step, at(now), &mut out);
    let next = name_of(&uplink.link);
    format!("{state:9} | {input:18} | {next:9} | {}", shown(&out))
        .trim_end()
        .to_owned()
}

/// Every state with every input, and with a tick at its deadline.
fn table() -> String {
    let mut rows =
        vec!["state     | input              | next      | what the shell must do".to_owned()];
    for (state, link, patience) in states() {
        for (name, input) in inputs() {
            rows.push(row(
                state,
                link.clone(),
                name,
                input,
                T0.plus(Duration::from_millis(1)),
            ));
        }
        rows.push(row(
            state,
            link,
            "tick at deadline",
            Input::Tick,
            T0.plus(patience),
        ));
    }
    rows.join("\n")
}

#[test]
fn every_state_takes_every_input_as_the_table_says() {
    let expected = include_str!("transitions.txt").trim_end();
    assert_eq!(table(), expected, "\n{}\n", table());
}

#[test]
fn nothing_happens_before_the_first_tick_and_then_a_token_is_asked_for_at_once() {
    let mut uplink = Uplink::new();
    assert_eq!(uplink.deadline(), Some(Mono(0)));
    let mut out = Vec::new();
    uplink.step(Input::Tick, at(T0), &mut out);
    assert_eq!(out, [Output::FetchToken]);
}

#[test]
fn a_refused_connect_throws_the_token_away_and_asks_for_another_after_the_wait() {
    let mut world = World::new(LOWEST);
    world.run_for(secs(1));
    world.outside.connect = Answer::No;
    world.happens(Input::SocketClosed { why: "gone".into() });
    world.run_for(secs(2));
    let fetched = world.fetched;
    world.outside.connect = Answer::Yes;
    world.run_for(secs(3));
    assert!(world.uplink.is_live());
    assert_eq!(world.fetched, fetched + 1);
}

#[test]
fn a_dead_token_endpoint_never_ends_a_live_session() {
    let mut world = World::new(LOWEST);
    world.run_for(secs(1));
    world.outside.token = Answer::No;
    world.run_for(10 * HOUR);
    assert!(world.uplink.is_live());
    assert_eq!(world.dialled, 1, "it is still the first session");
    assert!(
        !world.uplink.token.is_good(world.now),
        "though its token is long dead"
    );
}

#[test]
fn tokens_are_renewed_before_they_end_and_not_more_often_than_that() {
    let mut world = World::new(LOWEST);
    world.run_for(48 * HOUR);
    assert_eq!(world.dialled, 1);
    assert_eq!(world.fetched, 1 + 59, "every 48 minutes and a moment");
}

#[test]
fn a_heartbeat_goes_out_every_ten_seconds() {
    let mut world = World::new(LOWEST);
    world.run_for(secs(101));
    assert_eq!(world.beats, 10);
}

#[test]
fn a_session_that_lasted_makes_the_next_wait_short_again() {
    let mut world = World::new(Dice(u32::MAX));
    world.outside.open = Answer::No;
    world.run_for(secs(100));
    assert!(world.uplink.failures > 5);
    world.outside.open = Answer::Yes;
    world.run_for(secs(30));
    world.happens(Input::SocketClosed {
        why: "server restarts".into(),
    });
    assert_eq!(world.uplink.failures, 1);
}

#[test]
fn a_server_that_accepts_and_hangs_up_is_not_dialled_in_a_storm() {
    let mut world = World::new(LOWEST);
    for _ in 0..200 {
        world.run_for(secs(1));
        world.happens(Input::SocketClosed { why: "gone".into() });
    }
    assert!(world.dialled < 40, "{} in 200 s", world.dialled);
}

#[test]
fn a_server_that_talks_and_never_answers_a_heartbeat_is_left_after_a_minute() {
    let mut world = World::new(LOWEST);
    world.run_for(secs(1));
    world.outside.heartbeat = Answer::Hangs;
    for _ in 0..60 {
        world.run_for(secs(1));
        world.happens(Input::Heard);
    }
    assert_eq!(world.dialled, 1);
    for _ in 0..12 {
        world.run_for(secs(1));
        world.happens(Input::Heard);
    }
    assert_eq!(world.dialled, 2);
}

/// How one part of the outside behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Yes,
    No,
    /// No answer; the shell gives up at its own limit, if it has one for this.
    Hangs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Outside {
    token: Answer,
    open: Answer,
    connect: Answer,
    heartbeat: Answer,
}

const WELL: Outside = Outside {
    token: Answer::Yes,
    open: Answer::Yes,
    connect: Answer::Yes,
    heartbeat: Answer::Yes,
};

/// The shell, the net and the server, in virtual time.
struct World {
    uplink: Uplink,
    now: Mono,
    dice: Dice,
    outside: Outside,
    /// What will happen, and when; one at most of each kind.
    fetch: Option<(Mono, Input)>,
    dial: Option<(Mono, Input)>,
    session: Option<(Mono, Input)>,
    fetched: u32,
    dialled: u32,
    beats: u32,
}

impl World {
    fn new(dice: Dice) -> Self {
        Self::with(Uplink::new(), T0, dice)
    }

    fn with(uplink: Uplink, now: Mono, dice: Dice) -> Self {
        let (fetch, dial, session) = (None, None, None);
        let (fetched, dialled, beats) = (0, 0, 0);
        Self {
            uplink,
            now,
            dice,
            outside: WELL,
            fetch,
            dial,
            session,
            fetched,
            dialled,
            beats,
        }
    }

    fn happens(&mut self, input: Input) {
        let mut out = Vec::new();
        self.uplink.step(
            input,
            Moment {
                now: self.now,
                dice: self.dice,
            },
            &mut out,
        );
        for output in out {
            self.does(&output);
        }
    }

    fn does(&mut self, output: &Output) {
        let soon = self.now.plus(Duration::from_millis(20));
        let why = || "fault".to_owned();
        match output {
            Output::FetchToken => {
                self.fetched += 1;
                self.fetch = match self.outside.token {
                    Answer::Yes => Some((soon, Input::TokenGot { lifetime: HOUR })),
                    Answer::No => Some((soon, token_failed(&why()))),
                    Answer::Hangs => Some((self.now.plus(secs(15)), token_failed(&why()))),
                };
            }
            Output::Dial => {
                self.dialled += 1;
                self.dial = match self.outside.open {
                    Answer::Yes => Some((soon, Input::Opened)),
                    Answer::No => Some((soon, open_failed(&why()))),
                    Answer::Hangs => None,
                };
            }
            Output::SendConnect => {
                self.session = match self.outside.connect {
                    Answer::Yes => Some((soon, Input::ConnectAccepted)),
                    Answer::No => Some((soon, Input::ServerError { why: why() })),
                    Answer::Hangs => None,
                };
            }
            Output::SendHeartbeat => {
                self.beats += 1;
                self.session = match self.outside.heartbeat {
                    Answer::Yes => Some((soon, Input::HeartbeatAnswered)),
                    Answer::No => Some((soon, Input::SocketClosed { why: why() })),
                    Answer::Hangs => None,
                };
            }
            Output::CloseSocket => {
                self.dial = None;
                self.session = None;
            }
            Output::LinkUp | Output::LinkDown { .. } | Output::Status(_) => {}
        }
    }

    /// Lets the next thing happen, but nothing after `end`. Says whether there was one.
    fn advance(&mut self, end: Mono) -> bool {
        let reports = [&self.fetch, &self.dial, &self.session];
        let report = reports.into_iter().flatten().map(|(when, _)| *when).min();
        let deadline = self.uplink.deadline();
        let Some(next) = report
            .into_iter()
            .chain(deadline)
            .min()
            .filter(|next| *next <= end)
        else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        let slots = [&mut self.fetch, &mut self.dial, &mut self.session];
        let due = slots
            .into_iter()
            .find_map(|slot| slot.take_if(|(when, _)| *when <= now));
        self.happens(due.map_or(Input::Tick, |(_, input)| input));
        true
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.advance(end) {}
    }

    /// How long it takes to be live, the outside being well.
    fn time_to_live(&mut self) -> Option<Duration> {
        self.outside = WELL;
        let begin = self.now;
        let end = begin.plus(secs(600));
        while !self.uplink.is_live() && self.advance(end) {}
        self.uplink
            .is_live()
            .then(|| Duration::from_millis(self.now.0 - begin.0))
    }
}

/// What can be wrong outside, each as the machine sees it: token, socket, connect, heartbeat.
fn faults() -> Vec<(&'static str, Outside)> {
    use Answer::{Hangs, No, Yes};
    let faults = [
        (
            "the token endpoint says 502, 429, HTML, or no",
            [No, Yes, Yes, Yes],
        ),
        ("the token endpoint never answers", [Hangs, Yes, Yes, Yes]),
        (
            "no name, no route, no TLS, a proxy's 407",
            [Yes, No, Yes, Yes],
        ),
        (
            "the server takes the connection and is mute",
            [Yes, Hangs, Yes, Yes],
        ),
        ("the server refuses the connect", [Yes, Yes, No, Yes]),
        (
            "the server never answers the connect",
            [Yes, Yes, Hangs, Yes],
        ),
        ("the server closes every session", [Yes, Yes, Yes, No]),
        ("the session goes silent", [Yes, Yes, Yes, Hangs]),
        ("nothing answers anything", [Hangs; 4]),
        ("everything is refused", [No; 4]),
    ];
    let outside = |[token, open, connect, heartbeat]: [Answer; 4]| Outside {
        token,
        open,
        connect,
        heartbeat,
    };
    faults
        .map(|(name, answers)| (name, outside(answers)))
        .into()
}

/// Whether the session that was there survives the beginning of the fault.
#[derive(Clone, Copy, Debug)]
enum Begin {
    AtStart,
    Cut,
    InSession,
}

#[test]
fn after_any_fault_of_any_length_it_is_live_within_thirty_seconds() {
    for (name, fault) in faults() {
        for begin in [Begin::AtStart, Begin::Cut, Begin::InSession] {
            for (length, dice) in
                [10, 37, 100, 3_000, 90_000]
                    .into_iter()
                    .zip([0, u32::MAX, 7, 1 << 31, 99])
            {
                let taken = recovery(fault, begin, secs(length), Dice(dice));
                assert!(
                    taken <= secs(30),
                    "{name}, {begin:?}, {length} s: {taken:?}"
                );
            }
        }
    }
}

fn recovery(fault: Outside, begin: Begin, length: Duration, dice: Dice) -> Duration {
    let mut world = World::new(dice);
    match begin {
        Begin::AtStart => {}
        Begin::Cut | Begin::InSession => world.run_for(secs(7)),
    }
    world.outside = fault;
    if let Begin::Cut = begin {
        world.session = None;
        world.happens(Input::SocketClosed { why: "cut".into() });
    }
    world.run_for(length);
    world.time_to_live().expect("it never gives up")
}

fn any_input() -> impl Strategy<Value = Input> {
    let inputs: Vec<_> = inputs().into_iter().map(|(_, input)| input).collect();
    let lifetimes = prop_oneof![Just(0), Just(1), Just(300), Just(3_600), any::<u64>()];
    prop_oneof![
        6 => prop::sample::select(inputs).prop_filter("it ends all", |input| *input != Input::Stop),
        1 => lifetimes.prop_map(|life| Input::TokenGot { lifetime: Duration::from_secs(life) }),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_it_becomes_live_once_the_outside_is_well(
        events in prop::collection::vec((any_input(), 0_u64..40_000, any::<u32>()), 0..60),
        dice: u32,
    ) {
        let mut uplink = Uplink::new();
        let mut now = T0;
        for (input, later, dice) in events {
            now = now.plus(Duration::from_millis(later));
            uplink.step(input, Moment { now, dice: Dice(dice) }, &mut Vec::new());
        }
        // Whatever the shell had under way is forgotten here: only the machine's own deadlines help.
        let mut world = World::with(uplink, now, Dice(dice));
        let taken = world.time_to_live();
        prop_assert!(taken.is_some_and(|taken| taken <= secs(60)), "{taken:?} {:?}", world.uplink);
    }

    #[test]
    fn it_never_dials_without_a_token_nor_twice_within_a_second(
        events in prop::collection::vec((any_input(), 0_u64..5_000, any::<u32>()), 0..200),
    ) {
        let mut uplink = Uplink::new();
        let (mut now, mut last_dial, mut has_token) = (T0, None, false);
        for (input, later, dice) in events {
            now = now.plus(Duration::from_millis(later));
            has_token |= matches!(input, Input::TokenGot { .. });
            if input == Input::SettingsChanged {
                // Another server, which owes us a token and no pause.
                (last_dial, has_token) = (None, false);
            }
            let mut out = Vec::new();
            uplink.step(input, Moment { now, dice: Dice(dice) }, &mut out);
            if out.contains(&Output::Dial) {
                prop_assert!(has_token);
                prop_assert!(last_dial.is_none_or(|last: Mono| now >= last.plus(secs(1))));
                last_dial = Some(now);
            }
        }
    }

    #[test]
    fn up_and_down_alternate(
        events in prop::collection::vec((any_input(), 0_u64..20_000, any::<u32>()), 0..200),
    ) {
        let mut uplink = Uplink::new();
        let (mut now, mut up) = (T0, false);
        for (input, later, dice) in events {
            now = now.plus(Duration::from_millis(later));
            let mut out = Vec::new();
            uplink.step(input, Moment { now, dice: Dice(dice) }, &mut out);
            for output in out {
                match output {
                    Output::LinkUp => prop_assert!(!mem::replace(&mut up, true)),
                    Output::LinkDown { .. } => prop_assert!(mem::replace(&mut up, false)),
                    Output::SendHeartbeat => prop_assert!(up),
                    _ => {}
                }
            }
            prop_assert_eq!(up, uplink.is_live());
        }
    }
}
