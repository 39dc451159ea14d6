//! The kill harness: pushes flow while the agent is killed at random instants, again and again; the
//! [oracle](crate::oracle) judges after every kill and when the queue has drained.
//!
//! The cloud is the real stub with `--keep-pushes`, the agent the real binary. With faults every connection of the agent
//! goes through a [wire](crate::wire) that cuts, silences, splits and corrupts while pushes flow; a person gives commands.
//! Every decision (what is pushed, to which device, when the agent is killed, which fault strikes) follows from the seed. The machine's own timing does not: a seed that failed is
//! run again with the same decisions, and may have to be run a few times.

mod devices;
pub(crate) mod evidence;
pub mod mailbox;
mod operator;
mod report;
mod storm;
pub mod story;
mod traffic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bench::Bench;
use crate::oracle::{Break, CloudAnswer, Snapshot, Story, Verdict, at_end, at_kill, unfinished};
use devices::{DEVICES, Presence};
use evidence::CloudRecord;
use operator::{Operator, Zeal, put_aside};
pub use report::Report;
use storm::{Storm, Struck};
use traffic::{Flow, Traffic};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub cycles: u32,
    pub seed: u64,
    pub network: Network,
    /// A planted fault of an agent built with the feature `mutants`.
    pub mutant: Option<String>,
    /// The agent's binary; the one beside this program if there is none.
    pub agent: Option<PathBuf>,
}

/// Whether the network does what it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    Good,
    Faulty,
}

/// Runs all cycles, or fewer if a promise is broken, and says what was found.
///
/// A long run is several episodes, each with an empty database, the next seed and a judgement of its own: judging looks
/// at everything again after every kill, and would take longer and longer.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new(options);
    let mut left = options.cycles;
    let mut seed = options.seed;
    while left > 0 && report.is_clean() {
        let cycles = left.min(EPISODE);
        report.add(seed, episode(options, seed, cycles)?);
        left -= cycles;
        if left > 0 && report.is_clean() {
            eprintln!("so far:\n{report}");
        }
        seed = seed.wrapping_add(1);
    }
    Ok(report)
}

fn episode(options: &Options, seed: u64, cycles: u32) -> anyhow::Result<Episode> {
    let mut setup = devices::setup(options.network)
        .keeping()
        .recording()
        .agent_binary(options.agent.clone());
    if let Some(mutant) = &options.mutant {
        setup = setup.environment("WARDPOST_MUTANT", mutant);
    }
    let mut run = Run::new(setup.start_without_agent(), seed, options.network);
    let breaks = run.cycles(cycles)?;
    let verdict = if breaks.is_empty() {
        run.drain()?
    } else {
        Verdict {
            breaks,
            ..Verdict::default()
        }
    };
    if !verdict.breaks.is_empty() && options.mutant.is_none() {
        let lines = format!("{:#?}", run.story.lines);
        let folder = run.bench.keep_folder();
        std::fs::write(folder.join("lines.txt"), lines)?;
        eprintln!("kept for a look: {}", folder.display());
    }
    run.counts.accepted = run.story.end.pushes.len();
    run.counts.received = run.story.received.len();
    run.counts.refused_commands = run.operator.refused;
    run.counts.struck = std::mem::take(&mut run.storm.struck);
    Ok(Episode {
        counts: run.counts.clone(),
        verdict,
    })
}

/// What came of one episode.
#[derive(Clone, Debug)]
struct Episode {
    counts: Counts,
    verdict: Verdict,
}

/// What happened beside what the judge counts.
#[derive(Clone, Debug, Default)]
struct Counts {
    kills: u32,
    /// Kills that found attempts open.
    open_kills: u32,
    pushes: u32,
    accepted: usize,
    received: usize,
    refused_commands: u32,
    struck: Struck,
    took: Duration,
    drain: Duration,
}

struct Run {
    bench: Bench,
    network: Network,
    random: StdRng,
    storm: Storm,
    operator: Operator,
    story: Story,
    counts: Counts,
    flow: watch::Sender<Flow>,
    pusher: Option<JoinHandle<anyhow::Result<u32>>>,
    away: BTreeMap<&'static str, Away>,
    cloud: CloudRecord,
}

/// What a device does that is switched off for a while. It changes only while the agent is dead or the device off, so
/// that no message is cut by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Away {
    On,
    Off { cycles: u32 },
}

enum Caught {
    Up,
    Stuck(Vec<Break>),
}

/// Whether there is progress. A busy machine may be slow; only an agent that does nothing is stuck.
struct Pace {
    left: usize,
    since: Instant,
}

impl Pace {
    fn new() -> Self {
        Self {
            left: usize::MAX,
            since: Instant::now(),
        }
    }

    fn is_stuck(&mut self, left: usize) -> bool {
        if left < self.left {
            *self = Self {
                left,
                since: Instant::now(),
            };
        }
        self.since.elapsed() > STUCK_AFTER
    }

    /// Or until nothing has become less for so long that it never will.
    fn until_nothing_is_left(
        mut left: impl FnMut() -> anyhow::Result<usize>,
    ) -> anyhow::Result<()> {
        let mut pace = Self::new();
        loop {
            let left = left()?;
            if left == 0 || pace.is_stuck(left) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Run {
    fn new(bench: Bench, seed: u64, network: Network) -> Self {
        let (flow, told) = watch::channel(Flow::Pause);
        let traffic = Traffic::new(seed);
        let pusher = bench
            .runtime()
            .spawn(traffic::run(bench.http().clone(), traffic, told));
        let policies = DEVICES
            .iter()
            .map(|spec| (spec.name.to_owned(), spec.policy))
            .collect();
        let story = Story {
            policies,
            receipts: true,
            ..Story::default()
        };
        // The killer's decisions do not depend on how many pushes there were.
        let random = StdRng::seed_from_u64(!seed);
        let fickle = DEVICES
            .iter()
            .filter(|spec| spec.presence == Presence::NowAndThen);
        Self {
            bench,
            network,
            random,
            storm: Storm::new(seed),
            operator: Operator::new(seed),
            story,
            counts: Counts::default(),
            flow,
            pusher: Some(pusher),
            away: fickle.map(|spec| (spec.name, Away::On)).collect(),
            cloud: CloudRecord::default(),
        }
    }

    /// Returns at the first broken promise.
    fn cycles(&mut self, cycles: u32) -> anyhow::Result<Vec<Break>> {
        let began = Instant::now();
        let mut breaks = Vec::new();
        for cycle in 0..cycles {
            breaks = self.cycle().with_context(|| format!("cycle {cycle}"))?;
            if !breaks.is_empty() {
                break;
            }
            self.come_and_go();
        }
        self.counts.took = began.elapsed();
        self.stop_pushing()?;
        Ok(breaks)
    }

    /// One life of the agent, and what the judge says of it.
    fn cycle(&mut self) -> anyhow::Result<Vec<Break>> {
        let connect_first = self.random.random_ratio(1, 2);
        let wait = self.life();
        if unfinished(&self.story.end).len() > BEHIND {
            if let Caught::Stuck(breaks) = self.catch_up()? {
                return Ok(breaks);
            }
        } else if connect_first {
            self.calm();
            self.bench.start_agent();
        } else {
            self.bench.start_agent_alone();
        }
        self.push_and_kill(wait)?;
        self.judge()
    }

    /// How long the agent may live. Where the network is faulty some lives are long enough for a second session.
    fn life(&mut self) -> Duration {
        let most = match self.network {
            Network::Good => LIFE_MS,
            Network::Faulty if self.random.random_ratio(1, 10) => 5 * LIFE_MS,
            Network::Faulty => 2 * LIFE_MS,
        };
        Duration::from_millis(self.random.random_range(0..most))
    }

    /// Pushes flow until the agent is dead, and pause while it is judged.
    fn push_and_kill(&mut self, wait: Duration) -> anyhow::Result<()> {
        self.flow.send_replace(Flow::Push);
        self.live(wait);
        if let Some(status) = self.bench.agent().ended() {
            bail!(
                "the agent ended by itself with {status}; its log ends:\n{}",
                self.bench.agent().last_words()
            );
        }
        self.ensure_pushing()?;
        self.bench.kill_agent();
        self.flow.send_replace(Flow::Pause);
        self.counts.kills += 1;
        Ok(())
    }

    /// A while in which things happen: faults, if the network has any, and commands somewhere in the middle.
    fn live(&mut self, wait: Duration) {
        let began = Instant::now();
        let until = began + wait;
        let command_at = began + wait.mul_f64(self.random.random_range(0.0..1.0));
        let strikes = self.random.random_ratio(1, 2);
        let strike_at = began + wait.mul_f64(self.random.random_range(0.0..1.0));
        let mut uplink_at = strikes.then_some(strike_at);
        let mut commanded = false;
        while Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(self.storm.gap()));
            if !commanded && command_at <= Instant::now() {
                commanded = true;
                self.command(Zeal::Some);
            }
            if self.network == Network::Faulty && Instant::now() < until {
                self.storm.strike_line(&self.bench);
                if uplink_at.take_if(|at| *at <= Instant::now()).is_some() {
                    self.storm.strike_uplink(&self.bench);
                }
            }
        }
    }

    /// By what was known when the agent was last dead.
    fn command(&mut self, zeal: Zeal) {
        let known = std::mem::take(&mut self.story.end);
        self.operator
            .act(&self.bench, &mut self.story, &known, zeal);
        self.story.end = known;
    }

    /// By what its database says now.
    fn command_now(&mut self) -> anyhow::Result<Snapshot> {
        let now = Snapshot::read(&self.bench.database()).context("reading the agent's database")?;
        self.story.received = evidence::received(&self.bench);
        self.operator
            .act(&self.bench, &mut self.story, &now, Zeal::Tidy);
        Ok(now)
    }

    fn calm(&mut self) {
        if self.network == Network::Faulty {
            storm::calm(&self.bench);
            for (name, away) in &self.away {
                if *away != Away::On {
                    self.bench.wire(name).refuse();
                }
            }
        }
    }

    /// Starts the agent and lets it live until most of the queue is delivered: that short lives on a busy machine
    /// deliver less than is pushed is no fault of the agent. That it delivers nothing when it is left alone is.
    fn catch_up(&mut self) -> anyhow::Result<Caught> {
        self.all_well();
        self.bench.start_agent();
        let mut pace = Pace::new();
        loop {
            let left = unfinished(&self.command_now()?);
            if left.len() < BEHIND / 4 {
                return Ok(Caught::Up);
            }
            if pace.is_stuck(left.len()) {
                let breaks = left
                    .into_iter()
                    .map(|(push, state)| Break::Unfinished { push, state });
                return Ok(Caught::Stuck(breaks.collect()));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Every device is there, and the network is good.
    fn all_well(&mut self) {
        for (name, away) in &mut self.away {
            self.bench.switch_on(name);
            *away = Away::On;
        }
        self.calm();
    }

    fn judge(&mut self) -> anyhow::Result<Vec<Break>> {
        let (copy, answers) = self.collect()?;
        self.story.add_kill(copy);
        let open = self.story.kills.last().map_or(0, |kill| kill.open);
        self.counts.open_kills += u32::from(open > 0);
        Ok(at_kill(&self.story, &answers))
    }

    /// Takes the evidence of a moment at which the agent is dead. What is pushed meanwhile only adds to what was kept.
    fn collect(&mut self) -> anyhow::Result<(Snapshot, Vec<CloudAnswer>)> {
        self.wait_for_the_last_words()?;
        let copy = evidence::copy(&self.bench).context("copying the agent's database")?;
        self.story.received = evidence::received(&self.bench);
        if self.network == Network::Faulty {
            self.story.lines = evidence::lines(&self.bench);
        }
        let (kept, answers) = self
            .cloud
            .read(&self.bench)
            .context("reading the stub's database")?;
        self.story.kept = kept;
        Ok((copy, answers))
    }

    /// What was on its way to a device when the agent ended arrives, and what the device answers is written down.
    fn wait_for_the_last_words(&self) -> anyhow::Result<()> {
        if self.network == Network::Good {
            return Ok(());
        }
        let began = Instant::now();
        let open = || {
            let mut wires = DEVICES.iter().map(|spec| self.bench.wire(spec.name));
            wires.any(|wire| wire.connections() > 0)
        };
        while open() {
            ensure!(began.elapsed() < STUCK_AFTER, "a wire does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Between two lives: a device that is away now and then goes or comes back.
    fn come_and_go(&mut self) {
        for (name, away) in &mut self.away {
            *away = match *away {
                Away::On if self.random.random_ratio(1, 5) => {
                    self.bench.switch_off(name);
                    if self.network == Network::Faulty {
                        self.bench.wire(name).refuse();
                    }
                    let cycles = self.random.random_range(1..5);
                    Away::Off { cycles }
                }
                Away::On => Away::On,
                Away::Off { cycles: 0 } => {
                    self.bench.switch_on(name);
                    if self.network == Network::Faulty {
                        self.bench.wire(name).calm();
                    }
                    Away::On
                }
                Away::Off { cycles } => Away::Off { cycles: cycles - 1 },
            };
        }
    }

    fn ensure_pushing(&mut self) -> anyhow::Result<()> {
        if self.pusher.as_ref().is_some_and(JoinHandle::is_finished) {
            self.stop_pushing()?;
            bail!("the pusher ended before it was told to");
        }
        Ok(())
    }

    fn stop_pushing(&mut self) -> anyhow::Result<()> {
        self.flow.send_replace(Flow::Stop);
        if let Some(pusher) = self.pusher.take() {
            self.counts.pushes = self.bench.wait_on(pusher)??;
        }
        Ok(())
    }

    /// Lets the agent live until nothing is left to do, and judges the whole run. In this last life it has to come
    /// through some more faults without being started anew.
    fn drain(&mut self) -> anyhow::Result<Verdict> {
        let began = Instant::now();
        self.all_well();
        self.bench.start_agent();
        if self.network == Network::Faulty {
            self.live(LAST_STORM);
            self.calm();
        }
        Pace::until_nothing_is_left(|| self.left())?;
        self.counts.drain = began.elapsed();
        let status = self.bench.stop_agent();
        ensure!(
            status.success(),
            "the agent ended with {status} when it was told to stop"
        );
        let (copy, answers) = self.collect()?;
        self.story.add(copy);
        Ok(at_end(&self.story, &answers))
    }

    /// How much there is to do before the end.
    fn left(&mut self) -> anyhow::Result<usize> {
        let now = self.command_now()?;
        let unanswered = usize::try_from(evidence::unanswered(&self.bench)?)?;
        Ok(unanswered + unfinished(&now).len() + put_aside(&now).len())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.flow.send_replace(Flow::Stop);
    }
}

/// The most cycles on one database.
const EPISODE: u32 = 100;
const LIFE_MS: u64 = 400;
const BEHIND: usize = 600;
const LAST_STORM: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(50);
/// Longer than any pause of the agent between two tries.
const STUCK_AFTER: Duration = Duration::from_mins(1);
