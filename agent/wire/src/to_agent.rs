//! What a server sends to an agent.

use crate::TransmitResponse;
use crate::envelope::{DecodeError, Envelope, own, raw};

/// One message from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToAgent {
    ConnectResponse,
    HeartbeatRequest,
    HeartbeatResponse {
        version: Option<String>,
    },
    /// Push this to a device.
    TransmitRequest(PushRequest),
    /// What became of something the agent sent up.
    TransmitResponse(TransmitResponse),
    ReloadRequest {
        callback: Option<String>,
    },
    StatsRequest {
        callback: Option<String>,
    },
    LogsRequest {
        callback: Option<String>,
        limit: Option<i64>,
        before: Option<String>,
    },
    UpgradeRequest {
        callback: Option<String>,
        version: Option<String>,
        force: bool,
    },
    /// Never answered. Without a callback nobody can tell what it is about.
    Error {
        callback: Option<String>,
        body: String,
    },
    /// A type we do not know; answered with `agent:error` and its callback.
    Unknown {
        kind: String,
        callback: Option<String>,
    },
}

/// An `agent:transmit:request` on its way to a device.
///
/// What a push needs may be missing; the receiver says so to the caller instead of dropping it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PushRequest {
    /// `Device.url`, verbatim.
    pub remote: Option<String>,
    pub content_type: Option<String>,
    /// `None` also where the JSON value was not a string.
    pub body: Option<String>,
    /// Absent if nobody waits for the answer.
    pub callback: Option<String>,
    /// `first` or `application`; unchecked.
    pub return_ack: Option<String>,
}

impl std::fmt::Debug for PushRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushRequest")
            .field("remote", &self.remote)
            .field("content_type", &self.content_type)
            .field("callback", &self.callback)
            .field("return_ack", &self.return_ack)
            .field(
                "body",
                &format_args!("[phi; {}]", self.body.as_ref().map_or(0, String::len)),
            )
            .finish()
    }
}

impl ToAgent {
    /// Reads one text frame.
    ///
    /// # Errors
    /// The text is not a JSON object, or a member has a type that no Medplum version sends.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let envelope = Envelope::decode(text)?;
        let body = || envelope.body_text().unwrap_or_default();
        let callback = || envelope.callback.clone().map(Into::into);
        Ok(match &*envelope.kind {
            "agent:connect:response" | "connected" => Self::ConnectResponse,
            "agent:heartbeat:request" => Self::HeartbeatRequest,
            "agent:heartbeat:response" => Self::HeartbeatResponse {
                version: own(envelope.version),
            },
            "agent:transmit:request" | "push" | "transmit" => Self::TransmitRequest(PushRequest {
                body: envelope.body_string(),
                remote: own(envelope.remote),
                content_type: own(envelope.content_type),
                callback: own(envelope.callback),
                return_ack: own(envelope.return_ack),
            }),
            "agent:transmit:response" => Self::TransmitResponse(TransmitResponse::of(envelope)),
            "agent:reloadconfig:request" => Self::ReloadRequest {
                callback: callback(),
            },
            "agent:stats:request" => Self::StatsRequest {
                callback: callback(),
            },
            "agent:logs:request" => Self::LogsRequest {
                callback: callback(),
                limit: envelope.limit,
                before: own(envelope.before),
            },
            "agent:upgrade:request" => Self::UpgradeRequest {
                callback: callback(),
                version: own(envelope.version),
                force: envelope.force.unwrap_or(false),
            },
            "agent:error" => Self::Error {
                callback: callback(),
                body: body(),
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
            Self::ConnectResponse => Envelope::of("agent:connect:response").encode(),
            Self::HeartbeatRequest => Envelope::of("agent:heartbeat:request").encode(),
            Self::HeartbeatResponse { version } => Envelope {
                version: version.as_deref().map(Into::into),
                ..Envelope::of("agent:heartbeat:response")
            }
            .encode(),
            Self::TransmitRequest(push) => push.encode(),
            Self::TransmitResponse(response) => response.encode(),
            Self::ReloadRequest { callback } => {
                Envelope::with("agent:reloadconfig:request", callback.as_deref()).encode()
            }
            Self::StatsRequest { callback } => {
                Envelope::with("agent:stats:request", callback.as_deref()).encode()
            }
            Self::LogsRequest {
                callback,
                limit,
                before,
            } => Envelope {
                limit: *limit,
                before: before.as_deref().map(Into::into),
                ..Envelope::with("agent:logs:request", callback.as_deref())
            }
            .encode(),
            Self::UpgradeRequest {
                callback,
                version,
                force,
            } => Envelope {
                version: version.as_deref().map(Into::into),
                force: force.then_some(true),
                ..Envelope::with("agent:upgrade:request", callback.as_deref())
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

impl PushRequest {
    fn encode(&self) -> String {
        let body = self.body.as_deref().map(raw);
        Envelope {
            remote: self.remote.as_deref().map(Into::into),
            content_type: self.content_type.as_deref().map(Into::into),
            callback: self.callback.as_deref().map(Into::into),
            return_ack: self.return_ack.as_deref().map(Into::into),
            body: body.as_deref(),
            ..Envelope::of("agent:transmit:request")
        }
        .encode()
    }
}

impl TransmitResponse {
    pub(crate) fn of(envelope: Envelope<'_>) -> Self {
        Self {
            body: envelope.body_text().unwrap_or_default(),
            channel: own(envelope.channel),
            remote: own(envelope.remote).unwrap_or_default(),
            callback: own(envelope.callback),
            content_type: own(envelope.content_type).unwrap_or_default(),
            status_code: envelope.status_code,
        }
    }

    pub(crate) fn encode(&self) -> String {
        Envelope {
            channel: self.channel.as_deref().map(Into::into),
            remote: Some(self.remote.as_str().into()),
            callback: self.callback.as_deref().map(Into::into),
            content_type: Some(self.content_type.as_str().into()),
            status_code: self.status_code,
            body: Some(&raw(&self.body)),
            ..Envelope::of("agent:transmit:response")
        }
        .encode()
    }
}
