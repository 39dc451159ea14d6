//! The unit that keeps the session with the cloud.
//!
//! One task, one `select!`: `Wake` lists all that can wake it. What follows from each is decided by
//! the pure machine `agent_core::uplink`; this file feeds it and does what it asks. Answers have their own
//! order (`answers.rs`), the Agent resource its own reading (`record.rs`); `envelopes.rs` is what comes and goes.
//!
//! What the session does with an envelope: heartbeats and connect are the machine's, a reload is
//! `reloads.rs`'s and then `record.rs`'s, everything else is [`CloudSide::take`]'s, also when it comes before the server has
//! answered the connect: it may have subscribed us already. Nothing but heartbeat answers is sent until then.

mod answers;
mod envelopes;
mod record;
mod reloads;
mod slot;
mod uploads;

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use agent_core::clock::CloudTime;
use agent_core::push::Mono;
use agent_core::retry::Dice;
use agent_core::uplink::{Input, Moment, Output, Phase, Status, Uplink as Machine};
use agent_wire::ToServer;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::answers::{Answers, Page};
use self::record::{Record, TokenJudged};
use self::reloads::Reloads;
use self::slot::Slot;
use self::uploads::{Disk, Out, Uploads};
use super::dial::Dialler;
use super::fhir::{AgentRecord, FhirError};
use super::http::HttpClient;
use super::mailbox::Access;
use super::settings::Settings;
use super::token::{AccessToken, TokenError};
use super::websocket::{Event, OpenError, WebSocket};
use super::{CloudSide, Link, Said, told};
use crate::clock;
use crate::pulse::Tether;

/// The largest incoming message where nothing else is set.
pub const LARGEST_MESSAGE: usize = 16 << 20;

/// One life of the uplink.
pub struct Uplink<C> {
    settings: Arc<Settings>,
    /// The settings that are to be used from now on.
    news: watch::Receiver<Arc<Settings>>,
    cloud: Arc<C>,
    /// `None` once nobody can say anything any more.
    said: Option<mpsc::Receiver<Said>>,
    tether: Tether,
    dialler: Arc<Dialler>,
    http: HttpClient,
    machine: Machine,
    token: Option<SecretString>,
    /// Somebody who used the token was refused.
    doubted: bool,
    fetching: Slot<Result<AccessToken, TokenError>>,
    dialling: Slot<Result<WebSocket, OpenError>>,
    socket: Option<WebSocket>,
    answers: Answers<C>,
    uploads: Uploads<C>,
    record: Record,
    reloads: Reloads,
    /// What must be said, but not before the server has accepted us.
    early: Vec<ToServer>,
    /// What was logged since the last session began: an outage is told once, not every ten seconds.
    logged: Vec<String>,
    throw: fn() -> Dice,
}

/// All that can wake the uplink.
enum Wake {
    Stop,
    Token(Result<AccessToken, TokenError>),
    Opened(Box<Result<WebSocket, OpenError>>),
    Socket(Event),
    Said(Option<Said>),
    Page(Page),
    Upload(Disk),
    Agent(Result<AgentRecord, FhirError>),
    Reloaded(Result<(), String>),
    Settings,
    Timer,
    /// A sign of life is due, and going round the loop gives it.
    Pulse,
}

impl<C: CloudSide> Uplink<C> {
    /// Keeps the session until cancelled. It needs no network to begin, and nothing makes it give up.
    pub async fn run(
        cloud: C,
        settings: watch::Receiver<Arc<Settings>>,
        said: mpsc::Receiver<Said>,
        tether: Tether,
    ) {
        Self::new(cloud, settings, said, tether).keep().await;
    }

    async fn keep(mut self) {
        while !self.machine.is_stopped() {
            self.tether.pulse.beat();
            let wake = self.wake().await;
            self.handle(wake).await;
            self.work().await;
        }
    }

    fn new(
        cloud: C,
        mut news: watch::Receiver<Arc<Settings>>,
        said: mpsc::Receiver<Said>,
        tether: Tether,
    ) -> Self {
        let cloud = Arc::new(cloud);
        let settings = Arc::clone(&news.borrow_and_update());
        let dialler = Arc::new(settings.dialler());
        Self {
            http: HttpClient::new(Arc::clone(&dialler)),
            answers: Answers::new(Arc::clone(&cloud)),
            uploads: Uploads::new(Arc::clone(&cloud)),
            settings,
            news,
            cloud,
            said: Some(said),
            tether,
            dialler,
            machine: Machine::new(),
            token: None,
            doubted: false,
            fetching: Slot::empty(),
            dialling: Slot::empty(),
            socket: None,
            record: Record::new(),
            reloads: Reloads::none(),
            early: Vec::new(),
            logged: Vec::new(),
            throw: || Dice(rand::random()),
        }
    }

    async fn wake(&mut self) -> Wake {
        let timer = sleep(self.time_to_deadline());
        let may_say = self.socket.as_ref().is_none_or(WebSocket::has_room);
        tokio::select! {
            () = self.tether.stop.cancelled() => Wake::Stop,
            result = self.fetching.done() => Wake::Token(result),
            result = self.dialling.done() => Wake::Opened(Box::new(result)),
            event = next(&mut self.socket) => Wake::Socket(event),
            said = hear(&mut self.said), if may_say => Wake::Said(said),
            page = self.answers.page() => Wake::Page(page),
            read = self.uploads.read() => Wake::Upload(read),
            result = self.record.done() => Wake::Agent(result),
            result = self.reloads.done() => Wake::Reloaded(result),
            () = changed(&mut self.news) => Wake::Settings,
            () = timer => Wake::Timer,
            () = self.tether.pulse.due() => Wake::Pulse,
        }
    }

    async fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Stop => self.step(Input::Stop).await,
            Wake::Token(result) => self.token_came(result).await,
            Wake::Opened(result) => self.opened(*result).await,
            Wake::Socket(event) => self.socket_event(event).await,
            Wake::Said(Some(said)) => self.say(said),
            Wake::Said(None) => self.said = None,
            Wake::Page(page) => self.answers.page_came(page, clock::mono()),
            Wake::Upload(disk) => self.upload_came(disk).await,
            Wake::Agent(result) => self.agent_came(result).await,
            Wake::Reloaded(result) => self.reloaded(&result),
            Wake::Settings => self.settings_came().await,
            Wake::Timer => self.timer().await,
            Wake::Pulse => {}
        }
    }

    /// Does what became possible or due, whatever it was that woke us.
    async fn work(&mut self) {
        if !self.machine.is_live() {
            return;
        }
        if mem::take(&mut self.doubted) {
            self.step(Input::TokenRefused).await;
        }
        let now = clock::mono();
        if let Some(socket) = &mut self.socket {
            self.answers.work(socket, now);
        }
        self.uploads.work((now, (self.throw)())).await;
        if self.answers.wants_heartbeat(now) {
            self.step(Input::HeartbeatWanted).await;
        }
        if self.record.is_due(now) {
            self.read_agent();
        }
    }

    /// Lets the machine decide, and does what it says.
    async fn step(&mut self, input: Input) {
        let at = Moment {
            now: clock::mono(),
            dice: (self.throw)(),
        };
        let mut out = Vec::new();
        self.machine.step(input, at, &mut out);
        for output in out {
            self.obey(output).await;
        }
    }

    async fn obey(&mut self, output: Output) {
        match output {
            Output::FetchToken => self.fetch_token(),
            Output::Dial => self.dial(),
            Output::SendConnect => self.send_connect(),
            Output::SendHeartbeat => {
                self.send(&ToServer::HeartbeatRequest);
                self.answers.heartbeat_sent();
            }
            Output::CloseSocket => self.close().await,
            Output::LinkUp => self.link_up().await,
            Output::LinkDown { why } => {
                warn!(why, "the session with the cloud ended");
                self.record.end_session();
                self.reloads.forget();
                let at = (clock::mono(), (self.throw)());
                self.uploads.link_down(at).await;
                self.cloud.access(None);
                self.cloud.link(Link::Down).await;
            }
            Output::Status(status) => self.tell(&status),
        }
    }

    fn fetch_token(&mut self) {
        let (http, settings) = (self.http.clone(), Arc::clone(&self.settings));
        self.fetching.start(async move {
            AccessToken::fetch(&http, &settings.url, &settings.credentials).await
        });
    }

    fn dial(&mut self) {
        let (dialler, settings) = (Arc::clone(&self.dialler), Arc::clone(&self.settings));
        self.dialling.start(async move {
            WebSocket::open(&dialler, &settings.url, settings.largest_message).await
        });
    }

    fn read_agent(&mut self) {
        let token = self.token.clone().unwrap_or_else(|| String::new().into());
        let (http, settings) = (self.http.clone(), Arc::clone(&self.settings));
        self.record.begin(async move {
            AgentRecord::read(&http, &settings.url, &token, &settings.agent).await
        });
    }

    fn send_connect(&mut self) {
        let token = self
            .token
            .as_ref()
            .map(|token| token.expose_secret().to_owned());
        let agent_id = Some(self.settings.agent.clone());
        self.send(&ToServer::ConnectRequest {
            access_token: token,
            agent_id,
        });
    }

    async fn link_up(&mut self) {
        self.logged.clear();
        self.answers.begin_session();
        self.record.begin_session(clock::mono());
        let at = (clock::mono(), (self.throw)());
        self.uploads.link_up(at).await;
        for early in mem::take(&mut self.early) {
            self.send(&early);
        }
        self.cloud.link(Link::Live).await;
        self.lend_access();
    }

    /// The rest of the agent asks with the same token, on the same way.
    fn lend_access(&self) {
        let access = self.token.clone().map(|token| Access {
            http: self.http.clone(),
            base: self.settings.url.clone(),
            agent: self.settings.agent.clone(),
            token,
        });
        self.cloud.access(access);
    }

    async fn close(&mut self) {
        self.dialling.clear();
        self.early.clear();
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
    }

    fn tell(&mut self, status: &Status) {
        self.cloud.uplink_status(status);
        let words = &status.words;
        let news = status.phase != Phase::Connecting && !self.logged.contains(words);
        if !news || self.logged.len() >= MOST_LOGGED {
            debug!(status = words, "uplink");
            return;
        }
        self.logged.push(words.clone());
        match status.phase {
            Phase::Trouble => warn!(status = words, "uplink"),
            Phase::Connecting | Phase::Live | Phase::Stopped => info!(status = words, "uplink"),
        }
    }

    async fn token_came(&mut self, result: Result<AccessToken, TokenError>) {
        match result {
            Ok(token) => {
                self.tell_time(token.time).await;
                self.token = Some(token.text);
                self.record.token_came(clock::mono());
                self.step(Input::TokenGot {
                    lifetime: token.lifetime,
                })
                .await;
                if self.machine.is_live() {
                    self.lend_access();
                }
            }
            Err(fault) => {
                let (why, asked) = (told(&fault), fault.asked());
                self.step(Input::TokenFailed { why, asked }).await;
            }
        }
    }

    async fn opened(&mut self, result: Result<WebSocket, OpenError>) {
        match result {
            Ok(socket) => {
                self.tell_time(socket.time).await;
                self.socket = Some(socket);
                self.step(Input::Opened).await;
            }
            Err(fault) => {
                let (why, asked) = (told(&fault), fault.asked());
                self.step(Input::OpenFailed { why, asked }).await;
            }
        }
    }

    async fn upload_came(&mut self, disk: Disk) {
        let (Some(socket), Some(token)) = (&mut self.socket, &self.token) else {
            return;
        };
        let out = Out {
            socket,
            agent: &self.settings.agent,
            token: token.expose_secret(),
        };
        let at = (clock::mono(), (self.throw)());
        self.uploads.came(disk, out, at).await;
    }

    async fn tell_time(&mut self, time: Option<CloudTime>) {
        if let Some(time) = time {
            self.cloud.cloud_time(time).await;
        }
    }

    async fn agent_came(&mut self, result: Result<AgentRecord, FhirError>) {
        let read = self.record.came(result, clock::mono(), (self.throw)());
        if let Some(status) = read.status {
            self.cloud.agent_status(status).await;
        }
        for reply in read.replies {
            self.reply(reply);
        }
        if read.token == TokenJudged::Refused {
            self.step(Input::TokenRefused).await;
        }
    }

    /// The server asked for a reload: of the files, and then of the Agent resource.
    fn reload(&mut self, callback: Option<String>) {
        let cloud = Arc::clone(&self.cloud);
        let refusal = self
            .reloads
            .ask(callback, || Box::pin(async move { cloud.reload().await }));
        if let Some(refusal) = refusal {
            self.reply(refusal);
        }
    }

    /// Tells who asked. If this session is to end by it, that is the last that is said in it.
    fn reloaded(&mut self, result: &Result<(), String>) {
        let ends = self.news.borrow().is_other_session(&self.settings);
        for callback in self.reloads.over() {
            let reply = match result {
                Ok(()) if ends => Some(reloads::done(callback)),
                Ok(()) => self.record.reload(Some(callback), clock::mono()),
                Err(sentence) => Some(reloads::refused(callback, sentence.clone())),
            };
            if let Some(reply) = reply {
                self.reply(reply);
            }
        }
        // Agent.status is read again in any case.
        let _ = self.record.reload(None, clock::mono());
        if self.reloads.wants_another() {
            self.reload(None);
        }
    }

    /// Other settings: whoever asked for them is told first, then all that belongs to the old ones is dropped.
    async fn settings_came(&mut self) {
        if self.reloads.is_under_way() {
            let result = self.reloads.done().await;
            self.reloaded(&result);
        }
        let next = Arc::clone(&self.news.borrow_and_update());
        let before = mem::replace(&mut self.settings, next);
        if !self.settings.is_other_session(&before) {
            return;
        }
        self.dialler = Arc::new(self.settings.dialler());
        self.http = HttpClient::new(Arc::clone(&self.dialler));
        self.token = None;
        self.logged.clear();
        self.step(Input::SettingsChanged).await;
    }

    /// A timer looks at the socket first: after a pause of this process the server is not silent, we were deaf.
    async fn timer(&mut self) {
        for _ in 0..MOST_FRAMES_BEFORE_TICK {
            let Some(socket) = &mut self.socket else {
                break;
            };
            let Some(event) = socket.next_if_ready().await else {
                break;
            };
            self.socket_event(event).await;
        }
        self.step(Input::Tick).await;
    }

    fn time_to_deadline(&self) -> Duration {
        let session = self.machine.is_live().then(|| self.answers.deadline());
        let record = self.record.deadline().filter(|_| self.machine.is_live());
        let uploads = self.uploads.deadline().filter(|_| self.machine.is_live());
        let deadlines = [self.machine.deadline(), session, record, uploads];
        let first = deadlines
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Mono(u64::MAX));
        Duration::from_millis(first.0.saturating_sub(clock::mono().0)).min(LONGEST_SLEEP)
    }
}

async fn next(socket: &mut Option<WebSocket>) -> Event {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

async fn hear(said: &mut Option<mpsc::Receiver<Said>>) -> Option<Said> {
    match said {
        Some(said) => said.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for other settings, for ever if nobody can give any.
async fn changed(news: &mut watch::Receiver<Arc<Settings>>) {
    if news.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl<C> std::fmt::Debug for Uplink<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uplink")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// Different troubles of one outage that are worth a line each.
const MOST_LOGGED: usize = 16;
/// Enough to find a heartbeat among pushes, little enough to let the timer be one.
const MOST_FRAMES_BEFORE_TICK: usize = 64;
/// The sleep is measured by another clock than the deadlines; they must not drift apart for long.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
