//! One connection from opened to closed: bytes into the conversation, what it wants into the socket and the store.

use std::collections::VecDeque;

use agent_core::delivery::Outcome;
use agent_core::push::{Mono, PushId};
use agent_core::queue::Connection;
use device_drivers as drivers;
use device_drivers::{Conversation, Input, Output, SubmissionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tracing::{debug, info};

use super::{LineConfig, LineInbox, LineStop, translate};
use crate::clock;
use crate::config::Lifetime;
use crate::store::{Attempt, Store, StoreError};
use crate::transport::Stream;

/// How a connection ended.
pub(super) enum End {
    Gone(String),
    /// Closed on purpose; the next message opens the next one.
    Resting,
    Stopped,
}

pub(super) struct Session<'a> {
    config: &'a LineConfig,
    store: &'a Store,
    inbox: &'a mut LineInbox,
    stop: LineStop,
    conversation: Box<dyn Conversation>,
    attempt: Option<Attempt>,
    unsent: VecDeque<u8>,
    close: Option<End>,
    stopping: Stopping,
    /// Submissions that were settled on this connection.
    settled: u32,
    /// What the device sent that answers nothing.
    notices: u32,
    read_last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Told,
}

/// What can wake a line that has a connection.
enum Event {
    Attempt(Option<Attempt>),
    Read(std::io::Result<usize>),
    Wrote(std::io::Result<usize>),
    Deadline,
    NotWanted,
    Stop,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        config: &'a LineConfig,
        store: &'a Store,
        inbox: &'a mut LineInbox,
        stop: LineStop,
    ) -> Self {
        Self {
            conversation: config.hl7.dial(),
            config,
            store,
            inbox,
            stop,
            attempt: None,
            unsent: VecDeque::new(),
            close: None,
            stopping: Stopping::No,
            settled: 0,
            notices: 0,
            read_last: false,
        }
    }

    /// Serves until the connection is over; tells how it ended and how many submissions were settled.
    pub(super) async fn run(mut self, stream: Box<dyn Stream>) -> Result<(End, u32), StoreError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut buffer = vec![0; READ_BUFFER];
        self.tell(Input::Opened).await?;
        self.store.line_ready(self.config.no).await?;
        loop {
            if let Some(end) = self.close.take() {
                self.closed(&end).await?;
                self.count_notices();
                return Ok((end, self.settled));
            }
            let event = self.next(&mut reader, &mut writer, &mut buffer).await;
            self.take(event, &buffer).await?;
        }
    }

    async fn next(
        &mut self,
        reader: &mut ReadHalf<Box<dyn Stream>>,
        writer: &mut WriteHalf<Box<dyn Stream>>,
        buffer: &mut [u8],
    ) -> Event {
        if std::mem::take(&mut self.read_last)
            && let Some(event) = self.overdue()
        {
            return event;
        }
        let idle = self.idle();
        let deadline = self.conversation.deadline().map(|at| Mono(at.0));
        let per_message = self.config.lifetime == Lifetime::PerMessage;
        let (head, _) = self.unsent.as_slices();
        tokio::select! {
            // Bytes before deadlines: an answer that is here is an answer in time.
            biased;
            wrote = writer.write(head), if !head.is_empty() => Event::Wrote(wrote),
            read = reader.read(buffer) => Event::Read(read),
            attempt = self.inbox.attempts.recv(), if idle => Event::Attempt(attempt),
            () = at(deadline), if deadline.is_some() => Event::Deadline,
            Ok(_) = self.inbox.wanted.wait_for(|wanted| !wanted), if idle && per_message => {
                Event::NotWanted
            }
            () = self.stop.told(), if self.stopping == Stopping::No => Event::Stop,
        }
    }

    fn idle(&self) -> bool {
        self.attempt.is_none()
            && self.conversation.free_slots() > 0
            && self.stopping == Stopping::No
    }

    /// What a device that never stops sending would keep from its turn.
    fn overdue(&mut self) -> Option<Event> {
        if self.stopping == Stopping::No && self.stop.is_told() {
            return Some(Event::Stop);
        }
        if self.conversation.deadline().is_some_and(|at| at <= now()) {
            return Some(Event::Deadline);
        }
        let attempt = if self.idle() {
            self.inbox.attempts.try_recv().ok()
        } else {
            None
        };
        attempt.map(|attempt| Event::Attempt(Some(attempt)))
    }

    async fn take(&mut self, event: Event, buffer: &[u8]) -> Result<(), StoreError> {
        match event {
            Event::Attempt(Some(attempt)) => self.submit(attempt).await?,
            Event::Attempt(None) => self.end(End::Stopped),
            Event::Read(Ok(0)) | Event::Wrote(Ok(0)) => self.end(End::Gone(FIN.into())),
            Event::Read(Ok(count)) => {
                self.read_last = true;
                let bytes = buffer.get(..count).unwrap_or_default();
                self.tell(Input::Bytes(bytes)).await?;
            }
            Event::Wrote(Ok(count)) => {
                self.unsent.drain(..count.min(self.unsent.len()));
                if self.unsent.is_empty() {
                    self.tell(Input::Drained).await?;
                }
            }
            Event::Read(Err(error)) | Event::Wrote(Err(error)) => {
                self.end(End::Gone(format!("the connection failed: {error}")));
            }
            Event::Deadline => self.tell(Input::Tick).await?,
            Event::NotWanted => self.end(End::Resting),
            Event::Stop => {
                self.stopping = Stopping::Told;
                self.tell(Input::Stop).await?;
            }
        }
        Ok(())
    }

    fn end(&mut self, end: End) {
        self.close.get_or_insert(end);
    }

    async fn submit(&mut self, attempt: Attempt) -> Result<(), StoreError> {
        debug!(device = %self.config.name, push = %attempt.push, "sending");
        let id = SubmissionId(attempt.push.0);
        match translate::submission(self.config, &attempt.parcel) {
            Ok(submission) => {
                self.attempt = Some(attempt);
                self.tell(Input::Submit(id, submission)).await
            }
            Err(error) => {
                let outcome = Outcome::Impossible {
                    why: error.to_string(),
                };
                self.store
                    .settle(attempt, outcome, Connection::Usable)
                    .await
            }
        }
    }

    /// Gives the conversation one input and does everything it asks for.
    async fn tell(&mut self, input: Input<'_>) -> Result<(), StoreError> {
        self.conversation.handle(input, now());
        let mut settled = None;
        while let Some(output) = self.conversation.poll() {
            match output {
                Output::Transmit(bytes) => self.unsent.extend(bytes),
                Output::Settled(id, outcome) => settled = Some((id, outcome)),
                Output::News(id, news) => {
                    let (push, news) = (PushId(id.0), translate::news(news));
                    self.store.late(push, self.config.no, news).await?;
                }
                Output::Noticed(notice) => self.notice(&notice),
                Output::Close(reason) => self.end(end_of(&reason)),
            }
        }
        match settled {
            Some((id, outcome)) => self.settle(id, outcome).await,
            None => Ok(()),
        }
    }

    /// The first few are worth a line each; a flood is worth a number.
    fn notice(&mut self, notice: &drivers::Notice) {
        self.notices = self.notices.saturating_add(1);
        if self.notices <= TOLD_NOTICES {
            info!(device = %self.config.name, %notice, "unexpected from device");
        }
    }

    fn count_notices(&self) {
        if self.notices > TOLD_NOTICES {
            info!(device = %self.config.name, count = self.notices, "unexpected from device, in all");
        }
    }

    async fn settle(
        &mut self,
        id: SubmissionId,
        outcome: drivers::Outcome,
    ) -> Result<(), StoreError> {
        let Some(attempt) = self.attempt.take_if(|attempt| attempt.push.0 == id.0) else {
            return Ok(());
        };
        self.settled += 1;
        let connection = match &self.close {
            None => Connection::Usable,
            Some(End::Resting) => Connection::Resting,
            Some(End::Gone(why)) => Connection::Gone(why.clone()),
            Some(End::Stopped) => self.stop.leaves(),
        };
        self.store
            .settle(attempt, translate::outcome(outcome), connection)
            .await
    }

    /// The connection is over: whatever is open is settled by what is known of it.
    async fn closed(&mut self, end: &End) -> Result<(), StoreError> {
        let unsent = self.unsent.len();
        self.unsent.clear();
        // The reason to close is known already; the conversation only settles now.
        self.close = Some(match end {
            End::Gone(why) => End::Gone(why.clone()),
            End::Resting | End::Stopped => End::Stopped,
        });
        self.tell(Input::Closed { unsent }).await
    }
}

fn end_of(reason: &drivers::CloseReason) -> End {
    match reason {
        drivers::CloseReason::OneMessage => End::Resting,
        drivers::CloseReason::Stopped => End::Stopped,
        drivers::CloseReason::NoAnswer { .. }
        | drivers::CloseReason::NotTaken { .. }
        | drivers::CloseReason::Stalled => End::Gone(reason.to_string()),
    }
}

/// The drivers' clock is the same one, under their own name.
fn now() -> drivers::Mono {
    drivers::Mono(clock::mono().0)
}

async fn at(deadline: Option<Mono>) {
    if let Some(deadline) = deadline {
        clock::sleep_until(deadline).await;
    }
}

const FIN: &str = "the device closed the connection";
/// An acknowledgement is a few hundred bytes; larger messages take several reads.
const READ_BUFFER: usize = 8 * 1024;
/// Unexpected things told in full on one connection.
const TOLD_NOTICES: u32 = 5;
