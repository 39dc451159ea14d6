//! What an agent says, and what that leads to.

use std::sync::Arc;

use agent_wire::{DeviceMessage, ToAgent, ToServer};
use tracing::{info, warn};

use super::upload;
use crate::faults::Ending;
use crate::http::VERSION;
use crate::hub::{Hub, Link, Order};
use crate::oauth::Caller;
use crate::server::Server;
use crate::store::{Answer, Incoming, Told};

/// One websocket, connected or not yet.
pub(super) struct Session {
    server: Arc<Server>,
    link: Link,
    /// The agents that it connected as, in order; mostly one.
    agents: Vec<String>,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, link: Link) -> Self {
        Self {
            server,
            link,
            agents: Vec::new(),
        }
    }

    /// Takes one text frame.
    pub(super) async fn take(&mut self, text: &str) {
        match ToServer::decode(text) {
            Ok(message) => self.handle(message).await,
            Err(error) => self.refuse(error.to_string()).await,
        }
    }

    async fn handle(&mut self, message: ToServer) {
        match message {
            ToServer::ConnectRequest {
                access_token,
                agent_id,
            } => match self.connect(access_token, agent_id) {
                Ok(agent) => self.connected(agent).await,
                Err(why) => self.refuse(why).await,
            },
            ToServer::HeartbeatRequest => self.heartbeat().await,
            ToServer::HeartbeatResponse { version } => {
                if let Some(agent) = self.agents.last() {
                    self.server.hub.beat(agent, version);
                }
            }
            ToServer::TransmitRequest(message) => self.transmit(message),
            ToServer::Unknown { kind, .. } => {
                self.refuse(format!("Unknown message type: {kind}")).await;
            }
            ToServer::TransmitResponse(_)
            | ToServer::ReloadResponse { .. }
            | ToServer::UpgradeResponse { .. }
            | ToServer::StatsResponse { .. }
            | ToServer::LogsResponse { .. }
            | ToServer::Error { .. } => self.answered(message).await,
        }
    }

    /// Has a device's message answered, while the socket goes on: answers may come in another order.
    fn transmit(&self, message: DeviceMessage) {
        let (server, link) = (Arc::clone(&self.server), self.link.clone());
        let agent = self.agents.last().cloned();
        self.server.tasks.spawn(async move {
            let text = upload::answer(&server, agent.as_deref(), message).await;
            let text = text.unwrap_or_else(|why| refusal(link.socket, why));
            // A socket that is gone hears nothing; the agent sends again.
            let _ = link.orders.send(Order::Text(text.into())).await;
        });
    }

    /// Checks a connect request, in the order of a real server.
    fn connect(&self, token: Option<String>, agent: Option<String>) -> Result<String, String> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let token = some(token).ok_or("Missing access token")?;
        let agent = some(agent).ok_or("Missing agent ID")?;
        if let Some(why) = self.server.faults().refuse_connect.clone() {
            return Err(why);
        }
        let caller = Caller::by_token(&self.server, &token).ok_or("Invalid access token")?;
        caller
            .read(&self.server, "Agent", &agent)
            .map_err(|outcome| outcome.text().to_owned())?;
        Ok(agent)
    }

    /// Answers first and subscribes then, so that no push comes before the answer.
    async fn connected(&mut self, agent: String) {
        let (early, ending) = {
            let faults = self.server.faults();
            (faults.subscribe_first, faults.end_on_connect)
        };
        if early {
            self.subscribe(&agent).await;
            self.say_connected().await;
        } else {
            self.say_connected().await;
            self.subscribe(&agent).await;
        }
        info!(agent, socket = self.link.socket, "the agent is connected");
        match ending {
            None => {}
            Some(Ending::Code(code)) => self.order(Order::Close(code)).await,
            Some(Ending::Abort) => self.link.abort.cancel(),
        }
        if !self.agents.contains(&agent) {
            self.agents.push(agent);
        }
    }

    async fn subscribe(&self, agent: &str) {
        self.order(Order::Subscribe(agent.to_owned())).await;
        self.server.hub.subscribe(agent, self.link.clone());
    }

    async fn say_connected(&self) {
        let (delay, silent) = {
            let faults = self.server.faults();
            (faults.delay_connect, faults.drop_connect_response)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if !silent {
            self.send(ToAgent::ConnectResponse.encode()).await;
        }
    }

    /// Answers a heartbeat when everything before it was taken: answers to kept pushes are on disk then.
    async fn heartbeat(&self) {
        if self.server.faults().no_heartbeats {
            return;
        }
        let answer = ToAgent::HeartbeatResponse {
            version: Some(VERSION.to_owned()),
        }
        .encode();
        let orders = self.link.orders.clone();
        let then = Box::new(move |()| {
            // An agent with so much to read sees that we are alive.
            let _ = orders.try_send(Order::Text(answer.into()));
        });
        if self.server.store.after(then).await.is_err() {
            warn!(
                socket = self.link.socket,
                "a heartbeat is not answered: the store has stopped"
            );
        }
    }

    /// Takes an answer, if it comes from an agent that was asked.
    async fn answered(&self, message: ToServer) {
        let Some((callback, answer)) = answer_in(&message) else {
            return warn!(
                socket = self.link.socket,
                "an answer without a callback is dropped"
            );
        };
        let ledger = Arc::clone(&self.server.ledger);
        if self.agents.is_empty() {
            return ledger.refuse(&callback);
        }
        let incoming = Incoming {
            callback: callback.clone(),
            agents: self.agents.clone(),
            answer,
        };
        if let Some(told) = ledger.judge(&incoming) {
            return ledger.close(&callback, &told, message);
        }
        let hub = Arc::clone(&self.server.hub);
        let then = Box::new(move |told: Told| {
            release(&hub, &told);
            ledger.close(&callback, &told, message);
        });
        if self.server.store.answer(incoming, then).await.is_err() {
            warn!(
                socket = self.link.socket,
                "an answer cannot be kept: the store has stopped"
            );
        }
    }

    /// Sends an error that belongs to no request: a real server names no callback either.
    async fn refuse(&self, why: impl Into<String>) {
        self.send(refusal(self.link.socket, why.into())).await;
    }

    async fn send(&self, text: String) {
        self.order(Order::Text(text.into())).await;
    }

    async fn order(&self, order: Order) {
        // A writer that has ended is noticed by whoever runs both halves.
        let _ = self.link.orders.send(order).await;
    }
}

/// A socket that is gone speaks for nobody.
impl Drop for Session {
    fn drop(&mut self) {
        for agent in self.agents.drain(..) {
            info!(
                agent,
                socket = self.link.socket,
                "the agent is disconnected"
            );
            self.server.hub.unsubscribe(&agent, self.link.socket);
        }
    }
}

/// The frame of an error that belongs to no request.
fn refusal(socket: u64, body: String) -> String {
    info!(socket, why = body, "a message from an agent is refused");
    ToAgent::Error {
        callback: None,
        body,
    }
    .encode()
}

/// A kept push with an answer is sent no more.
fn release(hub: &Hub, told: &Told) {
    if let Told::First {
        agent,
        seq: Some(seq),
    } = told
    {
        hub.answered(agent, *seq);
    }
}

/// The callback and the answer in a message.
fn answer_in(message: &ToServer) -> Option<(String, Answer)> {
    let plain = |status, body| Answer {
        status,
        content_type: None,
        body,
    };
    let (callback, answer) = match message {
        ToServer::TransmitResponse(response) => {
            let content_type = Some(response.content_type.clone());
            let status = response.status_code.unwrap_or(200);
            (
                &response.callback,
                Answer {
                    status,
                    content_type,
                    body: response.body.clone(),
                },
            )
        }
        ToServer::Error { callback, body } => (callback, plain(400, body.clone())),
        ToServer::StatsResponse {
            callback,
            status_code,
            stats,
        } => (callback, plain(*status_code, stats.to_string())),
        ToServer::LogsResponse {
            callback,
            status_code,
            page,
        } => {
            let lines: Vec<_> = page.logs.iter().map(ToString::to_string).collect();
            (callback, plain(*status_code, lines.join("\n")))
        }
        ToServer::ReloadResponse {
            callback,
            status_code,
        }
        | ToServer::UpgradeResponse {
            callback,
            status_code,
        } => (callback, plain(*status_code, String::new())),
        _ => return None,
    };
    Some((callback.clone()?, answer))
}
