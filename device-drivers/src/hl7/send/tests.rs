//! Every state with every input, and the rules that span several of them.

use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::hl7::charset::Charset;
use crate::hl7::mllp;
use crate::hl7::prepare::prepare;
use crate::hl7::settings::Lifetime;
use crate::outcome::News;

/// One connection and what came of it.
struct Played {
    sender: Sender,
    now: Mono,
}

impl Played {
    fn with(settings: Settings) -> Self {
        Self {
            sender: Sender::new(settings),
            now: Mono(0),
        }
    }

    fn opened(settings: Settings) -> Self {
        let mut played = Self::with(settings);
        assert_eq!(played.give(Input::Opened), "");
        played
    }

    /// A connection with message 1 out, all of it left.
    fn waiting(settings: Settings) -> Self {
        let mut played = Self::opened(settings);
        assert_eq!(played.submit(1), "transmit");
        assert_eq!(played.give(Input::Drained), "");
        played
    }

    fn give(&mut self, input: Input<'_>) -> String {
        self.sender.handle(input, self.now);
        let outputs = std::iter::from_fn(|| self.sender.poll());
        outputs
            .map(|output| short(&output))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn submit(&mut self, number: u64) -> String {
        self.give(Input::Submit(
            SubmissionId(number),
            Submission::Hl7(order(number)),
        ))
    }

    fn hear(&mut self, text: &str) -> String {
        self.give(Input::Bytes(&mllp::encode(text.as_bytes())))
    }

    fn answer(&mut self, code: &str, number: u64) -> String {
        self.hear(&format!("MSH|^~\\&|LAB\rMSA|{code}|M{number}\r"))
    }

    fn after(&mut self, wait: Duration) -> String {
        self.now = self.now.plus(wait);
        self.give(Input::Tick)
    }

    fn state(&self) -> &'static str {
        match self.sender.state {
            State::AwaitingOpened => "AwaitingOpened",
            State::Idle => "Idle",
            State::AwaitingAck(_) => "AwaitingAck",
            State::AwaitingApplicationAck(_) => "AwaitingApplicationAck",
            State::AwaitingDrain { .. } => "AwaitingDrain",
            State::AwaitingClosed(_) => "AwaitingClosed",
            State::Closing => "Closing",
            State::Closed => "Closed",
        }
    }
}

fn order(number: u64) -> Order {
    let text =
        format!("MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|M{number}|P|2.5.1\rORC|NW|A{number}");
    prepare(&text, &Charset::UTF_8, Settings::default().limits())
        .unwrap()
        .into_order(None)
}

fn short(output: &Output) -> String {
    match output {
        Output::Transmit(_) => "transmit".to_owned(),
        Output::Settled(id, outcome) => format!("{}: {}", id.0, outcome_word(outcome)),
        Output::News(id, News::Level { level, .. }) => format!("{}: now {level:?}", id.0),
        Output::News(id, News::Refused { .. }) => format!("{}: now refused", id.0),
        Output::Noticed(notice) => format!("notice: {notice}"),
        Output::Close(reason) => format!("close: {reason}"),
    }
}

fn outcome_word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Acknowledged { level, .. } => format!("{level:?}"),
        Outcome::Refused { .. } => "refused".to_owned(),
        Outcome::NotDelivered { why, bytes_left } => format!("{why} (bytes left: {bytes_left:?})"),
        Outcome::Unknown { why } => format!("unknown: {why}"),
    }
}

fn application() -> Settings {
    Settings {
        return_ack: ReturnAck::Application,
        ..Settings::default()
    }
}

const ALL: Duration = Duration::from_secs(200);

type Prepared = fn() -> Played;

fn every_state() -> [(&'static str, Prepared); 8] {
    [
        ("AwaitingOpened", || Played::with(Settings::default())),
        ("Idle", || Played::opened(Settings::default())),
        ("AwaitingAck", || Played::waiting(Settings::default())),
        ("AwaitingApplicationAck", || {
            let mut played = Played::waiting(application());
            played.answer("CA", 1);
            played
        }),
        ("AwaitingDrain", || {
            let mut played = Played::opened(Settings::default());
            played.submit(1);
            played.answer("AA", 1);
            played
        }),
        ("AwaitingClosed", || {
            let mut played = Played::opened(Settings::default());
            played.submit(1);
            played.after(ALL);
            played
        }),
        ("Closing", || {
            let mut played = Played::waiting(Settings::default());
            played.after(ALL);
            played
        }),
        ("Closed", || {
            let mut played = Played::opened(Settings::default());
            played.give(Input::Closed { unsent: 0 });
            played
        }),
    ]
}

type Happens = fn(&mut Played) -> String;

fn every_input() -> [(&'static str, Happens); 14] {
    [
        ("opened", |played| played.give(Input::Opened)),
        ("submit 2", |played| played.submit(2)),
        ("drained", |played| played.give(Input::Drained)),
        ("AA 1", |played| played.answer("AA", 1)),
        ("CA 1", |played| played.answer("CA", 1)),
        ("AR 1", |played| played.answer("AR", 1)),
        ("AA 7", |played| played.answer("AA", 7)),
        ("garbage", |played| played.hear("ERROR")),
        ("too early", |played| played.after(Duration::from_millis(1))),
        ("due", |played| played.after(ALL)),
        ("stalled", |played| {
            played.give(Input::Bytes(b"\x0bMSH")) + &played.after(Duration::from_secs(30))
        }),
        ("stop", |played| played.give(Input::Stop)),
        ("closed", |played| played.give(Input::Closed { unsent: 0 })),
        ("closed unsent", |played| {
            played.give(Input::Closed { unsent: 1000 })
        }),
    ]
}

#[test]
fn every_state_does_with_every_input_what_the_table_says() {
    let mut table = String::new();
    for (name, prepared) in every_state() {
        writeln!(table, "{name}").unwrap();
        for (input, happens) in every_input() {
            let mut played = prepared();
            assert_eq!(played.state(), name);
            let outputs = happens(&mut played);
            let free = if played.sender.free_slots() == 0 {
                ""
            } else {
                " (free)"
            };
            writeln!(table, "  {input:13} -> {}{free}  {outputs}", played.state()).unwrap();
        }
    }
    let table = table
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n");
    assert_eq!(
        table,
        include_str!("table.txt").trim_end(),
        "got:\n{table}\n"
    );
}

#[test]
fn what_has_left_decides_when_the_connection_closes() {
    let frame_len = mllp::encode(&order(1).bytes.0).len();
    let closed = |unsent| {
        let mut played = Played::opened(Settings::default());
        played.submit(1);
        played.give(Input::Closed { unsent })
    };
    let unknown = "1: unknown: the device closed the connection before it answered";
    let partly = "1: the connection closed before the whole message was sent (bytes left: Some)";
    let nothing = "1: the connection closed before anything was sent (bytes left: None)";
    assert_eq!(closed(0), unknown);
    assert_eq!(
        closed(1),
        unknown,
        "only the last CR is missing, and devices do without"
    );
    assert_eq!(closed(2), partly, "without FS it is no message");
    assert_eq!(closed(frame_len - 1), partly);
    assert_eq!(closed(frame_len), nothing);
}

#[test]
fn a_device_that_does_not_read_cannot_have_acted() {
    let mut played = Played::opened(Settings::default());
    played.submit(1);
    let closes = played.after(Duration::from_secs(30));
    assert_eq!(
        closes,
        "close: the device did not take the whole message within 30 s"
    );
    assert_eq!(
        played.give(Input::Closed { unsent: 9 }),
        "1: the device did not take the whole message within 30 s (bytes left: Some)"
    );
}

#[test]
fn a_large_message_has_longer_to_leave() {
    let settings = Settings::default();
    assert_eq!(settings.time_to_leave(100), Duration::from_secs(30));
    assert_eq!(
        settings.time_to_leave(16 * 1024 * 1024),
        Duration::from_secs(30 + 1024)
    );
}

#[test]
fn the_wait_for_an_answer_begins_when_the_message_has_left() {
    let mut played = Played::opened(Settings::default());
    played.submit(1);
    assert_eq!(played.sender.deadline(), Some(Mono(30_000)));
    played.after(Duration::from_secs(5));
    played.give(Input::Drained);
    assert_eq!(played.sender.deadline(), Some(Mono(35_000)));
    played.answer("AA", 1);
    assert_eq!(played.sender.deadline(), None);
}

#[test]
fn an_answer_before_the_end_has_left_counts_and_the_next_message_waits_for_the_rest() {
    let mut played = Played::opened(Settings::default());
    played.submit(1);
    assert_eq!(played.answer("AR", 1), "1: refused");
    assert_eq!(
        (played.state(), played.sender.free_slots()),
        ("AwaitingDrain", 0)
    );
    played.give(Input::Drained);
    assert_eq!((played.state(), played.sender.free_slots()), ("Idle", 1));
}

#[test]
fn what_was_heard_instead_of_an_answer_is_named_when_the_wait_ends() {
    let mut played = Played::waiting(Settings::default());
    let notices = [
        played.give(Input::Bytes(b"MSH|^~\\&|LAB\rMSA|AA|M1\r")),
        played.after(Duration::from_millis(100)),
    ];
    assert_eq!(
        notices,
        [
            "",
            "notice: the device sent a reply that is not framed (23 bytes)"
        ]
    );
    assert_eq!(
        played.after(ALL),
        "1: unknown: the device sent a reply that is not framed (23 bytes), and no answer within 30 s, \
         close: no answer within 30 s"
    );
    let mut played = Played::waiting(Settings::default());
    played.hear("MSH|^~\\&|LAB\rPID|1\r");
    assert_eq!(
        played.give(Input::Closed { unsent: 0 }),
        "1: unknown: the device sent a message without MSA, which answers nothing (19 bytes), \
         then the connection closed"
    );
}

#[test]
fn half_an_answer_is_named_when_the_wait_ends() {
    let mut played = Played::waiting(Settings::default());
    played.after(Duration::from_secs(20));
    played.give(Input::Bytes(b"\x0bMSH|^"));
    assert_eq!(
        played.after(Duration::from_secs(10)),
        "1: unknown: the device sent half a message (5 bytes), and no answer within 30 s, \
         close: no answer within 30 s"
    );
}

#[test]
fn an_answer_after_custody_is_news_and_does_not_touch_the_message_that_is_out() {
    let mut played = Played::waiting(Settings::default());
    assert_eq!(played.answer("CA", 1), "1: Framed");
    played.submit(2);
    assert_eq!(played.answer("AA", 1), "1: now Accepted");
    let again = "notice: the device answered AE to a message that it had answered before";
    assert_eq!(played.answer("AE", 1), again);
    assert_eq!(played.answer("CA", 2), "2: Framed");
    assert_eq!(played.answer("AE", 2), "2: now refused");
}

#[test]
fn custody_is_remembered_for_sixteen_messages() {
    let mut played = Played::opened(Settings::default());
    for number in 1..=17 {
        played.submit(number);
        played.give(Input::Drained);
        played.answer("CA", number);
    }
    assert_eq!(played.answer("AA", 2), "2: now Accepted");
    let foreign = "notice: the device sent an answer to another message (1 on this connection)";
    assert_eq!(played.answer("AA", 1), foreign);
}

#[test]
fn a_push_may_ask_for_another_acknowledgement_than_the_device_file() {
    let mut played = Played::opened(application());
    let mut first = order(1);
    first.return_ack = Some(ReturnAck::First);
    played.give(Input::Submit(SubmissionId(1), Submission::Hl7(first)));
    played.give(Input::Drained);
    assert_eq!(played.answer("CA", 1), "1: Framed");
}

#[test]
fn custody_gives_the_application_its_own_time_and_the_connection_stays() {
    let mut played = Played::waiting(application());
    played.answer("CA", 1);
    assert_eq!(played.sender.deadline(), Some(Mono(120_000)));
    played.after(Duration::from_mins(2));
    assert_eq!((played.state(), played.sender.free_slots()), ("Idle", 1));
    assert_eq!(played.answer("AA", 1), "1: now Accepted");
}

#[test]
fn one_message_a_connection_closes_it_after_the_answer() {
    let settings = Settings {
        lifetime: Lifetime::PerMessage,
        ..Settings::default()
    };
    let mut played = Played::waiting(settings);
    assert_eq!(
        played.answer("AE", 1),
        "1: refused, close: one message a connection"
    );
    assert_eq!(played.sender.free_slots(), 0);
}

#[test]
fn a_stop_waits_for_the_answer_and_then_closes() {
    let mut played = Played::waiting(Settings::default());
    assert_eq!(played.give(Input::Stop), "");
    assert_eq!(
        played.answer("AA", 1),
        "1: Accepted, close: the agent stops"
    );
    let mut played = Played::waiting(Settings::default());
    played.give(Input::Stop);
    assert_eq!(
        played.give(Input::Closed { unsent: 0 }),
        "1: unknown: the agent was stopping and the connection closed before an answer"
    );
}

#[test]
fn bytes_that_the_charset_does_not_have_are_noticed_and_the_answer_counts() {
    let mut played = Played::waiting(Settings::default());
    let answer = mllp::encode(b"MSH|^~\\&|LAB\rMSA|AA|M1|M\xdcLLER\r");
    assert_eq!(
        played.give(Input::Bytes(&answer)),
        "notice: the device's answer holds bytes that are not UTF-8; they were replaced, 1: Accepted"
    );
}

/// A connection whose settings say UTF-8, with a message out whose push asked for another set.
fn waiting_in(charset: &Charset) -> Played {
    let mut played = Played::opened(Settings::default());
    let text = "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|\u{dc}1|P|2.5.1";
    let checked = prepare(text, charset, Settings::default().limits()).unwrap();
    let order = Submission::Hl7(checked.into_order(None));
    assert_eq!(
        played.give(Input::Submit(SubmissionId(1), order)),
        "transmit"
    );
    assert_eq!(played.give(Input::Drained), "");
    played
}

#[track_caller]
fn refusal_is_read(charset: &str, error: &[u8], expected: &str) {
    let mut played = waiting_in(&Charset::by_name(charset).unwrap());
    let answer = [b"MSH|^~\\&|LAB\rMSA|AE|\xdc1\rERR|", error, b"\r"].concat();
    let frame = mllp::encode(&answer);
    played.sender.handle(Input::Bytes(&frame), played.now);
    let reply = Phi(format!("MSH|^~\\&|LAB\rMSA|AE|\u{dc}1\rERR|{expected}\r"));
    let refused = Output::Settled(SubmissionId(1), Outcome::Refused { reply });
    assert_eq!(played.sender.poll(), Some(refused));
    assert_eq!(played.sender.poll(), None, "nothing was replaced");
}

#[test]
fn an_answer_is_read_in_the_charset_of_the_message_that_is_out() {
    refusal_is_read("iso-8859-1", b"M\xdcLLER", "M\u{dc}LLER");
    refusal_is_read("windows-1252", b"5 \x80", "5 \u{20ac}");
}

#[test]
fn the_charset_of_the_last_message_stays_until_the_next_is_sent() {
    let not_utf_8 = "notice: the device's answer holds bytes that are not UTF-8; they were replaced, \
                     notice: the device sent something that is not HL7 (1 bytes)";
    let umlaut = mllp::encode(b"\xdc");
    let mut played = Played::opened(Settings::default());
    assert_eq!(played.give(Input::Bytes(&umlaut)), not_utf_8);

    let mut played = waiting_in(&Charset::by_name("iso-8859-1").unwrap());
    let custody = mllp::encode(b"MSH|^~\\&|LAB\rMSA|CA|\xdc1\r");
    let error = mllp::encode(b"MSH|^~\\&|LAB\rMSA|AE|\xdc1\r");
    assert_eq!(played.give(Input::Bytes(&custody)), "1: Framed");
    assert_eq!(played.give(Input::Bytes(&error)), "1: now refused");

    assert_eq!(played.submit(2), "transmit");
    assert_eq!(played.give(Input::Bytes(&umlaut)), not_utf_8);
}
