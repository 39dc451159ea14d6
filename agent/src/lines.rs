//! The lines that run: one for each device that is on. What runs is brought to what is wished; what is right already is
//! not touched.
//!
//! | runs | wished | then |
//! | --- | --- | --- |
//! | nothing | a line | it starts |
//! | a line | the same | it goes on, with its connection and its attempt |
//! | a line | another, or none | it drains: finishes its attempt, and ends |
//! | a line that drains | anything | that comes when it has ended |

use std::collections::HashMap;
use std::collections::hash_map::{Entry, VacantEntry};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_core::push::DeviceNo;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::dispatch::Dispatch;
use crate::line::{LineConfig, LineStop, LineTask};
use crate::site::{Devices, SiteDevice};
use crate::store::Store;
use crate::supervisor::LineSpawner;
use crate::tls::Watch;

/// A cheap handle on all lines.
#[derive(Clone, Debug)]
pub struct RunningLines {
    shared: Arc<Shared>,
}

/// What every line is made with.
#[derive(Clone, Debug)]
pub struct LineNeeds {
    pub store: Store,
    pub dispatch: Dispatch,
    pub spawner: LineSpawner,
    /// Told when the certificates of devices will be over.
    pub watch: Watch,
    /// Ends all lines.
    pub stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    needs: LineNeeds,
    seats: Mutex<HashMap<DeviceNo, Seat>>,
}

/// The line of one device. A device without a seat has none.
#[derive(Debug)]
enum Seat {
    Runs {
        config: Arc<LineConfig>,
        stop: LineStop,
    },
    Drains {
        next: Option<Arc<LineConfig>>,
    },
}

/// Says that a line has ended, however it did.
struct Farewell {
    lines: RunningLines,
    no: DeviceNo,
}

impl RunningLines {
    pub fn new(needs: LineNeeds) -> Self {
        Self {
            shared: Arc::new(Shared {
                needs,
                seats: Mutex::default(),
            }),
        }
    }

    pub fn store(&self) -> &Store {
        &self.shared.needs.store
    }

    /// Wishes for a line like this for the device, or for none.
    pub fn wish(&self, no: DeviceNo, wanted: Option<LineConfig>) {
        let wanted = wanted.map(Arc::new);
        let starts = match self.seats().entry(no) {
            Entry::Occupied(mut seat) => {
                seat.get_mut().wish(wanted);
                None
            }
            Entry::Vacant(seat) => wanted.map(|config| self.seat(seat, config)),
        };
        if let Some((config, stop)) = starts {
            self.start(config, stop);
        }
    }

    /// Wishes for the lines of these devices, and for no others.
    pub fn follow(&self, devices: &Devices) {
        let wanted = |device: &SiteDevice| device.config.enabled.then(|| device.line.clone());
        let running: Vec<DeviceNo> = self.seats().keys().copied().collect();
        let gone = running.into_iter().filter(|no| devices.get(*no).is_none());
        gone.for_each(|no| self.wish(no, None));
        for (no, device) in devices.iter() {
            self.wish(no, wanted(device));
        }
    }

    fn seat(
        &self,
        seat: VacantEntry<'_, DeviceNo, Seat>,
        config: Arc<LineConfig>,
    ) -> (Arc<LineConfig>, LineStop) {
        let stop = LineStop::new(&self.shared.needs.stop);
        seat.insert(Seat::Runs {
            config: Arc::clone(&config),
            stop: stop.clone(),
        });
        (config, stop)
    }

    /// Not under the lock: a runtime that ends drops the task at once, and with it its farewell.
    fn start(&self, config: Arc<LineConfig>, stop: LineStop) {
        let (name, no) = (config.name.clone(), config.no);
        let farewell = Farewell {
            lines: self.clone(),
            no,
        };
        let needs = self.shared.needs.clone();
        let mut config = Arc::unwrap_or_clone(config);
        config.transport = config.transport.watched_by(&needs.watch);
        let config = Arc::new(config);
        let store = needs.store.clone();
        let run = move || {
            // All of it lives in this closure, and is dropped with it when the line has ended.
            let farewell = &farewell;
            let inbox = needs.dispatch.open(farewell.no);
            let line = LineTask::new(
                Arc::clone(&config),
                inbox,
                needs.store.clone(),
                stop.clone(),
            );
            async move {
                if let Err(error) = line.run().await {
                    error!(%error, "a line lost the store");
                }
            }
        };
        let settle = move || {
            let store = store.clone();
            async move {
                if let Err(error) = store.line_crashed(no).await {
                    error!(%error, "a crashed line could not be reported");
                }
            }
        };
        self.shared.needs.spawner.line(name, run, settle);
    }

    /// A line has ended: what was wished for meanwhile starts. A line that was given up starts with the next wish.
    fn over(&self, no: DeviceNo) {
        let Some(Seat::Drains { next: Some(next) }) = self.seats().remove(&no) else {
            return;
        };
        if !self.shared.needs.stop.is_cancelled() {
            info!(device = %next.name, "the line starts with its new settings");
            self.wish(no, Some(Arc::unwrap_or_clone(next)));
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<DeviceNo, Seat>> {
        self.shared
            .seats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn wish(&mut self, wanted: Option<Arc<LineConfig>>) {
        match self {
            Self::Runs { config, .. } if wanted.as_ref() == Some(config) => {}
            Self::Runs { stop, .. } => {
                stop.drain();
                *self = Self::Drains { next: wanted };
            }
            Self::Drains { next } => *next = wanted,
        }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.lines.over(self.no);
    }
}
