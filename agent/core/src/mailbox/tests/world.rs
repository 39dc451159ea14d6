//! Tasks with versions, a store that remembers, devices that take what comes, and a clock that is a number.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::*;
use crate::push::Timestamp;

/// What goes wrong at one effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blow {
    /// The process ends before it.
    CrashBefore,
    /// The process ends after it, and does not hear of it.
    CrashAfter,
    /// It does not happen, and the cloud says nothing.
    LostBefore,
    /// It happens, and the cloud says nothing.
    LostAfter,
}

impl Blow {
    pub(super) const ALL: [Self; 4] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::LostBefore,
        Self::LostAfter,
    ];
}

#[derive(Debug)]
struct Row {
    task: String,
    version: String,
    owner: Arc<str>,
    fate: Fate,
}

type Edit = Box<dyn FnOnce(&mut Task)>;

pub(super) struct World {
    pub(super) mailbox: Mailbox,
    now: Mono,
    cloud: BTreeMap<String, Task>,
    told: BTreeMap<String, Vec<&'static str>>,
    /// By number of the push, less one.
    store: Vec<Row>,
    out: VecDeque<Output>,
    got: Vec<(Arc<str>, String)>,
    effects: usize,
    blows: BTreeMap<usize, Blow>,
    away: BTreeSet<Arc<str>>,
    cloud_away_until: Mono,
    nudged: bool,
    before_claim: BTreeMap<String, Edit>,
    before_report: BTreeMap<String, Edit>,
    bad: BTreeSet<String>,
    uncertain: BTreeSet<String>,
    unwritable: BTreeSet<String>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            mailbox: Mailbox::new(POLL),
            now: Mono(1_000),
            cloud: BTreeMap::new(),
            told: BTreeMap::new(),
            store: Vec::new(),
            out: VecDeque::new(),
            got: Vec::new(),
            effects: 0,
            blows: BTreeMap::new(),
            away: BTreeSet::new(),
            cloud_away_until: Mono(0),
            nudged: false,
            before_claim: BTreeMap::new(),
            before_report: BTreeMap::new(),
            bad: BTreeSet::new(),
            uncertain: BTreeSet::new(),
            unwritable: BTreeSet::new(),
        }
    }

    pub(super) fn request(&mut self, id: &str, owner: &str, authored: i64) {
        let task = Task {
            id: TaskId(id.into()),
            version: Version("1".into()),
            status: Status::Requested,
            authored: Some(Timestamp(authored)),
            owner: owner.into(),
            mark: None,
        };
        self.told.insert(id.into(), vec!["requested"]);
        self.cloud.insert(id.into(), task);
    }

    pub(super) fn plan(&mut self, at: usize, blow: Blow) {
        self.blows.insert(at, blow);
    }

    /// Somebody nudges whenever something is done, and everything takes its time.
    pub(super) fn nudged_all_the_time(&mut self) {
        self.nudged = true;
    }

    pub(super) fn was_struck(&self) -> bool {
        self.blows.is_empty()
    }

    pub(super) fn cloud_away(&mut self, wait: Duration) {
        self.cloud_away_until = self.now.plus(wait);
    }

    pub(super) fn away(&mut self, owner: &str) {
        self.away.insert(owner.into());
    }

    pub(super) fn back(&mut self, owner: &str) {
        self.away.remove(owner);
    }

    pub(super) fn bad(&mut self, id: &str) {
        self.bad.insert(id.into());
    }

    pub(super) fn uncertain(&mut self, id: &str) {
        self.uncertain.insert(id.into());
    }

    pub(super) fn unwritable(&mut self, id: &str) {
        self.unwritable.insert(id.into());
    }

    pub(super) fn delete(&mut self, id: &str) {
        self.cloud.remove(id);
    }

    pub(super) fn lose_the_store(&mut self) {
        self.store.clear();
        self.crash();
    }

    /// Somebody else changes a Task just before it is claimed.
    pub(super) fn before_claim(&mut self, id: &str, edit: impl FnOnce(&mut Task) + 'static) {
        self.before_claim.insert(id.into(), Box::new(edit));
    }

    /// The same just before the first report on it.
    pub(super) fn before_report(&mut self, id: &str, edit: impl FnOnce(&mut Task) + 'static) {
        self.before_report.insert(id.into(), Box::new(edit));
    }

    pub(super) fn edit(&mut self, id: &str, edit: impl FnOnce(&mut Task)) {
        let Some(task) = self.cloud.get_mut(id) else {
            return;
        };
        let before = task.status;
        edit(task);
        let next = task.version.0.parse::<u32>().unwrap() + 1;
        task.version = Version(next.to_string().into());
        if task.status != before {
            let word = task.status.word();
            self.told.get_mut(id).unwrap().push(word);
        }
    }

    pub(super) fn settle(&mut self, id: &str, fate: Fate) {
        let at = self.store.iter().rposition(|row| row.task == id).unwrap();
        self.store[at].fate = fate;
        self.input(Input::News(PushId(at as u64 + 1), fate));
    }

    pub(super) fn status(&self, id: &str) -> Status {
        self.cloud[id].status
    }

    pub(super) fn count(&self, status: Status) -> usize {
        let tasks = self.cloud.values();
        tasks.filter(|task| task.status == status).count()
    }

    pub(super) fn history(&self, id: &str) -> &[&'static str] {
        &self.told[id]
    }

    pub(super) fn fates(&self, id: &str) -> Vec<Fate> {
        let rows = self.store.iter().filter(|row| row.task == id);
        rows.map(|row| row.fate).collect()
    }

    pub(super) fn delivered(&self, owner: &str) -> Vec<&str> {
        let got = self.got.iter().filter(|(to, _)| &**to == owner);
        got.map(|(_, id)| id.as_str()).collect()
    }

    pub(super) fn now(&self) -> Mono {
        self.now
    }

    /// Each exactly once, in its place, and the cloud knows it.
    pub(super) fn check_all_delivered(&self) {
        let mut expected: BTreeMap<&str, Vec<(Timestamp, &str)>> = BTreeMap::new();
        for (id, task) in &self.cloud {
            assert_eq!(task.status, Status::Completed, "{id}");
            let authored = task.authored.unwrap();
            expected
                .entry(&task.owner)
                .or_default()
                .push((authored, id));
        }
        for (owner, mut tasks) in expected {
            tasks.sort_unstable();
            let tasks: Vec<&str> = tasks.into_iter().map(|(_, id)| id).collect();
            assert_eq!(self.delivered(owner), tasks, "{owner}");
        }
        assert!(self.mailbox.entries.is_empty(), "{:?}", self.mailbox);
    }

    /// Until nothing is left to do but to look again in vain.
    pub(super) fn run(&mut self) {
        self.live(Mono(u64::MAX));
    }

    pub(super) fn run_for(&mut self, wait: Duration) {
        let until = self.now.plus(wait);
        self.live(until);
        self.now = until;
    }

    fn live(&mut self, until: Mono) {
        if self.mailbox.access == Access::Down {
            self.input(Input::Access(Access::All));
        }
        let mut idle = 0;
        for _ in 0..200_000 {
            if let Some(output) = self.out.pop_front() {
                idle = 0;
                self.perform(output);
            } else if self.deliver_one() {
                idle = 0;
            } else {
                let next = self.mailbox.deadline(self.now);
                idle += 1;
                if next > until || (idle > 2 && until == Mono(u64::MAX)) {
                    return;
                }
                // Nothing is to come but the next round: that is rest.
                let well = self.mailbox.round.failures == 0;
                let rests = well && self.mailbox.round.next() == Some(next);
                if rests && until == Mono(u64::MAX) && self.away_until() <= self.now {
                    return;
                }
                self.now = next.max(self.now);
                self.input(Input::Tick);
            }
        }
        panic!("it never rests: {:?}", self.mailbox);
    }

    fn away_until(&self) -> Mono {
        self.cloud_away_until
    }

    pub(super) fn input(&mut self, input: Input) {
        let at = Moment {
            now: self.now,
            dice: Dice(77),
        };
        let mut out = Vec::new();
        self.mailbox.step(input, at, &mut out);
        self.out.extend(out);
    }

    fn crash(&mut self) {
        self.out.clear();
        self.mailbox = Mailbox::new(POLL);
        let held = self.store.iter().enumerate();
        let held = held.filter(|(_, row)| row.fate == Fate::Unclaimed);
        let unclaimed = held.map(|(at, row)| {
            let id = TaskId(row.task.as_str().into());
            let version = Version(row.version.as_str().into());
            (id, version, PushId(at as u64 + 1))
        });
        let unclaimed = unclaimed.collect();
        self.input(Input::Unclaimed(unclaimed));
        self.input(Input::Access(Access::All));
    }

    fn perform(&mut self, output: Output) {
        if self.nudged {
            self.now = self.now.plus(Duration::from_millis(10));
            self.input(Input::Nudge);
        }
        let blow = match &output {
            Output::Forget(_) | Output::Trouble(_) => None,
            _ => {
                self.effects += 1;
                self.blows.remove(&(self.effects - 1))
            }
        };
        let local = matches!(output, Output::Store(..));
        match blow {
            None => {
                let answer = if self.now < self.cloud_away_until && !local {
                    lost(&output)
                } else {
                    self.act(output)
                };
                if let Some(answer) = answer {
                    self.input(answer);
                }
            }
            Some(Blow::CrashBefore) => self.crash(),
            Some(Blow::LostBefore) if !local => {
                let lost = lost(&output).unwrap();
                self.input(lost);
            }
            Some(Blow::LostAfter) if !local => {
                let lost = lost(&output).unwrap();
                let done = self.act(output);
                // What was taken in is in the store of this process, which says so.
                match done {
                    Some(done @ Input::Taken(..)) => self.input(done),
                    _ => self.input(lost),
                }
            }
            Some(Blow::CrashAfter | Blow::LostBefore | Blow::LostAfter) => {
                self.act(output);
                self.crash();
            }
        }
    }

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Search {
                which,
                offset,
                count,
            } => Some(Input::Page(Ok(self.search(which, offset, count)))),
            Output::Read(id) => {
                let task = self.cloud.get(&*id.0).cloned().ok_or(Trouble::Gone);
                Some(Input::Read(id, task))
            }
            Output::Take(id, version) => {
                let taken = self.take(&id, &version);
                Some(Input::Taken(id, taken))
            }
            Output::Claim(id, version, push) => {
                if let Some(edit) = self.before_claim.remove(&*id.0) {
                    self.edit(&id.0, edit);
                }
                let mark = Mark {
                    push,
                    version: version.clone(),
                };
                let written = self.write(&id, &version, Status::Accepted, Some(mark));
                Some(Input::Written(id, written))
            }
            Output::Report(report) => {
                if let Some(edit) = self.before_report.remove(&*report.task.0) {
                    self.edit(&report.task.0, edit);
                }
                let mark = report.push.map(|(push, version)| Mark { push, version });
                let written = self.write(&report.task, &report.version, report.status, mark);
                Some(Input::Written(report.task, written))
            }
            Output::Store(id, push, errand) => {
                let fate = self.errand(push, &errand);
                Some(Input::Done(id, fate))
            }
            Output::Forget(_) | Output::Trouble(_) => None,
        }
    }

    fn search(&self, which: Which, offset: usize, count: usize) -> Page {
        let fits = |task: &&Task| match which {
            Which::Requested => task.status == Status::Requested,
            Which::Ours => {
                task.mark.is_some() && !task.status.is_final() && task.status != Status::Requested
            }
        };
        let mut all: Vec<Task> = self.cloud.values().filter(fits).cloned().collect();
        all.sort_by_key(Task::place);
        let more = all.len() > offset + count;
        let tasks = all.into_iter().skip(offset).take(count).collect();
        Page { tasks, more }
    }

    fn take(&mut self, id: &TaskId, version: &Version) -> Taken {
        let Some(task) = self.cloud.get(&*id.0) else {
            return Taken::Gone;
        };
        if task.version != *version {
            return Taken::Changed(task.clone());
        }
        if self.bad.contains(&*id.0) {
            return Taken::Bad("it has no payload".into());
        }
        let same = |row: &Row| row.task == *id.0 && row.version == *version.0;
        if let Some(at) = self.store.iter().position(same) {
            return Taken::Kept(PushId(at as u64 + 1));
        }
        self.store.push(Row {
            task: id.0.to_string(),
            version: version.0.to_string(),
            owner: Arc::clone(&task.owner),
            fate: Fate::Unclaimed,
        });
        Taken::Kept(PushId(self.store.len() as u64))
    }

    fn write(
        &mut self,
        id: &TaskId,
        version: &Version,
        status: Status,
        mark: Option<Mark>,
    ) -> Result<Task, Trouble> {
        let task = self.cloud.get(&*id.0).ok_or(Trouble::Gone)?;
        if self.unwritable.contains(&*id.0) {
            return Err(Trouble::Refused("the server says no (HTTP 422)".into()));
        }
        if task.version != *version {
            return Err(Trouble::Conflict);
        }
        self.edit(&id.0, |task| {
            task.status = status;
            task.mark = mark.or(task.mark.take());
        });
        Ok(self.cloud[&*id.0].clone())
    }

    fn errand(&mut self, push: PushId, errand: &Errand) -> Fate {
        let at = usize::try_from(push.0).unwrap() - 1;
        let Some(row) = self.store.get_mut(at) else {
            return Fate::Lost;
        };
        match (errand, row.fate) {
            (Errand::LetGo, Fate::Unclaimed) => row.fate = Fate::Waiting,
            (Errand::Withdraw(_), Fate::Unclaimed | Fate::Waiting | Fate::Held) => {
                row.fate = Fate::Cancelled;
            }
            _ => {}
        }
        row.fate
    }

    /// The device that is there takes the first of what waits for it.
    fn deliver_one(&mut self) -> bool {
        let fits = |row: &Row| row.fate == Fate::Waiting && !self.away.contains(&row.owner);
        let Some(at) = self.store.iter().position(fits) else {
            return false;
        };
        let row = &mut self.store[at];
        if self.uncertain.remove(&row.task) {
            row.fate = Fate::Uncertain;
        } else {
            row.fate = Fate::Delivered;
            self.got.push((Arc::clone(&row.owner), row.task.clone()));
        }
        let fate = row.fate;
        self.input(Input::News(PushId(at as u64 + 1), fate));
        true
    }
}

/// The answer to a request that nobody answers.
fn lost(output: &Output) -> Option<Input> {
    let why = || "the cloud did not answer within 15 s".to_owned();
    let trouble = || Trouble::Unknown(why(), AskedWait::Nothing);
    match output {
        Output::Search { .. } => Some(Input::Page(Err(trouble()))),
        Output::Read(id) => Some(Input::Read(id.clone(), Err(trouble()))),
        Output::Take(id, _) => {
            let later = Taken::Later(why(), AskedWait::Nothing);
            Some(Input::Taken(id.clone(), later))
        }
        Output::Claim(id, ..) => Some(Input::Written(id.clone(), Err(trouble()))),
        Output::Report(report) => Some(Input::Written(report.task.clone(), Err(trouble()))),
        Output::Store(..) | Output::Forget(_) | Output::Trouble(_) => None,
    }
}

const POLL: Duration = Duration::from_mins(1);
