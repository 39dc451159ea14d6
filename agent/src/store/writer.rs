//! The thread that owns the database and the queue.
//!
//! ```text
//!  wait for a request, and for answers about to come ─► take all that waits ─► decide, write rows ─► commit ─► hand out effects
//!                                                                                                 │ fails
//!                                                                                                 ▼
//!                              roll back, rebuild the queue from disk, try each alone;
//!                              a push that fails alone is refused; what a device did ends the process;
//!                              what was said of a line, a session, the clock stays in force
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use agent_core::clock::Clock;
use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, Mono, Now, PushId, Seq, State};
use agent_core::queue::{
    AgentSwitch, Attempted, Command, CommandError, Done, Effect, Queue, Row, Turn,
};
use rusqlite::Connection;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tracing::{debug, info, warn};

use super::database::{self, sql};
use super::fault::{Fault, fault};
use super::gather::{Awaited, Gather};
use super::mutant::{self, Mutant};
use super::notable::Notable;
use super::parcel::{Cache, parcel};
use super::question::Question;
use super::rows::AuditChain;
use super::segment::Segments;
use super::space::Space;
use super::sweep::Sweep;
use super::time::Time;
use super::upload::{Posted, Uploads};
use super::wal::Wal;
use super::{
    Attempt, Configuration, LineEvent, Lines, Opened, REQUESTS, Recorded, Request, Running, Shared,
    Store, StoreError, WAITING_KIB, Wiring, answer_type, load, owner, rows,
};
use crate::clock;
use crate::cloud::{Answer, Said};

/// Requests that share a commit at most: what waits goes in, but one commit must stay short.
const BATCH: usize = 256;
/// Reads of cold pushes for one decision at most; with 512 rows each, more than any decision should need.
const FEEDS: usize = 8;

pub(super) fn start<L: Lines>(
    mut opened: Opened,
    wiring: Wiring<L>,
) -> Result<Running, StoreError> {
    mutant::plant();
    let (requests, inbox) = mpsc::channel(REQUESTS);
    let (wake, next_tick) = watch::channel(None);
    let (end, ended) = oneshot::channel();
    let shared = Arc::new(Shared {
        taken: AtomicU64::new(0),
        last_answer: AtomicU64::new(0),
        room: Arc::new(Semaphore::new(WAITING_KIB as usize)),
        reader: opened.reader,
        room_on_disk: Arc::default(),
        uploads: Posted::default(),
        clock: Mutex::default(),
        broken: OnceLock::new(),
        watched: super::tasks::Watched::default(),
        awaited: Awaited::default(),
    });
    let directory = opened.path.parent().unwrap_or(Path::new(""));
    let posted = Arc::clone(&shared.room_on_disk);
    let mut writer = Writer {
        wal: Wal::watch(&mut opened.connection).map_err(sql("watch the log"))?,
        space: Space::new(directory, wiring.bounds, posted),
        sweep: Sweep::default(),
        time: Time::read(&opened.connection).map_err(sql("read the mark of the clock"))?,
        new_verdict: None,
        queue: Queue::new(0),
        chain: AuditChain::read(&opened.connection).map_err(sql("read the audit chain"))?,
        segments: Segments::read(&opened.connection).map_err(sql("read the segments"))?,
        uploads: Uploads::read(&opened.connection, wiring.upward.clone())
            .map_err(sql("count what waits to go up"))?,
        connection: opened.connection,
        cache: Cache::default(),
        shared: Arc::clone(&shared),
        wake,
        nudge: None,
        unsaved: None,
        decided: Vec::new(),
        gather: Gather::default(),
        wiring,
        _lock: opened.lock,
    };
    writer.begin_or_make_room()?;
    writer.keep_house()?;
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

pub(super) struct Writer<L> {
    pub(super) queue: Queue,
    pub(super) chain: AuditChain,
    pub(super) segments: Segments,
    pub(super) connection: Connection,
    pub(super) cache: Cache,
    pub(super) shared: Arc<Shared>,
    wake: watch::Sender<Option<Mono>>,
    /// Set after a failed batch: when every device is looked at anew.
    pub(super) nudge: Option<Mono>,
    /// The agent's switch, in force, that could not be recorded; the nudge tries again.
    pub(super) unsaved: Option<AgentSwitch>,
    /// Applied to the queue, and in force once the batch is durable.
    pub(super) decided: Vec<Configuration>,
    gather: Gather,
    pub(super) wiring: Wiring<L>,
    pub(super) space: Space,
    pub(super) wal: Wal,
    pub(super) sweep: Sweep,
    pub(super) time: Time,
    pub(super) uploads: Uploads,
    /// A verdict on the clock that the queue has not heard of.
    pub(super) new_verdict: Option<Clock>,
    _lock: owner::Lock,
}

/// What one batch has decided, and what is needed to do it again if it comes to nothing.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) effects: Vec<Effect>,
    replies: Vec<Reply>,
    /// What must not be lost with the batch, in the order in which it came.
    pub(super) again: Vec<Request>,
    pub(super) questions: Vec<Question>,
    pub(super) rows: usize,
    /// Of which somebody wants to hear.
    heard: Vec<PushId>,
    notable: Notable,
}

/// What is told to whoever asked, once the batch is durable.
type Reply = Box<dyn FnOnce() + Send>;

impl<L: Lines> Writer<L> {
    /// Rebuilds the queue and writes down what the end of the last process has made of open attempts.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let mut devices = self.wiring.devices.clone();
        mutant::plant_blind_resend(&mut devices);
        let loader = load::load(&self.connection, self.wiring.limit, devices)
            .map_err(sql("read the queue back"))?;
        let agent = database::last_switch(&self.connection).map_err(sql("read the last status"))?;
        let mut turn = Turn::at(now);
        let receipts = self.begin_uploads(now.utc)?;
        self.queue = loader.receipts(receipts).start(&mut turn);
        self.segments
            .recall(&self.connection, &mut self.queue, now)
            .map_err(sql("read what came before"))?;
        let before = self.time.here_before(self.queue.newest());
        self.queue.here_before(before);
        self.new_verdict = None;
        self.queue.judge_clock(self.time.verdict(), &mut turn);
        self.queue.switch(agent, &mut turn);
        self.shared
            .taken
            .store(self.first_taken_mark().0, Ordering::Relaxed);
        let mut batch = Batch::default();
        self.write(turn, &mut batch)
            .and_then(|()| self.feed(now, &mut batch))
            .and_then(|()| self.commit(&batch))
            .and_then(|()| self.time.save_if_due(&self.connection, now.mono))
            .map_err(sql("record the start"))?;
        self.time.saved();
        self.hand_out(batch)
    }

    fn first_taken_mark(&self) -> Seq {
        if mutant::is(Mutant::ForgetUntaken) {
            return self.queue.last_answer();
        }
        self.queue.taken_mark()
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<(), StoreError> {
        let mut waiting = Vec::with_capacity(BATCH);
        while let Some(first) = inbox.blocking_recv() {
            waiting.push(first);
            // A batch that is full already gains nothing by waiting.
            if inbox.len() < BATCH {
                self.gather.wait(&self.shared.awaited);
            }
            while waiting.len() < BATCH
                && let Ok(next) = inbox.try_recv()
            {
                waiting.push(next);
            }
            let stop = waiting
                .iter()
                .position(|request| matches!(request, Request::Stop(_)));
            let last = stop.map(|at| waiting.split_off(at));
            self.shared.trusted()?;
            mutant::plant_lose_turn(&mut waiting);
            self.batch(waiting.drain(..))?;
            self.keep_house()?;
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

    /// Writes down what is still only in memory, and what makes the next start short.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.batch(std::iter::once(Request::FlushTaken))?;
        if !self.queue.segment_useful() {
            return Ok(());
        }
        match self.last_segment() {
            Err(source) if fault(&source) != Fault::Broken => {
                warn!(error = %source, "no segment was written; the next start reads more rows");
                Ok(())
            }
            done => done.map_err(sql("write the last segment")),
        }
    }

    fn last_segment(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        self.segments.write(&self.connection, &mut self.queue)?;
        self.connection.execute_batch("COMMIT")
    }

    /// A segment belongs into the commit of what it describes.
    fn segment(&mut self, now: Now, batch: &Batch) -> rusqlite::Result<()> {
        if batch.rows == 0 {
            return Ok(());
        }
        self.time.save_if_due(&self.connection, now.mono)?;
        self.segments
            .write_if_due(&self.connection, &mut self.queue, now)
    }

    fn batch(&mut self, requests: impl Iterator<Item = Request>) -> Result<(), StoreError> {
        let began = clock::instant();
        let now = self.now();
        self.queue
            .taken(Seq(self.shared.taken.load(Ordering::Relaxed)));
        let mut batch = Batch::default();
        let mut done = Ok(());
        let verdict = self.new_verdict.take().map(Request::Clock);
        for request in verdict.into_iter().chain(self.due(now)).chain(requests) {
            match done {
                Ok(()) => done = self.decide(request, now, &mut batch),
                // The transaction is lost already: what is left is tried again with the rest.
                Err(_) => batch.again.push(request),
            }
        }
        let done = done.and_then(|()| self.segment(now, &batch));
        match done.and_then(|()| self.commit(&batch)) {
            Ok(()) => {
                let rows = batch.rows;
                self.time.saved();
                self.hand_out(batch)?;
                if rows > 0 {
                    self.gather.committed(clock::since(began));
                }
            }
            Err(_) if mutant::is(Mutant::FalseYes) => self.hand_out(batch)?,
            Err(source) => self.recover(source, batch)?,
        }
        self.wake.send_if_modified(|at| {
            let next = self.nudge.or(self.queue.next_tick(now));
            std::mem::replace(at, next) != next
        });
        Ok(())
    }

    /// What the posted wake was for is done here and now: the next wake is posted as if it had been.
    fn due(&mut self, now: Now) -> Option<Request> {
        if !self.wake.borrow().is_some_and(|at| at <= now.mono) {
            return None;
        }
        Some(if self.nudge.take().is_some() {
            Request::Nudge
        } else {
            Request::Tick
        })
    }

    pub(super) fn decide(
        &mut self,
        request: Request,
        now: Now,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        let mut turn = Turn::at(now);
        match request {
            Request::Accept(push, room) => {
                batch.again.push(Request::Accept(Arc::clone(&push), room));
                let known = self.known(&push, now)?;
                self.admit(push, known, &mut turn)?;
            }
            Request::Own(push, own, room) => {
                let again = Request::Own(Arc::clone(&push), own.clone(), room);
                batch.again.push(again);
                self.own(push, own, &mut turn)?;
            }
            Request::Settle(attempt, outcome, line) => {
                self.gather.learn(attempt.device, attempt.handed);
                let (push, decided) = (attempt.push, (outcome.clone(), line.clone()));
                batch.again.push(Request::Settle(attempt, outcome, line));
                self.queue.settle(push, decided.0, decided.1, &mut turn);
            }
            Request::Late(push, device, news) => {
                batch.again.push(Request::Late(push, device, news.clone()));
                self.queue.late(push, device, news, &mut turn);
            }
            Request::Line(device, event) => {
                batch.again.push(Request::Line(device, event.clone()));
                self.line(device, event, &mut turn);
            }
            Request::Session(session) => {
                batch.again.push(Request::Session(session));
                self.queue.session(session);
                self.queue.tick(&mut turn);
            }
            Request::Tick => self.queue.tick(&mut turn),
            Request::Nudge => {
                self.save_switch(batch)?;
                self.queue.nudge(&mut turn);
            }
            Request::Clock(clock) => {
                batch.again.push(Request::Clock(clock));
                self.queue.judge_clock(clock, &mut turn);
            }
            Request::CloudTime(time) => {
                self.time.heard(time);
                turn.now = self.now();
                if let Some(clock) = self.new_verdict.take() {
                    batch.again.push(Request::Clock(clock));
                    self.queue.judge_clock(clock, &mut turn);
                }
            }
            Request::Sweep(asked) => self.sweep.asked = Some(asked),
            Request::FlushTaken => self.queue.flush_taken(&mut turn),
            Request::Command(command, reply) => {
                let done = self.command(&command, &mut turn)?;
                batch.reply(reply, done);
            }
            Request::Ask(question) => batch.questions.push(question),
            change => self.change(change, &mut turn, batch)?,
        }
        self.write(turn, batch)?;
        self.feed(now, batch)
    }

    fn line(&mut self, device: DeviceNo, event: LineEvent, turn: &mut Turn) {
        match event {
            LineEvent::Ready => self.queue.line_ready(device, turn),
            LineEvent::Resting => self.queue.line_resting(device, turn),
            LineEvent::Away(why) => self.queue.line_away(device, why, turn),
            LineEvent::Crashed => self.queue.line_crashed(device, turn),
        }
    }

    pub(super) fn command(
        &mut self,
        command: &Command,
        turn: &mut Turn,
    ) -> rusqlite::Result<Result<Done, CommandError>> {
        self.warm(command.push)?;
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

    /// Reads the rows that the queue wants before it goes on, within the same commit; what is left comes with the next.
    fn feed(&mut self, now: Now, batch: &mut Batch) -> rusqlite::Result<()> {
        for _ in 0..FEEDS {
            let wanted = self.queue.wants();
            if wanted.is_empty() {
                break;
            }
            let rows: rusqlite::Result<Vec<_>> = wanted
                .into_iter()
                .map(|push| load::cold_row(&self.connection, push))
                .collect();
            let mut turn = Turn::at(now);
            self.queue.thaw(rows?, &mut turn);
            self.write(turn, batch)?;
        }
        Ok(())
    }

    /// Writes the rows of one decision into the transaction.
    fn write(&mut self, turn: Turn, batch: &mut Batch) -> rusqlite::Result<()> {
        if !turn.rows.is_empty() {
            self.begin_rows(batch)?;
        }
        self.shared.watched.of(&turn, &mut batch.heard);
        batch.effects.extend(turn.effects);
        for row in &turn.rows {
            batch.rows += 1;
            if let Row::News(news) = row
                && !mutant::is(Mutant::ForgetReceipt)
            {
                let told = (news, self.time.verdict());
                self.uploads.news(&self.connection, told)?;
            }
            rows::write(&self.connection, row, &mut self.chain)?;
            batch.notable.note(row);
            self.cache.follow(row, &self.queue);
        }
        if mutant::is(Mutant::AnswerBeforeCommit) {
            self.answer_too_early(batch);
        }
        Ok(())
    }

    /// `SQLite` rolls a transaction back by itself after some errors; a batch with rows and no transaction is lost, and
    /// COMMIT says so.
    pub(super) fn commit(&self, batch: &Batch) -> rusqlite::Result<()> {
        match batch.rows {
            0 => Ok(()),
            _ => self.connection.execute_batch("COMMIT"),
        }
    }

    /// Carries out what has become durable.
    pub(super) fn hand_out(&mut self, batch: Batch) -> Result<(), StoreError> {
        for configuration in std::mem::take(&mut self.decided) {
            self.remember(configuration);
        }
        self.uploads.post(&self.shared.uploads);
        // Before the first answer is offered: the uplink takes this as the newest there is.
        self.shared
            .last_answer
            .store(self.queue.last_answer().0, Ordering::Release);
        self.hand_attempts(&batch.effects)?;
        for effect in batch.effects {
            match effect {
                Effect::Attempt { .. } => {}
                Effect::Answer(answer) => self.hand_answer(answer)?,
                Effect::Again(push) => self.say_again(push)?,
                Effect::Refused { to, why } => {
                    self.say(Said::Reply(crate::cloud::refusal(to, why)));
                }
                Effect::Wanted { device, wanted } => self.wiring.lines.wanted(device, wanted),
            }
        }
        self.shared.watched.tell(batch.heard);
        batch.notable.log(&self.wiring.devices);
        for reply in batch.replies {
            reply();
        }
        self.answer_all(batch.questions)
    }

    /// First of all, so that the devices work while the rest is handed out.
    fn hand_attempts(&mut self, effects: &[Effect]) -> Result<(), StoreError> {
        for effect in effects {
            // What was decided on and undone in the same batch is not handed out.
            if let Effect::Attempt { push, device, kind } = *effect
                && self.queue.is_sending(push)
            {
                self.hand_attempt(push, device, kind)?;
            }
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
        let handed = self.gather.hand(device, &self.shared.awaited);
        self.wiring.lines.deliver(Attempt {
            push,
            device,
            parcel,
            recorded: Recorded(kind),
            handed,
        });
        Ok(())
    }

    pub(super) fn hand_answer(
        &mut self,
        answer: agent_core::queue::Answer,
    ) -> Result<(), StoreError> {
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

    /// The uplink reads answers from disk where the channel has no room for them. A refusal is on no disk, and an answer
    /// that is said again is one that the uplink has passed: their callers hear nothing and push again.
    pub(super) fn say(&self, said: Said) {
        match self
            .wiring
            .said
            .try_send(said)
            .map_err(TrySendError::into_inner)
        {
            // What the store never says would be no loss.
            Ok(()) | Err(Said::TokenRefused) => {}
            Err(Said::Answer(_)) => {
                debug!("the uplink is behind; it will read the answer from disk");
            }
            Err(Said::Again(_) | Said::Reply(_)) => {
                warn!(
                    "the uplink is behind; one caller is not told that its push was refused, or what it was told before"
                );
            }
        }
    }
}

impl Batch {
    pub(super) fn reply<T: Send + 'static>(&mut self, to: oneshot::Sender<T>, value: T) {
        // Whoever asked may have gone away; that changes nothing here.
        self.replies.push(Box::new(move || drop(to.send(value))));
    }
}
