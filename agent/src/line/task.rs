//! The life of a line: connect, serve one connection, wait, connect again. It never gives up.

use std::sync::Arc;

use agent_core::delivery::{Left, Outcome};
use agent_core::push::Mono;
use agent_core::queue::Connection;
use agent_core::retry::{Backoff, Dice};
use tracing::{debug, info, warn};

use super::session::{End, Session};
use super::{LineConfig, LineInbox, LineStop};
use crate::clock;
use crate::config::Lifetime;
use crate::store::{Attempt, Store, StoreError};
use crate::transport::{OpenError, Stream};

/// Owns one line. Ends only when it is told to stop, or when the store has ended.
#[derive(Debug)]
pub struct LineTask {
    config: Arc<LineConfig>,
    inbox: LineInbox,
    store: Store,
    stop: LineStop,
    /// Connections in a row that could not be opened, or that ended at once and brought nothing.
    failures: u32,
}

/// Whether the line goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl LineTask {
    pub fn new(config: Arc<LineConfig>, inbox: LineInbox, store: Store, stop: LineStop) -> Self {
        Self {
            config,
            inbox,
            store,
            stop,
            failures: 0,
        }
    }

    pub async fn run(mut self) -> Result<(), StoreError> {
        while self.live_once().await? == Next::Go {}
        self.leave().await
    }

    /// One connection, from the wish for it to the pause after it.
    async fn live_once(&mut self) -> Result<Next, StoreError> {
        if self.rest_until_wanted().await? == Next::Stop {
            return Ok(Next::Stop);
        }
        match self.open().await? {
            None => return Ok(Next::Stop),
            Some(Ok(stream)) => self.serve(stream).await?,
            Some(Err(error)) => self.fail(&error).await?,
        }
        self.pause().await
    }

    /// A line with a connection a message waits until there is one.
    async fn rest_until_wanted(&mut self) -> Result<Next, StoreError> {
        while self.rests() {
            tokio::select! {
                biased;
                () = self.stop.told() => return Ok(Next::Stop),
                attempt = self.inbox.attempts.recv() => match attempt {
                    Some(attempt) => self.give_back(attempt, Connection::Resting).await?,
                    None => return Ok(Next::Stop),
                },
                changed = self.inbox.wanted.changed() => if changed.is_err() {
                    return Ok(Next::Stop);
                },
            }
        }
        Ok(Next::Go)
    }

    fn rests(&mut self) -> bool {
        self.config.lifetime == Lifetime::PerMessage && !*self.inbox.wanted.borrow_and_update()
    }

    /// Connects; what comes meanwhile goes back untouched. `None`: stopped.
    async fn open(&mut self) -> Result<Option<Result<Box<dyn Stream>, OpenError>>, StoreError> {
        let transport = self.config.transport.clone();
        let mut opening = std::pin::pin!(transport.open());
        loop {
            tokio::select! {
                biased;
                () = self.stop.told() => return Ok(None),
                attempt = self.inbox.attempts.recv() => match attempt {
                    Some(attempt) => self.give_back(attempt, self.unconnected()).await?,
                    None => return Ok(None),
                },
                opened = &mut opening => return Ok(Some(opened)),
            }
        }
    }

    async fn serve(&mut self, stream: Box<dyn Stream>) -> Result<(), StoreError> {
        debug!(device = %self.config.name, "connected");
        let since = clock::mono();
        let session = Session::new(
            &self.config,
            &self.store,
            &mut self.inbox,
            self.stop.clone(),
        );
        let (end, settled) = session.run(stream).await?;
        let lasted = clock::mono().0.saturating_sub(since.0) >= PROVEN_MS;
        match end {
            End::Resting => self.rest().await?,
            End::Stopped => {}
            End::Gone(why) => {
                // A peer that accepts and closes at once, such as a port server in use, is one that is away.
                self.failures = if settled > 0 || lasted {
                    0
                } else {
                    self.failures + 1
                };
                info!(device = %self.config.name, why, "connection ended");
                self.store.line_away(self.config.no, why).await?;
            }
        }
        Ok(())
    }

    /// The wish for the next connection is known only when the last message is settled on disk.
    async fn rest(&mut self) -> Result<(), StoreError> {
        self.failures = 0;
        self.store.line_resting(self.config.no).await?;
        self.store.barrier().await
    }

    /// The first failure of a row is worth a warning; the ones after it are the same news.
    async fn fail(&mut self, error: &OpenError) -> Result<(), StoreError> {
        let (device, failures) = (&self.config.name, self.failures);
        if failures == 0 {
            warn!(%device, %error, "device away");
        } else {
            debug!(%device, %error, failures, "device still away");
        }
        self.failures += 1;
        self.store
            .line_away(self.config.no, error.to_string())
            .await
    }

    /// Waits before the next try, if the last one failed. A line that nobody wants any more rests instead.
    async fn pause(&mut self) -> Result<Next, StoreError> {
        let Some(until) = self.next_try() else {
            return Ok(Next::Go);
        };
        loop {
            tokio::select! {
                biased;
                () = self.stop.told() => return Ok(Next::Stop),
                attempt = self.inbox.attempts.recv() => match attempt {
                    Some(attempt) => self.give_back(attempt, self.unconnected()).await?,
                    None => return Ok(Next::Stop),
                },
                () = clock::sleep_until(until) => return Ok(Next::Go),
                changed = self.inbox.wanted.changed() => match changed {
                    Ok(()) if self.rests() => {
                        self.rest().await?;
                        return Ok(Next::Go);
                    }
                    Ok(()) => {}
                    Err(_) => return Ok(Next::Stop),
                },
            }
        }
    }

    fn next_try(&self) -> Option<Mono> {
        let last = self.failures.checked_sub(1)?;
        let timing = self.config.transport.timing();
        let backoff = Backoff {
            min: timing.reconnect_min,
            max: timing.reconnect_max,
        };
        Some(clock::mono().plus(backoff.wait(last, Dice(rand::random()))))
    }

    /// What a line without a connection says of itself: one that has not failed is not away.
    fn unconnected(&self) -> Connection {
        match (self.config.lifetime, self.failures) {
            (Lifetime::PerMessage, 0) => Connection::Resting,
            _ => Connection::Gone(NOT_CONNECTED.into()),
        }
    }

    /// Nothing of it has left: it is tried again at once.
    async fn give_back(&self, attempt: Attempt, line: Connection) -> Result<(), StoreError> {
        let outcome = Outcome::NotDelivered {
            why: NOT_CONNECTED.into(),
            left: Left::Nothing,
        };
        self.store.settle(attempt, outcome, line).await
    }

    /// The line ends. What was handed to it meanwhile goes back untouched, so that nothing of it is uncertain later.
    async fn leave(&mut self) -> Result<(), StoreError> {
        let no = self.config.no;
        match self.stop.leaves() {
            Connection::Gone(why) => self.store.line_away(no, why).await?,
            Connection::Resting | Connection::Usable => self.store.line_resting(no).await?,
        }
        self.store.barrier().await?;
        while let Ok(attempt) = self.inbox.attempts.try_recv() {
            self.give_back(attempt, self.stop.leaves()).await?;
        }
        Ok(())
    }
}

/// A connection that lived so long was a real one.
const PROVEN_MS: u64 = 5_000;
const NOT_CONNECTED: &str = "not connected";
