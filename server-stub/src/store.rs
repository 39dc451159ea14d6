//! What the stub keeps: one `SQLite` file (WAL, `synchronous=FULL`), written by one thread that commits what waits together.
//!
//! A request is answered when its commit is on disk, never before. What answers it runs on the store's thread, in the
//! order of the requests, so that pushes reach the sockets in the order in which they were kept.
//!
//! A second process may read the file while the stub runs. Times are UTC milliseconds.
//!
//! | table `kept` | one push that waits for its answer or has it (only with `keep_pushes`) |
//! | --- | --- |
//! | `seq` | order in which pushes were kept and are sent |
//! | `callback` | the callback it is sent with, unique |
//! | `agent` | `Agent.id` |
//! | `at` | when it was kept |
//! | `remote`, `content_type`, `return_ack`, `body` | what is sent; `return_ack` may be NULL |
//! | `sent_times` | how often it was handed to a socket; written with the next commit, at the next heartbeat at the latest |
//! | `answered_at`, `answered_status`, `answered_type`, `answered_body` | its first answer, NULL until then. An answer without status counts as 200; an `agent:error` has status 400 and no type |
//! | `answers` | how many answers came, equal ones included |
//! | `conflicting` | how many of them differed from the first |
//!
//! | table `conflict` | every answer that differed from the first one to its callback |
//! | --- | --- |
//! | `seq`, `callback`, `at`, `status`, `type`, `body` | |
//!
//! | table `resource` | every version of every resource, whatever its type |
//! | --- | --- |
//! | `seq` | order of the versions; the last one of a type and id is the current one |
//! | `type`, `id`, `version`, `at` | `version` is `meta.versionId` |
//! | `body` | the JSON text; NULL says that it was deleted |
//!
//! Table `meta` holds single values by `key`: `schema`, `token-key`, `seeded`.

mod current;
mod kept;
mod resources;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub(crate) use current::{Current, Missing};
pub use kept::{Answer, Kept};
pub(crate) use kept::{Incoming, NewPush, Told};
pub(crate) use resources::{
    Change, Edit, Effect, Name, Page, Refused, Version, Wrote, now_instant, text,
};
use writer::{Request, Writer};

/// A handle to the store's thread, and the current version of every resource.
pub(crate) struct Store {
    requests: mpsc::Sender<Request>,
    pub(crate) current: Arc<Current>,
}

/// A store that was just opened.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) thread: JoinHandle<()>,
    pub(crate) token_key: Vec<u8>,
    /// Whether [`Store::seeded`] was never called on this file.
    pub(crate) first_start: bool,
    /// Kept pushes without an answer, in their order.
    pub(crate) unanswered: Vec<Kept>,
    pub(crate) conflicting: u64,
}

/// Where the state lives.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Database {
    /// Gone with the process.
    #[default]
    Memory,
    File(PathBuf),
}

/// What runs when the request's commit is on disk.
pub(crate) type Then<T> = Box<dyn FnOnce(T) + Send>;

/// The store's thread has ended: it could not write, or the stub is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the store does not write any more")]
pub(crate) struct Stopped;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open the database {0:?}")]
    Open(Database, #[source] rusqlite::Error),
    #[error("the database is from another version: its schema is {found}, ours is {SCHEMA}")]
    Schema { found: i64 },
    #[error("start the store's thread")]
    Thread(#[source] std::io::Error),
}

impl Store {
    pub(crate) fn open(database: &Database) -> Result<Opened, OpenError> {
        let failed = |source| OpenError::Open(database.clone(), source);
        let db = writer::open(database).map_err(failed)?;
        let found = writer::schema(&db).map_err(failed)?;
        if found != SCHEMA {
            return Err(OpenError::Schema { found });
        }
        let start = writer::start(&db).map_err(failed)?;
        let current = Arc::new(start.current);
        let (requests, received) = mpsc::channel(WAITING_REQUESTS);
        let writer = Writer::new(db, Arc::clone(&current));
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(received))
            .map_err(OpenError::Thread)?;
        Ok(Opened {
            store: Self { requests, current },
            thread,
            token_key: start.token_key,
            first_start: start.unseeded,
            unanswered: start.unanswered,
            conflicting: start.conflicting,
        })
    }

    /// Writes one resource, or says why not.
    pub(crate) async fn write(&self, change: Change) -> Result<Result<Wrote, Refused>, Stopped> {
        self.ask(|then| Request::Write(Box::new(change), then))
            .await
    }

    /// One version of a resource, also an old one.
    pub(crate) async fn version(
        &self,
        name: Name,
        version: String,
    ) -> Result<Option<Value>, Stopped> {
        self.ask(|then| Request::Version(name, version, then)).await
    }

    /// Versions of a resource, the newest first.
    pub(crate) async fn history(&self, name: Name, page: Page) -> Result<Vec<Version>, Stopped> {
        self.ask(|then| Request::History(name, page, then)).await
    }

    /// Keeps a push; `then` gets its number when it is on disk.
    pub(crate) async fn keep(&self, push: Arc<NewPush>, then: Then<u64>) -> Result<(), Stopped> {
        self.request(Request::Keep(push, then)).await
    }

    /// Records an answer; `then` gets what it is when that is on disk.
    pub(crate) async fn answer(&self, answer: Incoming, then: Then<Told>) -> Result<(), Stopped> {
        self.request(Request::Answer(Box::new(answer), then)).await
    }

    /// Counts that these kept pushes are being sent.
    pub(crate) async fn sent(&self, pushes: Vec<u64>) -> Result<(), Stopped> {
        self.request(Request::Sent(pushes)).await
    }

    /// Runs `then` when everything that was asked before is on disk.
    pub(crate) async fn after(&self, then: Then<()>) -> Result<(), Stopped> {
        self.request(Request::After(then)).await
    }

    /// Every kept push, in order.
    pub(crate) async fn kept(&self) -> Result<Vec<Kept>, Stopped> {
        self.ask(Request::Kept).await
    }

    /// Every different answer to one callback, in order.
    pub(crate) async fn answers(&self, callback: String) -> Result<Vec<Answer>, Stopped> {
        self.ask(|then| Request::Answers(callback, then)).await
    }

    /// Records that the first start is over.
    pub(crate) async fn seeded(&self) -> Result<(), Stopped> {
        self.request(Request::Seeded).await
    }

    /// Ends the store's thread once it has written what came before.
    pub(crate) async fn stop(&self) {
        // A thread that has ended already needs no telling.
        let _ = self.requests.send(Request::Stop).await;
    }

    async fn ask<T, F>(&self, request: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(Then<T>) -> Request,
    {
        let (reply, answer) = oneshot::channel();
        let then = Box::new(move |value| drop(reply.send(value)));
        self.request(request(then)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn request(&self, request: Request) -> Result<(), Stopped> {
        self.requests.send(request).await.map_err(|_| Stopped)
    }
}

/// Written into every file; a file with another number is refused.
const SCHEMA: i64 = 1;

/// Requests that may wait for the store: a few commits' worth.
const WAITING_REQUESTS: usize = 1024;

#[cfg(test)]
mod tests;
