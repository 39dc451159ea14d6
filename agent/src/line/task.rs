//! The life of a line: connect, serve one connection, wait, connect again. It never gives up.

use std::sync::Arc;

use agent_core::delivery::{Left, Outcome};
use agent_core::queue::Connection;
use agent_core::retry::{Backoff, Dice};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::session::{End, Session};
use super::{LineConfig, LineInbox};
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
    stop: CancellationToken,
}

/// What can wake a line that has no connection.
enum Event {
    Opened(Result<Box<dyn Stream>, OpenError>),
    Waited,
    Wanted,
    Attempt(Option<Attempt>),
    Stop,
}

impl LineTask {
    pub fn new(
        config: Arc<LineConfig>,
        inbox: LineInbox,
        store: Store,
        stop: CancellationToken,
    ) -> Self {
        Self {
            config,
            inbox,
            store,
            stop,
        }
    }

    pub async fn run(mut self) -> Result<(), StoreError> {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            self.rest_until_wanted().await?;
            match self.open().await? {
                None => break,
                Some(Ok(stream)) => {
                    failures = 0;
                    self.serve(stream).await?;
                }
                Some(Err(error)) => {
                    self.report_failure(&error, failures).await?;
                    failures += 1;
                    self.pause(failures).await?;
                }
            }
        }
        self.leave().await
    }

    /// The line ends. What was handed to it meanwhile goes back untouched, so that nothing of it is uncertain later.
    async fn leave(&mut self) -> Result<(), StoreError> {
        self.store
            .line_away(self.config.no, STOPPING.into())
            .await?;
        self.store.barrier().await?;
        while let Ok(attempt) = self.inbox.attempts.try_recv() {
            self.give_back(attempt, STOPPING).await?;
        }
        Ok(())
    }

    /// A line with a connection a message waits until there is one.
    async fn rest_until_wanted(&mut self) -> Result<(), StoreError> {
        if self.config.lifetime == Lifetime::Persistent {
            return Ok(());
        }
        while !*self.inbox.wanted.borrow_and_update() && !self.stop.is_cancelled() {
            self.store.line_resting(self.config.no).await?;
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => Event::Stop,
                attempt = self.inbox.attempts.recv() => Event::Attempt(attempt),
                changed = self.inbox.wanted.changed() => match changed {
                    Ok(()) => Event::Wanted,
                    Err(_) => Event::Stop,
                },
            };
            match event {
                Event::Attempt(Some(attempt)) => self.give_back(attempt, "not connected").await?,
                Event::Attempt(None) | Event::Stop => self.stop.cancel(),
                Event::Wanted | Event::Waited | Event::Opened(_) => {}
            }
        }
        Ok(())
    }

    /// Connects; what comes meanwhile goes back untouched. `None`: stopped.
    async fn open(&mut self) -> Result<Option<Result<Box<dyn Stream>, OpenError>>, StoreError> {
        let transport = self.config.transport.clone();
        let mut opening = std::pin::pin!(transport.open());
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => Event::Stop,
                attempt = self.inbox.attempts.recv() => Event::Attempt(attempt),
                opened = &mut opening => Event::Opened(opened),
            };
            match event {
                Event::Opened(opened) => return Ok(Some(opened)),
                Event::Attempt(Some(attempt)) => self.give_back(attempt, "not connected").await?,
                Event::Attempt(None) | Event::Stop => return Ok(None),
                Event::Wanted | Event::Waited => {}
            }
        }
    }

    async fn serve(&mut self, stream: Box<dyn Stream>) -> Result<(), StoreError> {
        debug!(device = %self.config.name, "connected");
        let end = Session::new(
            &self.config,
            &self.store,
            &mut self.inbox,
            self.stop.clone(),
        )
        .run(stream)
        .await?;
        match end {
            End::Resting => self.store.line_resting(self.config.no).await,
            End::Stopped => Ok(()),
            End::Gone(why) => {
                info!(device = %self.config.name, why, "connection ended");
                self.store.line_away(self.config.no, why).await
            }
        }
    }

    /// The first failure of a row is worth a warning; the ones after it are the same news.
    async fn report_failure(&self, error: &OpenError, failures: u32) -> Result<(), StoreError> {
        let device = &self.config.name;
        if failures == 0 {
            warn!(%device, %error, "device away");
        } else {
            debug!(%device, %error, failures, "device still away");
        }
        self.store
            .line_away(self.config.no, error.to_string())
            .await
    }

    /// Waits before the next try. A line that nobody wants any more rests instead.
    async fn pause(&mut self, failures: u32) -> Result<(), StoreError> {
        let timing = self.config.transport.timing();
        let backoff = Backoff {
            min: timing.reconnect_min,
            max: timing.reconnect_max,
        };
        let now = clock::now();
        let until = now.mono.plus(backoff.wait(failures - 1, Dice(now.dice)));
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => Event::Stop,
                attempt = self.inbox.attempts.recv() => Event::Attempt(attempt),
                Ok(()) = self.inbox.wanted.changed() => Event::Wanted,
                () = clock::sleep_until(until) => Event::Waited,
            };
            match event {
                Event::Attempt(Some(attempt)) => self.give_back(attempt, "not connected").await?,
                Event::Wanted if self.config.lifetime == Lifetime::Persistent => {}
                Event::Wanted if *self.inbox.wanted.borrow() => {}
                Event::Attempt(None) | Event::Stop | Event::Waited | Event::Wanted => return Ok(()),
                Event::Opened(_) => {}
            }
        }
    }

    /// Nothing of it has left: it is tried again at once.
    async fn give_back(&self, attempt: Attempt, why: &str) -> Result<(), StoreError> {
        let outcome = Outcome::NotDelivered {
            why: why.into(),
            left: Left::Nothing,
        };
        self.store
            .settle(attempt, outcome, Connection::Gone(why.into()))
            .await
    }
}

const STOPPING: &str = "the agent stops";
