//! The worked example while the agent is killed and its way to the cloud is cut, both at random: orders are made,
//! changed and revoked, a Subscription runs the example's Bot in the stub, and the agent delivers.
//!
//! In two forms: the Bot that pushes, with a cloud that keeps pushes, and the Bot that creates Tasks, with one that forgets.

mod cloud;
mod judge;
mod report;
mod traffic;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::traffic::Flow;
use super::{Pace, evidence};
use crate::bench::{Bench, DeviceSetup, Setup};
use crate::lab_order;
use crate::oracle::{Snapshot, State, Story, unfinished};
use crate::sim::{Kind, Received};
use crate::wire::Cut;
use cloud::Cloud;
pub use judge::Fault;
use judge::{Facts, Standing, Told, judge};
pub use report::Report;
use traffic::Traffic;

/// Which of the example's Bots runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// It pushes, and the cloud keeps pushes.
    Push,
    /// It creates Tasks, and the cloud forgets pushes.
    Task,
}

/// Runs all cycles of one form and says what was found.
pub fn run(form: Form, cycles: u32, seed: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(form, seed)?;
    run.cycles(cycles)?;
    let facts = run.drain()?;
    let (faults, tally) = judge(&facts);
    if !faults.is_empty() {
        let folder = run.bench.keep_folder();
        eprintln!("kept for a look: {}", folder.display());
    }
    Ok(Report {
        form,
        seed,
        counts: std::mem::take(&mut run.counts),
        completing: facts.completing,
        received: facts.received.len(),
        faults,
        tally,
    })
}

/// What happened beside what the judge counts.
#[derive(Clone, Debug, Default)]
struct Counts {
    orders: u32,
    messages: usize,
    /// By `ORC-1`, in words.
    kinds: Vec<(String, usize)>,
    kills: u32,
    open_kills: u32,
    cuts: u32,
    took: Duration,
    drain: Duration,
}

struct Run {
    bench: Bench,
    form: Form,
    random: StdRng,
    story: Story,
    counts: Counts,
    flow: watch::Sender<Flow>,
    clinicians: Option<JoinHandle<anyhow::Result<u32>>>,
}

impl Run {
    fn new(form: Form, seed: u64) -> anyhow::Result<Self> {
        let bench = setup(form).start_without_agent();
        lab_order::name_agent(&bench);
        let bot = match form {
            Form::Push => "push-order",
            Form::Task => "task-order",
        };
        bench.wait_on(lab_order::deploy(bench.http(), bot))?;
        let (flow, told) = watch::channel(Flow::Pause);
        let orders = traffic::run(bench.http().clone(), Traffic::new(seed), told);
        Ok(Self {
            clinicians: Some(bench.runtime().spawn(orders)),
            bench,
            form,
            // Kills and cuts do not depend on how many orders there were.
            random: StdRng::seed_from_u64(!seed),
            story: Story::default(),
            counts: Counts::default(),
            flow,
        })
    }

    fn cycles(&mut self, cycles: u32) -> anyhow::Result<()> {
        let began = Instant::now();
        self.flow.send_replace(Flow::Push);
        for cycle in 0..cycles {
            self.cycle().with_context(|| format!("cycle {cycle}"))?;
        }
        self.flow.send_replace(Flow::Stop);
        let clinicians = self.clinicians.take().context("somebody orders")?;
        self.counts.orders = self.bench.wait_on(clinicians)??;
        self.counts.took = began.elapsed();
        Ok(())
    }

    /// One life of the agent. Orders are made all the time, also while it is dead.
    fn cycle(&mut self) -> anyhow::Result<()> {
        if self.random.random_ratio(1, 2) {
            self.bench.start_agent();
        } else {
            self.bench.start_agent_alone();
        }
        let life = self.random.random_range(0..LIFE_MS);
        self.live(Duration::from_millis(life));
        if let Some(status) = self.bench.agent().ended() {
            let last = self.bench.agent().last_words();
            bail!("the agent ended by itself with {status}; its log ends:\n{last}");
        }
        self.bench.kill_agent();
        self.counts.kills += 1;
        self.story.add_kill(evidence::copy(&self.bench)?);
        let open = self.story.kills.last().map_or(0, |kill| kill.open);
        self.counts.open_kills += u32::from(open > 0);
        Ok(())
    }

    /// A while, in which the way to the cloud may be cut, more than once.
    fn live(&mut self, mut left: Duration) {
        while !left.is_zero() {
            let pause = Duration::from_millis(self.random.random_range(1..CUT_AFTER_MS));
            std::thread::sleep(pause.min(left));
            left = left.saturating_sub(pause);
            if !left.is_zero() && self.random.random_ratio(1, 2) {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        let how = if self.random.random_ratio(1, 2) {
            Cut::Reset
        } else {
            Cut::Fin
        };
        let cut = self.bench.cloud_wire().cut(how);
        self.counts.cuts += u32::from(cut > 0);
    }

    /// Lets the agent live until there is nothing left to do, cut off once more, and collects what there is to judge.
    fn drain(&mut self) -> anyhow::Result<Facts> {
        let began = Instant::now();
        self.bench.start_agent();
        self.cut();
        Pace::until_nothing_is_left(|| self.left())?;
        self.counts.drain = began.elapsed();
        let status = self.bench.stop_agent();
        ensure!(status.success(), "the agent ended with {status}");
        self.story.add(evidence::copy(&self.bench)?);
        self.facts()
    }

    /// How much there is to do before the end: Bots, pushes, and what the cloud is not told yet. Each step makes it less.
    fn left(&self) -> anyhow::Result<usize> {
        let cloud = Cloud::read(&self.bench, self.form)?;
        let now = Snapshot::read(&self.bench.database())?;
        let standing = standing(&now);
        let steps = cloud.messages.iter().map(|message| match message.told {
            Told::Nothing => 2,
            Told::Waiting if standing.get(&message.sum) != Some(&Standing::Parked) => 1,
            Told::Waiting | Told::Delivered | Told::Queued | Told::Uncertain | Told::Else => 0,
        });
        Ok(3 * cloud.unsent() + steps.sum::<usize>() + unfinished(&now).len())
    }

    fn facts(&mut self) -> anyhow::Result<Facts> {
        let cloud = Cloud::read(&self.bench, self.form)?;
        self.counts.messages = cloud.messages.len();
        self.counts.kinds = cloud.kinds.into_iter().collect();
        let completing = self.story.kills.iter().map(|kill| kill.completing.len());
        Ok(Facts {
            orders: cloud.orders,
            messages: cloud.messages,
            received: evidence::received(&self.bench)
                .into_iter()
                .map(|receipt| receipt.sha256)
                .collect(),
            pushes: standing(&self.story.end),
            completing: completing.sum(),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.flow.send_replace(Flow::Stop);
    }
}

/// Where each push stands, by the sum of its body.
fn standing(snapshot: &Snapshot) -> HashMap<String, Standing> {
    let going: HashMap<i64, State> = unfinished(snapshot).into_iter().collect();
    let states = snapshot.states();
    let pushes = snapshot.pushes.values();
    let pushes = pushes.filter_map(|push| {
        let state = *states.get(&push.id)?;
        let parked = state == State::Queued && !going.contains_key(&push.id);
        let standing = if parked {
            Standing::Parked
        } else {
            Standing::State(state)
        };
        Some((push.sha256.clone()?, standing))
    });
    pushes.collect()
}

fn setup(form: Form) -> Setup {
    let setup = Setup::new().wired().recording();
    let setup = match form {
        Form::Push => setup.keeping(),
        Form::Task => setup.set("cloud.mailbox", "true"),
    };
    DEVICES
        .iter()
        .fold(setup, |setup, name| setup.device(device(name)))
}

/// It takes its time, so that kills find it at work.
fn device(name: &str) -> DeviceSetup {
    let thinks = |received: &Received| {
        let first = received.sha256.get(..2);
        let number = first.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Kind::Aa.after(Duration::from_millis(
            number.unwrap_or_default() % THINKS_MS,
        ))
    };
    DeviceSetup::new(name)
        .text("delivery.answer_within", "5s")
        .text("delivery.expires", "never")
        .doing(Arc::new(thinks))
}

const DEVICES: [&str; 2] = ["chem", "haem"];
const THINKS_MS: u64 = 60;
const LIFE_MS: u64 = 700;
const CUT_AFTER_MS: u64 = 400;
