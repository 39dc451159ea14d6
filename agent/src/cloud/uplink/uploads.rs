//! Brings uploads to the socket and hears what the server says of them. `agent_core::upload` decides which goes when;
//! this file reads from disk and writes envelopes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agent_core::push::Mono;
use agent_core::retry::Dice;
use agent_core::upload::{End, Input, Output, Reply, Sender, UploadId};
use agent_wire::{DeviceMessage, ToServer, TransmitResponse};
use tracing::{debug, warn};

use super::slot::Slot;
use crate::cloud::websocket::WebSocket;
use crate::cloud::{CloudSide, MAX_ENVELOPE, Unread, told};
use crate::store::Upload;

/// The uploads on their way out.
pub(super) struct Uploads<C> {
    cloud: Arc<C>,
    sender: Sender,
    /// All up to this one were told to the sender.
    known: UploadId,
    /// Which telling of all that wait it was.
    epoch: u64,
    disk: Slot<Disk>,
    /// To be read and sent.
    sends: VecDeque<Ticket>,
    /// No list is asked for before this.
    list_at: Mono,
}

/// Leave to send one of them once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    id: UploadId,
    attempt: u64,
}

/// What a reading brought.
pub(super) enum Disk {
    /// What waits, all of it up to there.
    Waiting(UploadId, Result<Vec<(UploadId, String)>, Unread>),
    Body(Ticket, Result<Option<Upload>, Unread>),
}

/// What it takes to send one.
pub(super) struct Out<'a> {
    pub(super) socket: &'a mut WebSocket,
    pub(super) agent: &'a str,
    pub(super) token: &'a str,
}

/// When, and by which chance.
pub(super) type At = (Mono, Dice);

impl<C: CloudSide> Uploads<C> {
    pub(super) fn new(cloud: Arc<C>) -> Self {
        Self {
            cloud,
            sender: Sender::default(),
            known: UploadId(0),
            epoch: 0,
            disk: Slot::empty(),
            sends: VecDeque::new(),
            list_at: Mono(0),
        }
    }

    pub(super) async fn link_up(&mut self, at: At) {
        self.step(Input::LinkUp, at).await;
    }

    pub(super) async fn link_down(&mut self, at: At) {
        self.sends.clear();
        self.disk.clear();
        self.step(Input::LinkDown, at).await;
    }

    /// Reads what is new or to be sent, and looks at what is overdue.
    pub(super) async fn work(&mut self, at: At) {
        let (newest, epoch) = self.cloud.newest_upload();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.known = UploadId(0);
            self.disk.clear();
            self.sends.clear();
            self.step(Input::Forget, at).await;
        }
        if self.sender.deadline().is_some_and(|due| due <= at.0) {
            self.step(Input::Tick, at).await;
        }
        if !self.disk.is_empty() {
            return;
        }
        let cloud = Arc::clone(&self.cloud);
        if let Some(ticket) = self.sends.pop_front() {
            self.disk
                .start(async move { Disk::Body(ticket, cloud.upload(ticket.id).await) });
        } else if newest > self.known && self.list_at <= at.0 {
            let known = self.known;
            self.disk.start(async move {
                Disk::Waiting(newest, cloud.uploads_after(known, PAGE).await)
            });
        }
    }

    pub(super) async fn read(&mut self) -> Disk {
        self.disk.done().await
    }

    /// Takes what was read. The session is live.
    pub(super) async fn came(&mut self, disk: Disk, out: Out<'_>, at: At) {
        match disk {
            Disk::Waiting(upto, Ok(waiting)) => self.listed(waiting, upto, at).await,
            Disk::Waiting(_, Err(fault)) => {
                warn!(error = told(&fault), "uploads wait");
                self.list_at = at.0.plus(READ_RETRY);
            }
            Disk::Body(ticket, Ok(Some(upload))) => self.send(ticket, &upload, (out, at)).await,
            Disk::Body(ticket, Ok(None)) => self.step(Input::Gone { id: ticket.id }, at).await,
            // The sender misses an answer in time.
            Disk::Body(_, Err(fault)) => warn!(error = told(&fault), "an upload waits"),
        }
    }

    /// Whether a response of the server is about an upload.
    pub(super) async fn answered(&mut self, response: &TransmitResponse, at: At) {
        let Some(id) = response.callback.as_deref().and_then(id_of) else {
            debug!("the server answered something that was not asked");
            return;
        };
        let reply = match response.status_code {
            Some(status) if status >= 400 => Reply::Refused { status },
            Some(_) | None => Reply::Taken,
        };
        if let Reply::Refused { status } = reply {
            // What its Bot says may be clinical.
            let bytes = response.body.len();
            warn!(
                upload = id.0,
                status, bytes, "the cloud refused an upload; it is tried again"
            );
        }
        self.step(Input::Answered { id, reply }, at).await;
    }

    /// The server reported an error, about an upload or nobody knows about what.
    pub(super) async fn error(&mut self, callback: Option<&str>, at: At) {
        let about = callback.map(id_of);
        // With the callback of something else it is about that.
        if about != Some(None) {
            let about = about.flatten();
            self.step(Input::Error { about }, at).await;
        }
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.sender.deadline()
    }

    /// All that waits up to `upto` was there to be read.
    async fn listed(&mut self, waiting: Vec<(UploadId, String)>, upto: UploadId, at: At) {
        if waiting.len() < PAGE {
            self.known = self.known.max(upto);
        }
        for (id, channel) in waiting {
            self.known = self.known.max(id);
            self.step(Input::Waits { id, channel }, at).await;
        }
    }

    async fn send(&mut self, ticket: Ticket, upload: &Upload, (out, at): (Out<'_>, At)) {
        let Ticket { id, attempt } = ticket;
        let envelope = ToServer::TransmitRequest(DeviceMessage {
            access_token: Some(out.token.to_owned()),
            channel: Some(upload.channel.clone()),
            remote: Some(upload.remote.clone()),
            content_type: Some(upload.content_type.clone()),
            body: Some(upload.body.0.clone()),
            callback: Some(callback(out.agent, ticket)),
        })
        .encode();
        if envelope.len() > MAX_ENVELOPE {
            let why = format!("it is too large for the server ({} bytes)", envelope.len());
            return self.step(Input::Unsendable { id, why }, at).await;
        }
        debug!(
            upload = id.0,
            attempt,
            channel = upload.channel,
            "upload sent"
        );
        out.socket.send(envelope);
    }

    async fn step(&mut self, input: Input, at: At) {
        let mut out = Vec::new();
        self.sender.step(input, at, &mut out);
        for output in out {
            match output {
                Output::Send { id, attempt } => self.sends.push_back(Ticket { id, attempt }),
                Output::Close { id, end } => self.close(id, end).await,
            }
        }
    }

    async fn close(&mut self, id: UploadId, end: End) {
        self.sends.retain(|ticket| ticket.id != id);
        self.cloud.close_upload(id, end).await;
    }
}

/// The same form as that of Medplum's own agent, with a number for each try.
fn callback(agent: &str, Ticket { id, attempt }: Ticket) -> String {
    format!("Agent/{agent}{MARK}{}#{attempt}", id.0)
}

fn id_of(callback: &str) -> Option<UploadId> {
    let (_, rest) = callback.rsplit_once(MARK)?;
    let (id, _) = rest.split_once('#')?;
    id.parse().ok().map(UploadId)
}

const MARK: &str = "-upload-";
/// Numbers read at once.
const PAGE: usize = 1_000;
/// After a list could not be read.
const READ_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_names_its_upload_whichever_try_it_was() {
        let ticket = |attempt| Ticket {
            id: UploadId(17),
            attempt,
        };
        for attempt in [1, 250] {
            let text = callback("2b6e-upload-3#1", ticket(attempt));
            assert_eq!(id_of(&text), Some(UploadId(17)), "{text}");
        }
        for other in [
            "",
            "Agent/2b6e-9d1c",
            "Agent/2b6e-upload-",
            "Agent/2b6e-upload-x#1",
        ] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
