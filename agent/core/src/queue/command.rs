//! What a person or the cloud can do to a push: hold, release, resend, settle, cancel.

use thiserror::Error;

use super::rows::{AuditRow, Kind, Row, Turn};
use super::settle::End;
use super::{Live, Phase, Queue};
use crate::join::Remembered;
use crate::push::{DeviceNo, Now, Print, PushId, State};

/// One command, by whom and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    pub push: PushId,
    pub verb: Verb,
    pub who: String,
    pub reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Hold,
    Release,
    Resend,
    Settle(Ruling),
    Cancel,
}

/// What somebody found out about an uncertain push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    Delivered,
    NotDelivered,
}

/// What a command has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    Push(PushId),
    /// A final push goes once more, under this new number.
    Again {
        old: PushId,
        new: PushId,
    },
}

/// Why a command was not carried out. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CommandError {
    #[error("there is no push {0}")]
    Unknown(PushId),
    #[error("push {0} is being sent right now; wait for its outcome")]
    Sending(PushId),
    #[error("push {0} is held already")]
    AlreadyHeld(PushId),
    #[error("push {0} is not held")]
    NotHeld(PushId),
    #[error(
        "push {0} is uncertain: the device may have it. Find out, then `settle {0} delivered`, \
         `settle {0} not-delivered`, or `resend {0}` to send the same again"
    )]
    Uncertain(PushId),
    #[error("push {0} is not uncertain, so there is nothing to settle; `cancel` withdraws it")]
    NotUncertain(PushId),
    #[error(
        "push {0} waits until its Task in the cloud is claimed, which the agent does by itself; \
         `cancel {0}` withdraws it"
    )]
    Unclaimed(PushId),
    #[error("push {0} is queued and will be sent in its turn")]
    StillQueued(PushId),
    #[error("push {0} is {word} already", word = .1.word())]
    Final(PushId, State),
    #[error("push {push} joined push {leader} and shares its fate; name that one")]
    Follower { push: PushId, leader: PushId },
    #[error("the body of push {0} is not kept any more; push it again from the cloud")]
    BodyGone(PushId),
}

/// A push that is final, as its rows tell; for commands on what the queue has forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub device: DeviceNo,
    pub keys: Vec<Print>,
    pub state: State,
    pub joins: Option<PushId>,
    pub body: BodyKept,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKept {
    Yes,
    No,
}

impl Queue {
    /// Whether the queue has this push; if not, the rows must be asked.
    pub fn is_live(&self, push: PushId) -> bool {
        self.live.contains_key(&push) || self.is_cold(push)
    }

    /// Carries out a command on a push that is not final, nor cold.
    pub fn command(&mut self, command: &Command, turn: &mut Turn) -> Result<Done, CommandError> {
        let id = command.push;
        let live = self.live.get(&id).ok_or(CommandError::Unknown(id))?;
        let no = live.device;
        if let Err(refused) = self.permitted(command) {
            self.cool(id);
            return Err(refused);
        }
        match command.verb {
            Verb::Hold => self.hold(command, turn),
            Verb::Release | Verb::Resend => self.release(command, turn),
            Verb::Settle(Ruling::Delivered) => self.conclude(command, State::Delivered, turn),
            Verb::Settle(Ruling::NotDelivered) => self.conclude(command, State::Dead, turn),
            Verb::Cancel => self.conclude(command, State::Cancelled, turn),
        }
        turn.rows.push(Row::Audit(audit(command, turn.now)));
        self.begin(no, turn);
        Ok(Done::Push(id))
    }

    /// Carries out a command on a push that is final: only `resend` means anything then.
    pub fn command_ended(
        &mut self,
        command: &Command,
        ended: Ended,
        turn: &mut Turn,
    ) -> Result<Done, CommandError> {
        let old = command.push;
        if let (Some(leader), Verb::Resend) = (ended.joins, command.verb) {
            return Err(CommandError::Follower { push: old, leader });
        }
        match (command.verb, ended.body) {
            (Verb::Resend, BodyKept::Yes) => {}
            (Verb::Resend, BodyKept::No) => return Err(CommandError::BodyGone(old)),
            _ => return Err(CommandError::Final(old, ended.state)),
        }
        let device = ended.device;
        let new = self.enqueue_copy(old, ended, turn);
        turn.rows.push(Row::Audit(audit(command, turn.now)));
        self.begin(device, turn);
        self.cool(new);
        Ok(Done::Again { old, new })
    }

    fn permitted(&self, command: &Command) -> Result<(), CommandError> {
        let id = command.push;
        let Some(live) = self.live.get(&id) else {
            return Err(CommandError::Unknown(id));
        };
        match (&live.phase, command.verb) {
            (Phase::Follows(leader), _) => Err(CommandError::Follower {
                push: id,
                leader: *leader,
            }),
            (Phase::Sending(_), _) => Err(CommandError::Sending(id)),
            (Phase::Operator(_) | Phase::Uncertain(_), Verb::Hold) => {
                Err(CommandError::AlreadyHeld(id))
            }
            (Phase::Claim, Verb::Hold | Verb::Release | Verb::Resend | Verb::Settle(_)) => {
                Err(CommandError::Unclaimed(id))
            }
            (Phase::Uncertain(_), Verb::Release | Verb::Cancel) => Err(CommandError::Uncertain(id)),
            // Its caller would be told that it was withdrawn, and push it again.
            (_, Verb::Cancel) if live.traces => Err(CommandError::Uncertain(id)),
            (Phase::Waiting, Verb::Release) if self.age.holds(id).is_some() => Ok(()),
            (Phase::Waiting | Phase::Parked, Verb::Release) => Err(CommandError::NotHeld(id)),
            (Phase::Waiting | Phase::Parked, Verb::Resend) => Err(CommandError::StillQueued(id)),
            (Phase::Waiting | Phase::Parked | Phase::Operator(_), Verb::Settle(_))
                if !live.traces =>
            {
                Err(CommandError::NotUncertain(id))
            }
            (Phase::Waiting | Phase::Parked, Verb::Hold)
            | (Phase::Waiting | Phase::Parked | Phase::Operator(_) | Phase::Claim, Verb::Cancel)
            | (Phase::Operator(_), Verb::Release | Verb::Resend)
            | (Phase::Uncertain(_), Verb::Resend)
            | (_, Verb::Settle(_)) => Ok(()),
        }
    }

    fn hold(&mut self, command: &Command, turn: &mut Turn) {
        let id = command.push;
        let why = command
            .reason
            .clone()
            .unwrap_or_else(|| "no reason given".into());
        let Some(live) = self.live.get_mut(&id) else {
            return;
        };
        let Some(device) = self.devices.get_mut(&live.device) else {
            return;
        };
        device.waiting.remove(id);
        device.block(id, &live.keys);
        live.touched = true;
        self.changes.mark(id);
        live.phase = Phase::Operator(why.clone());
        device.kept_back += 1;
        let no = live.device;
        let mut row = self.event(id, no, Kind::Held, turn.now);
        row.state = Some(State::Held);
        row.reason = Some(why);
        row.who = Some(command.who.clone());
        self.record(row, turn);
    }

    /// Puts a held push back; being older than what came after it, it goes first again.
    fn release(&mut self, command: &Command, turn: &mut Turn) {
        let id = command.push;
        let uncertain = self
            .live
            .get(&id)
            .is_some_and(|live| matches!(live.phase, Phase::Uncertain(_)));
        self.unhold(id);
        let Some(live) = self.touch(id) else {
            return;
        };
        live.failures = 0;
        live.traces |= uncertain;
        let no = live.device;
        if command.verb == Verb::Resend {
            // Whoever sends again knows that it is old.
            if let Some(expires) = live.expires.take() {
                self.expiry.remove(&(expires, id));
            }
        }
        if let Some(device) = self.devices.get_mut(&no) {
            device.waiting.insert(id);
        }
        let mut row = self.event(id, no, Kind::Released, turn.now);
        row.state = Some(State::Queued);
        row.resend = (command.verb == Verb::Resend).then_some(BY_A_PERSON);
        self.age.let_go(id, row.seq);
        row.reason.clone_from(&command.reason);
        row.who = Some(command.who.clone());
        self.record(row, turn);
    }

    fn conclude(&mut self, command: &Command, state: State, turn: &mut Turn) {
        let id = command.push;
        let reason = command
            .reason
            .clone()
            .unwrap_or_else(|| "no reason given".into());
        let word = match state {
            State::Delivered => "settled as delivered",
            State::Cancelled => "cancelled",
            _ => "settled as not delivered",
        };
        let text = format!("push {id} was {word} by {}: {reason}", command.who);
        let who = Some(command.who.clone());
        self.finish(
            id,
            End {
                who,
                ..End::by_us(state, reason, text)
            },
            turn,
        );
    }

    fn enqueue_copy(&mut self, from: PushId, ended: Ended, turn: &mut Turn) -> PushId {
        let id = self.number();
        let seen = Remembered {
            id,
            device: ended.device,
            callback: None,
            keys: ended.keys.into(),
        };
        let device = self.devices.get_mut(&ended.device);
        let age = device.and_then(|device| {
            device.waiting.insert(id);
            device.config.policy.expires
        });
        // Whoever sends again knows that it is old; what time that is, nobody may know.
        let age = age.filter(|_| self.age.is_known());
        let expires = age.map(|age| turn.now.utc.plus(age));
        let mut live = Live::new(seen.device, seen.keys.clone(), turn.now.utc);
        live.expires = expires;
        self.bear(&seen, &[], live);
        turn.rows.push(Row::Copy {
            id,
            from,
            at: turn.now.utc,
            expires,
        });
        id
    }
}

/// On a release: the push goes whatever its age.
const BY_A_PERSON: u8 = 0;

fn audit(command: &Command, now: Now) -> AuditRow {
    let verb = match command.verb {
        Verb::Hold => "hold",
        Verb::Release => "release",
        Verb::Resend => "resend",
        Verb::Settle(Ruling::Delivered) => "settle delivered",
        Verb::Settle(Ruling::NotDelivered) => "settle not-delivered",
        Verb::Cancel => "cancel",
    };
    AuditRow {
        at: now.utc,
        who: command.who.clone(),
        verb,
        push: Some(command.push),
        reason: command.reason.clone(),
    }
}
