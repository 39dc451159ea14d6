//! Sending something to an agent, and waiting for what it says.

use std::sync::Arc;
use std::time::Duration;

use agent_wire::{PING, PushRequest, ToAgent, ToServer};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;
use uuid::Uuid;

use crate::faults::CallbackForm;
use crate::hub::Order;
use crate::ledger::Waiting;
use crate::outcome::Outcome;
use crate::server::{Pushes, Server};
use crate::store::{NewPush, Stopped};

/// How long the caller of a push waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    No,
    For(Duration),
}

/// What a push needs besides its agent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Submission {
    pub(crate) remote: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
    pub(crate) return_ack: Option<String>,
    pub(crate) wait: Wait,
}

/// What became of a push while its caller was there.
#[derive(Debug)]
pub(crate) enum Sent {
    NotWaiting,
    Answered(ToServer),
    /// Nothing yet. It stays under this callback.
    Kept(String),
}

impl Server {
    /// Sends a push to every socket of an agent.
    pub(crate) async fn push(&self, agent: &str, submission: Submission) -> Result<Sent, Outcome> {
        // A ping asks about this moment. Nobody wants its answer tomorrow.
        if self.settings.pushes == Pushes::Kept && submission.content_type != PING {
            return self.push_kept(agent, submission).await;
        }
        let Wait::For(patience) = submission.wait else {
            self.hub
                .publish(agent, &Order::Push(frame(&submission, None).into()));
            return Ok(Sent::NotWaiting);
        };
        let callback = self.callback(agent);
        self.ledger.issue(&callback, agent);
        let waiting = self.ledger.wait(&callback);
        self.hub.publish(
            agent,
            &Order::Push(frame(&submission, Some(callback)).into()),
        );
        self.answer_within(patience, waiting)
            .await
            .map(Sent::Answered)
            .ok_or_else(Outcome::timeout)
    }

    /// Asks an agent something about itself.
    pub(crate) async fn ask(
        &self,
        agent: &str,
        request: impl FnOnce(Option<String>) -> ToAgent,
        patience: Duration,
    ) -> Result<ToServer, Outcome> {
        let callback = self.callback(agent);
        self.ledger.issue(&callback, agent);
        let waiting = self.ledger.wait(&callback);
        let text = request(Some(callback)).encode();
        self.hub.publish(agent, &Order::Text(text.into()));
        match self.answer_within(patience, waiting).await {
            Some(ToServer::Error { body, .. }) => Err(Outcome::invalid(body)),
            Some(answer) => Ok(answer),
            None => Err(Outcome::timeout()),
        }
    }

    async fn push_kept(&self, agent: &str, submission: Submission) -> Result<Sent, Outcome> {
        if self.hub.waiting(agent) >= MAX_UNANSWERED {
            return Err(Outcome::invalid(TOO_MANY));
        }
        let callback = self.callback(agent);
        let waiting = match submission.wait {
            Wait::No => None,
            Wait::For(patience) => Some((patience, self.ledger.wait(&callback))),
        };
        self.keep(agent, callback.clone(), submission).await?;
        let Some((patience, waiting)) = waiting else {
            return Ok(Sent::NotWaiting);
        };
        if let Some(answer) = self.answer_within(patience, waiting).await {
            return Ok(Sent::Answered(answer));
        }
        info!(agent, callback, "the caller of a kept push stops waiting");
        Ok(Sent::Kept(callback))
    }

    /// Returns when the push is on disk and in its agent's outbox.
    async fn keep(
        &self,
        agent: &str,
        callback: String,
        submission: Submission,
    ) -> Result<(), Outcome> {
        let frame = frame(&submission, Some(callback.clone()));
        let push = NewPush {
            callback,
            agent: agent.to_owned(),
            remote: submission.remote,
            content_type: submission.content_type,
            return_ack: submission.return_ack,
            body: submission.body,
        };
        let (done, kept) = oneshot::channel();
        let (hub, agent) = (Arc::clone(&self.hub), agent.to_owned());
        let then = Box::new(move |seq| {
            hub.keep(&agent, seq, frame.into());
            let _ = done.send(());
        });
        self.store.keep(Arc::new(push), then).await?;
        kept.await.map_err(|_| Stopped.into())
    }

    async fn answer_within(&self, patience: Duration, mut waiting: Waiting) -> Option<ToServer> {
        tokio::select! {
            answer = timeout(patience, waiting.answer()) => answer.ok().flatten(),
            () = self.stop.cancelled() => None,
        }
    }

    fn callback(&self, agent: &str) -> String {
        let id = Uuid::new_v4();
        match self.faults().callbacks {
            CallbackForm::Agent => format!("Agent/{agent}-{id}"),
            CallbackForm::Host => format!("agent:cb:wardpost-cloud:{id}"),
        }
    }
}

/// The frame of a kept push that was read back from disk.
pub(crate) fn kept_frame(kept: crate::store::Kept) -> String {
    ToAgent::TransmitRequest(PushRequest {
        remote: Some(kept.remote),
        content_type: Some(kept.content_type),
        body: Some(kept.body),
        callback: Some(kept.callback),
        return_ack: kept.return_ack,
    })
    .encode()
}

fn frame(submission: &Submission, callback: Option<String>) -> String {
    ToAgent::TransmitRequest(PushRequest {
        remote: Some(submission.remote.clone()),
        content_type: Some(submission.content_type.clone()),
        body: Some(submission.body.clone()),
        callback,
        return_ack: submission.return_ack.clone(),
    })
    .encode()
}

/// Unanswered pushes of one agent that are kept in memory and on disk.
const MAX_UNANSWERED: usize = 100_000;
const TOO_MANY: &str =
    "This agent has 100000 unanswered pushes; no more are kept until it answers some";
