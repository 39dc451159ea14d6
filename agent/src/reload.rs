//! Reads the configuration anew while the agent runs: all of it, or nothing.
//!
//! One unit, so that one reload follows the other whoever asks: the service manager (SIGHUP), the cloud, a person. It
//! reads the files, and every file that they name, and checks them together; after any mistake nothing has changed. Else
//! the store is told first, in one commit with the audit row, and then nothing can fail any more:
//!
//! ```text
//! read, check ──► plan ──► store (commit) ──► site ──► lines ──► uplink, log ──► good copy ──► tell
//!     │ any mistake           │ cannot write
//!     └───────────────────────┴──► nothing has changed; tell every mistake
//! ```

pub mod first;
pub mod plan;
pub mod proofs;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_core::push::{DeviceNo, Timestamp};
use agent_core::queue::QueueReport;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::cloud::settings::Settings;
use crate::config::good::GoodCopy;
use crate::config::{self, Config, DeviceConfig, Folder, Loaded, Paths};
use crate::lines::RunningLines;
use crate::pulse::Tether;
use crate::site::{Devices, Rules, Site};
use crate::snapshot::Board;
use crate::store::{Asked, Store, StoreError};
use crate::telemetry::LevelSwitch;
use crate::tls::Watch;
use crate::{certificates, clock, systemd};
pub use plan::Plan;

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<Request>);

/// Somebody wants a reload; who waits for what comes of it is told.
#[derive(Debug)]
pub struct Request {
    who: String,
    reply: Option<oneshot::Sender<Outcome>>,
}

pub type Outcome = Result<Report, Refused>;

/// What a reload has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    pub plan: Plan,
    /// The same for people, a sentence each; warnings last.
    pub said: Vec<String>,
}

/// Everything that is wrong. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub problems: Vec<String>,
}

/// The configuration that is in force.
#[derive(Clone, Debug)]
pub struct Applied {
    pub config: Config,
    pub uplink: Settings,
    /// Certificates and keys of devices that cannot be used.
    pub faults: Vec<proofs::Fault>,
    pub at: Timestamp,
}

/// What was read, and may be applied.
struct Found {
    loaded: Loaded,
    uplink: Settings,
    faults: Vec<proofs::Fault>,
}

/// The unit.
#[derive(Debug)]
pub struct Reload {
    pub paths: Paths,
    pub state: PathBuf,
    pub applied: Applied,
    pub site: Site,
    pub lines: RunningLines,
    pub uplink: watch::Sender<Arc<Settings>>,
    /// The watch over certificates that end.
    pub ends: Watch,
    pub level: LevelSwitch,
    pub board: Board,
}

impl Reloader {
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (ask, asked) = mpsc::channel(REQUESTS);
        (Self(ask), asked)
    }

    /// Asks and waits.
    pub async fn reload(&self, who: &str) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let request = Request {
            who: who.to_owned(),
            reply: Some(reply),
        };
        if self.0.send(request).await.is_err() {
            return Err(Refused::because(STOPPING.into()));
        }
        let stopped = |_| Err(Refused::because(STOPPING.into()));
        outcome.await.unwrap_or_else(stopped)
    }

    /// Asks and does not wait. Where many wait already, one of them will read what is there now.
    pub fn ask(&self, who: &str) {
        let request = Request {
            who: who.to_owned(),
            reply: None,
        };
        if self.0.try_send(request).is_err() {
            info!("reloads wait already; one of them will see the newest files");
        }
    }
}

impl Reload {
    pub async fn run(mut self, mut asked: mpsc::Receiver<Request>, tether: Tether) {
        loop {
            tether.pulse.beat();
            let request = tokio::select! {
                () = tether.stop.cancelled() => return,
                () = tether.pulse.due() => continue,
                request = asked.recv() => request,
            };
            let Some(Request { who, reply }) = request else {
                return;
            };
            let outcome = self.reload(&who).await;
            if let Some(reply) = reply {
                // Whoever asked may be gone; the log has it all the same.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn reload(&mut self, who: &str) -> Outcome {
        systemd::reloading();
        info!(who, "reading the configuration anew");
        let outcome = self.try_reload(who).await;
        match &outcome {
            Ok(report) => report.said.iter().for_each(|said| info!(said, "reloaded")),
            Err(refused) => self.tell(refused),
        }
        systemd::ready(&self.board.line());
        outcome
    }

    fn tell(&self, refused: &Refused) {
        for problem in &refused.problems {
            error!(problem, "the configuration was not changed");
        }
        self.board.refused(clock::utc(), &refused.problems);
    }

    async fn try_reload(&mut self, who: &str) -> Outcome {
        let Found {
            loaded,
            uplink,
            faults,
        } = self.read().await?;
        let next = Applied {
            config: loaded.config.clone(),
            uplink,
            faults,
            at: clock::utc(),
        };
        let plan = Plan::between(&self.applied, &next);
        let waiting = self.apply(&next, &plan, who).await?;
        self.uplink.send_replace(Arc::new(next.uplink.clone()));
        certificates::follow(&self.ends, &next.config);
        self.level.turn_to(next.config.level);
        let mut said = words::changes(&plan, &waiting);
        said.extend(loaded.warnings.iter().map(ToString::to_string));
        said.extend(next.uplink.faults());
        self.board.applied(next.at, Vec::new());
        self.applied = next;
        keep(&self.state, self.applied.at, loaded).await;
        Ok(Report { plan, said })
    }

    /// Reads and checks everything, also what only one file together with what is in force gets wrong.
    async fn read(&self) -> Result<Found, Refused> {
        let (paths, known) = (self.paths.clone(), self.applied.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = config::reload(&paths).map_err(|problems| Refused::by(&problems))?;
            let uplink = Settings::read(&loaded.config, &known.uplink.watch);
            let mut problems = uplink.faults_since(&known.uplink);
            let faults = proofs::faults(&loaded.config);
            problems.extend(proofs::new(&faults, &known.faults));
            problems.extend(vanished(&known.config, &loaded, &paths));
            match problems.as_slice() {
                [] => Ok(Found {
                    loaded,
                    uplink,
                    faults,
                }),
                _ => Err(Refused { problems }),
            }
        });
        reading
            .await
            .unwrap_or_else(|_| Err(Refused::because(STOPPING.into())))
    }

    /// Store, site and lines. Nothing of it is in force before the store has written it down.
    async fn apply(&self, next: &Applied, plan: &Plan, who: &str) -> Result<QueueReport, Refused> {
        let _alone = self.site.changing().await;
        let store = self.lines.store();
        let waiting = store.report().await?;
        let mapped = self.numbered(&next.config.devices, store).await?;
        let known = waiting.devices.iter();
        let known = known.map(|device| (device.no, device.name.clone()));
        let devices = Devices::with_known(mapped, known, Rules::of(&next.config))
            .map_err(|clash| Refused::because(clash.to_string()))?;
        let asked = Asked {
            who: who.to_owned(),
            changes: words::audited(plan),
        };
        store.configure(devices.for_store(Some(asked))).await?;
        self.site.replace(devices);
        self.lines.follow(&self.site.devices());
        Ok(waiting)
    }

    /// The devices of the files under their numbers; new names get new ones.
    async fn numbered(
        &self,
        configs: &[DeviceConfig],
        store: &Store,
    ) -> Result<HashMap<DeviceNo, DeviceConfig>, StoreError> {
        let known = self.site.devices();
        let mut devices = HashMap::new();
        for config in configs {
            let no = match known.by_name(&config.name) {
                Some(no) => no,
                None => store.number(config.name.clone()).await?,
            };
            devices.insert(no, config.clone());
        }
        Ok(devices)
    }
}

impl Refused {
    fn because(problem: String) -> Self {
        Self {
            problems: vec![problem],
        }
    }

    fn by(problems: &[config::Problem]) -> Self {
        let errors = problems.iter().filter(|problem| problem.is_error());
        Self {
            problems: errors.map(ToString::to_string).collect(),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::because(error.sentence())
    }
}

/// Keeps what is applied for a start without a good `wardpost.toml`. Without the copy the agent is as good as before.
async fn keep(state: &Path, applied: Timestamp, loaded: Loaded) {
    let state = state.to_owned();
    let keeping = tokio::task::spawn_blocking(move || keep_now(&state, applied, loaded));
    if let Err(error) = keeping.await {
        warn!(%error, "no copy of the configuration is kept");
    }
}

/// The same at once, for a start.
pub fn keep_now(state: &Path, applied: Timestamp, loaded: Loaded) {
    if let Err(error) = GoodCopy::of(applied, loaded).keep(state) {
        warn!(
            error = &error as &dyn std::error::Error,
            "no copy of the configuration is kept"
        );
    }
}

/// A folder that is not there at all is more likely a disk that is not mounted than the wish for no devices.
fn vanished(known: &Config, loaded: &Loaded, paths: &Paths) -> Option<String> {
    let had = known.devices.len() + known.broken.len();
    (loaded.texts.folder == Folder::Missing && had > 0).then(|| {
        format!(
            "the folder of the device files, {}, is not there any more; put it back, or make an empty one if the site \
             has no devices",
            paths.devices.display()
        )
    })
}

/// Reloads that may wait; each of them reads what is there when its turn comes.
const REQUESTS: usize = 16;
const STOPPING: &str = "the agent stops";

#[cfg(test)]
mod tests;
