//! The kill harness: pushes flow while the agent is killed at random instants, again and again; the
//! [oracle](crate::oracle) judges after every kill and when the queue has drained.
//!
//! The cloud is the real stub with `--keep-pushes`, the agent the real binary. Every decision (what is pushed, to which
//! device, when the agent is killed) follows from the seed. The machine's own timing does not: a seed that failed is
//! run again with the same decisions, and may have to be run a few times.

mod devices;
mod evidence;
mod report;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bench::Bench;
use crate::oracle::{Break, Snapshot, Story, Verdict, at_end, at_kill, unfinished};
use devices::{AWAY, DEVICES};
use evidence::CloudRecord;
pub use report::Report;
use traffic::{Flow, Traffic};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub cycles: u32,
    pub seed: u64,
    /// A planted fault of an agent built with the feature `mutants`.
    pub mutant: Option<Mutant>,
    /// The agent's binary; the one beside this program if there is none.
    pub agent: Option<PathBuf>,
}

/// The planted faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Mutant {
    AttemptNotRecorded,
    AnswerBeforeCommit,
    BlindResend,
}

impl Mutant {
    fn name(self) -> &'static str {
        match self {
            Self::AttemptNotRecorded => "attempt-not-recorded",
            Self::AnswerBeforeCommit => "answer-before-commit",
            Self::BlindResend => "blind-resend",
        }
    }
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
        seed = seed.wrapping_add(1);
    }
    Ok(report)
}

fn episode(options: &Options, seed: u64, cycles: u32) -> anyhow::Result<Episode> {
    let mut setup = devices::setup()
        .keeping()
        .recording()
        .agent_binary(options.agent.clone());
    if let Some(mutant) = options.mutant {
        setup = setup.environment("WARDPOST_MUTANT", mutant.name());
    }
    let mut run = Run::new(setup.start_without_agent(), seed);
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
        eprintln!("kept for a look: {}", run.bench.keep_folder().display());
    }
    run.counts.accepted = run.story.end.pushes.len();
    run.counts.received = run.story.received.len();
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
    took: Duration,
    drain: Duration,
}

struct Run {
    bench: Bench,
    random: StdRng,
    story: Story,
    counts: Counts,
    flow: watch::Sender<Flow>,
    pusher: Option<JoinHandle<anyhow::Result<u32>>>,
    away: Away,
    cloud: CloudRecord,
}

/// What the device does that is switched off for a while. It changes only while the agent is dead or the device off, so
/// that no message is cut by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Away {
    On,
    Off { cycles: u32 },
}

enum Pace {
    CaughtUp,
    Stuck(Vec<Break>),
}

impl Run {
    fn new(bench: Bench, seed: u64) -> Self {
        let (flow, told) = watch::channel(Flow::Pause);
        let traffic = Traffic::new(seed);
        let pusher = bench
            .runtime()
            .spawn(traffic::run(bench.http().clone(), traffic, told));
        let policies = DEVICES
            .iter()
            .map(|spec| (spec.name.to_owned(), spec.on_uncertain))
            .collect();
        let story = Story {
            policies,
            ..Story::default()
        };
        // The killer's decisions do not depend on how many pushes there were.
        let random = StdRng::seed_from_u64(!seed);
        Self {
            bench,
            random,
            story,
            counts: Counts::default(),
            flow,
            pusher: Some(pusher),
            away: Away::On,
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
            self.move_away();
        }
        self.counts.took = began.elapsed();
        self.stop_pushing()?;
        Ok(breaks)
    }

    /// One life of the agent, and what the judge says of it.
    fn cycle(&mut self) -> anyhow::Result<Vec<Break>> {
        let connect_first = self.random.random_ratio(1, 2);
        let wait = Duration::from_millis(self.random.random_range(0..LIFE_MS));
        if unfinished(&self.story.end).len() > BEHIND {
            if let Pace::Stuck(breaks) = self.catch_up()? {
                return Ok(breaks);
            }
        } else if connect_first {
            self.bench.start_agent();
        } else {
            self.bench.start_agent_alone();
        }
        self.push_and_kill(wait)?;
        self.judge()
    }

    /// Pushes flow until the agent is dead, and pause while it is judged.
    fn push_and_kill(&mut self, wait: Duration) -> anyhow::Result<()> {
        self.flow.send_replace(Flow::Push);
        std::thread::sleep(wait);
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

    /// Starts the agent and lets it live until most of the queue is delivered: that short lives on a busy machine
    /// deliver less than is pushed is no fault of the agent. That it delivers nothing when it is left alone is.
    fn catch_up(&mut self) -> anyhow::Result<Pace> {
        self.bench.switch_on(AWAY);
        self.away = Away::On;
        self.bench.start_agent();
        let began = Instant::now();
        loop {
            let left = unfinished(&Snapshot::read(&self.bench.database())?);
            if left.len() < BEHIND / 4 {
                return Ok(Pace::CaughtUp);
            }
            if began.elapsed() > DRAIN_WITHIN {
                let breaks = left
                    .into_iter()
                    .map(|(push, state)| Break::Unfinished { push, state });
                return Ok(Pace::Stuck(breaks.collect()));
            }
            std::thread::sleep(POLL);
        }
    }

    fn judge(&mut self) -> anyhow::Result<Vec<Break>> {
        let answers = self.collect()?;
        let open = self
            .story
            .kills
            .last()
            .map(|kill| kill.open.as_slice())
            .unwrap_or_default();
        self.counts.open_kills += u32::from(!open.is_empty());
        Ok(at_kill(&self.story, &answers))
    }

    /// Takes the evidence of a moment at which the agent is dead. What is pushed meanwhile only adds to what was kept.
    fn collect(&mut self) -> anyhow::Result<Vec<crate::oracle::CloudAnswer>> {
        let copy = evidence::copy(&self.bench).context("copying the agent's database")?;
        self.story.received = evidence::received(&self.bench);
        let (kept, answers) = self
            .cloud
            .read(&self.bench)
            .context("reading the stub's database")?;
        self.story.kept = kept;
        self.story.add_kill(copy);
        Ok(answers)
    }

    /// Between two lives: the device that is away now and then goes or comes back.
    fn move_away(&mut self) {
        self.away = match self.away {
            Away::On if self.random.random_ratio(1, 4) => {
                self.bench.switch_off(AWAY);
                Away::Off {
                    cycles: self.random.random_range(1..4),
                }
            }
            Away::On => Away::On,
            Away::Off { cycles: 0 } => {
                self.bench.switch_on(AWAY);
                Away::On
            }
            Away::Off { cycles } => Away::Off { cycles: cycles - 1 },
        };
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

    /// Lets the agent live until nothing is left to do, and judges the whole run.
    fn drain(&mut self) -> anyhow::Result<Verdict> {
        let began = Instant::now();
        self.bench.switch_on(AWAY);
        self.bench.start_agent();
        while began.elapsed() < DRAIN_WITHIN && !self.is_drained()? {
            std::thread::sleep(POLL);
        }
        self.counts.drain = began.elapsed();
        let status = self.bench.stop_agent();
        ensure!(
            status.success(),
            "the agent ended with {status} when it was told to stop"
        );
        let answers = self.collect()?;
        // The last copy is of an agent that ended in peace: whatever it shows as open is no excuse.
        self.story.kills.pop();
        Ok(at_end(&self.story, &answers))
    }

    fn is_drained(&self) -> anyhow::Result<bool> {
        if evidence::unanswered(&self.bench)? > 0 {
            return Ok(false);
        }
        let snapshot =
            Snapshot::read(&self.bench.database()).context("reading the agent's database")?;
        Ok(unfinished(&snapshot).is_empty())
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
const POLL: Duration = Duration::from_millis(50);
const DRAIN_WITHIN: Duration = Duration::from_mins(1);
