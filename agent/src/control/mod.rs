//! What can be asked of a running agent and done to it: one set of verbs, by the control socket and by push.
//!
//! The socket carries one JSON object a line each way; a push to `device://self` carries the same object as its body.

pub mod client;
pub mod diag;
mod look;
pub mod server;
pub mod verbs;

use std::sync::Arc;

use agent_core::phi::Phi;
use agent_core::push::PushId;
use agent_core::queue::{Command, CommandError, Done, OwnAnswer, Ruling, Verb as Change};
use serde_json::{Value, json};

use crate::cloud::mailbox::Post;
use crate::doctor::{self, Reach, Subject};
use crate::reload::Reloader;
use crate::site::Site;
use crate::snapshot::Board;
use crate::store::{Own, Store, StoreError};
use verbs::{Outcome, Verb};

/// Carries out verbs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Control {
    pub store: Store,
    pub site: Site,
    pub board: Board,
    pub reloader: Reloader,
    pub mailbox: Post,
    pub sources: diag::Sources,
}

/// A verb, sorted by what it needs.
enum Task {
    Look(Verb),
    Change(Command),
    Reload,
    Doctor,
}

impl Control {
    /// Does what was asked over the socket.
    pub async fn perform(&self, verb: Verb, who: &str) -> Result<Value, StoreError> {
        match sort(verb, who) {
            Task::Look(verb) => look::answer(self, verb).await,
            Task::Change(command) => Ok(told(&self.store.command(command).await?)),
            Task::Reload => Ok(self.reload(who).await),
            Task::Doctor => Ok(self.doctor(Reach::Cloud).await),
        }
    }

    /// The same for a push to the agent itself: a change is made in the commit that stores the push.
    pub async fn own(&self, verb: Verb, who: &str) -> Result<Own, StoreError> {
        Ok(match sort(verb, who) {
            Task::Look(verb) => Own::Said(own_answer(&look::answer(self, verb).await?)),
            Task::Change(command) => Own::Does(command, |done| own_answer(&told(done))),
            // Done before it is stored; the same push again does it again, and finds nothing to change.
            Task::Reload => Own::Said(own_answer(&self.reload(who).await)),
            // The session waits for this, so it must not wait for the cloud. That the question came says how that is.
            Task::Doctor => Own::Said(own_answer(&self.doctor(Reach::Box).await)),
        })
    }

    async fn doctor(&self, reach: Reach) -> Value {
        let devices = self.site.devices();
        let named = devices
            .iter()
            .filter_map(|(_, device)| device.config.channel.clone());
        let subject = Subject {
            paths: self.sources.config.clone(),
            state: self.sources.state.clone(),
            bounds: devices.rules().bounds,
            clock: Some(self.store.clock()),
            settings: Arc::clone(&self.sources.settings.borrow()),
            channels: doctor::channels(named.chain(devices.rules().upward.channel.clone())),
        };
        doctor::told(&subject.examine(reach).await)
    }

    async fn reload(&self, who: &str) -> Value {
        match self.reloader.reload(who).await {
            Ok(report) => report.json(),
            Err(refused) => refused.json(),
        }
    }
}

/// An answer in the words of a push: 400 where nothing was done.
pub fn own_answer(value: &Value) -> OwnAnswer {
    let status = if value.get("error").is_some() {
        400
    } else {
        200
    };
    OwnAnswer {
        status,
        words: Phi(value.to_string().into()),
    }
}

pub fn error(sentence: impl std::fmt::Display) -> Value {
    json!({ "error": sentence.to_string() })
}

fn sort(verb: Verb, who: &str) -> Task {
    let change = |push, verb, reason| {
        Task::Change(Command {
            push: PushId(push),
            verb,
            who: who.to_owned(),
            reason,
        })
    };
    match verb {
        Verb::Reload => Task::Reload,
        Verb::Doctor => Task::Doctor,
        Verb::Hold { push, reason } => change(push, Change::Hold, reason),
        Verb::Release { push, reason } => change(push, Change::Release, reason),
        Verb::Resend { push, reason } => change(push, Change::Resend, reason),
        Verb::Cancel { push, reason } => change(push, Change::Cancel, reason),
        Verb::Settle {
            push,
            outcome,
            reason,
        } => {
            let ruling = match outcome {
                Outcome::Delivered => Ruling::Delivered,
                Outcome::NotDelivered => Ruling::NotDelivered,
            };
            change(push, Change::Settle(ruling), Some(reason))
        }
        look @ (Verb::Status
        | Verb::Devices
        | Verb::Queue { .. }
        | Verb::Why { .. }
        | Verb::Poll { .. }
        | Verb::Diag) => Task::Look(look),
    }
}

fn told(done: &Result<Done, CommandError>) -> Value {
    match done {
        Ok(Done::Push(push)) => json!({ "ok": true, "push": push.0 }),
        Ok(Done::Again { old, new }) => json!({ "ok": true, "push": old.0, "new": new.0 }),
        Err(refused) => error(refused),
    }
}
