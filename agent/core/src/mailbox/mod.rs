//! The mailbox: pushes that the cloud keeps as Tasks, so that none is forgotten while this box is away.
//!
//! Pure. It says what to ask of the cloud and of the store, one thing at a time for each Task, and forgets everything when
//! the process ends: what must survive is in the store (the push, held until its Task is claimed) and in the cloud (the
//! claim, which names the push and the version it was made of). A start puts the two together again.
//!
//! ```text
//!            take in            claim, if nobody has             done
//!  waiting ─────────► kept ────────────────────────► ours ──► letting go ──► reporting ──► (over)
//!     ▲                 │ nobody knows   ▲                                        ▲
//!     │                 ▼                │ the claim is in it                     │ a claim of ours in the cloud
//!     └── withdrawn ◄─ doubtful: read ───┘                                    (a start)
//!         unsent          another has it, or it has changed
//! ```
//!
//! | a crash | leaves | a start |
//! |---|---|---|
//! | before the push is on disk | a requested Task | finds it |
//! | before the claim | a push held for its claim, a requested Task | claims it |
//! | after the claim | such a push, and the claim in the Task | lets it go |
//! | after letting go, or before a report | a push on its way or over, and the claim | reports how it stands |
//!
//! Tasks of one Device are claimed one after the other, by when they were written and then by id. What is searched page by
//! page must not change meanwhile by our own doing: while pages are read, nothing is written.

mod entry;
mod round;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use task::{Fate, Mark, Status, Taken, Task, TaskId, Trouble, Version};

use crate::push::{Mono, PushId};
use crate::retry::{AskedWait, Backoff, Dice, heeded};
use entry::{Entry, Step};
use round::Round;

/// What happened.
#[derive(Debug)]
pub enum Input {
    Access(Access),
    /// Somebody says that there is something to find.
    Nudge,
    Tick,
    Page(Result<Page, Trouble>),
    Taken(TaskId, Taken),
    Written(TaskId, Result<Task, Trouble>),
    Read(TaskId, Result<Task, Trouble>),
    /// What the store was asked to do for this Task is done, and how its push stands now.
    Done(TaskId, Fate),
    /// Something happened to a push.
    News(PushId, Fate),
    /// Pushes that a former process held for their claims.
    Unclaimed(Vec<(TaskId, Version, PushId)>),
}

/// What may be asked of the cloud.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Down,
    /// The agent is off: what it has is told, nothing more is claimed.
    Reports,
    All,
}

/// A page of what was searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub tasks: Vec<Task>,
    /// Whether there is another one behind it.
    pub more: bool,
}

/// Which Tasks are searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Not final, with a claim of this agent.
    Ours,
    Requested,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// In the order of being written, then of ids.
    Search {
        which: Which,
        offset: usize,
        count: usize,
    },
    Read(TaskId),
    /// Have this version on disk, held for its claim.
    Take(TaskId, Version),
    /// Requested to accepted, if it still has this version.
    Claim(TaskId, Version, PushId),
    Report(Report),
    /// The store is asked, and answers with [`Input::Done`].
    Store(TaskId, PushId, Errand),
    /// Nothing more will be said of this push.
    Forget(PushId),
    /// For the log and the status page.
    Trouble(String),
}

/// What the store is to do for a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Errand {
    LetGo,
    Withdraw(String),
    Look,
}

/// What is to be written on a Task, if it still has this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub task: TaskId,
    pub version: Version,
    /// `None`: it was never taken in.
    pub push: Option<(PushId, Version)>,
    pub status: Status,
    pub why: Option<String>,
    pub detail: Detail,
}

/// How much of the push is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// With what the device said.
    Full,
    /// The server did not take that.
    Short,
}

/// When a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Mono,
    pub dice: Dice,
}

/// How the mailbox is, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Found and not claimed yet.
    pub waiting: usize,
    /// Claimed, and their pushes are not over.
    pub open: usize,
    /// Of those, the ones that wait for a person.
    pub on_hold: usize,
    /// Over here, and the cloud does not know it yet.
    pub untold: usize,
    /// Left alone, and why; a few of them.
    pub aside: Vec<(TaskId, String)>,
}

/// All Tasks that are under way.
#[derive(Debug)]
pub struct Mailbox {
    access: Access,
    poll: Duration,
    round: Round,
    entries: BTreeMap<TaskId, Entry>,
    /// Requests to the cloud under way.
    asking: usize,
}

impl Mailbox {
    pub fn new(poll: Duration) -> Self {
        Self {
            access: Access::Down,
            poll,
            round: Round::new(),
            entries: BTreeMap::new(),
            asking: 0,
        }
    }

    pub fn poll_every(&mut self, poll: Duration) {
        self.poll = poll;
    }

    pub fn step(&mut self, input: Input, at: Moment, out: &mut Vec<Output>) {
        match input {
            Input::Access(access) => self.access(access, at),
            Input::Nudge => self.round.nudge(),
            Input::Tick => {}
            Input::Page(page) => self.page(page, at, out),
            Input::Taken(id, taken) => self.taken(&id, taken, at, out),
            Input::Written(id, result) => self.written(&id, result, at, out),
            Input::Read(id, result) => self.read(&id, result, at, out),
            Input::Done(id, fate) => self.done(&id, fate, at, out),
            Input::News(push, fate) => self.news(push, fate),
            Input::Unclaimed(pushes) => self.remember(pushes),
        }
        self.drive(at, out);
    }

    /// When to come again if nothing happens.
    pub fn deadline(&self, now: Mono) -> Mono {
        let entries = self.entries.values();
        let retries = entries.filter(|entry| !entry.busy).map(|entry| entry.after);
        let retries = retries.filter(|after| *after > now).min();
        let round = self.round.next().filter(|_| self.access != Access::Down);
        [retries, round]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Mono(u64::MAX))
    }

    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for (id, entry) in &self.entries {
            match &entry.step {
                Step::Waiting | Step::Taking => summary.waiting += 1,
                Step::Aside { why } if summary.aside.len() < MOST_TOLD => {
                    summary.aside.push((id.clone(), why.clone()));
                }
                Step::Aside { .. } => {}
                Step::Ours { fate, .. } if fate.is_final() => summary.untold += 1,
                Step::Ours { fate, .. } => {
                    summary.open += 1;
                    summary.on_hold += usize::from(!fate.goes_on());
                }
                Step::Claiming { .. }
                | Step::Doubtful { .. }
                | Step::Letting { .. }
                | Step::Withdrawing { .. }
                | Step::Looking { .. }
                | Step::Refusing { .. } => summary.open += 1,
            }
        }
        summary
    }

    fn access(&mut self, access: Access, at: Moment) {
        let before = std::mem::replace(&mut self.access, access);
        if before == Access::Down && access != Access::Down {
            // What failed because nobody was there is tried at once.
            for entry in self.entries.values_mut() {
                entry.after = entry.after.min(at.now);
                entry.failures = 0;
            }
            self.round.begin_anew();
        }
    }

    fn remember(&mut self, pushes: Vec<(TaskId, Version, PushId)>) {
        for (id, version, push) in pushes {
            let task = Task {
                id: id.clone(),
                version: version.clone(),
                status: Status::Requested,
                authored: None,
                owner: "".into(),
                mark: None,
            };
            let step = Step::Doubtful { push, version };
            self.entries.insert(id, Entry::new(task, step));
        }
    }

    fn news(&mut self, push: PushId, news: Fate) {
        for entry in self.entries.values_mut() {
            if let Step::Ours {
                push: own, fate, ..
            } = &mut entry.step
                && *own == push
            {
                *fate = news;
            }
        }
    }

    /// Asks for whatever can be asked for now.
    fn drive(&mut self, at: Moment, out: &mut Vec<Output>) {
        self.run_errands(at, out);
        if self.access == Access::Down {
            return;
        }
        self.drive_round(at, out);
        if self.round.is_quiet() {
            self.settle_tasks(at, out);
            self.claim_next(at, out);
        }
    }

    /// The store needs no cloud.
    fn run_errands(&mut self, at: Moment, out: &mut Vec<Output>) {
        for (id, entry) in &mut self.entries {
            if entry.is_free(at.now)
                && let Some((push, errand)) = entry.errand()
            {
                entry.busy = true;
                out.push(Output::Store(id.clone(), push, errand));
            }
        }
    }

    /// Reads what is in doubt, and tells the cloud what it does not know.
    fn settle_tasks(&mut self, at: Moment, out: &mut Vec<Output>) {
        let ids: Vec<TaskId> = self.entries.keys().cloned().collect();
        for id in ids {
            if self.asking >= MOST_AT_ONCE {
                break;
            }
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if !entry.is_free(at.now) {
                continue;
            }
            match entry.next_request() {
                entry::Next::Nothing => {}
                entry::Next::Over(push) => {
                    out.extend(push.map(Output::Forget));
                    self.entries.remove(&id);
                }
                entry::Next::Ask(output) => {
                    entry.busy = true;
                    self.asking += 1;
                    out.push(output);
                }
            }
        }
        self.run_errands(at, out);
    }

    /// Takes in the first Task of each device whose former one is settled.
    fn claim_next(&mut self, at: Moment, out: &mut Vec<Output>) {
        let unread = |entry: &Entry| entry.is_engaged() && entry.task.owner.is_empty();
        if self.access != Access::All || self.entries.values().any(unread) {
            return;
        }
        let mut closed: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut open: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut all_open = 0;
        for entry in self.entries.values() {
            if entry.is_engaged() {
                closed.insert(Arc::clone(&entry.task.owner));
            }
            if entry.goes_on() {
                *open.entry(Arc::clone(&entry.task.owner)).or_default() += 1;
                all_open += 1;
            }
        }
        for id in self.firsts() {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let owner = &entry.task.owner;
            let full = open.get(owner).is_some_and(|open| *open >= AHEAD);
            let due = entry.is_free(at.now) && !full && !closed.contains(owner);
            if !due || self.asking >= MOST_AT_ONCE || all_open >= MOST_OPEN {
                continue;
            }
            entry.step = Step::Taking;
            entry.busy = true;
            self.asking += 1;
            all_open += 1;
            out.push(Output::Take(id, entry.task.version.clone()));
        }
    }

    /// Of each device the Task that comes first, whether or not it may be tried now.
    fn firsts(&self) -> Vec<TaskId> {
        let mut firsts: BTreeMap<&Arc<str>, &Task> = BTreeMap::new();
        for entry in self.entries.values() {
            if !matches!(entry.step, Step::Waiting) {
                continue;
            }
            let first = firsts.entry(&entry.task.owner).or_insert(&entry.task);
            if entry.task.place() < first.place() {
                *first = &entry.task;
            }
        }
        firsts.into_values().map(|task| task.id.clone()).collect()
    }

    /// Ends one request; gives its entry if it is still of interest.
    fn asked(&mut self, id: &TaskId) -> Option<&mut Entry> {
        self.asking = self.asking.saturating_sub(1);
        let entry = self.entries.get_mut(id)?;
        entry.busy = false;
        Some(entry)
    }

    fn drop_entry(&mut self, id: &TaskId, out: &mut Vec<Output>) {
        if let Some(entry) = self.entries.remove(id) {
            out.extend(entry.push().map(Output::Forget));
        }
    }
}

/// How long after this many failures, and not before the server wants it.
fn pause(failures: u32, asked: AskedWait, at: Moment) -> Mono {
    let wait = RETRY.wait(failures, at.dice);
    at.now.plus(heeded(wait, asked, at.dice))
}

/// Requests under way at once: enough to hide the distance to the cloud, few enough to be a good guest there.
const MOST_AT_ONCE: usize = 4;
/// Claimed Tasks of one device whose pushes are still to go: others may see, change and cancel what is not claimed.
const AHEAD: usize = 32;
/// Claimed Tasks of all devices.
const MOST_OPEN: usize = 2_000;
/// Tasks that are named in the status.
const MOST_TOLD: usize = 8;
const RETRY: Backoff = Backoff {
    min: Duration::from_secs(1),
    max: Duration::from_mins(1),
};
