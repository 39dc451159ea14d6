//! How fast the agent is, measured from outside: `cargo xtask bench push`.
//!
//! One thread is cloud and devices, lean enough to be far above the agent; its own ceiling with a null agent in between
//! is measured in the same run. The agent is a process with default settings and every push synced. While it is
//! loaded, every push must be answered once with 200, and every device must see its numbers ascend.

mod devices;
mod generator;
mod null_agent;
mod report;
mod system;
mod template;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::{DeviceSetup, Keys, Process, SECRET, agent_keys, binary};
use devices::Seen;
use generator::Generator;
pub use generator::Shape;
pub use report::Report;
use report::{Row, Spread};
use system::{DiskProbe, cpu_seconds, memory, quantile};

/// How long everything takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    pub warm_up: Duration,
    pub run: Duration,
    pub runs: usize,
    pub starts: usize,
    pub idle: Duration,
}

impl Pace {
    pub const FULL: Self = Self {
        warm_up: Duration::from_secs(1),
        run: Duration::from_millis(2500),
        runs: 3,
        starts: 5,
        idle: Duration::from_secs(3),
    };
    /// Shows that everything works; the figures mean nothing.
    pub const QUICK: Self = Self {
        warm_up: Duration::from_millis(100),
        run: Duration::from_millis(300),
        runs: 1,
        starts: 1,
        idle: Duration::from_millis(200),
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new()
        .prefix("wardpost-bench")
        .tempdir_in(&options.folder)?;
    let seen = Arc::new(Seen::default());
    let devices = devices::start(DEVICES, &seen).await?;
    let (generator, address) = Generator::start(&devices).await?;
    let mut bench = Bench {
        generator,
        pace: options.pace,
        folder: folder.path().to_owned(),
    };
    let ceilings = bench
        .ceilings(address)
        .await
        .context("measuring the generator alone")?;
    let before = bench.generator.sent();
    let agent = options
        .agent
        .clone()
        .map_or_else(|| binary("wardpost"), Ok)?;
    bench.write_files(&devices, address)?;
    let (process, starts) = bench
        .start_agent(&agent)
        .await
        .context("starting the agent")?;
    bench.generator.keep_up(IDLE, options.pace.idle).await?;
    let idle = memory(process.id())?;
    let mut rows = Vec::new();
    let mut loaded = idle;
    for (shape, ceiling) in SHAPES.into_iter().zip(ceilings) {
        let row = bench.row(shape, ceiling, process.id()).await;
        rows.push(row.with_context(|| {
            format!("{shape:?}; the agent's log ends:\n{}", process.last_words())
        })?);
        loaded = memory(process.id())?;
    }
    bench.judge(&seen)?;
    let pushes = bench.generator.sent() - before;
    bench.generator.hang_up();
    let status = process.stop()?;
    ensure!(status.success(), "the agent ended with {status}");
    Ok(Report {
        rows,
        starts,
        idle,
        loaded,
        pushes,
    })
}

struct Bench {
    generator: Generator,
    pace: Pace,
    folder: PathBuf,
}

impl Bench {
    /// What the generator does without our agent, a figure a shape.
    async fn ceilings(&mut self, address: SocketAddr) -> anyhow::Result<Vec<f64>> {
        let null = std::thread::Builder::new()
            .name("null-agent".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(null_agent::run(address))
            })?;
        self.generator.connected().await?;
        let mut ceilings = Vec::new();
        for shape in SHAPES {
            self.generator.keep_up(shape, self.pace.warm_up / 2).await?;
            let stretch = self.generator.keep_up(shape, self.pace.run / 2).await?;
            ceilings.push(rate(stretch.latencies.len(), stretch.took));
            self.generator.drain().await?;
        }
        self.generator.hang_up();
        // It ends because the cloud hung up, and says so in its own way.
        let _ = null.join();
        Ok(ceilings)
    }

    fn write_files(&self, devices: &[SocketAddr], cloud: SocketAddr) -> anyhow::Result<()> {
        let folder = self.folder.join("devices.d");
        std::fs::create_dir_all(&folder)?;
        for (number, at) in devices.iter().enumerate() {
            DeviceSetup::new(&format!("device-{number}")).write(&folder, *at)?;
        }
        let secret = self.folder.join("client-secret");
        std::fs::write(&secret, SECRET)?;
        let mut keys = Keys::default();
        agent_keys(&mut keys, &secret, &format!("http://{cloud}/"));
        Ok(std::fs::write(
            self.folder.join("wardpost.toml"),
            keys.toml(),
        )?)
    }

    /// Starts it as often as it takes to have a figure, and leaves the last one running.
    async fn start_agent(&mut self, agent: &Path) -> anyhow::Result<(Process, Spread)> {
        let mut times = Vec::new();
        loop {
            let began = Instant::now();
            let process = Process::start(&mut self.command(agent), &self.folder.join("agent.log"))?;
            let connected = tokio::time::timeout(CONNECT_WITHIN, self.generator.connected()).await;
            connected.with_context(|| {
                format!(
                    "it does not connect; its log ends:\n{}",
                    process.last_words()
                )
            })??;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            if times.len() >= self.pace.starts {
                return Ok((process, Spread::of(times)));
            }
            self.generator.hang_up();
            let status = process.stop()?;
            ensure!(status.success(), "the agent ended with {status}");
        }
    }

    fn command(&self, agent: &Path) -> Command {
        let mut command = Command::new(agent);
        command
            .arg("run")
            .arg("--config")
            .arg(self.folder.join("wardpost.toml"));
        command.arg("--state").arg(self.folder.join("state"));
        command
            .arg("--control")
            .arg(self.folder.join("control.sock"));
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("CREDENTIALS_DIRECTORY");
        command
    }

    async fn row(&mut self, shape: Shape, ceiling: f64, agent: u32) -> anyhow::Result<Row> {
        self.generator.keep_up(shape, self.pace.warm_up).await?;
        let (mut rates, mut cpus, mut harness) = (Vec::new(), Vec::new(), Vec::new());
        let (mut latencies, mut disk) = (Vec::new(), Vec::new());
        for _ in 0..self.pace.runs {
            let probe = DiskProbe::start(&self.folder)?;
            let before = (cpu_seconds(agent)?, cpu_seconds(std::process::id())?);
            let stretch = self.generator.keep_up(shape, self.pace.run).await?;
            let after = (cpu_seconds(agent)?, cpu_seconds(std::process::id())?);
            disk.extend(probe.stop()?);
            let pushes = u32::try_from(stretch.latencies.len())?;
            ensure!(
                pushes > 0,
                "not one push was answered in {:?}",
                stretch.took
            );
            rates.push(rate(stretch.latencies.len(), stretch.took));
            cpus.push((after.0 - before.0) * 10_000.0 / f64::from(pushes));
            harness.push((after.1 - before.1) / stretch.took.as_secs_f64());
            latencies.extend(stretch.latencies);
        }
        self.generator.drain().await?;
        Ok(Row {
            shape,
            rates: Spread::of(rates),
            p50_ms: milliseconds(quantile(&mut latencies, 0.5)),
            p99_ms: milliseconds(quantile(&mut latencies, 0.99)),
            cpus: Spread::of(cpus),
            harness: Spread::of(harness),
            disk_p50_ms: milliseconds(quantile(&mut disk, 0.5)),
            disk_p99_ms: milliseconds(quantile(&mut disk, 0.99)),
            ceiling,
        })
    }

    fn judge(&self, seen: &Seen) -> anyhow::Result<()> {
        let mut faults = self.generator.faults();
        let received = seen.received.load(Ordering::Relaxed) as usize;
        let disordered = seen.disordered.load(Ordering::Relaxed);
        if received != self.generator.sent() {
            faults.push(format!(
                "{} pushes, and the devices received {received}",
                self.generator.sent()
            ));
        }
        if disordered > 0 {
            faults.push(format!("{disordered} messages out of order"));
        }
        ensure!(
            faults.is_empty(),
            "the figures do not count:\n{}",
            faults.join("\n")
        );
        Ok(())
    }
}

fn rate(pushes: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(pushes).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

fn milliseconds(micros: u32) -> f64 {
    f64::from(micros) / 1e3
}

const DEVICES: usize = 16;
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
    Shape {
        in_flight: 128,
        devices: DEVICES,
    },
];
/// Nothing in flight; heartbeats are answered.
const IDLE: Shape = Shape {
    in_flight: 0,
    devices: 1,
};
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_generator_and_a_null_agent_lose_nothing() {
        let seen = Arc::new(Seen::default());
        let devices = devices::start(DEVICES, &seen).await.unwrap();
        let (generator, address) = Generator::start(&devices).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench {
            generator,
            pace: Pace::QUICK,
            folder: folder.path().to_owned(),
        };
        let ceilings = bench.ceilings(address).await.unwrap();
        assert!(
            ceilings.iter().all(|ceiling| *ceiling > 0.0),
            "{ceilings:?}"
        );
        bench.judge(&seen).unwrap();
    }
}
