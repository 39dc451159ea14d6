//! Plays one story: the instrument's part and the line's, and the clock.

use std::collections::VecDeque;
use std::time::Duration;

use device_drivers::{
    BytesLeft, Conversation, Input, Level, Mono, News, Outcome, Output, Phi, Submission,
    SubmissionId, hl7,
};
use serde_json::{Value, json};

use crate::story::{Statement, Story, Token};

/// Gives the text of an order by its name.
pub(crate) type Orders<'a> = &'a dyn Fn(&str) -> Result<String, String>;

pub(crate) fn play(story: &Story, orders: Orders<'_>) -> Result<(), String> {
    let settings = profile(&story.profile)?;
    let conversation = settings.dial();
    let mut player = Player {
        settings,
        conversation,
        now: Mono(0),
        connection: Connection::Open,
        chunk: 0,
        waiting: VecDeque::new(),
        submitted: Vec::new(),
        transmitted: None,
        control_id: Vec::new(),
        events: Vec::new(),
    };
    player.give(Input::Opened);
    for (line, statement) in &story.statements {
        player
            .happen(statement, orders)
            .map_err(|why| format!("line {line}: {why}"))?;
    }
    player.end(&story.expected)
}

fn profile(name: &str) -> Result<hl7::Settings, String> {
    let usual = hl7::Settings::default();
    Ok(match name {
        "hl7-default" => usual,
        "hl7-application" => hl7::Settings {
            return_ack: hl7::ReturnAck::Application,
            ..usual
        },
        "hl7-strict" => hl7::Settings {
            frame_end: hl7::FrameEnd::Strict,
            ..usual
        },
        "hl7-per-message" => hl7::Settings {
            lifetime: hl7::Lifetime::PerMessage,
            ..usual
        },
        "hl7-latin1" => {
            let charset = hl7::Charset::by_name("iso-8859-1").map_err(|e| e.to_string())?;
            hl7::Settings { charset, ..usual }
        }
        _ => return Err(format!("unknown profile {name}")),
    })
}

struct Player {
    settings: hl7::Settings,
    conversation: Box<dyn Conversation>,
    now: Mono,
    connection: Connection,
    /// Size of the instrument's pieces; 0: whole.
    chunk: usize,
    /// Orders that have found no free slot yet.
    waiting: VecDeque<(String, hl7::Order)>,
    /// Names by submission id.
    submitted: Vec<String>,
    /// What the conversation wants to send and no statement has seen.
    transmitted: Option<Vec<u8>>,
    control_id: Vec<u8>,
    events: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq)]
enum Connection {
    Open,
    /// Nothing of ours leaves.
    Jammed,
    /// We want it closed.
    Closing,
    Closed,
}

impl Player {
    fn happen(&mut self, statement: &Statement, orders: Orders<'_>) -> Result<(), String> {
        match statement {
            Statement::Deliver(name) => self.deliver(name, &orders(name)?)?,
            Statement::Stop => self.give(Input::Stop),
            Statement::Instrument { after, bytes } => {
                self.pass(*after);
                let bytes = self.filled_in(bytes)?;
                let size = if self.chunk == 0 {
                    bytes.len()
                } else {
                    self.chunk
                };
                bytes
                    .chunks(size)
                    .for_each(|piece| self.give(Input::Bytes(piece)));
            }
            Statement::Host(pattern) => self.see(pattern)?,
            Statement::Jam => self.connection = Connection::Jammed,
            Statement::Chunk(size) => self.chunk = *size,
            Statement::Silence(wait) => self.pass(*wait),
            Statement::Quiet(wait) => {
                self.pass(*wait);
                self.nothing_sent()?;
            }
            Statement::Close { unsent } => self.close(*unsent),
            Statement::ExpectClose if self.connection == Connection::Closing => {}
            Statement::ExpectClose => return Err("the connection was not closed".into()),
            Statement::Open { after } => self.open(*after),
        }
        Ok(())
    }

    fn deliver(&mut self, name: &str, text: &str) -> Result<(), String> {
        let settings = &self.settings;
        let checked = hl7::prepare(text, &settings.charset, settings.limits());
        let order = checked.map_err(|e| e.to_string())?.into_order(None);
        self.waiting.push_back((name.to_owned(), order));
        self.pump();
        Ok(())
    }

    fn give(&mut self, input: Input<'_>) {
        self.conversation.handle(input, self.now);
        self.pump();
    }

    /// Does what the conversation asks for, and gives it the next order when it is free.
    fn pump(&mut self) {
        loop {
            while let Some(output) = self.conversation.poll() {
                self.obey(output);
            }
            if self.conversation.free_slots() == 0 || self.transmitted.is_some() {
                return;
            }
            let Some((name, order)) = self.waiting.pop_front() else {
                return;
            };
            let id = SubmissionId(self.submitted.len() as u64);
            self.submitted.push(name);
            self.conversation
                .handle(Input::Submit(id, Submission::Hl7(order)), self.now);
        }
    }

    fn obey(&mut self, output: Output) {
        let event = match output {
            Output::Transmit(bytes) => {
                self.transmitted = Some(bytes);
                return;
            }
            Output::Settled(id, outcome) => settled(self.name(id), outcome),
            Output::News(id, news) => later(self.name(id), news),
            Output::Noticed(notice) => json!({"event": "warning", "what": notice.to_string()}),
            Output::Close(reason) => {
                self.connection = Connection::Closing;
                json!({"event": "close", "cause": reason.to_string()})
            }
        };
        self.events.push(event);
    }

    fn name(&self, id: SubmissionId) -> &str {
        let name = usize::try_from(id.0)
            .ok()
            .and_then(|id| self.submitted.get(id));
        name.map_or("an order that was never submitted", String::as_str)
    }

    /// Lets time pass, with a tick at every deadline.
    fn pass(&mut self, wait: Duration) {
        let end = self.now.plus(wait);
        while let Some(deadline) = self.conversation.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(deadline);
            self.give(Input::Tick);
            assert_ne!(
                self.conversation.deadline(),
                Some(deadline),
                "a tick that ends no wait"
            );
        }
        self.now = end;
    }

    /// Sees a message of ours, and lets it leave.
    fn see(&mut self, pattern: &[Token]) -> Result<(), String> {
        let bytes = self.transmitted.take().ok_or("nothing was sent")?;
        if !matches(pattern, &bytes) {
            return Err(format!(
                "sent was {}",
                String::from_utf8_lossy(&bytes).escape_debug()
            ));
        }
        let control_id = bytes.split(|byte| *byte == b'|').nth(9);
        self.control_id = control_id.unwrap_or_default().to_vec();
        if self.connection == Connection::Open {
            self.give(Input::Drained);
        }
        Ok(())
    }

    fn filled_in(&self, tokens: &[Token]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for token in tokens {
            match token {
                Token::Byte(byte) => bytes.push(*byte),
                Token::EchoControlId => bytes.extend_from_slice(&self.control_id),
                Token::Any | Token::Rest => return Err("a pattern where bytes are sent".into()),
            }
        }
        Ok(bytes)
    }

    fn nothing_sent(&self) -> Result<(), String> {
        match &self.transmitted {
            Some(bytes) => Err(format!(
                "{} bytes were sent that nobody expected",
                bytes.len()
            )),
            None => Ok(()),
        }
    }

    fn close(&mut self, unsent: usize) {
        self.connection = Connection::Closed;
        self.give(Input::Closed { unsent });
    }

    fn open(&mut self, after: Duration) {
        if self.connection != Connection::Closed {
            self.close(0);
        }
        self.pass(after);
        self.conversation = self.settings.dial();
        self.connection = Connection::Open;
        self.give(Input::Opened);
    }

    fn end(mut self, expected: &[Value]) -> Result<(), String> {
        self.nothing_sent()?;
        if self.connection != Connection::Closed {
            self.close(0);
        }
        for index in 0..expected.len().max(self.events.len()) {
            let (expected, event) = (expected.get(index), self.events.get(index));
            if !expected
                .zip(event)
                .is_some_and(|(expected, event)| agrees(event, expected))
            {
                return Err(format!("expected {}, got {}", show(expected), show(event)));
            }
        }
        Ok(())
    }
}

fn show(event: Option<&Value>) -> String {
    event.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Whether an event has every member that is expected.
fn agrees(event: &Value, expected: &Value) -> bool {
    let members = expected.as_object().into_iter().flatten();
    let mut others = members.filter(|(key, value)| event.get(key) != Some(value));
    others.next().is_none()
        && event
            .get("later")
            .is_none_or(|later| expected.get("later") == Some(later))
}

fn settled(order: &str, outcome: Outcome) -> Value {
    match outcome {
        Outcome::Acknowledged { level, reply } => acknowledged(order, level, &reply),
        Outcome::Refused { reply } => refused(order, &reply),
        Outcome::NotDelivered { why, bytes_left } => {
            let left = match bytes_left {
                BytesLeft::None => "none",
                BytesLeft::Some => "some",
            };
            let cause = why.to_string();
            json!({"event": "attempt-failed", "order": order, "cause": cause, "bytes_left": left})
        }
        Outcome::Unknown { why } => {
            json!({"event": "uncertain", "order": order, "cause": why.to_string()})
        }
    }
}

fn later(order: &str, news: News) -> Value {
    let mut event = match news {
        News::Level { level, reply } => acknowledged(order, level, &reply),
        News::Refused { reply } => refused(order, &reply),
    };
    event["later"] = json!(true);
    event
}

fn acknowledged(order: &str, level: Level, reply: &Phi<String>) -> Value {
    let event = match level {
        Level::Framed => "delivered",
        Level::Accepted => "accepted",
    };
    json!({"event": event, "order": order, "reply": reply.0})
}

fn refused(order: &str, reply: &Phi<String>) -> Value {
    let code = reply.0.split("MSA|").nth(1).and_then(|msa| msa.get(..2));
    json!({"event": "refused", "order": order, "code": code, "reply": reply.0})
}

fn matches(pattern: &[Token], bytes: &[u8]) -> bool {
    let Some((token, pattern)) = pattern.split_first() else {
        return bytes.is_empty();
    };
    let stops: &[u8] = match token {
        Token::Byte(expected) => {
            return bytes
                .split_first()
                .is_some_and(|(b, rest)| b == expected && matches(pattern, rest));
        }
        Token::Any => b"\r\x1c|",
        Token::Rest => b"\r\x1c",
        Token::EchoControlId => return false,
    };
    let run = bytes
        .iter()
        .take_while(|byte| !stops.contains(byte))
        .count();
    (0..=run).any(|length| matches(pattern, &bytes[length..]))
}
