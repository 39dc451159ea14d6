//! The way to the cloud: one outbound websocket, one token, a few HTTP requests.
//!
//! [`uplink`] keeps the session alive and carries envelopes; what they mean is decided behind [`CloudSide`].
//! Everything that leaves the box goes through [`dial`]. Nothing here knows a device or the database,
//! and nothing here ever gives up.

pub mod dial;
pub mod fhir;
mod headers;
pub mod http;
pub mod intake;
pub mod mailbox;
pub mod ping;
pub mod rights;
pub mod settings;
pub mod token;
mod translate;
pub mod uplink;
mod websocket;

use std::error::Error;
use std::future::Future;

use agent_core::clock::CloudTime;
use agent_core::phi::Phi;
use agent_core::push::Seq;
use agent_core::uplink::Status;
use agent_core::upload::{End, UploadId};
use agent_wire::{ToAgent, ToServer};
use url::Url;

use crate::store::Upload;
use crate::tls::told;

pub use agent_wire::{COMMAND, TEXT};
pub use fhir::AgentStatus;
pub use translate::{join_digest, refusal};

/// The largest message that a Medplum server takes, in bytes of UTF-8 JSON (its `maxJsonSize`).
pub const MAX_ENVELOPE: usize = 1_048_576;

/// What the uplink needs of the rest of the agent.
///
/// All of it is called from the one task of the uplink, in order. A call that waits holds up the
/// reading of the socket, so a slow disk is felt by the server as a slow agent and by nobody else.
pub trait CloudSide: Send + Sync + 'static {
    /// Takes one message of the server; heartbeats, connect and reload are not among them.
    ///
    /// What must be said at once is returned; the answer to a push comes later as [`Said`].
    fn take(&self, message: ToAgent) -> impl Future<Output = Option<ToServer>> + Send;

    /// The session began or ended. They alternate, and the first one is [`Link::Live`].
    fn link(&self, link: Link) -> impl Future<Output = ()> + Send;

    /// Reads the configuration anew, as the cloud asked. The error is for the one who asked there.
    ///
    /// The only call that is not made in order: it goes on beside the session.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// `Agent.status` as the cloud has it now.
    fn agent_status(&self, status: AgentStatus) -> impl Future<Output = ()> + Send;

    /// The cloud has told its time. Comes before the session in which pushes are stamped by it.
    fn cloud_time(&self, time: CloudTime) -> impl Future<Output = ()> + Send;

    /// Answers on disk after `after`, oldest first, at most `limit`.
    fn answers_after(
        &self,
        after: Seq,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Answer>, AnswersUnread>> + Send;

    /// Every answer up to here has left the socket and the server has been heard since.
    fn taken(&self, upto: Seq);

    /// The mark as the store knows it at start.
    fn taken_mark(&self) -> Seq;

    /// The newest answer there is, to notice what the channel dropped.
    ///
    /// An answer is counted here before it is offered as [`Said::Answer`].
    fn last_answer(&self) -> Seq;

    /// The newest upload, and a number that rises when all that wait must be read anew.
    fn newest_upload(&self) -> (UploadId, u64);

    /// What waits to go up after `after`, oldest first: which, and on which channel.
    fn uploads_after(
        &self,
        after: UploadId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(UploadId, String)>, Unread>> + Send;

    /// One that waits; `None` if it does not wait any more.
    fn upload(&self, id: UploadId) -> impl Future<Output = Result<Option<Upload>, Unread>> + Send;

    /// It waits no more.
    fn close_upload(&self, id: UploadId, end: End) -> impl Future<Output = ()> + Send;

    /// What else may be asked of the server while the session is alive, and `None` when it is not.
    fn access(&self, access: Option<mailbox::Access>) {
        let _ = access;
    }

    /// How the uplink is, in words; for the status page. Called at each change.
    fn uplink_status(&self, status: &Status) {
        let _ = status;
    }
}

/// Whether the server has accepted this agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    Live,
    Down,
}

/// The recorded answer to one push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub seq: Seq,
    /// The answer before it.
    pub prev: Seq,
    pub callback: String,
    pub remote: String,
    pub content_type: String,
    pub status: u16,
    pub body: Phi<String>,
}

/// What the rest of the agent wants to say to the server.
#[derive(Clone, PartialEq, Debug)]
pub enum Said {
    /// An answer, now on disk.
    Answer(Answer),
    /// The same answer again, to a callback that came again.
    Again(Answer),
    /// Refusals and the like, not on disk; lost if the link is down.
    Reply(ToServer),
    /// Somebody found that the server does not take our token any more.
    TokenRefused,
}

/// The recorded answers could not be read now; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the recorded answers")]
pub struct AnswersUnread(#[source] pub Box<dyn Error + Send + Sync>);

/// What waits to go up could not be read now; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what waits to go up")]
pub struct Unread(#[source] pub Box<dyn Error + Send + Sync>);

/// The version as Medplum's tools compare it: `x.y.z-hhhhhhh`.
pub fn agent_version() -> String {
    let commit = option_env!("WARDPOST_COMMIT").unwrap_or_default();
    format!(
        "{}-{:0<7}",
        env!("CARGO_PKG_VERSION"),
        commit.get(..7).unwrap_or(commit)
    )
}

/// The url of a path under the server's base, whether or not the base ends in a slash.
fn beneath(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// What a server wrote, fit for a status line: one short line, nothing that steers a terminal.
fn quoted(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = shown.take(QUOTED_CHARS).collect();
    short.trim().to_owned()
}

/// Enough for a server's reason, too little for a page of HTML.
const QUOTED_CHARS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_the_form_that_medplum_compares() {
        let version = agent_version();
        let (number, commit) = version.rsplit_once('-').unwrap();
        assert_eq!(number.split('.').count(), 3);
        assert_eq!(commit.len(), 7);
    }

    #[test]
    fn a_path_goes_under_the_base_with_or_without_its_last_slash() {
        for base in ["https://cloud.example/site/", "https://cloud.example/site"] {
            let url = beneath(&Url::parse(base).unwrap(), &["Agent", "a/1"]);
            assert_eq!(url.as_str(), "https://cloud.example/site/Agent/a%2F1");
        }
    }

    #[test]
    fn what_a_server_wrote_is_shown_short_and_on_one_line() {
        assert_eq!(quoted("Not\u{1b}[2J found\r\n"), "Not [2J found");
        assert_eq!(quoted(&"x".repeat(1_000)).len(), QUOTED_CHARS);
    }
}
