//! A story as it is written.

use std::time::Duration;

use serde_json::Value;

/// One story: whom it is about, and what happens.
pub(crate) struct Story {
    pub(crate) profile: String,
    /// With the number of its line.
    pub(crate) statements: Vec<(usize, Statement)>,
    pub(crate) expected: Vec<Value>,
}

/// One thing that happens.
pub(crate) enum Statement {
    Deliver(String),
    Stop,
    Instrument { after: Duration, bytes: Vec<Token> },
    Host(Vec<Token>),
    Jam,
    Chunk(usize),
    Silence(Duration),
    Quiet(Duration),
    Close { unsent: usize },
    ExpectClose,
    Open { after: Duration },
}

/// A byte, or what stands for bytes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Token {
    Byte(u8),
    /// Any run without CR, FS and `|`.
    Any,
    /// Any run without CR and FS.
    Rest,
    /// MSH-10 of the last message from us.
    EchoControlId,
}

impl Story {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut story = Self {
            profile: String::new(),
            statements: vec![],
            expected: vec![],
        };
        if text.lines().next() != Some("# lab-transcript 1") {
            return Err("the first line is not # lab-transcript 1".into());
        }
        for (index, line) in text.lines().enumerate() {
            story
                .read(index + 1, line)
                .map_err(|why| format!("line {}: {why}", index + 1))?;
        }
        Ok(story)
    }

    fn read(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut add = |statement| self.statements.push((number, statement));
        match word {
            "" | "#" | "@title" => {}
            "@profile" => rest.clone_into(&mut self.profile),
            "@expect" => self
                .expected
                .push(serde_json::from_str(rest).map_err(|e| e.to_string())?),
            "@trigger" => {
                for action in rest.split("; ") {
                    add(match action.strip_prefix("deliver ") {
                        Some(order) => Statement::Deliver(order.to_owned()),
                        None if action == "stop" => Statement::Stop,
                        None => return Err(format!("unknown trigger {action}")),
                    });
                }
            }
            "H>" => add(Statement::Host(tokens(rest)?)),
            "I>" => add(instrument(rest)?),
            "!" => add(happening(rest)?),
            _ => return Err(format!("unknown statement {word}")),
        }
        Ok(())
    }
}

fn instrument(text: &str) -> Result<Statement, String> {
    let (after, bytes) = match text.strip_prefix('+').and_then(|text| text.split_once(' ')) {
        Some((after, bytes)) => (millis(after)?, bytes),
        None => (Duration::ZERO, text),
    };
    Ok(Statement::Instrument {
        after,
        bytes: tokens(bytes)?,
    })
}

fn happening(text: &str) -> Result<Statement, String> {
    let words: Vec<&str> = text.split(' ').collect();
    Ok(match words.as_slice() {
        ["jam"] => Statement::Jam,
        ["chunk", n] => Statement::Chunk(n.parse().map_err(|_| "not a number")?),
        ["silence", ms] => Statement::Silence(millis(ms)?),
        ["quiet", ms] => Statement::Quiet(millis(ms)?),
        ["close"] => Statement::Close { unsent: 0 },
        ["close", "unsent", n] => Statement::Close {
            unsent: n.parse().map_err(|_| "not a number")?,
        },
        ["expect-close"] => Statement::ExpectClose,
        ["open", "after", ms] => Statement::Open { after: millis(ms)? },
        _ => return Err(format!("unknown statement ! {text}")),
    })
}

fn millis(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| format!("{text} is no time"))
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (close, read): (char, fn(&str) -> Option<Token>) = match first {
            '<' => ('>', control),
            '{' => ('}', placeholder),
            _ => {
                tokens.push(Token::Byte(u8::try_from(first).map_err(|_| "not ASCII")?));
                rest = &rest[1..];
                continue;
            }
        };
        let (name, tail) = rest[1..]
            .split_once(close)
            .ok_or("a bracket is not closed")?;
        tokens.push(read(name).ok_or_else(|| format!("unknown name {name}"))?);
        rest = tail;
    }
    Ok(tokens)
}

fn control(name: &str) -> Option<Token> {
    let byte = match name {
        "VT" => 0x0b,
        "FS" => 0x1c,
        "CR" => b'\r',
        "LF" => b'\n',
        "ACK" => 0x06,
        "NAK" => 0x15,
        "lt" => b'<',
        _ => u8::from_str_radix(name.strip_prefix('x')?, 16).ok()?,
    };
    Some(Token::Byte(byte))
}

fn placeholder(name: &str) -> Option<Token> {
    match name {
        "any" => Some(Token::Any),
        "rest" => Some(Token::Rest),
        "echo ctl" => Some(Token::EchoControlId),
        _ => None,
    }
}
