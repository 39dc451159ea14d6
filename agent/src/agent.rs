//! The composition root: every unit is built here, in the order in which it may rely on the others, and stopped in the
//! other order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_core::push::{DeviceNo, Mono};
use agent_core::queue;
use anyhow::{Context, Result, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::adopt::Adopter;
use crate::alarms::{self, Sources};
use crate::cloud::intake::Intake;
use crate::cloud::mailbox::{self, Needs, Post};
use crate::cloud::ping::PingRequest;
use crate::cloud::settings::Settings;
use crate::cloud::uplink::Uplink;
use crate::cloud::{Said, ping};
use crate::config::{Config, Paths};
use crate::control::server::Socket;
use crate::control::{Control, diag};
use crate::dispatch::Dispatch;
use crate::lines::{LineNeeds, RunningLines};
use crate::pulse::Tether;
use crate::reload::first::First;
use crate::reload::{Applied, Reload, Reloader, proofs};
use crate::site::{Devices, Rules, Site};
use crate::snapshot::Board;
use crate::store::{Opened, Running, Store, StoreError, Wiring};
use crate::supervisor::Supervisor;
use crate::telemetry::{self, LevelSwitch, LogRing};
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
    reloader: Reloader,
}

impl Agent {
    /// Reads the configuration, opens the store, and starts every unit. Needs no network.
    pub fn build(places: &Places) -> Result<Self> {
        let first = First::read(&places.config, &places.state)?;
        let config = first.loaded.config.clone();
        let (logs, level) = telemetry::start(config.level);
        first.tell();
        let starting = systemd::Starting::begin("opening the database");
        let opened = Opened::open(&places.state).map_err(|error| anyhow!(error.sentence()))?;
        let site = Site::new(site_devices(&config, &opened)?);
        let known = opened.known_devices()?;
        let dispatch = Dispatch::default();
        let (say, said) = mpsc::channel(SAID);
        let running = opened.start(Wiring {
            devices: queue_devices(&site.devices(), known, &config),
            limit: config.limits.max_queued_total,
            bounds: site.devices().rules().bounds,
            upward: site.devices().rules().upward.clone(),
            lines: dispatch.clone(),
            said: say.clone(),
            join_digest: cloud::join_digest,
        });
        let running = running.map_err(|error| anyhow!(error.sentence()))?;
        drop(starting);
        let socket = Socket::bind(&places.control)
            .with_context(|| format!("cannot listen on {}", places.control.display()))?;
        first.keep(&places.state);
        let ends = Watch::default();
        let parts = Parts {
            problems: first.all_problems(),
            applied: Applied {
                uplink: Settings::read(&config, &ends),
                faults: proofs::faults(&config),
                at: first.applied,
                config,
            },
            places: places.clone(),
            site,
            dispatch,
            say,
            said,
            socket,
            logs,
            level,
            ends,
        };
        Ok(Self::start(parts, running))
    }

    fn start(parts: Parts, running: Running) -> Self {
        let watched = systemd::watchdog();
        let supervisor = Supervisor::new(watched);
        let store = store_units(&supervisor, running, (&parts.site, watched));
        let board = Board::new(parts.applied.at, parts.problems);
        let (reloader, asked) = Reloader::new();
        let (settings, news) = watch::channel(Arc::new(parts.applied.uplink.clone()));
        let control = Control {
            store: store.clone(),
            site: parts.site.clone(),
            board: board.clone(),
            reloader: reloader.clone(),
            mailbox: Post::new(),
            sources: diag::Sources {
                config: parts.places.config.clone(),
                state: parts.places.state.clone(),
                logs: parts.logs.clone(),
                settings: news.clone(),
            },
        };
        certificates::follow(&parts.ends, &parts.applied.config);
        watch_all(&supervisor, (&store, &parts.site, &board), &parts.ends);
        let lines = running_lines(&supervisor, &store, (parts.dispatch, parts.ends.clone()));
        lines.follow(&parts.site.devices());
        let spawner = supervisor.spawner();
        let serve = parts
            .socket
            .serve(control.clone(), spawner, supervisor.tether("control"));
        supervisor.core("control", never_fails(serve));
        mailbox_unit(&supervisor, &control, (news.clone(), parts.say.clone()));
        let pings = ping_unit(&supervisor, parts.say);
        let intake = Intake {
            control,
            adopter: Adopter {
                site: parts.site.clone(),
                lines: lines.clone(),
            },
            pings,
            logs: parts.logs,
        };
        let uplink = Uplink::run(intake, news, parts.said, supervisor.tether("uplink"));
        supervisor.core("uplink", never_fails(uplink));
        let reload = Reload {
            paths: parts.places.config,
            state: parts.places.state,
            applied: parts.applied,
            site: parts.site,
            lines,
            uplink: settings,
            ends: parts.ends,
            level: parts.level,
            board: board.clone(),
        };
        let reload = reload.run(asked, supervisor.tether("reload"));
        supervisor.core("reload", never_fails(reload));
        Self {
            supervisor,
            store,
            board,
            reloader,
        }
    }

    /// Runs until a signal, or until something essential is over.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        systemd::ready(&self.board.line());
        info!("ready");
        let over = loop {
            tokio::select! {
                _ = terminate.recv() => break None,
                _ = interrupt.recv() => break None,
                _ = hangup.recv() => self.reloader.ask("signal"),
                over = self.supervisor.over() => break Some(over),
                () = self.board.news() => systemd::status(&self.board.line()),
            }
        };
        if let Some(over) = &over {
            error!(unit = over.unit, why = over.why, "the agent cannot go on");
        }
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
    applied: Applied,
    problems: Vec<String>,
    places: Places,
    site: Site,
    dispatch: Dispatch,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    socket: Socket,
    logs: LogRing,
    level: LevelSwitch,
    ends: Watch,
}

/// The devices of the files under their numbers, and those without a file that pushes have named before.
fn site_devices(config: &Config, opened: &Opened) -> Result<Devices> {
    let names: Vec<String> = config
        .devices
        .iter()
        .map(|device| device.name.clone())
        .collect();
    let numbers = opened.device_numbers(&names)?;
    let mapped = config
        .devices
        .iter()
        .filter_map(|device| Some((*numbers.get(&device.name)?, device.clone())))
        .collect();
    let known = opened.known_devices()?;
    Ok(Devices::with_known(mapped, known, Rules::of(config))?)
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

/// What works for the store.
fn store_units(
    supervisor: &Supervisor,
    running: Running,
    (site, watched): (&Site, Option<Duration>),
) -> Store {
    let store = running.store;
    supervisor.core("store", async move { store_ended(running.ended.await) });
    supervisor.core(
        "timer",
        timer(store.clone(), running.next_tick, supervisor.tether("timer")),
    );
    let tether = supervisor.tether("sweep");
    let sweep = retention::run(store.clone(), site.clone(), tether);
    supervisor.core("sweep", sweep);
    if let Some(period) = watched {
        watch(supervisor, &store, period);
    }
    store
}

fn running_lines(
    supervisor: &Supervisor,
    store: &Store,
    (dispatch, watch): (Dispatch, Watch),
) -> RunningLines {
    RunningLines::new(LineNeeds {
        store: store.clone(),
        dispatch,
        spawner: supervisor.lines(),
        watch,
        stop: supervisor.stop_token(),
    })
}

/// The units that tell of certificates that end, and raise alarms.
fn watch_all(supervisor: &Supervisor, (store, site, board): (&Store, &Site, &Board), ends: &Watch) {
    watch_certificates(ends, board, supervisor);
    let sources = Sources {
        store: store.clone(),
        site: site.clone(),
        board: board.clone(),
    };
    let run = alarms::run(sources, supervisor.tether("alarms"));
    supervisor.core("alarms", run);
}

fn ping_unit(supervisor: &Supervisor, say: mpsc::Sender<Said>) -> mpsc::Sender<PingRequest> {
    let (pings, wanted) = mpsc::channel(PINGS);
    let ping = ping::run(wanted, say, supervisor.tether("ping"));
    supervisor.core("ping", ping);
    pings
}

/// The unit that looks after what the cloud keeps as Tasks.
fn mailbox_unit(
    supervisor: &Supervisor,
    control: &Control,
    (settings, said): (watch::Receiver<Arc<Settings>>, mpsc::Sender<Said>),
) {
    let needs = Needs {
        store: control.store.clone(),
        site: control.site.clone(),
        board: control.board.clone(),
        settings,
        said,
    };
    let run = mailbox::run(needs, control.mailbox.clone(), supervisor.tether("mailbox"));
    supervisor.core("mailbox", run);
}

/// The unit that tells of certificates that end.
fn watch_certificates(watch: &Watch, board: &Board, supervisor: &Supervisor) {
    let board = board.clone();
    let post = move |words| board.certificates(words);
    let run = watch.clone().run(post, supervisor.stop_token());
    supervisor.core("certificates", never_fails(run));
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

async fn never_fails(unit: impl Future<Output = ()>) -> Result<(), std::convert::Infallible> {
    unit.await;
    Ok(())
}

/// Things to say that wait for the uplink; what has no room is read from disk.
const SAID: usize = 4096;
const PINGS: usize = 16;
const FLUSH_EVERY: Duration = Duration::from_secs(10);
const TICK_GAP: Duration = Duration::from_millis(1);
const TOLD_AGAIN: &str = "told to stop a second time; leaving at once";
/// Shorter than the service manager's own patience (systemd's default is 90 s).
const PATIENCE: Duration = Duration::from_secs(8);
