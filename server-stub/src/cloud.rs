//! Starting a stub, looking into it, and stopping it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::delivery::kept_frame;
use crate::faults::{Ending, Faults};
use crate::http;
use crate::hub::{Hub, Order};
use crate::seed::{Seed, SeedError};
use crate::server::{Parts, Pushes, Server, Settings};
use crate::store::{Answer, Change, Database, Kept, OpenError, Opened, Store};
use crate::subscriptions;
use crate::tls::{Tls, TlsError, TlsListener};

/// How to start a stub.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub database: Database,
    /// Written on the first start of a database only.
    pub seed: Seed,
    /// Keep every push until it is answered, instead of forgetting it as a real server does.
    pub keep_pushes: bool,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Lifetime of the tokens of clients that have no `accessTokenLifetime`.
    pub token_lifetime: Duration,
    /// Speak https and wss instead of http and ws.
    pub tls: Option<Tls>,
}

/// Why a stub did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the stub's state")]
    Open(#[from] OpenError),
    #[error("read the seed")]
    Seed(#[from] SeedError),
    #[error("listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("set up TLS")]
    Tls(#[from] TlsError),
    #[error("write the seed: the store has stopped")]
    Plant,
}

/// A running stub. Dropping it leaves it running until the process or its runtime ends.
pub struct Cloud {
    server: Arc<Server>,
    store_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Cloud {
    /// Opens the database, writes the seed if this is its first start, and listens.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        options.seed.check()?;
        let acceptor = options.tls.as_ref().map(Tls::acceptor).transpose()?;
        let opened = Store::open(&options.database)?;
        if opened.first_start {
            options
                .seed
                .clone()
                .plant(&opened.store)
                .await
                .map_err(|_| StartError::Plant)?;
        }
        let address = options.listen;
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{}/", listener.local_addr().map_err(failed)?);
        let settings = options.settings();
        let (parts, thread) = parts(opened, settings.pushes);
        let server = Arc::new(Server::new(base_url, settings, parts));
        match acceptor {
            None => server
                .tasks
                .spawn(serve(Arc::clone(&server), plain(listener))),
            Some(acceptor) => {
                let listener = TlsListener::new(listener, acceptor);
                server.tasks.spawn(serve(Arc::clone(&server), listener))
            }
        };
        server
            .tasks
            .spawn(subscriptions::serve(Arc::clone(&server)));
        info!(url = server.base_url, pushes = ?settings.pushes, "listening");
        Ok(Self {
            server,
            store_thread: Mutex::new(Some(thread)),
        })
    }

    /// Where it is reached, with a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.server.base_url
    }

    /// Closes every websocket with 1001, cuts waiting callers off, and ends the store when all is written.
    pub async fn shutdown(&self) {
        self.server.stop.cancel();
        self.server.tasks.close();
        if timeout(PATIENCE, self.server.tasks.wait()).await.is_err() {
            info!("some connections do not end; they are left behind");
        }
        self.server.store.stop().await;
        let thread = self
            .store_thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            debug!(clean = matches!(joined, Ok(Ok(()))), "the store has ended");
        }
    }

    /// How many sockets speak for an agent. A socket that connected twice counts twice.
    pub fn connected(&self, agent: &str) -> usize {
        self.server.hub.connected(agent)
    }

    /// How many kept pushes wait for this agent's answer.
    pub fn unanswered(&self, agent: &str) -> usize {
        self.server.hub.waiting(agent)
    }

    /// Every kept push with its answers, in the order in which they were kept. Empty once the store has stopped.
    pub async fn kept(&self) -> Vec<Kept> {
        self.server.store.kept().await.unwrap_or_default()
    }

    /// The first answer to a callback, and each that differed from it.
    pub async fn answers(&self, callback: &str) -> Vec<Answer> {
        match self.server.ledger.answers(callback) {
            Some(answers) => answers,
            None => self
                .server
                .store
                .answers(callback.to_owned())
                .await
                .unwrap_or_default(),
        }
    }

    /// Callbacks of this process that no store knows: pushes that are not kept, pings, and questions to the agent.
    pub fn issued(&self, agent: &str) -> Vec<String> {
        self.server.ledger.issued(agent)
    }

    /// How many answers differed from the first one to their callback, also before this start.
    pub fn conflicting_answers(&self) -> u64 {
        self.server.ledger.conflicting()
    }

    /// How many answers came from a socket that was not connected as the agent that was asked, or to no callback of ours.
    pub fn refused_answers(&self) -> u64 {
        self.server.ledger.refused()
    }

    /// Changes the faults in force.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.server.faults());
    }

    /// Makes every token that was given out so far worthless. Sockets that are connected stay so, as on a real server.
    pub fn revoke_tokens(&self) {
        self.server.signer.revoke_all();
    }

    /// Ends every websocket of an agent.
    pub fn end_sockets(&self, agent: &str, how: Ending) {
        self.server.hub.end(agent, how);
    }

    /// Sends any text to every websocket of an agent.
    pub fn send_text(&self, agent: &str, text: &str) {
        self.server.hub.publish(agent, &Order::Text(text.into()));
    }

    /// The current version of a resource.
    pub fn resource(&self, kind: &str, id: &str) -> Option<Value> {
        self.server
            .store
            .current
            .read(kind, id)
            .ok()
            .map(|resource| (*resource).clone())
    }

    /// Creates or replaces a resource under the id that it has. False once the store has stopped.
    pub async fn put(&self, resource: Value) -> bool {
        matches!(
            self.server.store.write(Change::Put(resource)).await,
            Ok(Ok(_))
        )
    }
}

fn plain(listener: TcpListener) -> impl Listener<Addr = SocketAddr> {
    listener.tap_io(|stream| {
        // Answers are small and awaited; a connection that refuses this is slower, nothing else.
        let _ = stream.set_nodelay(true);
    })
}

async fn serve(server: Arc<Server>, listener: impl Listener<Addr = SocketAddr>) {
    let stop = server.stop.clone();
    let ended = axum::serve(listener, http::router(server))
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await;
    debug!(ok = ended.is_ok(), "no longer listening");
}

fn parts(opened: Opened, pushes: Pushes) -> (Parts, JoinHandle<()>) {
    let hub = Arc::new(Hub::default());
    if pushes == Pushes::Kept {
        for kept in opened.unanswered {
            let (agent, seq) = (kept.agent.clone(), kept.seq);
            hub.keep(&agent, seq, kept_frame(kept).into());
        }
    }
    let Opened {
        store,
        token_key,
        conflicting,
        thread,
        ..
    } = opened;
    (
        Parts {
            store,
            hub,
            token_key,
            conflicting,
        },
        thread,
    )
}

impl Options {
    fn settings(&self) -> Settings {
        let pushes = if self.keep_pushes {
            Pushes::Kept
        } else {
            Pushes::Forgotten
        };
        Settings {
            pushes,
            heartbeat: self.heartbeat,
            token_lifetime: self.token_lifetime,
        }
    }
}

impl Default for Options {
    /// A stub in memory on a free port of 127.0.0.1 that forgets pushes.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            database: Database::Memory,
            seed: Seed::default(),
            keep_pushes: false,
            heartbeat: Duration::from_secs(10),
            token_lifetime: Duration::from_hours(1),
            tls: None,
        }
    }
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud")
            .field("base_url", &self.server.base_url)
            .finish_non_exhaustive()
    }
}

/// How long a shutdown waits for connections to end.
const PATIENCE: Duration = Duration::from_secs(4);
