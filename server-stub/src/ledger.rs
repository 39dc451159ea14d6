//! Which callbacks were issued to whom, who waits for them, and what was answered.
//!
//! A real server believes any answer to any callback. Here an answer counts only from the agent that was asked, and a second
//! answer that differs from the first is somebody's mistake and is counted. Kept pushes have their record in the store;
//! here are the callbacks that live as long as the process, the last [`REMEMBERED`] of them, and everybody who waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_wire::ToServer;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::store::{Answer, Incoming, Told};

#[derive(Default)]
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
    conflicting: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<String, oneshot::Sender<ToServer>>,
    issued: HashMap<String, Issued>,
    order: VecDeque<String>,
}

struct Issued {
    agent: String,
    /// The first one, and each that differed from it.
    answers: Vec<Answer>,
}

/// Somebody who waits for the answer to a callback; dropping it is giving up.
pub(crate) struct Waiting {
    ledger: Arc<Ledger>,
    callback: String,
    answer: oneshot::Receiver<ToServer>,
}

impl Ledger {
    pub(crate) fn new(conflicting: u64) -> Self {
        Self {
            conflicting: AtomicU64::new(conflicting),
            ..Self::default()
        }
    }

    /// Remembers that a callback was issued to an agent.
    pub(crate) fn issue(&self, callback: &str, agent: &str) {
        let mut inner = self.inner();
        if inner.order.len() >= REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.issued.remove(&oldest);
        }
        inner.order.push_back(callback.to_owned());
        let issued = Issued {
            agent: agent.to_owned(),
            answers: Vec::new(),
        };
        inner.issued.insert(callback.to_owned(), issued);
    }

    /// Lets the caller wait for the answer to a callback.
    pub(crate) fn wait(self: &Arc<Self>, callback: &str) -> Waiting {
        let (waker, answer) = oneshot::channel();
        self.inner().waiting.insert(callback.to_owned(), waker);
        Waiting {
            ledger: Arc::clone(self),
            callback: callback.to_owned(),
            answer,
        }
    }

    /// Judges an answer to a callback of this process; `None` if there is no such callback.
    pub(crate) fn judge(&self, incoming: &Incoming) -> Option<Told> {
        let mut inner = self.inner();
        let issued = inner.issued.get_mut(&incoming.callback)?;
        if !incoming.agents.contains(&issued.agent) {
            return Some(Told::Foreign);
        }
        let told = match issued.answers.first() {
            None => Told::First {
                agent: issued.agent.clone(),
                seq: None,
            },
            Some(first) if *first == incoming.answer => Told::Again,
            Some(_) => Told::Conflict,
        };
        if told != Told::Again {
            issued.answers.push(incoming.answer.clone());
        }
        Some(told)
    }

    /// Acts on what an answer turned out to be: wakes who waits, or counts and logs what is wrong.
    pub(crate) fn close(&self, callback: &str, told: &Told, message: ToServer) {
        match told {
            Told::First { .. } => {
                if let Some(waiting) = self.inner().waiting.remove(callback) {
                    // Whoever waited may have given up just now.
                    let _ = waiting.send(message);
                }
            }
            Told::Again => {}
            Told::Conflict => {
                self.conflicting.fetch_add(1, Ordering::Relaxed);
                error!(
                    callback,
                    "a second answer differs from the first one; it is ignored"
                );
            }
            Told::Foreign => self.refuse(callback),
        }
    }

    /// Counts an answer that nobody may give.
    pub(crate) fn refuse(&self, callback: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        warn!(
            callback,
            "an answer to a callback that was not issued to this agent is ignored"
        );
    }

    /// Callbacks issued to one agent in this process, oldest first.
    pub(crate) fn issued(&self, agent: &str) -> Vec<String> {
        let inner = self.inner();
        let to_agent = |callback: &&String| {
            inner
                .issued
                .get(*callback)
                .is_some_and(|issued| issued.agent == agent)
        };
        inner.order.iter().filter(to_agent).cloned().collect()
    }

    /// The different answers to a callback of this process.
    pub(crate) fn answers(&self, callback: &str) -> Option<Vec<Answer>> {
        self.inner()
            .issued
            .get(callback)
            .map(|issued| issued.answers.clone())
    }

    pub(crate) fn conflicting(&self) -> u64 {
        self.conflicting.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The answer, once it is there; `None` if it can never come.
    pub(crate) async fn answer(&mut self) -> Option<ToServer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.ledger.inner().waiting.remove(&self.callback);
    }
}

/// Enough to recognise late and repeated answers; a real server remembers none.
const REMEMBERED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(agent: &str, body: &str) -> Incoming {
        let answer = Answer {
            status: 200,
            content_type: None,
            body: body.into(),
        };
        Incoming {
            callback: "c".into(),
            agents: vec![agent.into()],
            answer,
        }
    }

    #[test]
    fn an_answer_counts_only_from_the_agent_that_was_asked() {
        let ledger = Ledger::default();
        assert_eq!(ledger.judge(&incoming("a", "x")), None);
        ledger.issue("c", "a");
        assert_eq!(ledger.judge(&incoming("b", "x")), Some(Told::Foreign));
        let first = Told::First {
            agent: "a".into(),
            seq: None,
        };
        assert_eq!(ledger.judge(&incoming("a", "x")), Some(first));
        assert_eq!(ledger.judge(&incoming("a", "x")), Some(Told::Again));
        assert_eq!(ledger.judge(&incoming("a", "y")), Some(Told::Conflict));
        assert_eq!(ledger.answers("c").unwrap().len(), 2);
    }

    #[test]
    fn the_oldest_callbacks_are_forgotten() {
        let ledger = Ledger::default();
        for number in 0..=REMEMBERED {
            ledger.issue(&number.to_string(), "a");
        }
        assert_eq!(ledger.answers("0"), None);
        assert_eq!(ledger.issued("a").len(), REMEMBERED);
    }

    #[tokio::test]
    async fn who_gives_up_waits_no_more() {
        let ledger = Arc::new(Ledger::default());
        drop(ledger.wait("c"));
        assert!(ledger.inner().waiting.is_empty());
    }
}
