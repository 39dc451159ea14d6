//! Looking through the mailbox: page by page, while nothing is written.
//!
//! A list that is read by pages moves under the reader's eyes when an entry leaves it. So our own writing waits, each page
//! begins with the last entry of the one before, and if another stands there, what was read so far is taken and the rest is
//! left to the next round: the beginning of a list is never out of order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, Sight, Step};
use super::{Access, Mailbox, Mark, Moment, Output, Page, Task, TaskId, Trouble, Which, pause};
use crate::push::Mono;
use crate::retry::AskedWait;

#[derive(Debug)]
pub(super) struct Round {
    phase: Phase,
    /// Counts the rounds.
    no: u64,
    /// Tasks a page.
    count: usize,
    pub(super) failures: u32,
    /// What is claimed is looked through, too.
    ours_due: bool,
    /// Somebody asked for another one while this one went on.
    again: bool,
    /// Nobody makes the next one begin earlier: what was found is claimed and reported first.
    not_before: Mono,
    /// Devices of which more was found than is kept.
    cut_short: BTreeSet<Arc<str>>,
    /// Not all pages were read.
    cut_off: bool,
}

#[derive(Debug)]
enum Phase {
    Rest {
        until: Mono,
    },
    /// As soon as nothing is under way.
    Wanted,
    Reading {
        which: Which,
        found: Vec<Task>,
    },
}

impl Round {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Wanted,
            no: 0,
            count: PAGE,
            failures: 0,
            ours_due: true,
            again: false,
            not_before: Mono(0),
            cut_short: BTreeSet::new(),
            cut_off: false,
        }
    }

    pub(super) fn want(&mut self) {
        match self.phase {
            Phase::Rest { .. } | Phase::Wanted => {
                self.ours_due = true;
                self.phase = Phase::Wanted;
            }
            Phase::Reading { .. } => self.again = true,
        }
    }

    /// Somebody says that there is something to find. Whoever says so again and again does not keep anything from
    /// being done about it.
    pub(super) fn nudge(&mut self) {
        match &mut self.phase {
            Phase::Rest { until } => {
                self.ours_due = true;
                *until = (*until).min(self.not_before);
            }
            Phase::Wanted => self.ours_due = true,
            Phase::Reading { .. } => self.again = true,
        }
    }

    /// Whatever was under way belongs to a session that is over.
    pub(super) fn begin_anew(&mut self) {
        self.failures = 0;
        self.want();
    }

    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Rest { .. })
    }

    pub(super) fn next(&self) -> Option<Mono> {
        match self.phase {
            Phase::Rest { until } => Some(until),
            Phase::Wanted | Phase::Reading { .. } => None,
        }
    }

    fn rest(&mut self, until: Mono, now: Mono) {
        self.phase = Phase::Rest { until };
        self.not_before = now.plus(BREATH);
        if std::mem::take(&mut self.again) {
            self.nudge();
        }
    }
}

impl Mailbox {
    pub(super) fn drive_round(&mut self, at: Moment, out: &mut Vec<Output>) {
        if let Phase::Rest { until } = self.round.phase {
            if until <= at.now {
                self.round.want();
            } else if self.access == Access::All && self.has_room_for_more() {
                self.round.phase = Phase::Wanted;
            }
        }
        if matches!(self.round.phase, Phase::Wanted) && self.asking == 0 {
            self.round.no += 1;
            let which = match (self.round.ours_due, self.access) {
                (false, Access::All) => Which::Requested,
                _ => Which::Ours,
            };
            self.search(which, out);
        }
    }

    /// Whether the last round left something behind that could be taken in now.
    fn has_room_for_more(&self) -> bool {
        let waiting = self.entries.values();
        let waiting = waiting.filter(|entry| matches!(entry.step, Step::Waiting));
        let owners: BTreeSet<&Arc<str>> = waiting.map(|entry| &entry.task.owner).collect();
        let drained = |owner: &Arc<str>| !owners.contains(owner) && self.has_room(owner);
        self.round.cut_short.iter().any(drained) || (self.round.cut_off && owners.is_empty())
    }

    fn has_room(&self, owner: &Arc<str>) -> bool {
        let own = self.entries.values();
        let own = own.filter(|entry| entry.task.owner == *owner && entry.goes_on());
        own.count() < super::AHEAD
    }

    fn search(&mut self, which: Which, out: &mut Vec<Output>) {
        let found = Vec::new();
        self.round.phase = Phase::Reading { which, found };
        self.asking += 1;
        out.push(Output::Search {
            which,
            offset: 0,
            count: self.round.count,
        });
    }

    pub(super) fn page(&mut self, page: Result<Page, Trouble>, at: Moment, out: &mut Vec<Output>) {
        self.asking = self.asking.saturating_sub(1);
        let Phase::Reading { which, .. } = self.round.phase else {
            return;
        };
        match page {
            Ok(page) => self.page_came(which, page, at, out),
            Err(Trouble::TooLarge(_)) if self.round.count > 1 => {
                self.round.count /= 2;
                self.search(which, out);
            }
            Err(trouble) => {
                let (why, asked) = words(trouble);
                let until = pause(self.round.failures, asked, at);
                self.round.failures = self.round.failures.saturating_add(1);
                self.round.rest(until, at.now);
                out.push(Output::Trouble(why));
            }
        }
    }

    fn page_came(&mut self, which: Which, page: Page, at: Moment, out: &mut Vec<Output>) {
        let count = self.round.count;
        let Phase::Reading { found, .. } = &mut self.round.phase else {
            return;
        };
        let overlap = usize::from(count > 1 && !found.is_empty());
        let moved = overlap == 1
            && page.tasks.first().map(|task| &task.id) != found.last().map(|task| &task.id);
        let before = found.len();
        if !moved {
            found.extend(page.tasks.into_iter().skip(overlap));
        }
        let grows = found.len() > before;
        if page.more && grows && found.len() < MOST_FOUND {
            let offset = found.len() - usize::from(count > 1);
            self.asking += 1;
            out.push(Output::Search {
                which,
                offset,
                count,
            });
            return;
        }
        let found = std::mem::take(found);
        self.round.failures = 0;
        match which {
            Which::Ours => self.found_ours(found, at, out),
            Which::Requested => {
                self.round.cut_off = page.more || moved;
                self.found_requested(found);
                self.round.rest(at.now.plus(self.poll), at.now);
            }
        }
    }

    /// All claims of ours that are not over in the cloud.
    fn found_ours(&mut self, found: Vec<Task>, at: Moment, out: &mut Vec<Output>) {
        for task in found {
            self.found_claim(task);
        }
        let no = self.round.no;
        for entry in self.entries.values_mut() {
            if entry.seen != no
                && let Step::Ours { sight, .. } = &mut entry.step
            {
                *sight = Sight::Stale;
            }
        }
        self.round.ours_due = false;
        if self.access == Access::All {
            self.search(Which::Requested, out);
        } else {
            self.round.rest(at.now.plus(self.poll), at.now);
        }
    }

    fn found_claim(&mut self, task: Task) {
        let Some(mark) = task.mark.clone() else {
            return;
        };
        let no = self.round.no;
        if let Some(entry) = self.entries.get_mut(&task.id) {
            entry.seen = no;
            let is_ours = matches!(entry.step, Step::Ours { push, .. } if push == mark.push);
            if is_ours {
                entry.task = task;
            }
            return;
        }
        let Mark { push, version } = mark;
        let id = task.id.clone();
        let mut entry = Entry::new(task, Step::Looking { push, version });
        entry.seen = no;
        self.entries.insert(id, entry);
    }

    /// The first of all that wait to be claimed. What waited before and is not among them does not wait any more.
    fn found_requested(&mut self, mut found: Vec<Task>) {
        found.sort_by_cached_key(Task::place);
        if self.round.cut_off {
            drop_last_group(&mut found);
        }
        let ids: BTreeSet<&TaskId> = found.iter().map(|task| &task.id).collect();
        self.entries.retain(|id, entry| {
            ids.contains(id) || !matches!(entry.step, Step::Waiting | Step::Aside { .. })
        });
        let mut kept: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        self.round.cut_short.clear();
        for task in found {
            let owner = Arc::clone(&task.owner);
            let own = kept.entry(Arc::clone(&owner)).or_default();
            if *own >= LANE {
                self.round.cut_short.insert(owner);
                self.entries
                    .retain(|id, entry| *id != task.id || !matches!(entry.step, Step::Waiting));
                continue;
            }
            *own += 1;
            self.found_one(task);
        }
    }

    fn found_one(&mut self, task: Task) {
        let Some(entry) = self.entries.get_mut(&task.id) else {
            let id = task.id.clone();
            self.entries.insert(id, Entry::new(task, Step::Waiting));
            return;
        };
        let changed = entry.task.version != task.version;
        match &mut entry.step {
            Step::Waiting => entry.task = task,
            Step::Aside { .. } | Step::Refusing { .. } if changed && !entry.busy => {
                *entry = Entry::new(task, Step::Waiting);
            }
            // Somebody may have asked for it anew.
            Step::Ours { sight, .. } if changed => *sight = Sight::Stale,
            Step::Taking
            | Step::Claiming { .. }
            | Step::Doubtful { .. }
            | Step::Letting { .. }
            | Step::Withdrawing { .. }
            | Step::Looking { .. }
            | Step::Refusing { .. }
            | Step::Ours { .. }
            | Step::Aside { .. } => {}
        }
    }
}

/// Those that were written in the same moment as the last one may have neighbours behind the end.
fn drop_last_group(found: &mut Vec<Task>) {
    let Some(last) = found.last().map(|task| task.authored) else {
        return;
    };
    let group = found.partition_point(|task| task.place().0 < last_place(last));
    if group > 0 {
        found.truncate(group);
    }
}

fn last_place(authored: Option<crate::push::Timestamp>) -> crate::push::Timestamp {
    authored.unwrap_or(crate::push::Timestamp(i64::MAX))
}

fn words(trouble: Trouble) -> (String, AskedWait) {
    match trouble {
        Trouble::Conflict => (
            "the search was refused (HTTP 412)".into(),
            AskedWait::Nothing,
        ),
        Trouble::Gone => (
            "the server knows no Tasks, or shows none to this client; see its access policy".into(),
            AskedWait::Nothing,
        ),
        Trouble::Refused(why) | Trouble::TooLarge(why) => (why, AskedWait::Nothing),
        Trouble::Unknown(why, asked) => (why, asked),
    }
}

/// Tasks a page, where they are not too large for that.
const PAGE: usize = 50;
/// The least time for claims and reports between two rounds; what a nudge can cost at most.
const BREATH: Duration = Duration::from_millis(500);
/// Tasks looked at in one round.
const MOST_FOUND: usize = 2_000;
/// Tasks of one device that are kept in mind between two rounds.
const LANE: usize = 64;
