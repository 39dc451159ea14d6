//! The rest of the agent in miniature: a disk of answers, and a record of what the uplink did.

use std::sync::{Arc, Mutex};

use agent_core::clock::CloudTime;
use agent_core::phi::Phi;
use agent_core::push::{Mono, Seq};
use agent_core::upload::{End, UploadId};
use agent_wire::{ToAgent, ToServer};
use tokio::sync::watch;

use crate::cloud::{AgentStatus, Answer, AnswersUnread, CloudSide, Link, Unread};
use crate::store::Upload;

/// What the uplink told us, and what we would tell it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) disk: Vec<Answer>,
    pub(super) taken: Seq,
    /// What waits to go up, and how what did not wait any more ended.
    pub(super) uploads: Vec<Upload>,
    pub(super) closed: Vec<(UploadId, End)>,
    /// Rises when all that wait are to be read anew.
    pub(super) epoch: u64,
    pub(super) links: Vec<Link>,
    pub(super) statuses: Vec<AgentStatus>,
    pub(super) times: Vec<CloudTime>,
    pub(super) words: Vec<String>,
    /// When it said that it would try again.
    pub(super) next_tries: Vec<Mono>,
    pub(super) pushes: Vec<String>,
    /// How many answers each page held.
    pub(super) pages: Vec<usize>,
    /// So many readings of the disk fail.
    pub(super) unreadable: u32,
    pub(super) reloads: u32,
    /// What is wrong with the files.
    pub(super) mistake: Option<String>,
}

/// Shared by the test and the uplink.
#[derive(Clone)]
pub(super) struct FakeCloud {
    state: watch::Sender<State>,
    on_reload: Arc<Mutex<Box<dyn Fn() + Send>>>,
}

impl FakeCloud {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
            on_reload: Arc::new(Mutex::new(Box::new(|| {}))),
        }
    }

    /// What happens while the files are read anew.
    pub(super) fn on_reload(&self, what: impl Fn() + Send + 'static) {
        *self.on_reload.lock().unwrap() = Box::new(what);
    }

    /// Records an answer on disk, as the store would before anybody hears of it.
    pub(super) fn record(&self, body: &str) -> Answer {
        let mut answer = None;
        self.change(|state| {
            let prev = state.disk.last().map_or(Seq(0), |last| last.seq);
            let seq = Seq(prev.0 + 3);
            let recorded = Answer {
                seq,
                prev,
                callback: format!("Agent/agent-1-{}", seq.0),
                remote: "mllp://10.0.0.7:2575?encoding=utf-8".into(),
                content_type: agent_wire::HL7.into(),
                status: 200,
                body: Phi(body.to_owned()),
            };
            state.disk.push(recorded.clone());
            answer = Some(recorded);
        });
        answer.unwrap()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    pub(super) async fn until(&self, condition: impl FnMut(&State) -> bool) {
        self.state.subscribe().wait_for(condition).await.unwrap();
    }

    pub(super) fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }
}

impl CloudSide for FakeCloud {
    async fn take(&self, message: ToAgent) -> Option<ToServer> {
        match message {
            ToAgent::TransmitRequest(push) => {
                let body = push.body.unwrap_or_default();
                let refusal = ToServer::Error {
                    callback: push.callback,
                    body: "refused".into(),
                };
                let refused = body == "refuse me";
                self.change(|state| state.pushes.push(body));
                refused.then_some(refusal)
            }
            _ => None,
        }
    }

    async fn link(&self, link: Link) {
        self.change(|state| state.links.push(link));
    }

    async fn reload(&self) -> Result<(), String> {
        self.change(|state| state.reloads += 1);
        (self.on_reload.lock().unwrap())();
        self.see(|state| state.mistake.clone()).map_or(Ok(()), Err)
    }

    async fn agent_status(&self, status: AgentStatus) {
        self.change(|state| state.statuses.push(status));
    }

    async fn cloud_time(&self, time: CloudTime) {
        self.change(|state| state.times.push(time));
    }

    async fn answers_after(&self, after: Seq, limit: usize) -> Result<Vec<Answer>, AnswersUnread> {
        let mut page = Vec::new();
        let mut failed = false;
        self.change(|state| {
            failed = state.unreadable > 0;
            state.unreadable = state.unreadable.saturating_sub(1);
            let rest = state.disk.iter().filter(|answer| answer.seq > after);
            page = rest.take(limit).cloned().collect();
            state.pages.push(page.len());
        });
        if failed {
            Err(AnswersUnread("the disk is tired".into()))
        } else {
            Ok(page)
        }
    }

    fn taken(&self, upto: Seq) {
        self.change(|state| state.taken = upto);
    }

    fn taken_mark(&self) -> Seq {
        self.see(|state| state.taken)
    }

    fn last_answer(&self) -> Seq {
        self.see(|state| state.disk.last().map_or(Seq(0), |last| last.seq))
    }

    fn newest_upload(&self) -> (UploadId, u64) {
        self.see(|state| {
            let newest = state.uploads.last().map(|upload| upload.id);
            (newest.unwrap_or_default(), state.epoch)
        })
    }

    async fn uploads_after(
        &self,
        after: UploadId,
        limit: usize,
    ) -> Result<Vec<(UploadId, String)>, Unread> {
        Ok(self.see(|state| {
            let waits = |id| state.closed.iter().all(|(closed, _)| *closed != id);
            let rest = state
                .uploads
                .iter()
                .filter(|upload| upload.id > after && waits(upload.id));
            let named = rest.map(|upload| (upload.id, upload.channel.clone()));
            named.take(limit).collect()
        }))
    }

    async fn upload(&self, id: UploadId) -> Result<Option<Upload>, Unread> {
        Ok(self.see(|state| state.uploads.iter().find(|upload| upload.id == id).cloned()))
    }

    async fn close_upload(&self, id: UploadId, end: End) {
        self.change(|state| state.closed.push((id, end)));
    }

    fn uplink_status(&self, status: &agent_core::uplink::Status) {
        self.change(|state| {
            state.words.push(status.words.clone());
            state.next_tries.extend(status.next_try);
        });
    }
}
