//! After a commit that failed: nothing of the batch was handed out, so nothing is lost but time.
//!
//! The live queue is dropped and rebuilt from disk while the lines go on; then what the batch brought is tried again in
//! its order, each request alone. A push that fails alone is refused. What a device did cannot be refused: if that
//! fails alone, the process ends and the next one finds the attempt open. What else fails alone (news of a line, of the
//! session, of the clock, the agent's switch) is in force all the same, and what it wanted to record is decided anew with
//! the nudge. Whoever gave a command is told that it was not done. Questions are answered in any case.

use std::sync::Arc;
use std::time::Duration;

use agent_core::push::NewPush;
use agent_core::queue::Queue;
use tracing::warn;

use super::database::sql;
use super::fault::{Fault, fault};
use super::parcel::Cache;
use super::reserve::Given;
use super::rows::AuditChain;
use super::segment::Segments;
use super::space::FULL;
use super::writer::{Batch, Writer};
use super::{Lines, Own, Request, StoreError, load};
use crate::clock;
use crate::cloud::{Said, refusal};

/// Whether further pushes of the batch are worth trying.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Perhaps,
    None,
}

impl<L: Lines> Writer<L> {
    pub(super) fn recover(
        &mut self,
        source: rusqlite::Error,
        batch: Batch,
    ) -> Result<(), StoreError> {
        warn!(error = %source, requests = batch.again.len(), "a commit failed");
        if fault(&source) == Fault::Broken {
            return Err(sql("commit")(source));
        }
        self.rebuild()?;
        if fault(&source) == Fault::Full && !batch.again.iter().any(is_new) {
            // Time, a command or a line has found no room; it comes again with the nudge.
            self.space.out_of_room();
        }
        let mut room = Room::Perhaps;
        for request in batch.again {
            match request {
                Request::Own(push, ..) => {
                    self.refuse(&push, "the command could not be recorded; send it again");
                }
                Request::Accept(push, _) if room == Room::None => self.refuse(&push, FULL),
                Request::Accept(push, _) => room = self.accept_alone(&push)?,
                request => self.alone(request)?,
            }
        }
        // What was decided and came to nothing is looked at again, but not at once: the disk may still be full.
        self.nudge = Some(clock::mono().plus(NUDGE_AFTER));
        self.answer_all(batch.questions)
    }

    /// One request in a commit of its own; once more without the reserve if there is no room.
    fn alone(&mut self, request: Request) -> Result<(), StoreError> {
        let must = matches!(request, Request::Settle(..) | Request::Late(..));
        let switch = match &request {
            Request::Switch(agent) => Some(*agent),
            _ => None,
        };
        let mut batch = Batch::default();
        let now = self.now();
        let done = self.decide(request, now, &mut batch);
        match done.and_then(|()| self.commit(&batch)) {
            Ok(()) => self.hand_out(batch),
            Err(source)
                if fault(&source) == Fault::Full && self.space.out_of_room() == Given::Up =>
            {
                self.rebuild()?;
                batch
                    .again
                    .into_iter()
                    .try_for_each(|request| self.alone(request))?;
                self.answer_all(batch.questions)
            }
            // A line's news may want to record an attempt; without room the attempt is not made.
            Err(source) if !must && fault(&source) != Fault::Broken => {
                warn!(error = %source, "what it brought could not be recorded; it is looked at again");
                self.rebuild()?;
                self.unsaved = switch.or(self.unsaved);
                self.answer_all(batch.questions)
            }
            Err(source) => Err(sql("record what a device did")(source)),
        }
    }

    /// One push in a commit of its own; if that fails too, its caller is refused.
    fn accept_alone(&mut self, push: &Arc<NewPush>) -> Result<Room, StoreError> {
        let mut batch = Batch::default();
        let request = Request::Accept(Arc::clone(push), None);
        let now = self.now();
        let done = self.decide(request, now, &mut batch);
        match done.and_then(|()| self.commit(&batch)) {
            Ok(()) => self.hand_out(batch).map(|()| Room::Perhaps),
            Err(source) if fault(&source) != Fault::Broken => {
                self.rebuild()?;
                let full = fault(&source) == Fault::Full;
                let why = if full {
                    FULL
                } else {
                    "the agent could not store the push"
                };
                self.refuse(push, why);
                Ok(if full { Room::None } else { Room::Perhaps })
            }
            Err(source) => Err(sql("store a push")(source)),
        }
    }

    fn refuse(&self, push: &NewPush, why: &str) {
        if let Some(to) = push.reply_to() {
            self.say(Said::Reply(refusal(to, why.to_owned())));
        }
    }

    /// Starts; on a disk without room once more with the reserve given up.
    pub(super) fn begin_or_make_room(&mut self) -> Result<(), StoreError> {
        match self.begin() {
            Err(error) if error.fault() == Fault::Full => {
                self.space.out_of_room();
                self.roll_back()?;
                self.begin()
            }
            begun => begun,
        }
    }

    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection
            .execute_batch("ROLLBACK")
            .map_err(sql("roll back"))
    }

    fn rebuild(&mut self) -> Result<(), StoreError> {
        self.roll_back()?;
        self.time.not_saved();
        self.cache = Cache::default();
        self.decided.clear();
        self.uploads.upward = self.wiring.upward.clone();
        let devices = self.wiring.devices.clone();
        let now = self.now();
        let loader = load::load(&self.connection, self.wiring.limit, devices)
            .map_err(sql("read the queue back"))?;
        let old = std::mem::replace(&mut self.queue, Queue::new(0));
        self.queue = loader.receipts(self.uploads.receipts()).resume(old, now);
        self.uploads
            .recount(&self.connection)
            .map_err(sql("count what waits to go up"))?;
        self.segments = Segments::read(&self.connection).map_err(sql("read the segments"))?;
        self.uploads.post(&self.shared.uploads);
        // It may have been the segment that found no room.
        self.segments.wait_until(clock::mono().plus(SEGMENT_AFTER));
        self.chain = AuditChain::read(&self.connection).map_err(sql("read the audit chain"))?;
        Ok(())
    }
}

/// Whether it may be refused for want of room, so that the reserve is kept for what may not.
fn is_new(request: &Request) -> bool {
    matches!(
        request,
        Request::Accept(..) | Request::Own(_, Own::Said(_), _)
    )
}

const NUDGE_AFTER: Duration = Duration::from_secs(1);
const SEGMENT_AFTER: Duration = Duration::from_secs(10);
