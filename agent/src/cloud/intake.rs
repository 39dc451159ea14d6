//! What the server's messages mean: pushes to the store, pings to the pinger, questions to the snapshot.

use agent_core::clock::CloudTime;
use agent_core::push::Seq;
use agent_core::queue::{AgentSwitch, ReplyTo, Session};
use agent_core::route::Route;
use agent_core::uplink::Status;
use agent_core::upload::{End, UploadId};
use agent_wire::{LogsPage, PING, PushRequest, ToAgent, ToServer};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::mailbox::Access;
use super::ping::PingRequest;
use super::translate::{self, Request};
use super::{AgentStatus, Answer, AnswersUnread, CloudSide, Link, Unread, refusal};
use crate::adopt::{AdoptError, Adopter};
use crate::control::verbs::Verb;
use crate::control::{Control, error, own_answer};
use crate::store::{Own, StoreError, Upload};
use crate::telemetry::LogRing;

/// The agent's side of the session.
#[derive(Debug)]
pub struct Intake {
    pub control: Control,
    pub adopter: Adopter,
    pub pings: mpsc::Sender<PingRequest>,
    pub logs: LogRing,
}

/// Why a push goes no further.
enum Stopped {
    /// The caller is told this sentence.
    Refused(String),
    /// The store has ended, and so will the process.
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AdoptError> for Stopped {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Store(error) => Self::Store(error),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

impl From<String> for Stopped {
    fn from(sentence: String) -> Self {
        Self::Refused(sentence)
    }
}

impl CloudSide for Intake {
    async fn take(&self, message: ToAgent) -> Option<ToServer> {
        match message {
            ToAgent::TransmitRequest(push) => self.push(push).await,
            ToAgent::StatsRequest { callback } => Some(self.stats(callback).await),
            ToAgent::LogsRequest {
                callback,
                limit,
                before,
            } => Some(self.logs(callback, limit, before.as_deref())),
            ToAgent::UpgradeRequest { callback, .. } => Some(ToServer::Error {
                callback,
                body: NO_UPGRADE.into(),
            }),
            ToAgent::Error { body, .. } => {
                warn!(
                    bytes = body.len(),
                    "the server reported an error that answers nothing of ours"
                );
                None
            }
            ToAgent::TransmitResponse(_)
            | ToAgent::ConnectResponse
            | ToAgent::HeartbeatRequest
            | ToAgent::HeartbeatResponse { .. }
            | ToAgent::ReloadRequest { .. }
            | ToAgent::Unknown { .. } => None,
        }
    }

    async fn link(&self, link: Link) {
        let session = match link {
            Link::Live => Session::Live,
            Link::Down => Session::Down,
        };
        if let Err(error) = self.control.store.session(session).await {
            warn!(%error, "the store did not hear of the session");
        }
    }

    async fn reload(&self) -> Result<(), String> {
        self.may(&Verb::Reload)?;
        let outcome = self.control.reloader.reload(CLOUD).await;
        outcome.map(drop).map_err(|refused| refused.sentence())
    }

    async fn cloud_time(&self, time: CloudTime) {
        if let Err(error) = self.control.store.cloud_time(time).await {
            warn!(%error, "the store did not hear what time it is in the cloud");
        }
    }

    fn access(&self, access: Option<Access>) {
        self.control.mailbox.access(access);
    }

    async fn agent_status(&self, status: AgentStatus) {
        self.control.board.agent_status(status);
        self.control.mailbox.agent(status);
        let agent = match status {
            AgentStatus::Active => AgentSwitch::On,
            AgentStatus::Off | AgentStatus::Error => AgentSwitch::Off,
        };
        if let Err(error) = self.control.store.switch(agent).await {
            warn!(%error, "the store did not hear of the agent's status");
        }
    }

    async fn answers_after(&self, after: Seq, limit: usize) -> Result<Vec<Answer>, AnswersUnread> {
        let read = self.control.store.answers_after(after, limit).await;
        read.map_err(|error| AnswersUnread(Box::new(error)))
    }

    fn taken(&self, upto: Seq) {
        self.control.store.taken(upto);
    }

    fn taken_mark(&self) -> Seq {
        self.control.store.taken_mark()
    }

    fn last_answer(&self) -> Seq {
        self.control.store.last_answer()
    }

    fn newest_upload(&self) -> (UploadId, u64) {
        self.control.store.newest_upload()
    }

    async fn uploads_after(
        &self,
        after: UploadId,
        limit: usize,
    ) -> Result<Vec<(UploadId, String)>, Unread> {
        let read = self.control.store.uploads_after(after, limit).await;
        read.map_err(|error| Unread(Box::new(error)))
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>, Unread> {
        let read = self.control.store.upload(id).await;
        read.map_err(|error| Unread(Box::new(error)))
    }

    async fn close_upload(&self, id: UploadId, end: End) {
        if let Err(error) = self.control.store.close_upload(id, end).await {
            warn!(%error, upload = id.0, "the store did not hear what became of an upload");
        }
    }

    fn uplink_status(&self, status: &Status) {
        self.control.board.uplink(status);
    }
}

impl Intake {
    async fn push(&self, push: PushRequest) -> Option<ToServer> {
        let to = ReplyTo {
            callback: push.callback.clone().unwrap_or_default(),
            remote: push.remote.clone().unwrap_or_default(),
            content_type: String::new(),
        };
        let answerable = push.callback.is_some();
        let why = match self.forward(push).await {
            Ok(()) => return None,
            Err(Stopped::Refused(why)) => why,
            Err(Stopped::Store(error)) => {
                format!("the agent cannot store the push: {}", error.sentence())
            }
        };
        info!(remote = %shown(&to.remote), why, "push refused");
        answerable.then(|| refusal(to, why))
    }

    async fn forward(&self, push: PushRequest) -> Result<(), Stopped> {
        let ping = push
            .content_type
            .as_deref()
            .is_some_and(|kind| kind.starts_with(PING));
        let devices = self.control.site.devices();
        let request = translate::request(push, devices.rules().max_push_bytes)?;
        if ping {
            return self.ping(request);
        }
        if let Some(file) = devices.broken_file(&request.remote) {
            let file = file.display();
            return Err(format!(
                "{file} cannot be used, so its device is off; see `wardpost check`"
            )
            .into());
        }
        let no = match devices.resolve(&request.remote) {
            Route::Myself => return self.own(request).await,
            Route::Found(no) => no,
            Route::Allowed(remote) => self.adopter.adopt(remote).await?,
            Route::Refused(refusal) => return Err(refusal.to_string().into()),
        };
        let devices = self.control.site.devices();
        let device = devices
            .get(no)
            .ok_or("the device was removed just now".to_owned())?;
        let push = translate::push(request, no, device)?;
        Ok(self.control.store.accept(push).await?)
    }

    fn ping(&self, request: Request) -> Result<(), Stopped> {
        let devices = self.control.site.devices();
        let target = devices.host(&request.remote).ok_or_else(|| {
            format!(
                "{} is not the host of a mapped device; only those can be pinged",
                shown(&request.remote)
            )
        })?;
        let Some(callback) = request.callback else {
            return Ok(());
        };
        let ping = PingRequest::new(&request.body, request.remote, callback, target.dial)?;
        self.pings
            .try_send(ping)
            .map_err(|_| "too many pings at once; try again".to_owned().into())
    }

    /// A command by push. It is stored like any push, so that the same callback never does a thing twice.
    async fn own(&self, request: Request) -> Result<(), Stopped> {
        translate::check_command(&request)?;
        let own = match Verb::read(&request.body) {
            Err(sentence) => Own::Said(own_answer(&error(sentence))),
            Ok(verb) => match self.may(&verb) {
                Ok(()) => self.control.own(verb, CLOUD).await?,
                Err(sentence) => Own::Said(own_answer(&error(sentence))),
            },
        };
        Ok(self
            .control
            .store
            .accept_own(translate::own_push(request), own)
            .await?)
    }

    /// Whether the cloud may do this, whatever message it comes by.
    fn may(&self, verb: &Verb) -> Result<(), String> {
        let devices = self.control.site.devices();
        if devices.rules().commands.allow(verb.name()) {
            return Ok(());
        }
        let name = verb.name();
        Err(format!(
            "{name} by the cloud is not allowed here; see [cloud] commands of the agent"
        ))
    }

    async fn stats(&self, callback: Option<String>) -> ToServer {
        match self.control.store.report().await {
            Ok(report) => {
                let control = &self.control;
                let room = control.store.room_on_disk();
                let uploads = control.store.uploads();
                let devices = control.site.devices();
                let snapshot = control.board.snapshot(&report, &devices, (&room, uploads));
                ToServer::StatsResponse {
                    callback,
                    status_code: 200,
                    stats: snapshot.stats(),
                }
            }
            Err(error) => ToServer::Error {
                callback,
                body: error.to_string(),
            },
        }
    }

    /// The log is a part of what `diag` gives.
    fn logs(&self, callback: Option<String>, limit: Option<i64>, before: Option<&str>) -> ToServer {
        if let Err(body) = self.may(&Verb::Diag) {
            return ToServer::Error { callback, body };
        }
        let limit = limit.unwrap_or(DEFAULT_LOGS);
        let Some(limit) = usize::try_from(limit)
            .ok()
            .filter(|n| (1..=MOST_LOGS).contains(n))
        else {
            let body = format!("Invalid limit: {limit}; it must be 1 to {MOST_LOGS}");
            return ToServer::Error { callback, body };
        };
        let (logs, next) = self
            .logs
            .page(limit, before.and_then(|before| before.parse().ok()));
        let page = LogsPage {
            logs,
            has_more: Some(next.is_some()),
            next_before: next.map(|next| next.to_string()),
        };
        ToServer::LogsResponse {
            callback,
            status_code: 200,
            page,
        }
    }
}

/// A remote as it may be logged: short, and on one line.
fn shown(remote: &str) -> String {
    remote
        .chars()
        .take(120)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Who does it, where the cloud asked.
const CLOUD: &str = "cloud";
const DEFAULT_LOGS: i64 = 20;
const MOST_LOGS: usize = 1000;
const NO_UPGRADE: &str = "this agent is not upgraded over its websocket; install the new package, or the \
                          new image, on the box";
