//! One Task under way: what is known of it, and what comes next.

use super::{Detail, Errand, Fate, Mailbox, Moment, Output, Report, Status, Taken, Task, TaskId};
use super::{Trouble, Version, pause};
use crate::push::{Mono, PushId};
use crate::retry::AskedWait;

#[derive(Debug)]
pub(super) struct Entry {
    /// As it was read last.
    pub(super) task: Task,
    pub(super) step: Step,
    /// Something was asked for it, and is not answered.
    pub(super) busy: bool,
    pub(super) failures: u32,
    /// Nothing is asked before this.
    pub(super) after: Mono,
    /// In which round it was seen last.
    pub(super) seen: u64,
}

#[derive(Debug)]
pub(super) enum Step {
    /// Requested; waits for its turn.
    Waiting,
    Taking,
    /// On disk: is to be claimed, or is being claimed.
    Claiming {
        push: PushId,
        version: Version,
    },
    /// On disk, and nobody knows who has the Task.
    Doubtful {
        push: PushId,
        version: Version,
    },
    /// Claimed; its push is to be let go.
    Letting {
        push: PushId,
        version: Version,
    },
    /// Its push is to be cancelled unless it has left.
    Withdrawing {
        push: PushId,
        why: String,
        then: Then,
    },
    /// A claim of ours was found whose push is not known yet.
    Looking {
        push: PushId,
        version: Version,
    },
    /// It can never be delivered, and is to be told so.
    Refusing {
        why: String,
    },
    Ours {
        push: PushId,
        /// The version that the push was made of.
        version: Version,
        fate: Fate,
        sight: Sight,
        detail: Detail,
    },
    /// Left alone until it changes.
    Aside {
        why: String,
    },
}

/// What follows once a push is withdrawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Then {
    /// The Task is judged as if it were new.
    Judge,
    Aside(String),
    /// It is still ours, and over in the cloud.
    Ours(Version),
    Drop,
}

/// Whether what is known of a claimed Task can be relied on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    Clear,
    /// It must be read before anything is written on it.
    Stale,
}

/// What is asked of the cloud next.
pub(super) enum Next {
    Nothing,
    Ask(Output),
    /// Nothing more, and this push is of no interest any more.
    Over(Option<PushId>),
}

impl Entry {
    pub(super) fn new(task: Task, step: Step) -> Self {
        Self {
            task,
            step,
            busy: false,
            failures: 0,
            after: Mono(0),
            seen: 0,
        }
    }

    pub(super) fn is_free(&self, now: Mono) -> bool {
        !self.busy && self.after <= now
    }

    /// Whether the next Task of its device has to wait for it.
    pub(super) fn is_engaged(&self) -> bool {
        match self.step {
            Step::Taking
            | Step::Claiming { .. }
            | Step::Doubtful { .. }
            | Step::Letting { .. }
            | Step::Withdrawing { .. } => true,
            Step::Waiting
            | Step::Looking { .. }
            | Step::Refusing { .. }
            | Step::Ours { .. }
            | Step::Aside { .. } => false,
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        matches!(&self.step, Step::Ours { fate, .. } if fate.goes_on())
    }

    pub(super) fn push(&self) -> Option<PushId> {
        match self.step {
            Step::Claiming { push, .. }
            | Step::Doubtful { push, .. }
            | Step::Letting { push, .. }
            | Step::Withdrawing { push, .. }
            | Step::Looking { push, .. }
            | Step::Ours { push, .. } => Some(push),
            Step::Waiting | Step::Taking | Step::Refusing { .. } | Step::Aside { .. } => None,
        }
    }

    /// What the store is to do for it.
    pub(super) fn errand(&self) -> Option<(PushId, Errand)> {
        match &self.step {
            Step::Letting { push, .. } => Some((*push, Errand::LetGo)),
            Step::Withdrawing { push, why, .. } => Some((*push, Errand::Withdraw(why.clone()))),
            Step::Looking { push, .. } => Some((*push, Errand::Look)),
            Step::Waiting
            | Step::Taking
            | Step::Claiming { .. }
            | Step::Doubtful { .. }
            | Step::Refusing { .. }
            | Step::Ours { .. }
            | Step::Aside { .. } => None,
        }
    }

    /// What the cloud is to be asked. May turn to an errand of the store instead.
    pub(super) fn next_request(&mut self) -> Next {
        match &self.step {
            Step::Claiming { push, version } => {
                let claim = Output::Claim(self.task.id.clone(), version.clone(), *push);
                Next::Ask(claim)
            }
            Step::Refusing { why } => Next::Ask(Output::Report(Report {
                task: self.task.id.clone(),
                version: self.task.version.clone(),
                push: None,
                status: Status::Rejected,
                why: Some(why.clone()),
                detail: Detail::Short,
            })),
            Step::Doubtful { .. }
            | Step::Ours {
                sight: Sight::Stale,
                ..
            } => Next::Ask(Output::Read(self.task.id.clone())),
            Step::Ours { .. } => self.report(),
            Step::Waiting
            | Step::Taking
            | Step::Letting { .. }
            | Step::Withdrawing { .. }
            | Step::Looking { .. }
            | Step::Aside { .. } => Next::Nothing,
        }
    }

    /// What the cloud does not know of a push of ours.
    fn report(&mut self) -> Next {
        let Step::Ours {
            push,
            version,
            fate,
            detail,
            ..
        } = &self.step
        else {
            return Next::Nothing;
        };
        let (push, fate, now) = (*push, *fate, self.task.status);
        let wanted = match (now.is_final(), fate) {
            // Somebody else has ended it. What the device has, or may have, is told all the same.
            (true, Fate::Delivered) if now != Status::Completed => Status::Completed,
            (true, Fate::Uncertain) => Status::OnHold,
            (true, Fate::Sending) => return Next::Nothing,
            (true, Fate::Unclaimed | Fate::Waiting | Fate::Held) => {
                let why = format!("its Task is {} in the cloud", now.word());
                let then = Then::Ours(version.clone());
                self.step = Step::Withdrawing { push, why, then };
                return Next::Nothing;
            }
            (true, _) => return Next::Over(Some(push)),
            (false, _) => fate.status(now),
        };
        if wanted == now {
            return match fate {
                Fate::Lost => Next::Over(Some(push)),
                _ => Next::Nothing,
            };
        }
        let late = now.is_final().then(|| {
            let word = now.word();
            format!("it was {word} in the cloud, too late: the push could not be withdrawn")
        });
        Next::Ask(Output::Report(Report {
            task: self.task.id.clone(),
            version: self.task.version.clone(),
            push: Some((push, version.clone())),
            status: wanted,
            why: late,
            detail: *detail,
        }))
    }

    /// It did not work; it is tried again after a pause.
    pub(super) fn wait(&mut self, asked: AskedWait, at: Moment) {
        self.after = pause(self.failures, asked, at);
        self.failures = self.failures.saturating_add(1);
    }

    /// It worked.
    pub(super) fn go_on(&mut self, step: Step) {
        self.step = step;
        self.failures = 0;
        self.after = Mono(0);
    }

    /// Nothing is known of it here yet, or not any more: it waits for its turn. `false`: it does not want one.
    fn judge(&mut self) -> bool {
        self.go_on(Step::Waiting);
        self.task.status == Status::Requested
    }

    fn blur(&mut self) {
        if let Step::Ours { sight, .. } = &mut self.step {
            *sight = Sight::Stale;
        }
    }
}

/// What becomes of an entry.
enum Turn {
    Stays,
    Goes,
}

impl Mailbox {
    pub(super) fn taken(&mut self, id: &TaskId, taken: Taken, at: Moment, out: &mut Vec<Output>) {
        let Some(entry) = self.asked(id) else { return };
        let turn = match taken {
            Taken::Kept(push) => {
                let version = entry.task.version.clone();
                entry.go_on(Step::Claiming { push, version });
                Turn::Stays
            }
            Taken::Changed(task) => {
                entry.task = task;
                keep_if(entry.judge())
            }
            Taken::Gone => Turn::Goes,
            Taken::Bad(why) => {
                entry.go_on(Step::Refusing { why });
                Turn::Stays
            }
            Taken::NotOurs(why) => {
                entry.go_on(Step::Aside { why });
                Turn::Stays
            }
            Taken::Later(why, asked) => {
                entry.step = Step::Waiting;
                entry.wait(asked, at);
                out.push(Output::Trouble(format!("{id} waits: {why}")));
                Turn::Stays
            }
        };
        self.finish(id, &turn, out);
    }

    pub(super) fn written(
        &mut self,
        id: &TaskId,
        result: Result<Task, Trouble>,
        at: Moment,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.asked(id) else { return };
        let turn = match result {
            Ok(task) => was_written(entry, task),
            Err(Trouble::Conflict) => {
                entry.conflict();
                Turn::Stays
            }
            Err(Trouble::Gone) => entry.gone(),
            Err(Trouble::Refused(why)) => {
                out.push(Output::Trouble(format!("{id} cannot be written: {why}")));
                entry.refused(why, at);
                Turn::Stays
            }
            Err(Trouble::TooLarge(why)) => {
                out.push(Output::Trouble(why));
                entry.unknown(AskedWait::Nothing, at);
                Turn::Stays
            }
            Err(Trouble::Unknown(why, asked)) => {
                out.push(Output::Trouble(why));
                entry.unknown(asked, at);
                Turn::Stays
            }
        };
        self.finish(id, &turn, out);
    }

    pub(super) fn read(
        &mut self,
        id: &TaskId,
        result: Result<Task, Trouble>,
        at: Moment,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.asked(id) else { return };
        let turn = match result {
            Ok(task) => {
                entry.task = task;
                entry.look_at()
            }
            Err(Trouble::Gone) => entry.gone(),
            Err(Trouble::Conflict) => Turn::Stays,
            Err(Trouble::Refused(why) | Trouble::TooLarge(why)) => {
                out.push(Output::Trouble(format!("{id} cannot be read: {why}")));
                entry.wait(AskedWait::Nothing, at);
                Turn::Stays
            }
            Err(Trouble::Unknown(why, asked)) => {
                out.push(Output::Trouble(why));
                entry.wait(asked, at);
                Turn::Stays
            }
        };
        self.finish(id, &turn, out);
    }

    /// The store has done an errand.
    pub(super) fn done(&mut self, id: &TaskId, fate: Fate, at: Moment, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.busy = false;
        let placeholder = Step::Waiting;
        let turn = match std::mem::replace(&mut entry.step, placeholder) {
            step @ Step::Letting { .. } if fate == Fate::Unclaimed => {
                entry.step = step;
                entry.wait(AskedWait::Nothing, at);
                Turn::Stays
            }
            Step::Letting { push, version } | Step::Looking { push, version } => {
                entry.go_on(ours(push, version, fate));
                Turn::Stays
            }
            Step::Withdrawing { push, then, .. } => {
                let keep = match then {
                    Then::Judge => entry.judge(),
                    Then::Drop => false,
                    Then::Aside(why) => {
                        entry.go_on(Step::Aside { why });
                        true
                    }
                    Then::Ours(version) => {
                        // What was not withdrawn by this will not be by a second try.
                        let fate = match fate {
                            Fate::Waiting | Fate::Held | Fate::Unclaimed => Fate::Sending,
                            other => other,
                        };
                        entry.go_on(ours(push, version, fate));
                        true
                    }
                };
                if !matches!(entry.step, Step::Ours { .. }) {
                    out.push(Output::Forget(push));
                }
                keep_if(keep)
            }
            other => {
                entry.step = other;
                Turn::Stays
            }
        };
        self.finish(id, &turn, out);
    }

    fn finish(&mut self, id: &TaskId, turn: &Turn, out: &mut Vec<Output>) {
        match turn {
            Turn::Stays => {}
            Turn::Goes => self.drop_entry(id, out),
        }
    }
}

impl Entry {
    /// Another version is there than the one that was to be written on.
    fn conflict(&mut self) {
        match &self.step {
            Step::Claiming { push, version } => {
                let (push, version) = (*push, version.clone());
                self.go_on(Step::Doubtful { push, version });
            }
            // Whoever changed it may have made it good: what it is now, the next search tells.
            Step::Refusing { .. } => self.go_on(Step::Waiting),
            _ => self.blur(),
        }
    }

    /// Nobody knows whether it was written.
    fn unknown(&mut self, asked: AskedWait, at: Moment) {
        if let Step::Claiming { push, version } = &self.step {
            let (push, version) = (*push, version.clone());
            self.step = Step::Doubtful { push, version };
        }
        self.blur();
        self.wait(asked, at);
    }

    /// The server takes this in no way.
    fn refused(&mut self, why: String, at: Moment) {
        match &mut self.step {
            Step::Claiming { push, .. } => {
                let (push, then) = (*push, Then::Aside(why.clone()));
                self.go_on(Step::Withdrawing { push, why, then });
            }
            Step::Ours { detail, .. } if *detail == Detail::Full => *detail = Detail::Short,
            _ => {
                self.failures = self.failures.max(LONG);
                self.wait(AskedWait::Nothing, at);
            }
        }
    }

    /// There is no Task any more.
    fn gone(&mut self) -> Turn {
        match &self.step {
            Step::Claiming { push, .. } | Step::Doubtful { push, .. } => {
                let (push, then) = (*push, Then::Drop);
                let why = "its Task is not in the cloud any more".to_owned();
                self.go_on(Step::Withdrawing { push, why, then });
                Turn::Stays
            }
            Step::Ours { push, fate, .. } if fate.goes_on() || *fate == Fate::Held => {
                let (push, then) = (*push, Then::Drop);
                let why = "its Task was deleted in the cloud".to_owned();
                self.go_on(Step::Withdrawing { push, why, then });
                Turn::Stays
            }
            _ => Turn::Goes,
        }
    }

    /// Judges what was just read.
    fn look_at(&mut self) -> Turn {
        self.failures = 0;
        self.after = Mono(0);
        match &mut self.step {
            Step::Doubtful { push, version } => {
                let (push, version) = (*push, version.clone());
                self.decide(push, version);
                Turn::Stays
            }
            Step::Ours { .. } if self.task.status == Status::Requested => self.reset(),
            Step::Ours { sight, .. } => {
                *sight = Sight::Clear;
                Turn::Stays
            }
            _ => Turn::Stays,
        }
    }

    /// Whether the claim of this push was made, can be made, or is lost.
    fn decide(&mut self, push: PushId, version: Version) {
        let (task, status) = (&self.task, self.task.status);
        let claimed = task.is_claimed_for(push, &version) && status != Status::Requested;
        if claimed && !status.is_final() {
            self.step = Step::Letting { push, version };
        } else if claimed {
            let why = format!("its Task is {} in the cloud", status.word());
            let then = Then::Ours(version);
            self.step = Step::Withdrawing { push, why, then };
        } else if status == Status::Requested && task.version == version {
            self.step = Step::Claiming { push, version };
        } else {
            let why = match status {
                Status::Requested => "its Task has changed and is taken anew".to_owned(),
                status => format!("its Task is {} by somebody else", status.word()),
            };
            let then = Then::Judge;
            self.step = Step::Withdrawing { push, why, then };
        }
    }

    /// Somebody wants it anew: a push of its own, once what is left of the old one is out of the way.
    fn reset(&mut self) -> Turn {
        let Step::Ours { push, .. } = self.step else {
            return Turn::Stays;
        };
        let why = "its Task was requested anew".to_owned();
        let then = Then::Judge;
        self.go_on(Step::Withdrawing { push, why, then });
        Turn::Stays
    }
}

fn was_written(entry: &mut Entry, task: Task) -> Turn {
    entry.task = task;
    match &entry.step {
        Step::Claiming { push, version } => {
            let (push, version) = (*push, version.clone());
            entry.go_on(Step::Letting { push, version });
            Turn::Stays
        }
        Step::Refusing { .. } => Turn::Goes,
        _ => {
            entry.failures = 0;
            Turn::Stays
        }
    }
}

pub(super) fn ours(push: PushId, version: Version, fate: Fate) -> Step {
    Step::Ours {
        push,
        version,
        fate,
        sight: Sight::Clear,
        detail: Detail::Full,
    }
}

fn keep_if(keep: bool) -> Turn {
    if keep { Turn::Stays } else { Turn::Goes }
}

/// So many failures make the longest pause.
const LONG: u32 = 6;
