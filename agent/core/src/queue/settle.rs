//! The end of an attempt, and the end of a push.

use super::rows::{Attempted, Kind, Row, Told, Turn};
use super::{Phase, Queue};
use crate::delivery::{self, Outcome, Pause, Verdict, Words};
use crate::mutant::{self, Mutant};
use crate::push::{DeviceNo, Level, Now, PushId, State, WhenUnreachable};
use crate::queue::device::{Line, Retry};
use crate::retry::{Backoff, Dice};

/// What the line says of its connection when it gives an attempt back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Connection {
    Usable,
    /// Closed on purpose after its message.
    Resting,
    Gone(String),
}

/// What a device says after its push was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LateNews {
    /// Its yes has come further.
    Level(Level),
    /// It refuses after all, in these words.
    Refused(Words),
}

/// How a push ends.
pub(super) struct End {
    pub(super) state: State,
    pub(super) level: Option<Level>,
    pub(super) why: Option<String>,
    pub(super) who: Option<String>,
    pub(super) told: Told,
}

impl End {
    /// The device has said yes or no, in its own words.
    pub(super) fn by_device(state: State, level: Option<Level>, reply: Words) -> Self {
        Self {
            state,
            level,
            why: None,
            who: None,
            told: Told::Device(reply),
        }
    }

    /// The agent, or a person, has ended it; `text` is what its caller is told.
    pub(super) fn by_us(state: State, why: String, text: String) -> Self {
        Self {
            state,
            level: None,
            why: Some(why),
            who: None,
            told: Told::Sentence(text),
        }
    }

    /// Yes and no of a device are both 200: a Bot reads them in the device's words.
    fn status(&self) -> u16 {
        match self.state {
            State::Delivered | State::Rejected => 200,
            _ => 400,
        }
    }
}

impl Queue {
    /// An attempt is over.
    pub fn settle(
        &mut self,
        id: PushId,
        outcome: Outcome,
        connection: Connection,
        turn: &mut Turn,
    ) {
        let Some(no) = self.release_line(id, connection) else {
            return;
        };
        if let (Outcome::Acknowledged { .. } | Outcome::Refused { .. }, Some(device)) =
            (&outcome, self.devices.get_mut(&no))
        {
            device.answered += 1;
        }
        let resent = self.live.get(&id).map_or(0, |live| live.resent);
        match delivery::judge(outcome, self.on_uncertain(no), resent) {
            Verdict::Delivered { level, reply } => {
                self.finish(
                    id,
                    End::by_device(State::Delivered, Some(level), reply),
                    turn,
                );
            }
            Verdict::Rejected { reply } => {
                self.finish(id, End::by_device(State::Rejected, None, reply), turn);
            }
            Verdict::Retry { after, why, resend } => self.retry(id, after, (why, resend), turn),
            Verdict::Hold { why } => self.hold_uncertain(id, why, turn),
            Verdict::Dead { why } if self.may_be_there(id) => self.hold_uncertain(id, why, turn),
            Verdict::Dead { why } => {
                let text = format!("push {id} cannot be sent: {why}");
                self.finish(id, End::by_us(State::Dead, why, text), turn);
            }
        }
        self.carry_next(no, turn);
    }

    /// A line's task has crashed; nobody knows how far its attempt had come.
    pub fn line_crashed(&mut self, no: DeviceNo, turn: &mut Turn) {
        let why = "the task of its line crashed".to_owned();
        match self.devices.get(&no).and_then(|device| device.sending) {
            Some(id) => {
                let outcome = Outcome::Unknown { why: why.clone() };
                self.settle(id, outcome, Connection::Gone(why), turn);
            }
            None => self.line_away(no, why, turn),
        }
    }

    /// News about a push that is already settled.
    pub fn late(&mut self, id: PushId, no: DeviceNo, news: LateNews, turn: &mut Turn) {
        let mut row = self.event(id, no, Kind::Level, turn.now);
        match news {
            LateNews::Level(level) => row.level = Some(level),
            LateNews::Refused(words) => {
                row.state = Some(State::Rejected);
                row.reason = Some("the device refused it later".into());
                row.answer = Told::Device(words);
            }
        }
        self.record(row, turn);
    }

    /// Takes the attempt back from its line. `None` if this push has no open attempt.
    fn release_line(&mut self, id: PushId, connection: Connection) -> Option<DeviceNo> {
        let live = self.live.get_mut(&id)?;
        let Phase::Sending(_) = live.phase else {
            return None;
        };
        live.phase = Phase::Waiting;
        let no = live.device;
        let device = self.devices.get_mut(&no)?;
        device.sending = None;
        device.line = match connection {
            Connection::Usable => Line::Ready,
            Connection::Resting => Line::Resting,
            Connection::Gone(why) => Line::Away(why),
        };
        Some(no)
    }

    /// Puts the device's next attempt into the row that settled this one, where there is one.
    fn carry_next(&mut self, no: DeviceNo, turn: &mut Turn) {
        let place = turn.rows.len();
        if let Some((next, kind)) = self.pick(no, turn) {
            self.carry((next, kind), no, place, turn);
        }
        self.refuse_unreachable(no, turn);
        self.tell_wanted(no, turn);
    }

    fn carry(
        &mut self,
        (next, kind): (PushId, Attempted),
        no: DeviceNo,
        place: usize,
        turn: &mut Turn,
    ) {
        let own = place
            .checked_sub(1)
            .and_then(|last| turn.rows.get_mut(last));
        match own {
            Some(Row::Event(row)) if row.next.is_none() && row.device == no => {
                row.next = Some((next, kind));
            }
            _ => {
                let row = self.event(next, no, kind.kind(), turn.now);
                turn.rows.push(Row::Event(row));
            }
        }
    }

    /// Ends a push: its last event, which is the answer if somebody still waits for one.
    pub(super) fn finish(&mut self, id: PushId, end: End, turn: &mut Turn) {
        let Some(no) = self.live.get(&id).map(|live| live.device) else {
            return;
        };
        let status = end.status();
        let mut row = self.event(id, no, Kind::Settled, turn.now);
        row.state = Some(end.state);
        row.level = end.level;
        row.reason = end.why;
        row.who = end.who;
        self.answer(&mut row, status, end.told, turn);
        self.record(row, turn);
        self.end(id, turn);
    }

    /// Takes a settled push out of every queue, settles its followers, and frees who was parked behind it.
    fn end(&mut self, id: PushId, turn: &mut Turn) {
        let followers = self
            .live
            .get_mut(&id)
            .map(|live| std::mem::take(&mut live.followers));
        self.leave(id);
        let Some(device) = self.bury(id, turn.now) else {
            return;
        };
        for follower in followers.into_iter().flatten() {
            self.settle_follower(follower, device, id, turn);
        }
    }

    /// A follower shares state and words of the push it joined.
    pub(super) fn settle_follower(
        &mut self,
        id: PushId,
        no: DeviceNo,
        leader: PushId,
        turn: &mut Turn,
    ) {
        let (state, status) = fate_of(leader, turn);
        let mut row = self.event(id, no, Kind::Settled, turn.now);
        row.state = Some(state);
        row.reason = Some(format!("the same as push {leader}"));
        self.answer(&mut row, status, Told::SameAs(leader), turn);
        self.record(row, turn);
        self.leave(id);
        self.bury(id, turn.now);
    }

    /// Takes a push out of its device's queue, wherever it stands there.
    fn leave(&mut self, id: PushId) {
        let Some(live) = self.live.get(&id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&live.device) else {
            return;
        };
        if device.retry.as_ref().is_some_and(|retry| retry.push == id) {
            device.retry = None;
        }
        match live.phase {
            Phase::Waiting => device.waiting.remove(id),
            Phase::Sending(_) | Phase::Follows(_) => {}
            Phase::Parked | Phase::Operator(_) | Phase::Uncertain(_) | Phase::Claim => {
                self.unhold(id);
            }
        }
    }

    /// Ends a hold (or a parking) and puts those parked behind it back in the queue; the next look parks them again
    /// if another one is still in their way.
    pub(super) fn unhold(&mut self, id: PushId) {
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&live.device) else {
            return;
        };
        match live.phase {
            Phase::Uncertain(_) => {
                device.uncertain = device.uncertain.saturating_sub(1);
            }
            Phase::Operator(_) | Phase::Claim => {
                device.kept_back = device.kept_back.saturating_sub(1);
            }
            Phase::Parked => {}
            Phase::Waiting | Phase::Sending(_) | Phase::Follows(_) => return,
        }
        live.phase = Phase::Waiting;
        // A push with several keys that is freed may itself have kept others parked.
        let mut todo = device.unblock(id, &live.keys);
        while let Some(parked) = todo.pop_first() {
            let Some(other) = self.live.get_mut(&parked) else {
                continue;
            };
            if other.phase == Phase::Parked {
                other.phase = Phase::Waiting;
                todo.extend(device.unblock(parked, &other.keys));
                device.waiting.insert(parked);
            }
        }
    }

    /// Takes a push from among the living; that it was there is remembered.
    pub(super) fn bury(&mut self, id: PushId, now: Now) -> Option<DeviceNo> {
        let live = self.delist(id)?;
        self.age.forget(id);
        self.changes.mark(id);
        self.total = self.total.saturating_sub(1);
        if let Some(device) = self.devices.get_mut(&live.device) {
            device.live = device.live.saturating_sub(1);
        }
        self.memory.ended(id, now.utc);
        Some(live.device)
    }

    pub(super) fn retry(
        &mut self,
        id: PushId,
        after: Pause,
        (why, resend): (String, Option<u8>),
        turn: &mut Turn,
    ) {
        let Some(live) = self.touch(id) else {
            return;
        };
        let no = live.device;
        live.resent = resend.unwrap_or(live.resent);
        live.traces |= resend.is_some();
        let at = match after {
            Pause::None => turn.now.mono,
            Pause::Backoff => {
                live.failures = live.failures.saturating_add(1);
                turn.now
                    .mono
                    .plus(Backoff::PUSH.wait(live.failures - 1, Dice(turn.now.dice)))
            }
        };
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        device.waiting.insert(id);
        device.retry = Some(Retry {
            push: id,
            at,
            why: why.clone(),
        });
        let mut row = self.event(id, no, Kind::Retry, turn.now);
        row.state = Some(State::Queued);
        row.reason = Some(why);
        row.resend = resend;
        turn.rows.push(Row::Event(row));
    }

    pub(super) fn hold_uncertain(&mut self, id: PushId, why: String, turn: &mut Turn) {
        self.leave(id);
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        live.touched = true;
        live.phase = Phase::Uncertain(why.clone());
        let no = live.device;
        let Some(device) = self.devices.get_mut(&no) else {
            return;
        };
        device.block(id, &live.keys);
        device.uncertain += 1;
        self.changes.mark(id);
        let mut row = self.event(id, no, Kind::Held, turn.now);
        row.state = Some(State::Held);
        row.reason = Some(why);
        row.who = mutant::is(Mutant::BlameSomebody).then(|| "somebody".into());
        self.record(row, turn);
    }

    /// A device that is away refuses what waits, where its file says so.
    pub(super) fn refuse_unreachable(&mut self, no: DeviceNo, turn: &mut Turn) {
        let Some(device) = self.devices.get(&no) else {
            return;
        };
        let Line::Away(why) = &device.line else {
            return;
        };
        let waits = device.config.policy.when_unreachable == WhenUnreachable::Queue;
        if waits && !mutant::is(Mutant::GiveUp) {
            return;
        }
        let why = why.clone();
        let ids: Vec<PushId> = device.waiting.iter().collect();
        for id in ids {
            if self.may_be_there(id) {
                self.hold_uncertain(id, why.clone(), turn);
                continue;
            }
            let text = format!("push {id} was not delivered: {why}");
            self.finish(id, End::by_us(State::Dead, why.clone(), text), turn);
        }
        if self
            .devices
            .get(&no)
            .is_some_and(|device| !device.cold.is_empty())
        {
            self.hungry.insert(no);
        }
    }
}

/// How the leader ended: read from this decision's rows, or delivered if it ended before.
fn fate_of(leader: PushId, turn: &Turn) -> (State, u16) {
    let settled = turn.rows.iter().rev().find_map(|row| match row {
        Row::Event(row) if row.push == leader && row.kind == Kind::Settled => row.state,
        _ => None,
    });
    let state = settled.unwrap_or(State::Delivered);
    let status = match state {
        State::Delivered | State::Rejected => 200,
        _ => 400,
    };
    (state, status)
}
