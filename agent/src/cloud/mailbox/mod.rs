//! The unit that looks after the mailbox: feeds the pure machine and does what it asks.
//!
//! `agent_core::mailbox` decides; `requests` speaks HTTP, `resource` knows the Task, `intake` makes a push of one,
//! `report` words what is written on one. It holds nothing that must survive.

mod intake;
mod looks;
mod report;
mod requests;
mod resource;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::mailbox::{
    self, Errand, Fate, Input, Mailbox as Machine, Moment, Output, TaskId, Version,
};
use agent_core::push::{PushId, State};
use agent_core::retry::Dice;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{debug, warn};

pub use requests::Access;
pub use view::MailboxView;

use super::settings::Settings;
use super::{AgentStatus, Said};
use crate::clock;
use crate::pulse::Tether;
use crate::site::Site;
use crate::snapshot::Board;
use crate::store::{HeldBy, Standing, Store, StoreError};
use looks::Looks;
use resource::Form;
use view::View;

/// What the mailbox is told by the rest of the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Post {
    known: watch::Sender<Known>,
    nudge: Arc<Notify>,
}

/// How things are in the cloud.
#[derive(Clone, Debug, Default)]
struct Known {
    access: Option<Access>,
    agent: Option<AgentStatus>,
}

/// What the unit works with.
#[derive(Clone, Debug)]
pub struct Needs {
    pub store: Store,
    pub site: Site,
    pub board: Board,
    pub settings: watch::Receiver<Arc<Settings>>,
    pub said: mpsc::Sender<Said>,
}

impl Post {
    pub fn new() -> Self {
        Self {
            known: watch::Sender::default(),
            nudge: Arc::default(),
        }
    }

    /// A session is alive, or none is.
    pub fn access(&self, access: Option<Access>) {
        self.known.send_modify(|known| known.access = access);
    }

    pub fn agent(&self, status: AgentStatus) {
        self.known.send_modify(|known| known.agent = Some(status));
    }

    /// Somebody says that there is something to find.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }
}

impl Default for Post {
    fn default() -> Self {
        Self::new()
    }
}

/// Keeps the mailbox until told to stop.
pub async fn run(needs: Needs, post: Post, tether: Tether) -> Result<(), StoreError> {
    let mut unit = Unit::new(needs, post);
    unit.remember().await?;
    unit.keep(tether).await;
    Ok(())
}

struct Unit {
    shared: Arc<Shared>,
    settings: watch::Receiver<Arc<Settings>>,
    known: watch::Receiver<Known>,
    nudge: Arc<Notify>,
    said: mpsc::Sender<Said>,
    machine: Machine,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    looks: Looks,
    view: View,
}

/// What every piece of work needs.
struct Shared {
    store: Store,
    site: Site,
    /// What was read of Tasks, to write on them.
    forms: Mutex<HashMap<TaskId, Form>>,
    intake: intake::Seen,
}

/// Something under way has ended.
struct Done {
    /// The push that the store was asked about.
    looked: Option<PushId>,
    input: Input,
}

/// All that can wake the unit.
enum Wake {
    Stop,
    Known,
    Settings,
    Nudge,
    News(Vec<PushId>),
    Done(Done),
    Tick,
}

impl Unit {
    fn new(needs: Needs, post: Post) -> Self {
        let poll = needs.settings.borrow().mailbox.poll;
        Self {
            shared: Arc::new(Shared {
                store: needs.store,
                site: needs.site,
                forms: Mutex::default(),
                intake: intake::Seen::default(),
            }),
            settings: needs.settings,
            known: post.known.subscribe(),
            nudge: post.nudge,
            said: needs.said,
            machine: Machine::new(poll),
            work: FuturesUnordered::new(),
            looks: Looks::default(),
            view: View::new(needs.board),
        }
    }

    /// What a former process held for its claims.
    async fn remember(&mut self) -> Result<(), StoreError> {
        let mut pushes = Vec::new();
        for push in self.shared.store.unclaimed().await? {
            let standing = self.shared.store.standing(push).await?;
            let callback = standing.map(|standing| standing.callback);
            let Some((id, version)) = callback.as_deref().and_then(task_of) else {
                warn!(%push, "a push is held for a claim and names no Task");
                continue;
            };
            pushes.push((id, version, push));
        }
        self.step(Input::Unclaimed(pushes));
        Ok(())
    }

    async fn keep(&mut self, tether: Tether) {
        self.look_around();
        loop {
            tether.pulse.beat();
            match self.wake(&tether).await {
                Wake::Stop => return,
                Wake::Known | Wake::Settings => self.look_around(),
                Wake::Nudge => self.step(Input::Nudge),
                Wake::News(pushes) => self.hear(pushes),
                Wake::Done(done) => self.done(done),
                Wake::Tick => self.step(Input::Tick),
            }
            self.view.show(&self.machine);
        }
    }

    async fn wake(&mut self, tether: &Tether) -> Wake {
        let now = clock::mono();
        let deadline = self.machine.deadline(now).min(now.plus(LONGEST_SLEEP));
        tokio::select! {
            () = tether.stop.cancelled() => Wake::Stop,
            changed = self.known.changed() => if changed.is_ok() { Wake::Known } else { Wake::Stop },
            changed = self.settings.changed() => if changed.is_ok() { Wake::Settings } else { Wake::Stop },
            () = self.nudge.notified() => Wake::Nudge,
            news = self.shared.store.task_news() => Wake::News(news),
            Some(done) = self.work.next() => Wake::Done(done),
            () = clock::sleep_until(deadline) => Wake::Tick,
            () = tether.pulse.due() => Wake::Tick,
        }
    }

    /// The session or the configuration has changed.
    fn look_around(&mut self) {
        let settings = self.settings.borrow_and_update().mailbox;
        let known = self.known.borrow_and_update();
        let access = match (settings.mode, &known.access, known.agent) {
            (Mode::Off, ..) | (_, None, _) => mailbox::Access::Down,
            (Mode::On, Some(_), None | Some(AgentStatus::Active)) => mailbox::Access::All,
            (Mode::On, Some(_), Some(AgentStatus::Off | AgentStatus::Error)) => {
                mailbox::Access::Reports
            }
        };
        drop(known);
        self.view.mode(settings.mode);
        self.machine.poll_every(settings.poll);
        self.step(Input::Access(access));
    }

    fn hear(&mut self, pushes: Vec<PushId>) {
        for push in pushes {
            if self.looks.wants(push) {
                self.look(push);
            }
        }
    }

    fn look(&mut self, push: PushId) {
        let shared = Arc::clone(&self.shared);
        self.work.push(Box::pin(async move {
            let input = Input::News(push, shared.fate(push).await);
            let looked = Some(push);
            Done { looked, input }
        }));
    }

    fn done(&mut self, done: Done) {
        if let Input::Page(Ok(_)) = &done.input {
            self.view.searched();
        }
        self.step(done.input);
        if let Some(push) = done.looked
            && self.looks.ended(push)
        {
            self.look(push);
        }
    }

    fn step(&mut self, input: Input) {
        let at = Moment {
            now: clock::mono(),
            dice: Dice(rand::random()),
        };
        let mut out = Vec::new();
        self.machine.step(input, at, &mut out);
        for output in out {
            self.obey(output);
        }
    }

    fn obey(&mut self, output: Output) {
        let shared = Arc::clone(&self.shared);
        match output {
            Output::Store(id, push, errand) => {
                self.looks.begin(push);
                self.work.push(Box::pin(async move {
                    let input = Input::Done(id, shared.errand(push, errand).await);
                    let looked = Some(push);
                    Done { looked, input }
                }));
            }
            Output::Forget(push) => shared.store.forget_task(push),
            Output::Trouble(why) => self.trouble(why),
            request => {
                let access = self.known.borrow().access.clone();
                self.work.push(Box::pin(async move {
                    let input = shared.ask(access, request).await;
                    let looked = None;
                    Done { looked, input }
                }));
            }
        }
    }

    fn trouble(&mut self, why: String) {
        if why == requests::TOKEN_REFUSED && self.said.try_send(Said::TokenRefused).is_err() {
            debug!("the uplink is behind and hears later that its token is refused");
        }
        self.view.trouble(why);
    }
}

impl Shared {
    /// One request to the cloud, and what came of it.
    async fn ask(&self, access: Option<Access>, request: Output) -> Input {
        let limit = self.limit();
        let Some(access) = access else {
            return nobody(request);
        };
        match request {
            Output::Search {
                which,
                offset,
                count,
            } => Input::Page(access.search(which, offset, count).await),
            Output::Read(id) => {
                let read = access.resource("Task", &id.0, limit).await;
                let task = read.and_then(|value| self.note(&value, &access));
                Input::Read(id, task)
            }
            Output::Take(id, version) => {
                let taken = self.take(&access, &id, &version).await;
                Input::Taken(id, taken)
            }
            Output::Claim(id, version, push) => {
                let written = self.claim(&access, &id, &version, push).await;
                Input::Written(id, written)
            }
            Output::Report(report) => {
                let written = self.report(&access, &report).await;
                Input::Written(report.task, written)
            }
            Output::Store(id, ..) => Input::Done(id, Fate::Unclaimed),
            Output::Forget(_) | Output::Trouble(_) => Input::Tick,
        }
    }

    /// Asks until the store has done it: one that does not answer is about to end, and the process with it.
    async fn errand(&self, push: PushId, errand: Errand) -> Fate {
        self.store.watch_task(push);
        loop {
            let done = match errand.clone() {
                Errand::LetGo => self.store.claimed(push).await,
                Errand::Withdraw(why) => self.store.withdraw(push, why).await,
                Errand::Look => Ok(()),
            };
            match done {
                Ok(()) => return self.fate(push).await,
                Err(error) => {
                    warn!(%push, %error, "the push of a Task waits for the store");
                    clock::sleep_until(clock::mono().plus(STORE_RETRY)).await;
                }
            }
        }
    }

    async fn fate(&self, push: PushId) -> Fate {
        loop {
            match self.store.standing(push).await {
                Ok(Some(standing)) if task_of(&standing.callback).is_some() => {
                    return fate_of(&standing);
                }
                Ok(_) => return Fate::Lost,
                Err(error) => {
                    warn!(%push, %error, "how the push of a Task stands cannot be read");
                    clock::sleep_until(clock::mono().plus(STORE_RETRY)).await;
                }
            }
        }
    }

    /// Bytes of a Task: its payload escaped as JSON can be six times as long.
    fn limit(&self) -> usize {
        let body = self.site.devices().rules().max_push_bytes;
        body.saturating_mul(6) + REST_OF_TASK
    }

    fn forms(&self) -> MutexGuard<'_, HashMap<TaskId, Form>> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes of a request that nobody can send.
fn nobody(request: Output) -> Input {
    let trouble = || {
        let why = "there is no session with the cloud".to_owned();
        requests::unknown(why, agent_core::retry::AskedWait::Nothing)
    };
    match request {
        Output::Search { .. } => Input::Page(Err(trouble())),
        Output::Read(id) => Input::Read(id, Err(trouble())),
        Output::Take(id, _) => {
            let why = "there is no session with the cloud".to_owned();
            let asked = agent_core::retry::AskedWait::Nothing;
            Input::Taken(id, mailbox::Taken::Later(why, asked))
        }
        Output::Claim(id, ..) => Input::Written(id, Err(trouble())),
        Output::Report(report) => Input::Written(report.task, Err(trouble())),
        Output::Store(id, ..) => Input::Done(id, Fate::Unclaimed),
        Output::Forget(_) | Output::Trouble(_) => Input::Tick,
    }
}

fn fate_of(standing: &Standing) -> Fate {
    match (standing.state, standing.held) {
        (State::Queued | State::Held, Some(HeldBy::Claim)) => Fate::Unclaimed,
        (State::Held, Some(HeldBy::Doubt)) => Fate::Uncertain,
        (State::Held, Some(HeldBy::Person)) => Fate::Held,
        (State::Queued | State::Held, _) => Fate::Waiting,
        (State::Sending, _) => Fate::Sending,
        (State::Delivered, _) => Fate::Delivered,
        (State::Rejected, _) => Fate::Rejected,
        (State::Cancelled, _) => Fate::Cancelled,
        (State::Expired | State::Dead, _) => Fate::Failed,
    }
}

/// `Task/ID/VERSION`, taken apart.
fn task_of(callback: &str) -> Option<(TaskId, Version)> {
    let rest = callback.strip_prefix(agent_core::push::TASK)?;
    let (id, version) = rest.split_once('/')?;
    Some((TaskId(id.into()), Version(version.into())))
}

fn callback_of(id: &TaskId, version: &Version) -> String {
    format!("{}{}/{}", agent_core::push::TASK, id.0, version.0)
}

/// What the configuration says of the mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    pub mode: Mode,
    /// How often it is looked into without a nudge.
    pub poll: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    On,
    Off,
}

const LONGEST_SLEEP: Duration = Duration::from_mins(1);
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Of a Task without its payload.
const REST_OF_TASK: usize = 256 * 1024;
