//! One agent between a generator and its devices, in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::devices::{self, Seen};
use super::generator::{Generator, Shape, Stretch};
use super::report::{Row, Spread};
use super::system::{DiskProbe, Memory, cpu_seconds, memory, quantile};
use super::tls::Identity;
use super::trouble::{Trouble, Troubled};
use super::{IDLE, Pace, milliseconds, null_agent, rate};
use crate::bench::{DeviceSetup, Keys, Process, SECRET, agent_keys, run};

/// What a site is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Devices that acknowledge at once.
    pub(super) devices: usize,
    /// And how many with which trouble.
    pub(super) trouble: Vec<(usize, Trouble)>,
    pub(super) way: Way,
    /// Environment variables of the agent.
    pub(super) environment: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Way {
    #[default]
    Plain,
    Tls,
}

/// Everything but the agent, which comes and goes.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) generator: Generator,
    pub(super) troubled: Troubled,
    seen: Arc<Seen>,
    cloud: SocketAddr,
    folder: TempDir,
    agent: PathBuf,
    environment: Vec<(String, String)>,
    /// Pushes that a null agent took.
    before: usize,
}

impl Site {
    pub(super) async fn new(folder: &Path, agent: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("wardpost-bench")
            .tempdir_in(folder)?;
        let seen = Arc::new(Seen::default());
        let devices = devices::start(plan.devices, &seen).await?;
        let mut troubled = Troubled::default();
        for (count, trouble) in &plan.trouble {
            troubled.add(*count, *trouble).await?;
        }
        let identity = match plan.way {
            Way::Plain => None,
            Way::Tls => Some(Identity::new()?),
        };
        let acceptor = identity.as_ref().map(|identity| identity.acceptor.clone());
        let (generator, cloud) = Generator::start(&devices, acceptor).await?;
        let site = Self {
            generator,
            troubled,
            seen,
            cloud,
            folder,
            agent: agent.to_owned(),
            environment: plan.environment.clone(),
            before: 0,
        };
        site.write_files(&devices, identity.as_ref())?;
        Ok(site)
    }

    fn write_files(&self, devices: &[SocketAddr], tls: Option<&Identity>) -> anyhow::Result<()> {
        let folder = self.folder.path().join("devices.d");
        std::fs::create_dir_all(&folder)?;
        for (number, at) in devices.iter().enumerate() {
            DeviceSetup::new(&format!("device-{number}")).write(&folder, *at)?;
        }
        for (number, at) in self.troubled.addresses.iter().enumerate() {
            // As fast to come back as a file without these keys would make it.
            DeviceSetup::new(&format!("troubled-{number}"))
                .text("transport.reconnect_min", "500ms")
                .text("transport.reconnect_max", "30s")
                .write(&folder, *at)?;
        }
        let secret = self.folder.path().join("client-secret");
        std::fs::write(&secret, SECRET)?;
        let mut keys = Keys::default();
        let scheme = if tls.is_some() { "https" } else { "http" };
        agent_keys(&mut keys, &secret, &format!("{scheme}://{}/", self.cloud));
        if let Some(identity) = tls {
            std::fs::write(
                self.folder.path().join("cloud.pem"),
                &identity.certificate_pem,
            )?;
            keys.set("cloud.trust", "\"cloud.pem\"");
        }
        Ok(std::fs::write(
            self.folder.path().join("wardpost.toml"),
            keys.toml(),
        )?)
    }

    /// Starts the agent, and says how many milliseconds it took to connect.
    pub(super) async fn start(&mut self) -> anyhow::Result<(Process, f64)> {
        let began = Instant::now();
        let log = self.folder.path().join("agent.log");
        let process = Process::start(&mut self.command("run"), &log)?;
        let connected = tokio::time::timeout(CONNECT_WITHIN, self.generator.connected()).await;
        connected.with_context(|| {
            format!(
                "it does not connect; its log ends:\n{}",
                process.last_words()
            )
        })??;
        Ok((process, began.elapsed().as_secs_f64() * 1e3))
    }

    /// Starts it as often as it takes to have a figure, and leaves the last one running.
    pub(super) async fn start_again_and_again(
        &mut self,
        times: usize,
    ) -> anyhow::Result<(Process, Spread)> {
        let mut took = Vec::new();
        loop {
            let (process, one) = self.start().await?;
            took.push(one);
            if took.len() >= times {
                return Ok((process, Spread::of(took)));
            }
            self.stop(process)?;
        }
    }

    pub(super) fn stop(&mut self, process: Process) -> anyhow::Result<()> {
        self.generator.hang_up();
        let words = process.last_words();
        let status = process.stop()?;
        ensure!(
            status.success(),
            "the agent ended with {status}; its log ends:\n{words}"
        );
        Ok(())
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.agent);
        let folder = self.folder.path();
        command.arg(verb);
        if verb == "run" {
            command.arg("--config").arg(folder.join("wardpost.toml"));
            command.arg("--state").arg(self.state());
        }
        command.arg("--control").arg(folder.join("control.sock"));
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("CREDENTIALS_DIRECTORY")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// How many pushes wait, by the agent's own word.
    pub(super) fn queued(&self) -> anyhow::Result<u64> {
        let mut command = self.command("status");
        let ran = run(command.arg("--json"))?;
        let status: serde_json::Value = serde_json::from_str(&ran.stdout)
            .with_context(|| format!("status said {}", ran.said()))?;
        status["queued"].as_u64().context("status has no queued")
    }

    /// What the generator does without our agent in between, a figure a shape.
    pub(super) async fn ceilings(
        &mut self,
        shapes: &[Shape],
        pace: Pace,
    ) -> anyhow::Result<Vec<f64>> {
        let address = self.cloud;
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
        for shape in shapes {
            self.generator.keep_up(*shape, pace.warm_up / 2).await?;
            let stretch = self.generator.keep_up(*shape, pace.run / 2).await?;
            ceilings.push(rate(stretch.latencies.len(), stretch.took));
            self.generator.drain().await?;
        }
        self.generator.hang_up();
        // It ends because the cloud hung up, and says so in its own way.
        let _ = null.join();
        self.before = self.generator.sent();
        Ok(ceilings)
    }

    /// Keeps a shape up for some stretches.
    pub(super) async fn row(
        &mut self,
        shape: Shape,
        pace: Pace,
        process: &Process,
    ) -> anyhow::Result<Row> {
        self.generator.keep_up(shape, pace.warm_up).await?;
        let mut sums = Sums::default();
        for _ in 0..pace.runs {
            self.stretch(shape, (pace, process), &mut sums).await?;
        }
        self.generator.drain().await?;
        Ok(sums.row(shape))
    }

    /// One life of the agent with one stretch in it.
    pub(super) async fn life(
        &mut self,
        shape: Shape,
        pace: Pace,
        sums: &mut Sums,
    ) -> anyhow::Result<()> {
        let (process, _) = self.start().await?;
        self.generator.keep_up(shape, pace.warm_up).await?;
        self.stretch(shape, (pace, &process), sums).await?;
        self.generator.drain().await?;
        // What the agent does not know to have arrived it would rightly say again in its next life.
        self.generator.keep_up(IDLE, ASKED_WITHIN).await?;
        self.stop(process)
    }

    async fn stretch(
        &mut self,
        shape: Shape,
        (pace, process): (Pace, &Process),
        sums: &mut Sums,
    ) -> anyhow::Result<()> {
        let meter = self.meter(process)?;
        let stretch = self.generator.keep_up(shape, pace.run).await?;
        sums.add(meter.read(stretch, process)?)
    }

    /// Sends at a fixed rate for one stretch.
    pub(super) async fn paced(
        &mut self,
        per_second: u32,
        devices: usize,
        (pace, process): (Pace, &Process),
    ) -> anyhow::Result<Row> {
        let mut sums = Sums::default();
        for _ in 0..pace.runs {
            let meter = self.meter(process)?;
            let stretch = self.generator.pace(per_second, devices, pace.run).await?;
            sums.add(meter.read(stretch, process)?)?;
        }
        let in_flight = 0;
        Ok(sums.row(Shape { in_flight, devices }))
    }

    fn meter(&self, process: &Process) -> anyhow::Result<Meter> {
        Ok(Meter {
            disk: DiskProbe::start(self.folder.path())?,
            agent: cpu_seconds(process.id())?,
            harness: cpu_seconds(std::process::id())?,
        })
    }

    pub(super) fn memory(process: &Process) -> anyhow::Result<Memory> {
        Ok(memory(process.id())?)
    }

    /// Pushes that the agent was given and somebody waited for.
    pub(super) fn pushes(&self) -> usize {
        self.generator.sent() - self.before
    }

    /// An error if the agent did anything wrong.
    pub(super) fn judge(&self) -> anyhow::Result<()> {
        let mut faults = self.generator.faults();
        let received = self.seen.received.load(Ordering::Relaxed) as usize;
        let disordered = self.seen.disordered.load(Ordering::Relaxed);
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

/// What is read before and after a stretch.
struct Meter {
    disk: DiskProbe,
    agent: f64,
    harness: f64,
}

/// One stretch as figures.
struct Reading {
    stretch: Stretch,
    disk: Vec<u32>,
    /// CPU seconds.
    agent: f64,
    harness: f64,
}

impl Meter {
    fn read(self, stretch: Stretch, process: &Process) -> anyhow::Result<Reading> {
        Ok(Reading {
            agent: cpu_seconds(process.id())? - self.agent,
            harness: cpu_seconds(std::process::id())? - self.harness,
            disk: self.disk.stop()?,
            stretch,
        })
    }
}

/// Figures of several stretches.
#[derive(Default)]
pub(super) struct Sums {
    rates: Vec<f64>,
    cpus: Vec<f64>,
    harness: Vec<f64>,
    latencies: Vec<u32>,
    disk: Vec<u32>,
}

impl Sums {
    fn add(&mut self, reading: Reading) -> anyhow::Result<()> {
        let Reading {
            stretch,
            disk,
            agent,
            harness,
        } = reading;
        let pushes = u32::try_from(stretch.latencies.len())?;
        ensure!(
            pushes > 0,
            "not one push was answered in {:?}",
            stretch.took
        );
        self.rates.push(rate(stretch.latencies.len(), stretch.took));
        self.cpus.push(agent * 10_000.0 / f64::from(pushes));
        self.harness.push(harness / stretch.took.as_secs_f64());
        self.latencies.extend(stretch.latencies);
        self.disk.extend(disk);
        Ok(())
    }

    pub(super) fn row(mut self, shape: Shape) -> Row {
        Row {
            shape,
            rates: Spread::of(self.rates),
            p50_ms: milliseconds(quantile(&mut self.latencies, 0.5)),
            p99_ms: milliseconds(quantile(&mut self.latencies, 0.99)),
            cpus: Spread::of(self.cpus),
            harness: Spread::of(self.harness),
            disk_p50_ms: milliseconds(quantile(&mut self.disk, 0.5)),
            disk_p99_ms: milliseconds(quantile(&mut self.disk, 0.99)),
        }
    }
}

/// Opening a large database may take a while.
/// Longer than the agent waits before it asks for the last answers, and the server answers at once.
const ASKED_WITHIN: Duration = Duration::from_millis(1500);
const CONNECT_WITHIN: Duration = Duration::from_mins(1);
