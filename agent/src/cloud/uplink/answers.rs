//! Brings recorded answers to the socket: from the channel while it keeps up, else from disk, page by page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agent_core::push::{Mono, Seq};
use agent_core::uplink::outbox::{Gap, Offer, Outbox};
use agent_wire::{ToServer, TransmitResponse};
use tracing::{error, warn};

use super::slot::Slot;
use crate::cloud::websocket::WebSocket;
use crate::cloud::{Answer, AnswersUnread, CloudSide, MAX_ENVELOPE, told};

/// The answers on their way out.
pub(super) struct Answers<C> {
    cloud: Arc<C>,
    outbox: Outbox,
    reading: Slot<Page>,
    /// Read from disk, not sent yet.
    unsent: VecDeque<Answer>,
    /// No page is asked for before this.
    read_at: Mono,
    /// When to ask for the newest answer again, and to try again what failed.
    look_at: Mono,
}

/// What a reading brought.
pub(super) struct Page {
    gap: Gap,
    answers: Result<Vec<Answer>, AnswersUnread>,
}

impl<C: CloudSide> Answers<C> {
    pub(super) fn new(cloud: Arc<C>) -> Self {
        Self {
            outbox: Outbox::new(cloud.taken_mark(), MAX_ENVELOPE),
            cloud,
            reading: Slot::empty(),
            unsent: VecDeque::new(),
            read_at: Mono(0),
            look_at: Mono(0),
        }
    }

    /// Begins again behind the last answer that is known to have arrived.
    pub(super) fn begin_session(&mut self) {
        self.outbox.begin_session();
        self.reading.clear();
        self.unsent.clear();
        self.read_at = Mono(0);
        self.look_at = Mono(0);
    }

    /// Takes an answer from the channel: sends it if it is the next one, else remembers that it exists.
    pub(super) fn offer(&mut self, answer: &Answer, socket: &mut WebSocket, now: Mono) {
        if self.outbox.offer(answer.seq, answer.prev) == Offer::Send {
            self.send(answer, socket, now);
        }
    }

    /// Sends an answer once more, beside the order.
    pub(super) fn repeat(&self, answer: &Answer, socket: &mut WebSocket) {
        let envelope = envelope(answer);
        if self.outbox.fits(envelope.len()) {
            socket.send(envelope);
        }
    }

    /// Sends what there is room for, and reads the next page where answers are missing.
    pub(super) fn work(&mut self, socket: &mut WebSocket, now: Mono) {
        if self.look_at <= now {
            self.look_at = now.plus(LOOK);
            self.outbox.heard_of(self.cloud.last_answer());
        }
        while socket.has_room()
            && let Some(answer) = self.unsent.pop_front()
        {
            // The channel may have been faster.
            if self.outbox.offer(answer.seq, Seq(0)) == Offer::Send {
                self.send(&answer, socket, now);
            }
        }
        if self.may_read(now)
            && socket.has_room()
            && let Some(gap) = self.outbox.behind()
        {
            self.read(gap);
        }
    }

    pub(super) async fn page(&mut self) -> Page {
        self.reading.done().await
    }

    pub(super) fn page_came(&mut self, page: Page, now: Mono) {
        match page.answers {
            Ok(answers) if answers.is_empty() => self.outbox.nothing_in(page.gap),
            Ok(answers) => self.unsent = answers.into(),
            Err(fault) => {
                warn!(error = told(&fault), "recorded answers wait");
                self.read_at = now.plus(READ_RETRY);
            }
        }
    }

    /// Whether a heartbeat should go out for the answers' sake.
    pub(super) fn wants_heartbeat(&self, now: Mono) -> bool {
        self.outbox.heartbeat_due().is_some_and(|due| due <= now)
    }

    pub(super) fn heartbeat_sent(&mut self) {
        self.outbox.heartbeat_sent();
    }

    pub(super) fn heartbeat_answered(&mut self) {
        if let Some(upto) = self.outbox.heartbeat_answered() {
            self.cloud.taken(upto);
        }
    }

    pub(super) fn server_found_one_too_large(&mut self) {
        if let Some(limit) = self.outbox.server_found_one_too_large() {
            error!(
                limit,
                "the server takes smaller messages than usual; larger answers stay here"
            );
        }
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self) -> Mono {
        let heartbeat = self.outbox.heartbeat_due().unwrap_or(self.look_at);
        self.look_at.min(heartbeat)
    }

    fn may_read(&self, now: Mono) -> bool {
        self.unsent.is_empty() && self.reading.is_empty() && self.read_at <= now
    }

    fn read(&mut self, gap: Gap) {
        let cloud = Arc::clone(&self.cloud);
        self.reading.start(async move {
            Page {
                gap,
                answers: cloud.answers_after(gap.after, PAGE).await,
            }
        });
    }

    fn send(&mut self, answer: &Answer, socket: &mut WebSocket, now: Mono) {
        let envelope = envelope(answer);
        if self.outbox.fits(envelope.len()) {
            self.outbox.sent(answer.seq, envelope.len(), now);
            socket.send(envelope);
        } else {
            let (seq, callback, bytes) = (answer.seq.0, &answer.callback, envelope.len());
            error!(
                seq,
                callback, bytes, "an answer is too large for the server; its caller gets none"
            );
            self.outbox.skipped(answer.seq);
        }
    }
}

/// The same bytes for the same answer, always.
fn envelope(answer: &Answer) -> String {
    let response = TransmitResponse {
        channel: None,
        remote: answer.remote.clone(),
        callback: Some(answer.callback.clone()),
        content_type: answer.content_type.clone(),
        status_code: Some(answer.status),
        body: answer.body.0.clone(),
    };
    ToServer::TransmitResponse(response).encode()
}

/// Answers read at once: what is held in memory of a backlog of any size.
const PAGE: usize = 256;
/// After a page could not be read. The store has its own way of dealing with a disk that fails.
const READ_RETRY: Duration = Duration::from_secs(1);
/// How soon an answer that the channel dropped is missed.
const LOOK: Duration = Duration::from_secs(1);
