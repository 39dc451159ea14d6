//! How fast the agent is, measured from outside: `cargo xtask bench push`.
//!
//! One thread is cloud and devices, lean enough to be far above the agent; its own ceiling with a null agent in between
//! is measured in the same run. The agent is a process with default settings and every push synced. While it is
//! loaded, every push must be answered once with 200, and every device must see its numbers ascend.
//!
//! What is compared (TLS with none, troubled neighbours with none) is measured in turns, a fresh agent each time, so
//! that a drift of the machine falls on both.

mod devices;
mod generator;
mod null_agent;
mod report;
mod site;
mod system;
mod template;
mod tls;
mod trouble;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::bench::{Process, binary};
use crate::shim::{self, Shim};
pub use generator::Shape;
use report::{Backlog, Main, Pair, Soak};
pub use report::{Report, Row};
use site::{Plan, Site, Sums, Way};
use trouble::Trouble;

/// How long everything takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    pub warm_up: Duration,
    pub run: Duration,
    pub runs: usize,
    pub starts: usize,
    pub idle: Duration,
    /// Pushes to one agent, after which its memory must not have grown any more.
    pub soak: usize,
    /// Pushes that wait while the agent starts.
    pub backlog: u32,
}

impl Pace {
    pub const FULL: Self = Self {
        warm_up: Duration::from_secs(1),
        run: Duration::from_millis(2500),
        runs: 3,
        starts: 5,
        idle: Duration::from_secs(3),
        soak: 1_000_000,
        backlog: 1_000_000,
    };
    /// Shows that everything works; the figures mean nothing.
    pub const QUICK: Self = Self {
        warm_up: Duration::from_millis(100),
        run: Duration::from_secs(1),
        runs: 1,
        starts: 1,
        idle: Duration::from_millis(200),
        soak: 2_000,
        backlog: 2_000,
    };
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    pub pace: Pace,
    /// Where database and disk probe go: a folder on the disk that is meant.
    pub folder: PathBuf,
    /// The agent's binary; the one beside this program if there is none.
    pub agent: Option<PathBuf>,
}

/// Measures everything and says what it found; an error if the agent did anything wrong.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    runtime()?.block_on(measure(&Bench::of(options)?))
}

/// Measures one row, each sync `slower` than the disk makes it: for whoever looks where the time goes.
pub fn one(options: &Options, shape: Shape, slower: Duration) -> anyhow::Result<Row> {
    runtime()?.block_on(Bench::of(options)?.on_disk(shape, slower))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn measure(bench: &Bench<'_>) -> anyhow::Result<Report> {
    Ok(Report {
        main: bench.main().await.context("the main row")?,
        slow: bench.on_disk(WIDE, SLOWER).await.context("a slow disk")?,
        wss: bench.wss().await.context("over TLS")?,
        neighbours: bench.neighbours().await.context("troubled neighbours")?,
        backlog: bench.backlog().await.context("a long queue")?,
    })
}

struct Bench<'a> {
    pace: Pace,
    folder: &'a Path,
    agent: PathBuf,
}

impl<'a> Bench<'a> {
    fn of(options: &'a Options) -> anyhow::Result<Self> {
        Ok(Self {
            pace: options.pace,
            folder: &options.folder,
            agent: match &options.agent {
                Some(agent) => agent.clone(),
                None => binary("wardpost")?,
            },
        })
    }

    async fn site(&self, plan: &Plan) -> anyhow::Result<Site> {
        Site::new(self.folder, &self.agent, plan).await
    }

    async fn main(&self) -> anyhow::Result<Main> {
        let mut site = self.site(&ordinary()).await?;
        let ceilings = site
            .ceilings(&SHAPES, self.pace)
            .await
            .context("measuring the generator alone")?;
        let (process, starts) = site.start_again_and_again(self.pace.starts).await?;
        site.generator.keep_up(IDLE, self.pace.idle).await?;
        let idle = Site::memory(&process)?;
        let mut rows = Vec::new();
        for shape in SHAPES {
            let row = site.row(shape, self.pace, &process).await;
            rows.push(row.with_context(|| {
                format!("{shape:?}; the agent's log ends:\n{}", process.last_words())
            })?);
        }
        let paced = site.paced(PACED, DEVICES, (self.pace, &process)).await?;
        let soak = self.soak(&mut site, &process).await?;
        site.judge()?;
        let pushes = site.pushes();
        site.stop(process)?;
        Ok(Main {
            rows,
            ceilings,
            paced,
            starts,
            idle,
            soak,
            pushes,
        })
    }

    /// Whether memory stays where it is over many pushes.
    async fn soak(&self, site: &mut Site, process: &Process) -> anyhow::Result<Soak> {
        let early_at = site.pushes();
        let early = Site::memory(process)?;
        self.push_until(site, self.pace.soak * 6 / 10).await?;
        let full_at = site.pushes();
        let full = Site::memory(process)?;
        self.push_until(site, self.pace.soak).await?;
        Ok(Soak {
            early_at,
            early,
            full_at,
            full,
            late_at: site.pushes(),
            late: Site::memory(process)?,
        })
    }

    async fn push_until(&self, site: &mut Site, pushes: usize) -> anyhow::Result<()> {
        while site.pushes() < pushes {
            site.generator.keep_up(WIDE, self.pace.warm_up).await?;
        }
        Ok(site.generator.drain().await?)
    }

    /// One row on a disk whose syncs take so much longer; without the shim if they do not.
    async fn on_disk(&self, shape: Shape, slower: Duration) -> anyhow::Result<Row> {
        let shim = Shim::new()?;
        let mut plan = ordinary();
        if !slower.is_zero() {
            plan.environment.extend(
                shim.environment()
                    .map(|(name, value)| (name.to_owned(), value)),
            );
        }
        let mut site = self.site(&plan).await?;
        shim.follow(&shim::Plan::on(&site.state()).slow(slower))?;
        let (process, _) = site.start().await?;
        let row = site.row(shape, self.pace, &process).await?;
        site.judge()?;
        site.stop(process)?;
        Ok(row)
    }

    async fn wss(&self) -> anyhow::Result<Pair> {
        let plan = Plan {
            way: Way::Tls,
            ..ordinary()
        };
        let tls = self.site(&plan).await?;
        self.in_turns(tls).await
    }

    async fn neighbours(&self) -> anyhow::Result<Pair> {
        let plan = Plan {
            trouble: vec![
                (1, Trouble::Away),
                (1, Trouble::Silent),
                (100, Trouble::Flaps),
            ],
            ..ordinary()
        };
        let mut site = self.site(&plan).await?;
        let troubled = site.troubled.addresses.clone();
        site.generator.trickle(&troubled, TRICKLE);
        self.in_turns(site).await
    }

    /// Measures this site and an ordinary one in turns.
    async fn in_turns(&self, mut with: Site) -> anyhow::Result<Pair> {
        let mut without = self.site(&ordinary()).await?;
        let (mut plain, mut other) = (Sums::default(), Sums::default());
        for _ in 0..self.pace.runs {
            without.life(WIDE, self.pace, &mut plain).await?;
            with.life(WIDE, self.pace, &mut other).await?;
        }
        without.judge()?;
        with.judge()?;
        Ok(Pair {
            without: plain.row(WIDE),
            with: other.row(WIDE),
        })
    }

    /// Memory and start with a long queue for devices that are away.
    async fn backlog(&self) -> anyhow::Result<Backlog> {
        let plan = Plan {
            trouble: vec![(BACKLOG_DEVICES, Trouble::Away)],
            ..Plan::default()
        };
        let mut site = self.site(&plan).await?;
        let away = site.troubled.addresses.clone();
        let (process, _) = site.start().await?;
        let began = std::time::Instant::now();
        site.generator.pour(&away, self.pace.backlog).await?;
        self.until_queued(&mut site).await?;
        let filled = f64::from(self.pace.backlog) / began.elapsed().as_secs_f64();
        let full = Site::memory(&process)?;
        site.stop(process)?;
        let (process, starts) = site.start_again_and_again(self.pace.starts).await?;
        site.generator.keep_up(IDLE, self.pace.idle).await?;
        let again = Site::memory(&process)?;
        let queued = site.queued()?;
        ensure!(
            queued == u64::from(self.pace.backlog),
            "{queued} pushes are queued after the restart"
        );
        site.stop(process)?;
        Ok(Backlog {
            pushes: self.pace.backlog,
            devices: BACKLOG_DEVICES,
            filled,
            full,
            starts,
            again,
        })
    }

    async fn until_queued(&self, site: &mut Site) -> anyhow::Result<()> {
        let mut last = 0;
        loop {
            site.generator.keep_up(IDLE, LOOK).await?;
            let queued = site.queued()?;
            if queued >= u64::from(self.pace.backlog) {
                return Ok(());
            }
            ensure!(
                queued > last,
                "the queue stopped growing at {queued}, of {}",
                self.pace.backlog
            );
            last = queued;
        }
    }
}

fn ordinary() -> Plan {
    Plan {
        devices: DEVICES,
        ..Plan::default()
    }
}

fn rate(pushes: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(pushes).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

fn milliseconds(micros: u32) -> f64 {
    f64::from(micros) / 1e3
}

/// Devices that answer at once.
pub const DEVICES: usize = 16;
const WIDE: Shape = Shape {
    in_flight: 128,
    devices: DEVICES,
};
const SHAPES: [Shape; 6] = [
    Shape {
        in_flight: 1,
        devices: 1,
    },
    Shape {
        in_flight: 16,
        devices: 1,
    },
    Shape {
        in_flight: 128,
        devices: 1,
    },
    Shape {
        in_flight: 1,
        devices: DEVICES,
    },
    Shape {
        in_flight: 16,
        devices: DEVICES,
    },
    WIDE,
];
/// Nothing in flight; heartbeats are answered.
const IDLE: Shape = Shape {
    in_flight: 0,
    devices: 1,
};
/// Pushes a second where the rate is fixed.
const PACED: u32 = 500;
/// Pushes a second to devices that make trouble.
const TRICKLE: u32 = 100;
/// What a sync on cheap flash takes more.
const SLOWER: Duration = Duration::from_millis(5);
const BACKLOG_DEVICES: usize = 100;
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_generator_and_a_null_agent_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut site = Site::new(folder.path(), Path::new("none"), &ordinary())
            .await
            .unwrap();
        let ceilings = site.ceilings(&SHAPES, Pace::QUICK).await.unwrap();
        assert!(
            ceilings.iter().all(|ceiling| *ceiling > 0.0),
            "{ceilings:?}"
        );
        site.judge().unwrap();
    }
}
