//! Reads the Agent resource: once a session, and whenever the server asks for a reload.

use std::mem;
use std::time::Duration;

use agent_core::push::Mono;
use agent_core::retry::{Backoff, Dice};
use agent_wire::ToServer;
use tracing::{info, warn};

use super::slot::Slot;
use crate::cloud::fhir::{AgentRecord, FhirError};
use crate::cloud::{AgentStatus, told};

/// The reading of the Agent resource, and who asked for it.
pub(super) struct Record {
    reading: Slot<Result<AgentRecord, FhirError>>,
    /// Callbacks that the reading under way will answer.
    asked: Vec<String>,
    /// Callbacks that came after it began; what they ask about may be newer than what it reads.
    later: Vec<String>,
    next: Next,
    failures: u32,
    /// The last one logged.
    known: Option<AgentStatus>,
}

/// When the next reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    NotNeeded,
    At(Mono),
}

/// What a reading comes to.
pub(super) struct Read {
    pub(super) status: Option<AgentStatus>,
    pub(super) replies: Vec<ToServer>,
    pub(super) token: TokenJudged,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenJudged {
    Fine,
    Refused,
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            reading: Slot::empty(),
            asked: Vec::new(),
            later: Vec::new(),
            next: Next::NotNeeded,
            failures: 0,
            known: None,
        }
    }

    /// A session began: read at once. Who asked in an earlier one is gone.
    pub(super) fn begin_session(&mut self, now: Mono) {
        self.reading.clear();
        self.asked.clear();
        self.failures = 0;
        self.next = Next::At(now);
    }

    /// A session ended; so did the patience of those who asked.
    pub(super) fn end_session(&mut self) {
        self.reading.clear();
        self.asked.clear();
        self.later.clear();
        self.next = Next::NotNeeded;
    }

    /// The server wants the resource to be read again. Gives the refusal if too many wait already.
    pub(super) fn reload(&mut self, callback: Option<String>, now: Mono) -> Option<ToServer> {
        self.next = Next::At(now);
        let callback = callback?;
        if self.later.len() >= MOST_WAITING {
            let body = "too many reloads are waiting; try again in a minute".to_owned();
            return Some(ToServer::Error {
                callback: Some(callback),
                body,
            });
        }
        self.later.push(callback);
        None
    }

    /// There is a new token: reads at once if a reading failed for the first time. A server that
    /// finds fault with every token is not asked more often for it.
    pub(super) fn token_came(&mut self, now: Mono) {
        if let Next::At(at) = &mut self.next
            && self.failures == 1
        {
            *at = now.min(*at);
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.next {
            Next::At(at) if self.reading.is_empty() => Some(at),
            Next::At(_) | Next::NotNeeded => None,
        }
    }

    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    pub(super) fn begin(
        &mut self,
        reading: impl Future<Output = Result<AgentRecord, FhirError>> + Send + 'static,
    ) {
        self.next = Next::NotNeeded;
        self.asked = mem::take(&mut self.later);
        self.reading.start(reading);
    }

    pub(super) async fn done(&mut self) -> Result<AgentRecord, FhirError> {
        self.reading.done().await
    }

    /// Judges what came, and answers those who asked.
    pub(super) fn came(
        &mut self,
        result: Result<AgentRecord, FhirError>,
        now: Mono,
        dice: Dice,
    ) -> Read {
        self.reading.clear();
        let asked = mem::take(&mut self.asked);
        match result {
            Ok(record) => self.read(&record, asked),
            Err(fault) => self.failed(&fault, asked, now, dice),
        }
    }

    fn read(&mut self, record: &AgentRecord, asked: Vec<String>) -> Read {
        self.failures = 0;
        if self.known != Some(record.status) {
            info!(name = record.name, status = ?record.status, "agent status in the cloud");
            self.known = Some(record.status);
        }
        let reply = |callback| ToServer::ReloadResponse {
            callback: Some(callback),
            status_code: 200,
        };
        let replies = asked.into_iter().map(reply).collect();
        Read {
            status: Some(record.status),
            replies,
            token: TokenJudged::Fine,
        }
    }

    fn failed(&mut self, fault: &FhirError, asked: Vec<String>, now: Mono, dice: Dice) -> Read {
        self.failures = self.failures.saturating_add(1);
        let retry = now.plus(RETRY.wait(self.failures, dice));
        if self.next == Next::NotNeeded {
            self.next = Next::At(retry);
        }
        let body = told(fault);
        warn!(
            error = body,
            "cannot read the Agent resource; what was known stays in force"
        );
        let reply = |callback| ToServer::Error {
            callback: Some(callback),
            body: body.clone(),
        };
        let replies = asked.into_iter().map(reply).collect();
        let token = match fault {
            FhirError::Unauthorized => TokenJudged::Refused,
            _ => TokenJudged::Fine,
        };
        Read {
            status: None,
            replies,
            token,
        }
    }
}

/// Reloads that may wait for one reading.
const MOST_WAITING: usize = 32;
/// The resource matters less than the session, and the server may be busy with the same for many agents.
const RETRY: Backoff = Backoff {
    min: Duration::from_secs(2),
    max: Duration::from_mins(1),
};

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000);
    const LOWEST: Dice = Dice(0);

    fn active() -> AgentRecord {
        AgentRecord {
            name: "Ward 3".into(),
            status: AgentStatus::Active,
        }
    }

    fn reading() -> Record {
        let mut record = Record::new();
        record.begin_session(NOW);
        record.begin(std::future::pending());
        record
    }

    fn callback_of(reply: &ToServer) -> &str {
        match reply {
            ToServer::ReloadResponse {
                callback: Some(callback),
                status_code: 200,
            } => callback,
            other => panic!("expected a reload response, got {other:?}"),
        }
    }

    #[test]
    fn a_reload_is_answered_by_a_reading_that_began_after_it() {
        let mut record = reading();
        assert!(record.reload(Some("r1".into()), NOW).is_none());
        assert!(record.came(Ok(active()), NOW, LOWEST).replies.is_empty());
        assert!(record.is_due(NOW));
        record.begin(std::future::pending());
        let read = record.came(Ok(active()), NOW, LOWEST);
        assert_eq!(
            read.replies.iter().map(callback_of).collect::<Vec<_>>(),
            ["r1"]
        );
        assert!(!record.is_due(NOW));
    }

    #[test]
    fn more_reloads_than_can_wait_are_refused() {
        let mut record = reading();
        for n in 0..MOST_WAITING {
            assert!(record.reload(Some(n.to_string()), NOW).is_none());
        }
        let refusal = record.reload(Some("one more".into()), NOW);
        assert!(matches!(
            refusal,
            Some(ToServer::Error {
                callback: Some(_),
                ..
            })
        ));
        assert!(record.reload(None, NOW).is_none());
    }

    #[test]
    fn a_refused_token_is_replaced_at_once_and_then_with_patience() {
        let mut record = reading();
        let read = record.came(Err(FhirError::Unauthorized), NOW, LOWEST);
        assert_eq!(read.token, TokenJudged::Refused);
        assert!(!record.is_due(NOW));
        record.token_came(NOW);
        assert!(record.is_due(NOW));
        record.begin(std::future::pending());
        record.came(Err(FhirError::Unauthorized), NOW, LOWEST);
        record.token_came(NOW);
        assert!(!record.is_due(NOW.plus(Duration::from_secs(3))));
        assert!(record.is_due(NOW.plus(Duration::from_secs(4))));
    }
}
