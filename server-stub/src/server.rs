//! What every request handler and every websocket shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::bots::Bots;
use crate::faults::Faults;
use crate::hub::Hub;
use crate::jwt::Signer;
use crate::ledger::Ledger;
use crate::outcome::Outcome;
use crate::store::{Change, Missing, Refused, Stopped, Store};
use crate::subscriptions::Subscriptions;

pub(crate) struct Server {
    /// Where the stub is reached, with a slash at the end.
    pub(crate) base_url: String,
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) signer: Signer,
    /// Cancelled when the stub shuts down.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Taken by whoever creates a resource only if none fits a condition.
    pub(crate) conditional: tokio::sync::Mutex<()>,
    pub(crate) bots: Bots,
    pub(crate) subscriptions: Subscriptions,
    faults: Mutex<Faults>,
    sockets: AtomicU64,
}

/// What the operator chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) pushes: Pushes,
    pub(crate) heartbeat: Duration,
    pub(crate) token_lifetime: Duration,
}

/// What happens to a push that nobody answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pushes {
    /// As a real server: nobody remembers it.
    Forgotten,
    /// It is sent again on every connect until it is answered.
    Kept,
}

impl Server {
    pub(crate) fn new(base_url: String, settings: Settings, parts: Parts) -> Self {
        Self {
            base_url,
            settings,
            store: parts.store,
            hub: parts.hub,
            ledger: Arc::new(Ledger::new(parts.conflicting)),
            signer: Signer::new(parts.token_key),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            conditional: tokio::sync::Mutex::default(),
            bots: Bots::default(),
            subscriptions: Subscriptions::default(),
            faults: Mutex::default(),
            sockets: AtomicU64::new(0),
        }
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn read(&self, kind: &str, id: &str) -> Result<Arc<Value>, Outcome> {
        self.store.current.read(kind, id).map_err(Outcome::from)
    }

    /// Writes, and tells the Subscriptions that are about it.
    pub(crate) async fn write(&self, change: Change) -> Result<Arc<Value>, Outcome> {
        let wrote = self.store.write(change).await??;
        self.subscriptions.fire(&self.store.current, &wrote);
        Ok(wrote.resource)
    }
}

/// What was found when the database was opened.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) token_key: Vec<u8>,
    pub(crate) conflicting: u64,
}

impl From<Missing> for Outcome {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::NotFound => Self::not_found(),
            Missing::Gone => Self::gone(),
        }
    }
}

impl From<Refused> for Outcome {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::not_found(),
            Refused::Gone => Self::gone(),
            Refused::Taken => Self::conflict(),
            Refused::OtherVersion => Self::precondition_failed(),
            Refused::Forbidden => Self::forbidden(),
            Refused::BadPatch(why) => Self::invalid(why),
        }
    }
}

impl From<Stopped> for Outcome {
    fn from(stopped: Stopped) -> Self {
        error!(error = %stopped, "a request fails");
        Self::failed()
    }
}
