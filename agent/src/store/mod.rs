//! The durable queue: everything that must survive a power cut, behind one handle.
//!
//! One thread owns the database and `agent_core`'s queue. Requests reach it over a bounded channel; it takes what waits,
//! lets the queue decide, writes the rows, commits once, and only then hands out what was decided: [`Attempt`]s to the
//! lines, answers to the uplink. So nothing leaves the box that the disk does not know.
//!
//! Readers use a connection of their own, read-only, and hold no transaction longer than a page.

mod age;
mod alarm;
mod change;
mod database;
mod examine;
mod fault;
mod gather;
mod house;
mod known;
mod load;
mod look;
mod mutant;
mod notable;
mod own;
mod owner;
mod parcel;
mod question;
mod read;
mod receipt;
mod recover;
mod remove;
mod reserve;
mod rows;
mod segment;
mod space;
mod sweep;
mod tasks;
#[cfg(test)]
mod tests;
mod time;
mod upload;
mod wal;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use agent_core::clock::{Clock, CloudTime};
use agent_core::delivery::{Outcome, Words};
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, NewPush, PushId, ReturnAck, Seq, Timestamp};
use agent_core::queue::{
    AgentSwitch, Attempted, Command, CommandError, Connection, DeviceConfig, Done, Filter,
    LateNews, OwnAnswer, QueueReport, Session, WaitingPush,
};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::cloud::{Answer, Said};
pub use alarm::{LastDead, OpenAlarm};
pub(crate) use load::{print_of, print_of_digest};
pub use look::{Database, Looked, ReserveFile, look};
use question::Question;
pub use read::{History, HistoryEvent};
pub use space::{Bounds, Room};
pub use sweep::{Kept, Progress, Swept};
pub use tasks::{HeldBy, Standing};
pub use upload::{Upload, UploadsView, Upward};

/// Why the store cannot be used. All but `Busy` are for a person to repair.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot use the state directory {path}")]
    Directory {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "another wardpost (process {pid}) already owns the state directory {path}; stop it first, \
         or give this one a directory of its own with --state"
    )]
    Owned { path: String, pid: String },
    #[error(
        "the database {path} is of version {found} and this wardpost knows versions up to {known}; \
         install the newer wardpost again, or move the state directory away to start empty"
    )]
    FromTheFuture {
        path: String,
        found: u32,
        known: u32,
    },
    #[error(
        "another program reads the database {path}, so what the last process wrote cannot be made safe; \
         end that program, then start the agent again"
    )]
    Read { path: String },
    #[error("the database does not keep its promise: {0}")]
    Promise(String),
    #[error(
        "the database is damaged: {0}; keep its three files for an examination, then restore a backup \
         or move the state directory away to start empty"
    )]
    Damaged(String),
    #[error("{0}")]
    Broken(String),
    #[error("cannot {doing}")]
    Sql {
        doing: &'static str,
        source: rusqlite::Error,
    },
    #[error("the store has stopped, or could not write; see the log of the agent")]
    Stopped,
}

/// A cheap handle on the store.
#[derive(Clone, Debug)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

/// What the writer and the handles both see.
#[derive(Debug)]
struct Shared {
    taken: AtomicU64,
    last_answer: AtomicU64,
    room: Arc<Semaphore>,
    reader: read::Reader,
    room_on_disk: Arc<Mutex<Room>>,
    uploads: upload::Posted,
    /// The verdict at the newest look.
    clock: Mutex<Clock>,
    /// Set by a reader that found the disk or the database broken: the writer stops.
    broken: OnceLock<String>,
    watched: tasks::Watched,
    awaited: gather::Awaited,
}

/// One recorded try to deliver a push. Only the store makes one, after its record is durable; the line gives it back
/// with its outcome.
#[must_use = "an attempt that is not settled blocks its device"]
#[derive(Debug)]
pub struct Attempt {
    pub push: PushId,
    pub device: DeviceNo,
    pub parcel: Parcel,
    recorded: Recorded,
    handed: gather::Handed,
}

/// What the line needs to send a push.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub content_type: String,
    pub remote: Option<String>,
    pub return_ack: Option<ReturnAck>,
    pub body: Phi<Arc<str>>,
}

/// Proof that the attempt is on disk.
#[derive(Debug)]
struct Recorded(Attempted);

/// Where attempts go, and the wish for a connection.
pub trait Lines: Send + 'static {
    fn deliver(&self, attempt: Attempt);
    fn wanted(&self, device: DeviceNo, wanted: bool);
}

/// How the agent answers a push to itself.
#[derive(Clone, Debug)]
pub enum Own {
    /// With what was looked up. Refused while the disk is full.
    Said(OwnAnswer),
    /// Carries out a command in the same commit; the function words the answer.
    Does(Command, fn(&Result<Done, CommandError>) -> OwnAnswer),
}

/// What the queue is told when a configuration is applied.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// A device that is not among them keeps its queue and is off.
    pub devices: Vec<(DeviceNo, DeviceConfig)>,
    /// Pushes that may wait for all devices together.
    pub limit: usize,
    pub bounds: Bounds,
    pub upward: Upward,
    /// Written to the audit in the same commit, if somebody asked for the change.
    pub asked: Option<Asked>,
}

/// Who asked for a configuration to be applied, and what changes by it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub who: String,
    pub changes: String,
}

/// Computes the join digest of a stored push: equal digests are the same order.
pub type JoinDigest = fn(&Parcel) -> Option<[u8; 32]>;

enum Request {
    /// With its share of the memory that waiting pushes may take, given back with the request.
    Accept(Arc<NewPush>, Option<OwnedSemaphorePermit>),
    Own(Arc<NewPush>, Own, OwnedSemaphorePermit),
    Settle(Attempt, Outcome, Connection),
    Late(PushId, DeviceNo, LateNews),
    Line(DeviceNo, LineEvent),
    Number(String, oneshot::Sender<DeviceNo>),
    Session(Session),
    Switch(AgentSwitch),
    /// A new verdict on the clock; the writer tells it to itself.
    Clock(Clock),
    CloudTime(CloudTime),
    Configure(Configuration, oneshot::Sender<()>),
    Command(Command, oneshot::Sender<Result<Done, CommandError>>),
    Ask(Question),
    Task(tasks::Asked),
    Tick,
    Nudge,
    /// Removes one piece of what is old, after the batch and not in it.
    Sweep(sweep::Asked),
    Upload(upload::Change),
    Alarms(alarm::Asked),
    FlushTaken,
    Stop(oneshot::Sender<()>),
}

/// What a line says of its connection.
#[derive(Clone, Debug)]
enum LineEvent {
    Ready,
    Resting,
    Away(String),
    Crashed,
}

/// The database, locked and checked, before anything runs on it.
#[derive(Debug)]
pub struct Opened {
    connection: rusqlite::Connection,
    path: std::path::PathBuf,
    lock: owner::Lock,
    reader: read::Reader,
}

/// What the writer needs besides the database.
#[derive(Debug)]
pub struct Wiring<L> {
    pub devices: Vec<(DeviceNo, DeviceConfig)>,
    pub limit: usize,
    pub bounds: Bounds,
    pub upward: Upward,
    pub lines: L,
    pub said: mpsc::Sender<Said>,
    pub join_digest: JoinDigest,
}

/// The writer thread, and the clock it asks to be woken by.
#[derive(Debug)]
pub struct Running {
    pub store: Store,
    /// When the writer wants its next tick.
    pub next_tick: tokio::sync::watch::Receiver<Option<agent_core::push::Mono>>,
    /// Ends when the writer ends; an error is fatal for the process.
    pub ended: oneshot::Receiver<Result<(), StoreError>>,
}

impl Opened {
    /// Locks the directory, opens or creates the database, migrates it and reads its promises back.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = owner::Lock::take(directory)?;
        let path = directory.join("wardpost.db");
        let mut connection = match database::open(&path) {
            // What an earlier process kept back for this: the queue can be settled, new pushes are refused.
            Err(error) if error.fault() == fault::Fault::Full => {
                reserve::Reserve::new(directory, 0)
                    .give_up()
                    .map_err(|source| {
                        let path = directory.display().to_string();
                        StoreError::Directory { path, source }
                    })?;
                database::open(&path)?
            }
            opened => opened?,
        };
        examine::newest(&mut connection)?;
        let reader = read::Reader::open(&path)?;
        Ok(Self {
            connection,
            path,
            lock,
            reader,
        })
    }

    /// The numbers of these devices; new names get new ones.
    pub fn device_numbers(
        &self,
        names: &[String],
    ) -> Result<HashMap<String, DeviceNo>, StoreError> {
        database::device_numbers(&self.connection, names)
    }

    /// Every device name the database has ever seen.
    pub fn known_devices(&self) -> Result<Vec<(DeviceNo, String)>, StoreError> {
        database::known_devices(&self.connection)
    }

    /// Rebuilds the queue and starts the writer thread.
    pub fn start<L: Lines>(self, wiring: Wiring<L>) -> Result<Running, StoreError> {
        writer::start(self, wiring)
    }
}

impl Store {
    /// Takes in a push; what is to be said about it comes over the channel of [`Said`].
    pub async fn accept(&self, push: NewPush) -> Result<(), StoreError> {
        let room = self.room(push.body.0.len()).await?;
        self.send(Request::Accept(Arc::new(push), Some(room))).await
    }

    /// Takes in a push to the agent itself, with its answer.
    pub async fn accept_own(&self, push: NewPush, own: Own) -> Result<(), StoreError> {
        let room = self.room(push.body.0.len()).await?;
        self.send(Request::Own(Arc::new(push), own, room)).await
    }

    pub async fn settle(
        &self,
        mut attempt: Attempt,
        outcome: Outcome,
        connection: Connection,
    ) -> Result<(), StoreError> {
        let handed = attempt.handed.back();
        attempt.handed = handed;
        let sent = self
            .send(Request::Settle(attempt, outcome, connection))
            .await;
        self.shared.awaited.came(handed);
        sent
    }

    /// News about a push that is settled already.
    pub async fn late(
        &self,
        push: PushId,
        device: DeviceNo,
        news: LateNews,
    ) -> Result<(), StoreError> {
        self.send(Request::Late(push, device, news)).await
    }

    pub async fn line_ready(&self, device: DeviceNo) -> Result<(), StoreError> {
        self.send(Request::Line(device, LineEvent::Ready)).await
    }

    pub async fn line_resting(&self, device: DeviceNo) -> Result<(), StoreError> {
        self.send(Request::Line(device, LineEvent::Resting)).await
    }

    pub async fn line_away(&self, device: DeviceNo, why: String) -> Result<(), StoreError> {
        self.send(Request::Line(device, LineEvent::Away(why))).await
    }

    /// A line's task has crashed: what it had in its hands is uncertain.
    pub async fn line_crashed(&self, device: DeviceNo) -> Result<(), StoreError> {
        self.send(Request::Line(device, LineEvent::Crashed)).await
    }

    /// The number of a device of this name; a new name gets a new one.
    pub async fn number(&self, name: String) -> Result<DeviceNo, StoreError> {
        self.ask(|reply| Request::Number(name, reply)).await
    }

    pub async fn session(&self, session: Session) -> Result<(), StoreError> {
        self.send(Request::Session(session)).await
    }

    pub async fn switch(&self, agent: AgentSwitch) -> Result<(), StoreError> {
        self.send(Request::Switch(agent)).await
    }

    /// The cloud has told its time; pushes that come from now on are stamped in its light.
    pub async fn cloud_time(&self, time: CloudTime) -> Result<(), StoreError> {
        self.send(Request::CloudTime(time)).await
    }

    /// What to think of this box's clock.
    pub fn clock(&self) -> Clock {
        let clock = &self.shared.clock;
        *clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything that was sent before is durable, and what it decided is handed out.
    pub async fn barrier(&self) -> Result<(), StoreError> {
        self.question(Question::Barrier).await
    }

    pub async fn tick(&self) -> Result<(), StoreError> {
        self.send(Request::Tick).await
    }

    pub async fn flush_taken(&self) -> Result<(), StoreError> {
        self.send(Request::FlushTaken).await
    }

    /// Applies a configuration. On an error nothing of it is in force.
    pub async fn configure(&self, configuration: Configuration) -> Result<(), StoreError> {
        self.ask(|reply| Request::Configure(configuration, reply))
            .await
    }

    pub async fn command(
        &self,
        command: Command,
    ) -> Result<Result<Done, CommandError>, StoreError> {
        self.ask(|reply| Request::Command(command, reply)).await
    }

    pub async fn report(&self) -> Result<QueueReport, StoreError> {
        self.question(Question::Report).await
    }

    /// Pushes that are not final, oldest first.
    pub async fn list(&self, filter: Filter, limit: usize) -> Result<Vec<WaitingPush>, StoreError> {
        self.question(|reply| Question::List(filter, limit, reply))
            .await
    }

    /// Why a push that is not final is where it is.
    pub async fn explain(&self, push: PushId) -> Result<Option<WaitingPush>, StoreError> {
        self.question(|reply| Question::Explain(push, reply)).await
    }

    /// What the disk knows of one push.
    pub async fn history(&self, push: PushId) -> Result<Option<History>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.history(push)).await;
        self.judged(read).await
    }

    /// Recorded answers after `after`, oldest first.
    pub async fn answers_after(&self, after: Seq, limit: usize) -> Result<Vec<Answer>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = off_worker(move || shared.reader.answers_after(after, limit)).await;
        self.judged(read).await
    }

    /// How much room the disk had when it was looked at last.
    pub fn room_on_disk(&self) -> Room {
        let room = &self.shared.room_on_disk;
        room.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes one piece of what has been over for so long at `now`. The inner error says why nothing is removed.
    pub async fn sweep(
        &self,
        now: Timestamp,
        kept: Kept,
    ) -> Result<Result<Progress, String>, StoreError> {
        self.ask(|reply| Request::Sweep(sweep::Asked { now, kept, reply }))
            .await
    }

    /// Every answer up to here has left the socket. Costs nothing: the next commit carries the mark.
    pub fn taken(&self, upto: Seq) {
        self.shared.taken.fetch_max(upto.0, Ordering::Relaxed);
    }

    pub fn taken_mark(&self) -> Seq {
        Seq(self.shared.taken.load(Ordering::Relaxed))
    }

    pub fn last_answer(&self) -> Seq {
        Seq(self.shared.last_answer.load(Ordering::Acquire))
    }

    /// Lets the writer finish what waits, and ends it.
    pub async fn stop(&self) -> Result<(), StoreError> {
        self.ask(Request::Stop).await
    }

    /// What a reader cannot read, nobody should go on with: the writer is told to stop.
    async fn judged<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &read
            && error.fault() == fault::Fault::Broken
        {
            self.shared.broken.get_or_init(|| error.sentence());
            self.send(Request::Nudge).await?;
        }
        read
    }

    /// A share of the memory for pushes that wait to be stored; waits until there is one.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let kib = u32::try_from(bytes / 1024 + 1)
            .unwrap_or(WAITING_KIB)
            .min(WAITING_KIB);
        let room = Arc::clone(&self.shared.room);
        room.acquire_many_owned(kib)
            .await
            .map_err(|_| StoreError::Stopped)
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        self.requests
            .send(request)
            .await
            .map_err(|_| StoreError::Stopped)
    }

    async fn question<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, StoreError> {
        self.ask(|reply| Request::Ask(question(reply))).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply)).await?;
        answer.await.map_err(|_| StoreError::Stopped)
    }
}

impl Shared {
    fn trusted(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            None => Ok(()),
            Some(why) => Err(StoreError::Broken(why.clone())),
        }
    }
}

impl Attempt {
    /// How it is recorded: as `completing` where a crash now would make it uncertain.
    pub fn kind(&self) -> Attempted {
        self.recorded.0
    }
}

/// Runs a short read away from the workers that carry sockets.
async fn off_worker<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| StoreError::Stopped)?
}

/// Which `SQLite` is inside.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// The content type of an answer, which is never that of a push with its parameters.
fn answer_type(told_by: ToldBy, pushed: &str) -> String {
    let essence = pushed.split(';').next().unwrap_or_default().trim();
    match told_by {
        ToldBy::Agent => crate::cloud::TEXT.to_owned(),
        ToldBy::Device if essence.eq_ignore_ascii_case(crate::cloud::COMMAND) => {
            "application/json".to_owned()
        }
        ToldBy::Device => essence.to_owned(),
    }
}

/// Whose words an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ToldBy {
    Device,
    Agent,
}

/// The words of an answer, and whose they are.
#[derive(Clone, Debug)]
struct Spoken {
    by: ToldBy,
    words: Words,
}

/// Requests that may wait for the writer. Twice the largest batch, so that the next one fills while one commits.
const REQUESTS: usize = 512;
/// Bodies that may wait for the writer, in KiB; one larger push takes it all.
const WAITING_KIB: u32 = 64 * 1024;
