//! The composition root: every unit is built here, in the order in which it may rely on the others, and stopped in the
//! other order.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use agent_core::push::{DeviceNo, Mono};
use agent_core::queue;
use agent_core::route::{Route, Unmapped};
use anyhow::{Context, Result, anyhow, bail};
use secrecy::SecretString;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::adopt::{Adopter, LineStarter};
use crate::cloud::intake::Intake;
use crate::cloud::token::Credentials;
use crate::cloud::uplink::{Settings, Uplink};
use crate::cloud::{Said, ping};
use crate::config::{Config, DeviceConfig, Limits, Paths, Problem, load};
use crate::control::Control;
use crate::control::server::Socket;
use crate::dispatch::Dispatch;
use crate::line::LineConfig;
use crate::pulse::Tether;
use crate::site::{Devices, Site, unmapped};
use crate::snapshot::Board;
use crate::store::{Bounds, Kept, Opened, Running, Store, StoreError, Wiring};
use crate::supervisor::Supervisor;
use crate::telemetry::{self, LogRing};
use crate::tls::Watch;
use crate::{certificates, clock, cloud, retention, systemd, watchdog};

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    pub config: Paths,
    pub state: PathBuf,
    pub control: PathBuf,
}

/// The agent with all its units running.
#[derive(Debug)]
pub struct Agent {
    supervisor: Supervisor,
    store: Store,
    board: Board,
}

impl Agent {
    /// Reads the configuration, opens the store, and starts every unit. Needs no network.
    pub fn build(places: &Places) -> Result<Self> {
        let loaded = load(&places.config).map_err(|problems| anyhow!(listed(&problems)))?;
        let logs = telemetry::start(loaded.config.level);
        tell_problems(&loaded.warnings, &loaded.config);
        let config = loaded.config;
        let secret = read_secret(&config);
        let starting = systemd::Starting::begin("opening the database");
        let opened = Opened::open(&places.state).map_err(|error| anyhow!(error.sentence()))?;
        let (devices, rules) = site_devices(&config, &opened)?;
        let known = opened.known_devices()?;
        let site = Site::new(Devices::new(devices, rules, config.broken.clone())?);
        let dispatch = Dispatch::default();
        let (say, said) = mpsc::channel(SAID);
        let running = opened.start(Wiring {
            devices: queue_devices(&site.devices(), known, &config),
            limit: config.limits.max_queued_total,
            bounds: bounds(&config.limits),
            lines: dispatch.clone(),
            said: say.clone(),
            join_digest: cloud::join_digest,
        });
        let running = running.map_err(|error| anyhow!(error.sentence()))?;
        drop(starting);
        let socket = Socket::bind(&places.control)
            .with_context(|| format!("cannot listen on {}", places.control.display()))?;
        let parts = Parts {
            config,
            secret,
            site,
            dispatch,
            say,
            said,
            socket,
            logs,
        };
        Ok(Self::start(parts, running))
    }

    fn start(parts: Parts, running: Running) -> Self {
        let watched = systemd::watchdog();
        let supervisor = Supervisor::new(watched);
        let store = running.store;
        let board = Board::new(problems(&parts.config));
        let control = Control {
            store: store.clone(),
            site: parts.site.clone(),
            board: board.clone(),
        };
        let stop = supervisor.stop_token();
        supervisor.core("store", async move { store_ended(running.ended.await) });
        supervisor.core(
            "timer",
            timer(store.clone(), running.next_tick, supervisor.tether("timer")),
        );
        let kept = Kept {
            words: parts.config.retention.bodies,
            rows: parts.config.retention.rows,
        };
        let sweep = retention::run(store.clone(), kept, supervisor.tether("sweep"));
        supervisor.core("sweep", sweep);
        if let Some(period) = watched {
            watch(&supervisor, &store, period);
        }
        let ends = certificates(&parts.config, &board, &supervisor);
        let lines = LineStarter {
            store: store.clone(),
            dispatch: parts.dispatch,
            spawner: supervisor.lines(),
            watch: ends.clone(),
            stop,
        };
        start_lines(&lines, &parts.site);
        let spawner = supervisor.spawner();
        let serve = parts
            .socket
            .serve(control.clone(), spawner, supervisor.tether("control"));
        supervisor.core("control", never_fails(serve));
        let (pings, asked) = mpsc::channel(PINGS);
        supervisor.core(
            "ping",
            ping::run(asked, parts.say, supervisor.tether("ping")),
        );
        let intake = Intake {
            control,
            adopter: adopter(&parts.config, &parts.site, lines),
            commands: parts.config.cloud.commands.clone(),
            max_push_bytes: parts.config.limits.max_push_bytes,
            pings,
            logs: parts.logs,
        };
        let settings = settings(&parts.config, parts.secret, ends);
        let uplink = Uplink::run(intake, settings, parts.said, supervisor.tether("uplink"));
        supervisor.core("uplink", never_fails(uplink));
        Self {
            supervisor,
            store,
            board,
        }
    }

    /// Runs until a signal, or until something essential is over.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        systemd::ready(&self.board.line());
        info!("ready");
        let over = loop {
            tokio::select! {
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                over = self.supervisor.over() => break Some(over),
                () = self.board.news() => systemd::status(&self.board.line()),
            }
        };
        systemd::stopping();
        info!("stopping");
        let closed = tokio::select! {
            closed = self.stop() => closed,
            _ = terminate.recv() => {
                warn!("{TOLD_AGAIN}");
                Ok(())
            }
            _ = interrupt.recv() => {
                warn!("{TOLD_AGAIN}");
                Ok(())
            }
        };
        match over {
            None => closed.context("the store could not be closed well"),
            Some(over) => bail!("the {} is over: {}", over.unit, over.why),
        }
    }

    /// Lines finish what is on the wire, then the store writes its last mark. A store that is over by then has failed.
    async fn stop(&self) -> Result<(), StoreError> {
        let mut closed = Ok(());
        let close = async { closed = self.store.stop().await };
        self.supervisor.stop(PATIENCE, close).await;
        closed
    }
}

/// What `start` takes over from `build`.
struct Parts {
    config: Config,
    secret: SecretString,
    site: Site,
    dispatch: Dispatch,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    socket: Socket,
    logs: LogRing,
}

/// The devices of the files under their numbers, and those without a file that pushes have named before.
fn site_devices(
    config: &Config,
    opened: &Opened,
) -> Result<(HashMap<DeviceNo, DeviceConfig>, Unmapped)> {
    let names: Vec<String> = config
        .devices
        .iter()
        .map(|device| device.name.clone())
        .collect();
    let numbers = opened.device_numbers(&names)?;
    let mut devices: HashMap<DeviceNo, DeviceConfig> = config
        .devices
        .iter()
        .filter_map(|device| Some((*numbers.get(&device.name)?, device.clone())))
        .collect();
    let rules = config.unmapped.clone();
    let mapped = Devices::new(devices.clone(), rules.clone(), config.broken.clone())?;
    for (no, name) in opened.known_devices()? {
        if mapped.broken_file(&name).is_none()
            && let Route::Allowed(remote) = mapped.resolve(&name)
            && let Some(device) = unmapped(remote, &config.unmapped_policy)
        {
            devices.insert(no, device);
        }
    }
    Ok((devices, rules))
}

/// The devices of the site, and those whose file is gone: they keep their queue and are off.
fn queue_devices(
    devices: &Devices,
    known: Vec<(DeviceNo, String)>,
    config: &Config,
) -> Vec<(DeviceNo, queue::DeviceConfig)> {
    let policy = &config.unmapped_policy;
    let gone = known
        .into_iter()
        .filter(|(no, _)| devices.get(*no).is_none());
    let gone = gone.map(|(no, name)| {
        (
            no,
            queue::DeviceConfig {
                name,
                policy: policy.clone(),
                enabled: false,
            },
        )
    });
    devices.for_queue().into_iter().chain(gone).collect()
}

fn start_lines(lines: &LineStarter, site: &Site) {
    for (no, device) in site
        .devices()
        .iter()
        .filter(|(_, device)| device.config.enabled)
    {
        lines.start(LineConfig::of(no, &device.config));
    }
}

fn adopter(config: &Config, site: &Site, lines: LineStarter) -> Adopter {
    Adopter {
        site: site.clone(),
        lines,
        policy: config.unmapped_policy.clone(),
        rules: config.unmapped.clone(),
        most: config.limits.max_devices,
    }
}

fn settings(config: &Config, secret: SecretString, ends: Watch) -> Settings {
    let cloud = &config.cloud;
    Settings {
        url: cloud.url.clone(),
        agent: cloud.agent.clone(),
        credentials: Credentials {
            client: cloud.client.clone(),
            secret,
        },
        way: cloud.way.clone(),
        watch: ends,
        // A body escaped as JSON can be six times as long; the rest of the envelope is small. One above the limit is
        // still read, so that it can be refused with a sentence instead of a broken session.
        largest_message: config.limits.max_push_bytes.saturating_mul(6) + ENVELOPE,
    }
}

/// The client's secret; empty if there is none. Then the agent runs all the same, and the uplink says what is missing.
fn read_secret(config: &Config) -> SecretString {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let Some(path) = config.cloud.secret_file(folder.as_deref()) else {
        return SecretString::default();
    };
    let secret = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        warn!(path = %path.display(), %error, "the client's secret cannot be read");
        String::new()
    });
    SecretString::from(secret.trim_end_matches(['\r', '\n']).to_owned())
}

/// The watch over certificates that end, and the unit that tells of them.
fn certificates(config: &Config, board: &Board, supervisor: &Supervisor) -> Watch {
    let watch = Watch::default();
    certificates::follow(&watch, config);
    let board = board.clone();
    let post = move |words| board.certificates(words);
    let run = watch.clone().run(post, supervisor.stop_token());
    supervisor.core("certificates", never_fails(run));
    watch
}

fn watch(supervisor: &Supervisor, store: &Store, period: Duration) {
    let ask = watchdog::ask_store(store.clone(), supervisor.tether("store"));
    supervisor.core("store watch", ask);
    let feed = watchdog::feed(supervisor.pulses(), period, supervisor.stop_token());
    supervisor.core("watchdog", never_fails(feed));
}

/// Wakes the store when it wants to be woken, and lets it save the mark of taken answers when nothing else happens.
async fn timer(
    store: Store,
    mut next: watch::Receiver<Option<Mono>>,
    tether: Tether,
) -> Result<(), StoreError> {
    let mut flush = clock::mono().plus(FLUSH_EVERY);
    loop {
        tether.pulse.beat();
        let tick = *next.borrow_and_update();
        let until = tick.map_or(flush, |tick| tick.min(flush));
        tokio::select! {
            () = tether.stop.cancelled() => return Ok(()),
            () = tether.pulse.due() => {}
            changed = next.changed() => if changed.is_err() { return Ok(()) },
            () = clock::sleep_until(until) => {
                if clock::mono() >= flush {
                    store.flush_taken().await?;
                    flush = clock::mono().plus(FLUSH_EVERY);
                }
                if tick.is_some_and(|tick| tick <= clock::mono()) {
                    store.tick().await?;
                    // The writer posts a new wish after each batch; without one there is nothing to wait for.
                    tokio::time::sleep(TICK_GAP).await;
                }
            }
        }
    }
}

fn store_ended<E>(ended: Result<Result<(), StoreError>, E>) -> Result<(), String> {
    let ended = ended.unwrap_or_else(|_| Err(StoreError::Promise("its thread crashed".into())));
    ended.map_err(|error| error.sentence())
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        max_disk: limits.max_disk as u64,
        min_free: limits.min_free as u64,
        reserve: limits.reserve as u64,
    }
}

async fn never_fails(unit: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    unit.await;
    Ok(())
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("the configuration cannot be used:\n{}", lines.join("\n"))
}

fn problems(config: &Config) -> Vec<String> {
    config
        .broken
        .iter()
        .flat_map(|broken| &broken.problems)
        .map(ToString::to_string)
        .collect()
}

fn tell_problems(warnings: &[Problem], config: &Config) {
    for problem in warnings {
        warn!(%problem, "configuration");
    }
    for problem in problems(config) {
        error!(problem, "a device file cannot be used; its device is off");
    }
}

/// Things to say that wait for the uplink; what has no room is read from disk.
const SAID: usize = 4096;
const PINGS: usize = 16;
const ENVELOPE: usize = 64 * 1024;
const FLUSH_EVERY: Duration = Duration::from_secs(10);
const TICK_GAP: Duration = Duration::from_millis(1);
const TOLD_AGAIN: &str = "told to stop a second time; leaving at once";
/// Shorter than the service manager's own patience (systemd's default is 90 s).
const PATIENCE: Duration = Duration::from_secs(8);
