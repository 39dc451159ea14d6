//! Reloads that the server asked for: one at a time, and every callback answered by one that began after it.

use std::mem;
use std::pin::Pin;

use agent_wire::ToServer;

use super::slot::Slot;

type Work = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The reload under way, and who asked for it.
pub(super) struct Reloads {
    work: Slot<Result<(), String>>,
    /// Callbacks that the reload under way will answer.
    asked: Vec<String>,
    /// Who asked after it began, `None` if nobody did: the files may be newer than what it reads.
    later: Option<Vec<String>>,
}

impl Reloads {
    pub(super) fn none() -> Self {
        Self {
            work: Slot::empty(),
            asked: Vec::new(),
            later: None,
        }
    }

    /// Begins a reload, or remembers who wants the next one. Gives the refusal if too many wait already.
    pub(super) fn ask(
        &mut self,
        callback: Option<String>,
        work: impl FnOnce() -> Work,
    ) -> Option<ToServer> {
        if self.work.is_empty() {
            self.asked = self.later.take().unwrap_or_default();
            self.asked.extend(callback);
            self.work.start(work());
            return None;
        }
        let later = self.later.get_or_insert_default();
        match callback {
            Some(callback) if later.len() >= MOST_WAITING => {
                let body = "too many reloads are waiting; try again in a minute";
                Some(refused(callback, body.into()))
            }
            callback => {
                later.extend(callback);
                None
            }
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.work.is_empty()
    }

    pub(super) async fn done(&mut self) -> Result<(), String> {
        self.work.done().await
    }

    /// Who is to be told.
    pub(super) fn over(&mut self) -> Vec<String> {
        self.work.clear();
        mem::take(&mut self.asked)
    }

    pub(super) fn wants_another(&self) -> bool {
        self.later.is_some()
    }

    /// The session ended, and with it the patience of those who asked in it.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
        if let Some(callbacks) = &mut self.later {
            callbacks.clear();
        }
    }
}

pub(super) fn done(callback: String) -> ToServer {
    ToServer::ReloadResponse {
        callback: Some(callback),
        status_code: 200,
    }
}

pub(super) fn refused(callback: String, body: String) -> ToServer {
    ToServer::Error {
        callback: Some(callback),
        body,
    }
}

/// Reloads that may wait for one that is under way.
const MOST_WAITING: usize = 32;
