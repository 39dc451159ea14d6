//! What comes in on the socket and what goes out: which envelope is whose.

use agent_core::uplink::Input;
use agent_wire::{ToAgent, ToServer};
use tracing::warn;

use super::Uplink;
use crate::clock;
use crate::cloud::websocket::{Cause, Ended, Event, WebSocket};
use crate::cloud::{CloudSide, Said, agent_version, quoted};

impl<C: CloudSide> Uplink<C> {
    pub(super) async fn socket_event(&mut self, event: Event) {
        match event {
            Event::Text(text) => {
                self.step(Input::Heard).await;
                self.envelope(&text).await;
            }
            Event::Binary => {
                self.step(Input::Heard).await;
                let body = "unreadable message: a binary frame; messages are JSON in text frames";
                self.reply(ToServer::Error {
                    callback: None,
                    body: body.into(),
                });
            }
            Event::Room => {}
            Event::Ended(Ended { why, cause }) => {
                if cause == Cause::TooLargeForServer {
                    self.answers.server_found_one_too_large();
                }
                self.early.clear();
                self.socket = None;
                self.step(Input::SocketClosed { why }).await;
            }
        }
    }

    async fn envelope(&mut self, text: &str) {
        match ToAgent::decode(text) {
            Ok(message) => self.message(message).await,
            Err(fault) => {
                warn!(error = %fault, bytes = text.len(), "the server sent something unreadable");
                self.reply(ToServer::Error {
                    callback: None,
                    body: fault.to_string(),
                });
            }
        }
    }

    async fn message(&mut self, message: ToAgent) {
        match message {
            ToAgent::ConnectResponse => self.step(Input::ConnectAccepted).await,
            ToAgent::HeartbeatRequest => {
                self.send(&ToServer::HeartbeatResponse {
                    version: Some(agent_version()),
                });
            }
            ToAgent::HeartbeatResponse { .. } => {
                self.answers.heartbeat_answered();
                self.step(Input::HeartbeatAnswered).await;
            }
            ToAgent::Error {
                callback: None,
                body,
            } if !self.machine.is_live() => {
                self.step(Input::ServerError { why: quoted(&body) }).await;
            }
            ToAgent::ReloadRequest { callback } => self.reload(callback),
            ToAgent::Unknown { kind, callback } => {
                let body = format!("Unknown message type: {}", quoted(&kind));
                self.reply(ToServer::Error { callback, body });
            }
            ToAgent::TransmitResponse(response) => {
                let at = (clock::mono(), (self.throw)());
                self.uploads.answered(&response, at).await;
            }
            ToAgent::Error { callback, body } => self.trouble(callback, body).await,
            message @ (ToAgent::TransmitRequest(_)
            | ToAgent::StatsRequest { .. }
            | ToAgent::LogsRequest { .. }
            | ToAgent::UpgradeRequest { .. }) => {
                if let Some(reply) = self.cloud.take(message).await {
                    self.reply(reply);
                }
            }
        }
    }

    /// An error in a live session: about an upload, or about nothing that can be named.
    async fn trouble(&mut self, callback: Option<String>, body: String) {
        let at = (clock::mono(), (self.throw)());
        self.uploads.error(callback.as_deref(), at).await;
        if let Some(known) = KNOWN_ERRORS.into_iter().find(|known| *known == body) {
            warn!(error = known, "the server did not take an upload");
            if known == NO_TOKEN {
                self.step(Input::TokenRefused).await;
            }
            return;
        }
        // Nothing is said back to an error.
        let _ = self.cloud.take(ToAgent::Error { callback, body }).await;
    }

    /// Says what the rest of the agent wants said, as long as there is more of it and room for it.
    pub(super) fn say(&mut self, first: Said) {
        self.say_one(first);
        while self.socket.as_ref().is_none_or(WebSocket::has_room)
            && let Some(said) = self.said.as_mut().and_then(|said| said.try_recv().ok())
        {
            self.say_one(said);
        }
    }

    fn say_one(&mut self, said: Said) {
        let now = clock::mono();
        let Some(socket) = self.socket.as_mut().filter(|_| self.machine.is_live()) else {
            // Answers are on disk; for the rest the server will ask again, or has forgotten.
            return;
        };
        match said {
            Said::Answer(answer) => self.answers.offer(&answer, socket, now),
            Said::Again(answer) => self.answers.repeat(&answer, socket),
            Said::Reply(reply) => socket.send(reply.encode()),
            Said::TokenRefused => self.doubted = true,
        }
    }

    /// Sends what follows from a message at once, or when the server has accepted us.
    pub(super) fn reply(&mut self, reply: ToServer) {
        if self.machine.is_live() {
            self.send(&reply);
        } else if self.early.len() < MOST_EARLY {
            self.early.push(reply);
        }
    }

    pub(super) fn send(&mut self, message: &ToServer) {
        if let Some(socket) = &mut self.socket {
            socket.send(message.encode());
        }
    }
}

/// What a server says of an upload without saying of which; other texts of its may be clinical.
const KNOWN_ERRORS: [&str; 5] = [
    NO_TOKEN,
    "Channel not found",
    "Missing channel",
    "Missing body",
    "Not connected",
];
const NO_TOKEN: &str = "Invalid access token";
/// Replies that wait for the connect response; pushes that came before it are few.
const MOST_EARLY: usize = 256;
