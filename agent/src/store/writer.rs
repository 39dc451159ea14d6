//! The thread that owns the database and the queue.
//!
//! ```text
//!  wait for a request ─► take what else waits ─► decide, write rows ─► commit ─► hand out effects ─► (again)
//!                                                     │ fails
//!                                                     ▼
//!                              roll back, rebuild the queue from disk, try each alone;
//!                              a push that fails alone is refused, anything else ends the process
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_core::delivery::Outcome;
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, Mono, NewPush, Now, PushId, Seq, State};
use agent_core::queue::{
    Attempted, Command, CommandError, Connection as LineState, DeviceConfig, Done, Effect, Known,
    Queue, ReplyTo, Row, Turn,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use super::database::{self, sql};
use super::mutant::{self, Mutant};
use super::parcel::{Cache, parcel, parcel_of};
use super::rows::AuditChain;
use super::{
    Attempt, Lines, Opened, Own, REQUESTS, Recorded, Request, Running, Shared, Store, StoreError,
    Wiring, answer_type, load, owner, rows,
};
use crate::clock;
use crate::cloud::{Answer, Said};

/// Requests that share a commit at most: what waits goes in, but one commit must stay short.
const BATCH: usize = 256;

pub(super) fn start<L: Lines>(opened: Opened, wiring: Wiring<L>) -> Result<Running, StoreError> {
    let (requests, inbox) = mpsc::channel(REQUESTS);
    let (wake, next_tick) = watch::channel(None);
    let (end, ended) = oneshot::channel();
    let shared = Arc::new(Shared {
        taken: AtomicU64::new(0),
        last_answer: AtomicU64::new(0),
        reader: opened.reader,
    });
    let mut writer = Writer {
        queue: Queue::new(0),
        chain: AuditChain::read(&opened.connection).map_err(sql("read the audit chain"))?,
        connection: opened.connection,
        cache: Cache::default(),
        shared: Arc::clone(&shared),
        wake,
        wiring,
        _lock: opened.lock,
    };
    writer.begin()?;
    info!(database = %opened.path.display(), "store open");
    std::thread::Builder::new()
        .name("store".into())
        .spawn(move || drop(end.send(writer.run(inbox))))
        .map_err(|source| StoreError::Directory {
            path: "thread store".into(),
            source,
        })?;
    Ok(Running {
        store: Store { requests, shared },
        next_tick,
        ended,
    })
}

struct Writer<L> {
    queue: Queue,
    chain: AuditChain,
    connection: Connection,
    cache: Cache,
    shared: Arc<Shared>,
    wake: watch::Sender<Option<Mono>>,
    wiring: Wiring<L>,
    _lock: owner::Lock,
}

/// What one batch has decided, and what is needed to take it back.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    effects: Vec<Effect>,
    replies: Vec<Reply>,
    /// Attempts that came back, kept until their outcome is durable.
    settled: Vec<(Attempt, Outcome, LineState)>,
    late: Vec<Request>,
}

/// What is told to whoever asked, once the batch is durable.
type Reply = Box<dyn FnOnce() + Send>;

impl<L: Lines> Writer<L> {
    /// Rebuilds the queue and writes down what the end of the last process has made of open attempts.
    fn begin(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let mut devices = self.wiring.devices.clone();
        plant_blind_resend(&mut devices);
        let loader = load::load(&self.connection, self.wiring.limit, devices)
            .map_err(sql("read the queue back"))?;
        let agent = database::last_switch(&self.connection).map_err(sql("read the last status"))?;
        let mut turn = Turn::at(now);
        self.queue = loader.start(&mut turn);
        self.queue.switch(agent, &mut turn);
        self.shared
            .taken
            .store(self.queue.taken_mark().0, Ordering::Relaxed);
        let mut batch = Batch::default();
        self.write(turn, &mut batch)
            .and_then(|()| self.commit())
            .map_err(sql("record the start"))?;
        self.hand_out(batch)
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<(), StoreError> {
        let mut waiting = Vec::with_capacity(BATCH);
        while let Some(first) = inbox.blocking_recv() {
            waiting.push(first);
            while waiting.len() < BATCH
                && let Ok(next) = inbox.try_recv()
            {
                waiting.push(next);
            }
            let stop = waiting
                .iter()
                .position(|request| matches!(request, Request::Stop(_)));
            let last = stop.map(|at| waiting.split_off(at));
            self.batch(waiting.drain(..))?;
            if let Some(Request::Stop(done)) = last.and_then(|rest| rest.into_iter().next()) {
                return self.close(done);
            }
        }
        Ok(())
    }

    /// Whoever asked is told only when the database is closed and its lock is free.
    fn close(mut self, done: oneshot::Sender<()>) -> Result<(), StoreError> {
        self.finish()?;
        drop(self);
        // Whoever asked may be gone; the store is closed all the same.
        let _ = done.send(());
        Ok(())
    }

    /// Writes down what is still only in memory.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.batch(std::iter::once(Request::FlushTaken))
    }

    fn batch(&mut self, requests: impl Iterator<Item = Request>) -> Result<(), StoreError> {
        let now = clock::now();
        self.queue
            .taken(Seq(self.shared.taken.load(Ordering::Relaxed)));
        let mut batch = Batch::default();
        let mut done = Ok(());
        // What the posted wake was for is done here and now: the next wake is posted as if it had been.
        let due = self.wake.borrow().is_some_and(|at| at <= now.mono);
        for request in due.then_some(Request::Tick).into_iter().chain(requests) {
            match done {
                Ok(()) => done = self.decide(request, now, &mut batch),
                // The transaction is lost already: what is left is tried again with the rest.
                Err(_) => batch.take_back(request),
            }
        }
        let done = done.and_then(|()| self.commit());
        match done {
            Ok(()) => self.hand_out(batch)?,
            Err(source) => self.recover(source, batch)?,
        }
        self.wake.send_if_modified(|at| {
            let next = self.queue.next_tick(now);
            std::mem::replace(at, next) != next
        });
        Ok(())
    }

    fn decide(&mut self, request: Request, now: Now, batch: &mut Batch) -> rusqlite::Result<()> {
        let mut turn = Turn::at(now);
        match request {
            Request::Accept(push) => {
                let known = self.known(&push, now)?;
                self.queue.accept(*push, known, &mut turn);
            }
            Request::Own(push, own) => self.own(*push, own, &mut turn)?,
            Request::Settle(attempt, outcome, line) => {
                let (push, kept) = (attempt.push, (outcome.clone(), line.clone()));
                self.queue.settle(push, outcome, line, &mut turn);
                batch.settled.push((attempt, kept.0, kept.1));
            }
            Request::Late(push, device, news) => {
                self.queue.late(push, device, news.clone(), &mut turn);
                batch.late.push(Request::Late(push, device, news));
            }
            Request::Ready(device) => self.queue.line_ready(device, &mut turn),
            Request::Resting(device) => self.queue.line_resting(device, &mut turn),
            Request::Away(device, why) => self.queue.line_away(device, why, &mut turn),
            Request::Crashed(device) => self.queue.line_crashed(device, &mut turn),
            Request::Session(session) => {
                self.queue.session(session);
                self.queue.tick(&mut turn);
            }
            Request::Switch(agent) => {
                database::remember_switch(&self.connection, agent)?;
                self.queue.switch(agent, &mut turn);
            }
            Request::Tick => self.queue.tick(&mut turn),
            Request::FlushTaken => self.queue.flush_taken(&mut turn),
            Request::Command(command, reply) => {
                let done = self.command(&command, &mut turn)?;
                batch.reply(reply, done);
            }
            request => self.answer_question(request, &mut turn, batch),
        }
        self.write(turn, batch)
    }

    /// What needs no more than a look at the queue, and the configuration.
    fn answer_question(&mut self, request: Request, turn: &mut Turn, batch: &mut Batch) {
        match request {
            Request::Configure(devices, reply) => {
                self.queue.configure(devices.clone(), turn);
                self.wiring.devices = devices;
                batch.reply(reply, ());
            }
            Request::Number(name, reply) => {
                batch.reply(reply, self.number(&name));
            }
            Request::Barrier(reply) => batch.reply(reply, ()),
            Request::Report(reply) => batch.reply(reply, self.queue.report()),
            Request::List(device, limit, reply) => {
                batch.reply(reply, self.queue.list(device, limit, turn.now));
            }
            Request::Explain(push, reply) => {
                batch.reply(reply, self.queue.waiting_push(push, turn.now));
            }
            _ => {}
        }
    }

    /// Numbers a device that was not there at start.
    fn number(&self, name: &str) -> Result<DeviceNo, StoreError> {
        let numbers = database::device_numbers(&self.connection, &[name.to_owned()])?;
        numbers
            .get(name)
            .copied()
            .ok_or_else(|| StoreError::Promise("no number".into()))
    }

    /// Compares a push with what it may repeat.
    fn known(&self, push: &NewPush, now: Now) -> rusqlite::Result<Known> {
        let suspects = self.queue.suspects(push, now);
        if let (Some(id), Some(callback)) = (suspects.callback, &push.callback)
            && self.callback_of(id)?.as_ref() == Some(&callback.text)
        {
            return Ok(Known::Callback(id));
        }
        if let Some(id) = suspects.content
            && let Some(earlier) = parcel(&self.connection, id)?
        {
            let digest = self.wiring.join_digest;
            let own = digest(&parcel_of(push));
            if own.is_some() && own == digest(&earlier) {
                return Ok(Known::Content(id));
            }
        }
        Ok(Known::No)
    }

    fn callback_of(&self, push: PushId) -> rusqlite::Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT callback FROM push WHERE id = ?1")?
            .query_row(params![push.0.cast_signed()], |row| row.get(0))
            .optional()
            .map(Option::flatten)
    }

    fn own(&mut self, push: NewPush, own: Own, turn: &mut Turn) -> rusqlite::Result<()> {
        let known = self.known(&push, turn.now)?;
        let answer = match own {
            // A repeated callback is the same command: it is not carried out twice.
            _ if known != Known::No => agent_core::queue::OwnAnswer::empty(),
            Own::Said(answer) => answer,
            Own::Does(command, word) => word(&self.command(&command, turn)?),
        };
        self.queue.accept_own(push, known, answer, turn);
        Ok(())
    }

    fn command(
        &mut self,
        command: &Command,
        turn: &mut Turn,
    ) -> rusqlite::Result<Result<Done, CommandError>> {
        if self.queue.is_live(command.push) {
            return Ok(self.queue.command(command, turn));
        }
        Ok(match load::ended(&self.connection, command.push)? {
            None => Err(CommandError::Unknown(command.push)),
            Some(ended) if ended.device == DeviceNo::SELF => {
                Err(CommandError::Final(command.push, State::Delivered))
            }
            Some(ended) => self.queue.command_ended(command, ended, turn),
        })
    }

    /// Writes the rows of one decision into the transaction, which begins with the first of them.
    fn write(&mut self, turn: Turn, batch: &mut Batch) -> rusqlite::Result<()> {
        if !turn.rows.is_empty() && self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        batch.effects.extend(turn.effects);
        for row in turn.rows {
            let written = rows::write(&self.connection, &row, &mut self.chain);
            if let Row::Push(row) = &row {
                self.cache.keep(row.id, &row.push, row.joins.is_some());
            }
            batch.rows.push(row);
            written?;
        }
        if mutant::is(Mutant::AnswerBeforeCommit) {
            self.answer_too_early(batch);
        }
        Ok(())
    }

    fn commit(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("COMMIT")
    }

    /// Carries out what has become durable.
    fn hand_out(&mut self, batch: Batch) -> Result<(), StoreError> {
        // Before the first answer is offered: the uplink takes this as the newest there is.
        self.shared
            .last_answer
            .store(self.queue.last_answer().0, Ordering::Release);
        for effect in batch.effects {
            match effect {
                Effect::Attempt { push, device, kind } => self.hand_attempt(push, device, kind)?,
                Effect::Answer(answer) => self.hand_answer(answer)?,
                Effect::Again(push) => self.say_again(push)?,
                Effect::Refused { to, why } => {
                    self.say(Said::Reply(crate::cloud::refusal(to, why)));
                }
                Effect::Wanted { device, wanted } => self.wiring.lines.wanted(device, wanted),
            }
        }
        for reply in batch.replies {
            reply();
        }
        Ok(())
    }

    fn hand_attempt(
        &mut self,
        push: PushId,
        device: DeviceNo,
        kind: Attempted,
    ) -> Result<(), StoreError> {
        let parcel = match self.cache.take(push) {
            Some(parcel) => Some(parcel),
            None => parcel(&self.connection, push).map_err(sql("read a push to send"))?,
        };
        let Some(parcel) = parcel else {
            return Err(StoreError::Promise(format!(
                "push {push} has no body to send"
            )));
        };
        let recorded = Recorded(kind);
        self.wiring.lines.deliver(Attempt {
            push,
            device,
            parcel,
            recorded,
        });
        Ok(())
    }

    fn hand_answer(&mut self, answer: agent_core::queue::Answer) -> Result<(), StoreError> {
        self.cache.forget_if_gone(answer.push, &self.queue);
        let spoken =
            rows::spoken(&self.connection, &answer.told).map_err(sql("read an answer's words"))?;
        self.say(Said::Answer(Answer {
            seq: answer.seq,
            prev: answer.prev,
            callback: answer.to.callback,
            remote: answer.to.remote,
            content_type: answer_type(spoken.by, &answer.to.content_type),
            status: answer.status,
            body: Phi(spoken.words.0.to_string()),
        }));
        Ok(())
    }

    fn say_again(&self, push: PushId) -> Result<(), StoreError> {
        if let Some(answer) = self.shared.reader.answer_of(push)? {
            self.say(Said::Again(answer));
        }
        Ok(())
    }

    /// The uplink looks at the disk for what the channel had no room for.
    fn say(&self, said: Said) {
        if self.wiring.said.try_send(said).is_err() {
            tracing::debug!("the uplink is behind; it will read the answer from disk");
        }
    }

    fn answer_too_early(&mut self, batch: &mut Batch) {
        let effects = std::mem::take(&mut batch.effects);
        for effect in effects {
            match effect {
                Effect::Answer(answer) => drop(self.hand_answer(answer)),
                other => batch.effects.push(other),
            }
        }
        // A window wide enough for a kill to fall into.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }

    /// The batch is not on disk. Nothing of it was handed out; what can be tried alone is.
    fn recover(&mut self, source: rusqlite::Error, batch: Batch) -> Result<(), StoreError> {
        warn!(error = %source, requests = batch.rows.len(), "a commit failed");
        self.rebuild()?;
        if !is_passing(&source) {
            return Err(sql("commit")(source));
        }
        for (attempt, outcome, line) in batch.settled {
            self.alone(Request::Settle(attempt, outcome, line))?;
        }
        for request in batch.late {
            self.alone(request)?;
        }
        for row in batch.rows {
            if let Row::Push(row) = row {
                self.accept_alone(row.push)?;
            }
        }
        Ok(())
    }

    /// One request in a commit of its own, which must not fail.
    fn alone(&mut self, request: Request) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let done = self
            .decide(request, clock::now(), &mut batch)
            .and_then(|()| self.commit());
        match done {
            Ok(()) => self.hand_out(batch),
            Err(source) => {
                error!(error = %source, "cannot record what a device did");
                Err(sql("record what a device did")(source))
            }
        }
    }

    /// One push in a commit of its own; if that fails too, its caller is refused.
    fn accept_alone(&mut self, push: NewPush) -> Result<(), StoreError> {
        let to = push.callback.as_ref().map(|callback| ReplyTo {
            callback: callback.text.clone(),
            remote: push.remote.clone(),
            content_type: push.content_type.clone(),
        });
        if push.device == DeviceNo::SELF {
            self.refuse(
                to,
                "the command could not be recorded; send it again".into(),
            );
            return Ok(());
        }
        let mut batch = Batch::default();
        let request = Request::Accept(Box::new(push));
        let done = self
            .decide(request, clock::now(), &mut batch)
            .and_then(|()| self.commit());
        match done {
            Ok(()) => self.hand_out(batch),
            Err(source) if is_passing(&source) => {
                self.rebuild()?;
                self.refuse(to, format!("the agent could not store the push: {source}"));
                Ok(())
            }
            Err(source) => Err(sql("store a push")(source)),
        }
    }

    fn refuse(&self, to: Option<ReplyTo>, why: String) {
        if let Some(to) = to {
            self.say(Said::Reply(crate::cloud::refusal(to, why)));
        }
    }

    fn rebuild(&mut self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            self.connection
                .execute_batch("ROLLBACK")
                .map_err(sql("roll back"))?;
        }
        self.cache = Cache::default();
        let devices = self.wiring.devices.clone();
        let loader = load::load(&self.connection, self.wiring.limit, devices)
            .map_err(sql("read the queue back"))?;
        self.queue = loader.resume(&self.queue, clock::now());
        self.chain = AuditChain::read(&self.connection).map_err(sql("read the audit chain"))?;
        Ok(())
    }
}

impl Batch {
    fn reply<T: Send + 'static>(&mut self, to: oneshot::Sender<T>, value: T) {
        // Whoever asked may have gone away; that changes nothing here.
        self.replies.push(Box::new(move || drop(to.send(value))));
    }

    /// Keeps a request that could not be looked at any more. Questions are dropped: whoever asked is told so.
    fn take_back(&mut self, request: Request) {
        match request {
            Request::Accept(push) => self.rows.push(Row::Push(Box::new(unwritten(*push)))),
            Request::Settle(attempt, outcome, line) => self.settled.push((attempt, outcome, line)),
            late => self.late.push(late),
        }
    }
}

/// A push that has no number yet, in the shape in which failed ones are tried again.
fn unwritten(push: NewPush) -> agent_core::queue::PushRow {
    agent_core::queue::PushRow {
        id: PushId(0),
        at: agent_core::push::Timestamp(0),
        tried: None,
        expires: None,
        joins: None,
        push,
    }
}

/// Whether it is worth trying the parts of a failed batch alone: a full disk or a refused row passes, an I/O error does
/// not (a failed sync must never be tried again: the kernel may have dropped the pages).
fn is_passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::ConstraintViolation | ErrorCode::TooBig)
    )
}

fn plant_blind_resend(devices: &mut [(DeviceNo, DeviceConfig)]) {
    if mutant::is(Mutant::BlindResend) {
        for (_, device) in devices {
            device.policy.on_uncertain = agent_core::push::OnUncertain::Resend;
        }
    }
}
