//! Who is connected, what is sent to whom, and what `$status` says.
//!
//! Every socket of an agent gets every push, as on a real server. A push that is not kept goes to the sockets that are
//! there and is forgotten. A kept push stays in its agent's outbox until it is answered; each socket reads the outbox at its own
//! pace, from the beginning.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::faults::Ending;
use crate::store::now_instant;

#[derive(Default)]
pub(crate) struct Hub {
    agents: Mutex<HashMap<String, Post>>,
}

/// All there is about one agent.
#[derive(Default)]
struct Post {
    links: Vec<Link>,
    outbox: BTreeMap<u64, Utf8Bytes>,
    info: Info,
}

/// A socket, as the others see it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) socket: u64,
    pub(crate) orders: mpsc::Sender<Order>,
    /// Something new is in an outbox.
    pub(crate) nudge: Arc<Notify>,
    /// Cuts the connection at once.
    pub(crate) abort: CancellationToken,
}

/// What a socket's writer is told. It has no `Debug`, as it holds bodies.
#[derive(Clone)]
pub(crate) enum Order {
    Text(Utf8Bytes),
    /// A push, subject to the faults of pushes.
    Push(Utf8Bytes),
    /// Send this agent's outbox from now on, and heartbeats.
    Subscribe(String),
    Close(u16),
}

/// What is known of an agent's connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Info {
    pub(crate) status: &'static str,
    pub(crate) version: String,
    pub(crate) last_updated: Option<String>,
}

impl Hub {
    /// Adds a socket to an agent. A socket that connects twice is there twice, and gets everything twice.
    pub(crate) fn subscribe(&self, agent: &str, link: Link) {
        self.post(agent, |post| {
            post.links.push(link);
            post.info.status = "connected";
            post.info.last_updated = Some(now_instant());
        });
    }

    /// Takes a socket out. The first to go flips the status, whoever else is still there.
    pub(crate) fn unsubscribe(&self, agent: &str, socket: u64) {
        self.post(agent, |post| {
            post.links.retain(|link| link.socket != socket);
            post.info.status = "disconnected";
            post.info.last_updated = Some(now_instant());
        });
    }

    /// Notes an agent's answer to a heartbeat.
    pub(crate) fn beat(&self, agent: &str, version: Option<String>) {
        self.post(agent, |post| {
            post.info = Info {
                status: "connected",
                version: version.unwrap_or_else(unknown),
                last_updated: Some(now_instant()),
            };
        });
    }

    pub(crate) fn info(&self, agent: &str) -> Info {
        self.agents()
            .get(agent)
            .map(|post| post.info.clone())
            .unwrap_or_default()
    }

    /// How many sockets speak for an agent.
    pub(crate) fn connected(&self, agent: &str) -> usize {
        self.agents().get(agent).map_or(0, |post| post.links.len())
    }

    /// Sends to every socket that is there. Nothing is remembered.
    pub(crate) fn publish(&self, agent: &str, order: &Order) {
        let agents = self.agents();
        for link in agents.get(agent).into_iter().flat_map(|post| &post.links) {
            if link.orders.try_send(order.clone()).is_err() {
                warn!(
                    agent,
                    socket = link.socket,
                    "the agent does not read; a message is dropped"
                );
            }
        }
    }

    /// Puts a kept push into its agent's outbox.
    pub(crate) fn keep(&self, agent: &str, seq: u64, frame: Utf8Bytes) {
        self.post(agent, |post| {
            post.outbox.insert(seq, frame);
            post.links.iter().for_each(|link| link.nudge.notify_one());
        });
    }

    /// Takes an answered push out of the outbox.
    pub(crate) fn answered(&self, agent: &str, seq: u64) {
        self.post(agent, |post| {
            post.outbox.remove(&seq);
        });
    }

    /// The next page of an outbox after a place in it.
    pub(crate) fn outbox(&self, agent: &str, after: u64) -> Vec<(u64, Utf8Bytes)> {
        let agents = self.agents();
        let Some(post) = agents.get(agent) else {
            return Vec::new();
        };
        let rest = post.outbox.range(after.saturating_add(1)..);
        rest.take(PAGE)
            .map(|(seq, frame)| (*seq, frame.clone()))
            .collect()
    }

    /// How many kept pushes wait for this agent's answer.
    pub(crate) fn waiting(&self, agent: &str) -> usize {
        self.agents().get(agent).map_or(0, |post| post.outbox.len())
    }

    /// Ends every socket of an agent.
    pub(crate) fn end(&self, agent: &str, how: Ending) {
        let links = self
            .agents()
            .get(agent)
            .map(|post| post.links.clone())
            .unwrap_or_default();
        for link in links {
            match how {
                Ending::Code(code) if link.orders.try_send(Order::Close(code)).is_ok() => {}
                Ending::Code(_) | Ending::Abort => link.abort.cancel(),
            }
        }
    }

    fn post(&self, agent: &str, change: impl FnOnce(&mut Post)) {
        let mut agents = self.agents();
        if !agents.contains_key(agent) {
            agents.insert(agent.to_owned(), Post::default());
        }
        if let Some(post) = agents.get_mut(agent) {
            change(post);
        }
    }

    fn agents(&self) -> MutexGuard<'_, HashMap<String, Post>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Info {
    fn default() -> Self {
        Self {
            status: "unknown",
            version: unknown(),
            last_updated: None,
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Pushes that a socket takes from an outbox at a time.
const PAGE: usize = 64;
