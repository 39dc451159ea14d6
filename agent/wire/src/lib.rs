//! Medplum's agent websocket messages as types, and nothing else.
//!
//! One JSON object per text frame, told apart by `type`; `callback` correlates an answer with its request.
//! Members that are absent stay absent (never `null`), members we do not know are ignored, as both real peers do.
//! What a server sends is [`ToAgent`], what an agent sends is [`ToServer`]; each `decode`s and `encode`s,
//! so that the agent and the cloud stub read the same file. `fixtures/` holds one example a message kind;
//! the tests check them against the published TypeScript types.
//!
//! This crate refuses to interpret: no policy, no sizes, no HL7.

mod envelope;
mod to_agent;
mod to_server;

pub use envelope::DecodeError;
pub use to_agent::{PushRequest, ToAgent};
pub use to_server::{DeviceMessage, LogsPage, ToServer};

/// Content type of HL7 v2 in its pipe-and-hat encoding.
pub const HL7: &str = "x-application/hl7-v2+er7";
/// Content type of a request to ping a host.
pub const PING: &str = "x-application/ping";
/// Content type of a sentence for people, of refusals above all.
pub const TEXT: &str = "text/plain";
/// Content type of a command to the agent itself, pushed to `device://self`.
pub const COMMAND: &str = "application/vnd.wardpost.command+json";

/// The result of one transmit, in either direction (`agent:transmit:response`).
#[derive(Clone, PartialEq, Eq)]
pub struct TransmitResponse {
    /// Echo of the request's channel, where it had one.
    pub channel: Option<String>,
    /// Echo of the request's remote.
    pub remote: String,
    /// Echo of the request's callback, byte for byte.
    pub callback: Option<String>,
    pub content_type: String,
    /// `None` from very old peers, and then it means success; success is anything below 400.
    pub status_code: Option<u16>,
    /// The answer's text. A server may put any JSON value here; it is kept as its JSON text then.
    pub body: String,
}

impl std::fmt::Debug for TransmitResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransmitResponse")
            .field("remote", &self.remote)
            .field("callback", &self.callback)
            .field("status_code", &self.status_code)
            .field("body", &format_args!("[phi; {}]", self.body.len()))
            .finish_non_exhaustive()
    }
}
