//! What an agent sends to a server.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::TransmitResponse;
use crate::envelope::{DecodeError, Envelope, own, raw};

/// One message from an agent.
#[derive(Clone, PartialEq, Debug)]
pub enum ToServer {
    ConnectRequest {
        access_token: Option<String>,
        agent_id: Option<String>,
    },
    HeartbeatRequest,
    HeartbeatResponse {
        version: Option<String>,
    },
    /// A device sent something.
    TransmitRequest(DeviceMessage),
    /// What became of a push.
    TransmitResponse(TransmitResponse),
    ReloadResponse {
        callback: Option<String>,
        status_code: u16,
    },
    UpgradeResponse {
        callback: Option<String>,
        status_code: u16,
    },
    StatsResponse {
        callback: Option<String>,
        status_code: u16,
        stats: Value,
    },
    LogsResponse {
        callback: Option<String>,
        status_code: u16,
        page: LogsPage,
    },
    Error {
        callback: Option<String>,
        body: String,
    },
    Unknown {
        kind: String,
        callback: Option<String>,
    },
}

/// An `agent:transmit:request` on its way up, to the Bot of a channel.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct DeviceMessage {
    pub access_token: Option<String>,
    /// `Agent.channel.name`.
    pub channel: Option<String>,
    /// Who sent it: address and port, or the calling AE title.
    pub remote: Option<String>,
    pub content_type: Option<String>,
    pub body: Option<String>,
    pub callback: Option<String>,
}

/// One page of log lines, newest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogsPage {
    pub logs: Vec<Value>,
    pub has_more: Option<bool>,
    /// Opaque cursor for the next page.
    pub next_before: Option<String>,
}

impl std::fmt::Debug for DeviceMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceMessage")
            .field("channel", &self.channel)
            .field("remote", &self.remote)
            .field("content_type", &self.content_type)
            .field("callback", &self.callback)
            .field(
                "body",
                &format_args!("[phi; {}]", self.body.as_ref().map_or(0, String::len)),
            )
            .finish_non_exhaustive()
    }
}

impl ToServer {
    /// Reads one text frame.
    ///
    /// # Errors
    /// The text is not a JSON object, or a member has a type that no agent sends.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let envelope = Envelope::decode(text)?;
        let status_code = envelope.status_code.unwrap_or(200);
        let callback = || envelope.callback.clone().map(Into::into);
        Ok(match &*envelope.kind {
            "agent:connect:request" | "connect" => Self::ConnectRequest {
                access_token: own(envelope.access_token),
                agent_id: own(envelope.agent_id),
            },
            "agent:heartbeat:request" => Self::HeartbeatRequest,
            "agent:heartbeat:response" => Self::HeartbeatResponse {
                version: own(envelope.version),
            },
            "agent:transmit:request" | "transmit" => {
                Self::TransmitRequest(DeviceMessage::of(envelope))
            }
            "agent:transmit:response" => Self::TransmitResponse(TransmitResponse::of(envelope)),
            "agent:reloadconfig:response" => Self::ReloadResponse {
                callback: callback(),
                status_code,
            },
            "agent:upgrade:response" => Self::UpgradeResponse {
                callback: callback(),
                status_code,
            },
            "agent:stats:response" => Self::StatsResponse {
                callback: callback(),
                status_code,
                stats: value_of(envelope.stats),
            },
            "agent:logs:response" => Self::LogsResponse {
                callback: callback(),
                status_code,
                page: LogsPage::of(envelope),
            },
            "agent:error" => Self::Error {
                callback: callback(),
                body: envelope.body_text().unwrap_or_default(),
            },
            other => Self::Unknown {
                kind: other.to_owned(),
                callback: callback(),
            },
        })
    }

    /// Writes one text frame.
    pub fn encode(&self) -> String {
        match self {
            Self::ConnectRequest {
                access_token,
                agent_id,
            } => Envelope {
                access_token: access_token.as_deref().map(Into::into),
                agent_id: agent_id.as_deref().map(Into::into),
                ..Envelope::of("agent:connect:request")
            }
            .encode(),
            Self::HeartbeatRequest => Envelope::of("agent:heartbeat:request").encode(),
            Self::HeartbeatResponse { version } => Envelope {
                version: version.as_deref().map(Into::into),
                ..Envelope::of("agent:heartbeat:response")
            }
            .encode(),
            Self::TransmitRequest(message) => message.encode(),
            Self::TransmitResponse(response) => response.encode(),
            Self::ReloadResponse {
                callback,
                status_code,
            } => Envelope::done(
                "agent:reloadconfig:response",
                callback.as_deref(),
                *status_code,
            )
            .encode(),
            Self::UpgradeResponse {
                callback,
                status_code,
            } => {
                Envelope::done("agent:upgrade:response", callback.as_deref(), *status_code).encode()
            }
            Self::StatsResponse {
                callback,
                status_code,
                stats,
            } => Envelope {
                stats: Some(&raw_of(stats)),
                ..Envelope::done("agent:stats:response", callback.as_deref(), *status_code)
            }
            .encode(),
            Self::LogsResponse {
                callback,
                status_code,
                page,
            } => Envelope {
                logs: Some(&raw_of(&Value::Array(page.logs.clone()))),
                has_more: page.has_more,
                next_before: page.next_before.as_deref().map(Into::into),
                ..Envelope::done("agent:logs:response", callback.as_deref(), *status_code)
            }
            .encode(),
            Self::Error { callback, body } => Envelope {
                body: Some(&raw(body)),
                ..Envelope::with("agent:error", callback.as_deref())
            }
            .encode(),
            Self::Unknown { kind, callback } => Envelope::with(kind, callback.as_deref()).encode(),
        }
    }
}

impl DeviceMessage {
    fn of(envelope: Envelope<'_>) -> Self {
        Self {
            body: envelope.body_text(),
            access_token: own(envelope.access_token),
            channel: own(envelope.channel),
            remote: own(envelope.remote),
            content_type: own(envelope.content_type),
            callback: own(envelope.callback),
        }
    }

    fn encode(&self) -> String {
        let body = self.body.as_deref().map(raw);
        Envelope {
            access_token: self.access_token.as_deref().map(Into::into),
            channel: self.channel.as_deref().map(Into::into),
            remote: self.remote.as_deref().map(Into::into),
            content_type: self.content_type.as_deref().map(Into::into),
            callback: self.callback.as_deref().map(Into::into),
            body: body.as_deref(),
            ..Envelope::of("agent:transmit:request")
        }
        .encode()
    }
}

impl LogsPage {
    fn of(envelope: Envelope<'_>) -> Self {
        let logs = match value_of(envelope.logs) {
            Value::Array(logs) => logs,
            _ => Vec::new(),
        };
        Self {
            logs,
            has_more: envelope.has_more,
            next_before: own(envelope.next_before),
        }
    }
}

fn value_of(raw: Option<&RawValue>) -> Value {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or(Value::Null)
}

fn raw_of(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value always serialises")
}
