//! The mailbox under kills: Tasks are created while the agent is away, then it is killed on the way through them, again and again.
//!
//! The stub forgets pushes, as a real server does. At the end every Task has to be over, its order must have reached its device
//! once and in its place, and its status has to say what the device said. What nobody could know is on hold, at most as many as
//! attempts were `completing` at a kill; somebody looks at the device, settles or resends, and then that is over, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::evidence;
use crate::bench::{Bench, DeviceSetup, Setup};
use crate::mailbox::Tasks;
use crate::oracle::{Snapshot, Story};
use crate::sim::{Kind, Order, Received};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub cycles: u32,
    pub tasks: u32,
    pub seed: u64,
    /// The agent's binary; the one beside this program if there is none.
    pub agent: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    tasks: usize,
    kills: u32,
    /// Kills that found attempts open.
    open_kills: u32,
    completing: usize,
    messages: usize,
    on_hold: usize,
    settled: u32,
    resent: u32,
    ends: BTreeMap<String, usize>,
    breaks: Vec<String>,
    took: Duration,
    seed: u64,
}

/// One Task and what must become of it.
struct Wanted {
    device: &'static str,
    control_id: String,
}

struct Run {
    bench: Bench,
    random: StdRng,
    story: Story,
    wanted: BTreeMap<String, Wanted>,
    report: Report,
}

/// Runs it, and judges.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut run = Run::new(options)?;
    for cycle in 0..options.cycles {
        let left = options.cycles - cycle;
        run.life_and_death(left)
            .with_context(|| format!("cycle {cycle}"))?;
    }
    run.bench.start_agent();
    run.wait_until_over(Patience::ForPeople)?;
    run.judge_uncertain()?;
    run.wait_until_over(Patience::ForAll)?;
    run.judge();
    let status = run.bench.stop_agent();
    ensure!(status.success(), "the agent ended with {status}");
    run.report.took = began.elapsed();
    if !run.report.is_success() {
        eprintln!("kept for a look: {}", run.bench.keep_folder().display());
    }
    Ok(run.report)
}

/// What has to be over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    /// All but what waits for a person.
    ForPeople,
    ForAll,
}

impl Run {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let mut setup = Setup::new()
            .set("cloud.mailbox", "true")
            .set("cloud.mailbox_poll", "\"500ms\"")
            .recording()
            .agent_binary(options.agent.clone());
        for name in DEVICES {
            let script = move |received: &Received| says(received).after(THINKS);
            let device = DeviceSetup::new(name).doing(std::sync::Arc::new(script));
            setup = setup.device(device);
        }
        let mut bench = setup.start_without_agent();
        bench.log_in();
        let mut random = StdRng::seed_from_u64(options.seed);
        let wanted = create(&bench, options.tasks, &mut random);
        ensure!(
            wanted.len() == usize::try_from(options.tasks)?,
            "two Tasks have one id"
        );
        let report = Report {
            tasks: wanted.len(),
            seed: options.seed,
            ..Report::default()
        };
        Ok(Self {
            bench,
            random,
            story: Story::default(),
            wanted,
            report,
        })
    }

    /// Lives until some more orders have arrived, so that the kills spread over the whole way.
    fn life_and_death(&mut self, left: u32) -> anyhow::Result<()> {
        let before = self.received().len();
        let rest = self.wanted.len().saturating_sub(before);
        let share = (2 * rest / usize::try_from(left)?).max(1);
        let goal = before + self.random.random_range(0..=share);
        let more = Duration::from_millis(self.random.random_range(0..40));
        if self.random.random_ratio(1, 3) {
            self.bench.start_agent();
        } else {
            self.bench.start_agent_alone();
        }
        let until = Instant::now() + LONGEST_LIFE;
        while self.received().len() < goal && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(more);
        if let Some(status) = self.bench.agent().ended() {
            bail!(
                "the agent ended by itself with {status}; its log ends:\n{}",
                self.bench.agent().last_words()
            );
        }
        self.bench.kill_agent();
        let copy = evidence::copy(&self.bench).context("copying the agent's database")?;
        self.story.add_kill(copy);
        self.report.kills += 1;
        if let Some(kill) = self.story.kills.last() {
            self.report.open_kills += u32::from(kill.open > 0);
            self.report.completing += kill.completing.len();
        }
        Ok(())
    }

    /// As long as there is progress.
    fn wait_until_over(&self, patience: Patience) -> anyhow::Result<()> {
        let (mut fewest, mut since) = (usize::MAX, Instant::now());
        loop {
            let tasks = self.tasks()?;
            let left = tasks.values().filter(|task| !is_over(task, patience));
            let left = left.count();
            if left == 0 {
                return Ok(());
            }
            if left < fewest {
                (fewest, since) = (left, Instant::now());
            }
            ensure!(
                since.elapsed() < STUCK_AFTER,
                "{left} Tasks get no further; status: {}",
                self.bench.wardpost(&["status"]).said()
            );
            std::thread::sleep(10 * LOOK);
        }
    }

    /// Somebody looks at the devices and says what became of what nobody knew.
    fn judge_uncertain(&mut self) -> anyhow::Result<()> {
        let tasks = self.tasks()?;
        let received = self.received();
        let now = Snapshot::read(&self.bench.database()).context("reading the agent's database")?;
        self.story.add(now);
        for (id, task) in &tasks {
            if task["status"] != "on-hold" {
                continue;
            }
            self.report.on_hold += 1;
            let push = Tasks::of(&self.bench).push_of(task).to_string();
            let wanted = &self.wanted[id];
            let came = received
                .iter()
                .find(|one| one.control_id == wanted.control_id);
            let said = match came.map(says) {
                None => {
                    self.report.resent += 1;
                    self.bench.wardpost(&["resend", &push])
                }
                Some(kind) => {
                    self.report.settled += 1;
                    let outcome = if kind == Kind::Aa {
                        "delivered"
                    } else {
                        "not-delivered"
                    };
                    let reason = ["--reason", "looked"];
                    self.bench
                        .wardpost(&[&["settle", &push, outcome], &reason[..]].concat())
                }
            };
            ensure!(said.code == 0, "push {push}: {}", said.said());
        }
        Ok(())
    }

    fn judge(&mut self) {
        let received = self.received();
        let mut breaks = Vec::new();
        for (id, wanted) in &self.wanted {
            let came = received
                .iter()
                .filter(|one| one.control_id == wanted.control_id);
            match came.count() {
                1 => {}
                0 => breaks.push(format!("lost: Task/{id} for {}", wanted.device)),
                n => breaks.push(format!("doubled: Task/{id} came {n} times")),
            }
        }
        self.report.messages = received.len();
        breaks.extend(self.out_of_order(&received));
        breaks.extend(self.untrue(&received));
        if self.report.on_hold > self.report.completing {
            breaks.push("more are on hold than attempts were completing at a kill".into());
        }
        self.report.breaks = breaks;
    }

    /// Per device the orders come as their Tasks were written. What was resent by a person comes when he says so.
    fn out_of_order(&self, received: &[Received]) -> Vec<String> {
        let history = &self.story.end.events;
        let resent: BTreeSet<i64> = history
            .iter()
            .filter(|event| event.who.is_none() && event.state == Some(HELD))
            .map(|event| event.push)
            .collect();
        let late = |control_id: &str| {
            let pushes = self.story.end.pushes.values();
            let mut own = pushes.filter(|push| {
                push.order_keys
                    .iter()
                    .any(|key| key[1..] == control_id[1..])
            });
            own.any(|push| resent.contains(&push.id))
        };
        let mut breaks = Vec::new();
        for device in DEVICES {
            let own = received.iter().filter(|one| &*one.device == device);
            let numbers: Vec<u32> = own
                .filter(|one| !late(&one.control_id))
                .filter_map(|one| one.control_id[1..].parse().ok())
                .collect();
            for pair in numbers.windows(2) {
                if pair[0] > pair[1] {
                    breaks.push(format!(
                        "order: {device} got C{} before C{}",
                        pair[0], pair[1]
                    ));
                }
            }
        }
        breaks
    }

    /// A Task that says something else than its device.
    fn untrue(&mut self, received: &[Received]) -> Vec<String> {
        let mut breaks = Vec::new();
        for (id, task) in self.tasks().unwrap_or_default() {
            let status = task["status"].as_str().unwrap_or_default().to_owned();
            let wanted = &self.wanted[&id];
            let came = received
                .iter()
                .find(|one| one.control_id == wanted.control_id);
            let true_words: &[&str] = match came.map(says) {
                Some(Kind::Aa) => &["completed"],
                // Not delivered is what somebody says who saw the refusal.
                Some(_) => &["rejected", "failed"],
                None => &[],
            };
            if !true_words.contains(&status.as_str()) {
                breaks.push(format!("untrue: Task/{id} is {status}"));
            }
            *self.report.ends.entry(status).or_default() += 1;
        }
        breaks
    }

    fn received(&self) -> Vec<Received> {
        DEVICES
            .iter()
            .flat_map(|device| self.bench.received(device))
            .collect()
    }

    /// Every Task as it is in the cloud.
    fn tasks(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let path = "/fhir/R4/Task?_count=1000";
        let bundle = self.bench.wait_on(self.bench.http().read(path))?.json();
        let entries = bundle["entry"].as_array().into_iter().flatten();
        let tasks = entries.map(|entry| entry["resource"].clone());
        let tasks: BTreeMap<String, Value> = tasks
            .map(|task| (task["id"].as_str().unwrap_or_default().to_owned(), task))
            .collect();
        ensure!(
            tasks.len() == self.wanted.len(),
            "the cloud shows {} Tasks",
            tasks.len()
        );
        Ok(tasks)
    }
}

/// Tasks in any order; when they were written is another matter.
fn create(bench: &Bench, count: u32, random: &mut StdRng) -> BTreeMap<String, Wanted> {
    let mut numbers: Vec<u32> = (0..count).collect();
    rand::seq::SliceRandom::shuffle(numbers.as_mut_slice(), random);
    let tasks = Tasks::of(bench);
    let mut wanted = BTreeMap::new();
    for number in numbers {
        let device = DEVICES[number as usize % DEVICES.len()];
        let order = Order::new(format!("{number:05}"));
        let id = tasks.request_at(device, &order, number);
        let control_id = order.control_id().to_owned();
        wanted.insert(id, Wanted { device, control_id });
    }
    wanted
}

/// What a device answers follows from the message.
fn says(received: &Received) -> Kind {
    if received.control_id.ends_with('7') {
        Kind::Ae
    } else {
        Kind::Aa
    }
}

fn is_over(task: &Value, patience: Patience) -> bool {
    match task["status"].as_str().unwrap_or_default() {
        "completed" | "rejected" | "failed" | "cancelled" => true,
        "on-hold" => patience == Patience::ForPeople,
        _ => false,
    }
}

impl Report {
    pub fn is_success(&self) -> bool {
        self.breaks.is_empty()
    }

    fn count(&self, kind: &str) -> usize {
        let breaks = self.breaks.iter();
        breaks.filter(|one| one.starts_with(kind)).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "mailbox: {} Tasks, {} kills, seed {}",
            self.tasks, self.kills, self.seed
        )?;
        writeln!(f, "  kills with open attempts   {}", self.open_kills)?;
        writeln!(f, "  attempts completing then   {}", self.completing)?;
        writeln!(f, "  messages at devices        {}", self.messages)?;
        for (status, count) in &self.ends {
            writeln!(f, "  Tasks {status:<20} {count}")?;
        }
        writeln!(
            f,
            "  were on hold               {} ({} settled, {} resent)",
            self.on_hold, self.settled, self.resent
        )?;
        for kind in ["lost", "doubled", "order", "untrue"] {
            writeln!(f, "  {kind:<26} {}", self.count(kind))?;
        }
        writeln!(f, "  took                       {} s", self.took.as_secs())?;
        for one in self.breaks.iter().take(20) {
            writeln!(f, "  {one}")?;
        }
        if self.is_success() {
            writeln!(f, "every promise was kept")
        } else {
            let seed = self.seed;
            writeln!(
                f,
                "promises were broken; --seed {seed} makes the same decisions"
            )
        }
    }
}

const DEVICES: [&str; 4] = ["chem", "hema", "gas", "slide"];
/// Long enough for some kills to find an attempt open.
const THINKS: Duration = Duration::from_millis(8);
const LOOK: Duration = Duration::from_millis(10);
const LONGEST_LIFE: Duration = Duration::from_secs(20);
const STUCK_AFTER: Duration = Duration::from_mins(1);
/// `held` in the agent's rows.
const HELD: i64 = 3;
