//! The writing half of an agent's websocket.

use std::time::Duration;

use agent_wire::ToAgent;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::debug;

use super::Sink;
use crate::hub::{Link, Order};
use crate::server::Server;

struct Writer<'a> {
    server: &'a Server,
    link: &'a Link,
    sink: Sink,
    /// One for each connect request on this socket; two of them send everything twice.
    subscriptions: Vec<Subscription>,
}

/// How far an agent's outbox was sent on this socket.
struct Subscription {
    agent: String,
    sent: u64,
}

/// Whether the writer has more to do.
enum Go {
    On,
    Closed,
}

/// Writes until it is told to close. Gives the sink back if a close frame was sent.
pub(super) async fn run(
    server: &Server,
    link: &Link,
    sink: Sink,
    mut orders: mpsc::Receiver<Order>,
) -> Option<Sink> {
    let mut writer = Writer {
        server,
        link,
        sink,
        subscriptions: Vec::new(),
    };
    tokio::select! {
        written = writer.write(&mut orders) => match written {
            Ok(()) => Some(writer.sink),
            Err(error) => {
                debug!(socket = link.socket, %error, "a websocket cannot be written");
                None
            }
        },
        () = link.abort.cancelled() => None,
    }
}

impl Writer<'_> {
    async fn write(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<(), Error> {
        let mut heartbeat = heartbeat(self.server.settings.heartbeat);
        loop {
            let go = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order, orders).await?,
                    None => self.close(1000).await?,
                },
                () = self.link.nudge.notified() => self.send_kept().await?,
                _ = heartbeat.tick(), if !self.subscriptions.is_empty() => self.beat().await?,
                () = self.server.stop.cancelled() => self.close(1001).await?,
            };
            if matches!(go, Go::Closed) {
                return Ok(());
            }
        }
    }

    /// Carries out an order and those that wait behind it, then flushes once.
    async fn obey(
        &mut self,
        first: Order,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Go, Error> {
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Text(text) => self.sink.feed(Message::Text(text)).await?,
                Order::Push(text) => self.feed_push(text).await?,
                Order::Subscribe(agent) => {
                    self.subscriptions.push(Subscription { agent, sent: 0 });
                    self.link.nudge.notify_one();
                }
                Order::Close(code) => return self.close(code).await,
            }
            next = orders.try_recv().ok();
        }
        self.sink.flush().await?;
        Ok(Go::On)
    }

    /// Sends one page of each outbox, and comes back for the next when others had their turn.
    async fn send_kept(&mut self) -> Result<Go, Error> {
        for place in 0..self.subscriptions.len() {
            let Some(subscription) = self.subscriptions.get_mut(place) else {
                continue;
            };
            let page = self
                .server
                .hub
                .outbox(&subscription.agent, subscription.sent);
            let Some((last, _)) = page.last() else {
                continue;
            };
            subscription.sent = *last;
            let numbers = page.iter().map(|(seq, _)| *seq).collect();
            // A store that has stopped is reported where it matters, by whoever waits for it.
            let _ = self.server.store.sent(numbers).await;
            for (_, text) in page {
                self.feed_push(text).await?;
            }
            self.link.nudge.notify_one();
        }
        self.sink.flush().await?;
        Ok(Go::On)
    }

    async fn feed_push(&mut self, text: Utf8Bytes) -> Result<(), Error> {
        let (delay, twice) = {
            let faults = self.server.faults();
            (faults.delay_pushes, faults.duplicate_pushes)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if twice {
            self.sink.feed(Message::Text(text.clone())).await?;
        }
        self.sink.feed(Message::Text(text)).await
    }

    async fn beat(&mut self) -> Result<Go, Error> {
        if !self.server.faults().no_heartbeats {
            let text = ToAgent::HeartbeatRequest.encode();
            self.sink.send(Message::Text(text.into())).await?;
        }
        Ok(Go::On)
    }

    async fn close(&mut self, code: u16) -> Result<Go, Error> {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::default(),
        };
        self.sink.send(Message::Close(Some(frame))).await?;
        Ok(Go::Closed)
    }
}

fn heartbeat(period: Duration) -> Interval {
    let mut heartbeat = interval_at(tokio::time::Instant::now() + period, period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}
