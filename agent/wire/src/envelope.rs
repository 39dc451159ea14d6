//! The flat shape that every message shares, read and written in one pass.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Why a text frame is no message.
#[derive(Debug)]
pub struct DecodeError {
    source: serde_json::Error,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The parser's text names a position and a kind of mistake, never the value it stood on.
        let kind = match self.source.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Data => "a member has the wrong type",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                "it is not JSON"
            }
        };
        let (line, column) = (self.source.line(), self.source.column());
        write!(
            f,
            "unreadable message: {kind} (line {line}, column {column})"
        )
    }
}

impl std::error::Error for DecodeError {}

/// Every member any message may have.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) access_token: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status_code: Option<u16>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) return_ack: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) force: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) has_more: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_before: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    pub(crate) fn decode(text: &'a str) -> Result<Self, DecodeError> {
        serde_json::from_str(text).map_err(|source| DecodeError { source })
    }

    pub(crate) fn of(kind: &'a str) -> Self {
        Self {
            kind: kind.into(),
            ..Self::default()
        }
    }

    /// A message of which only the callback is known yet.
    pub(crate) fn with(kind: &'a str, callback: Option<&'a str>) -> Self {
        Self {
            callback: callback.map(Into::into),
            ..Self::of(kind)
        }
    }

    /// A response that says how it went.
    pub(crate) fn done(kind: &'a str, callback: Option<&'a str>, status_code: u16) -> Self {
        Self {
            status_code: Some(status_code),
            ..Self::with(kind, callback)
        }
    }

    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).expect("a struct of strings and numbers always serialises")
    }

    /// The body as text: a JSON string's contents, or any other value's JSON text.
    pub(crate) fn body_text(&self) -> Option<String> {
        self.body
            .map(|raw| string_of(raw).unwrap_or_else(|| raw.get().to_owned()))
    }

    /// The body if it is a JSON string.
    pub(crate) fn body_string(&self) -> Option<String> {
        self.body.and_then(string_of)
    }
}

/// A text as a raw JSON string.
pub(crate) fn raw(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string always serialises")
}

pub(crate) fn own(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}

fn string_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str::<String>(raw.get()).ok()
}
