//! Lines for devices: started with the agent, and for devices without a file when the first push names one.

use std::collections::HashMap;
use std::sync::Arc;

use agent_core::push::{DeviceNo, Policy};
use agent_core::route::{Remote, Unmapped};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::DeviceConfig;
use crate::dispatch::Dispatch;
use crate::line::{LineConfig, LineTask};
use crate::site::{Devices, Site, unmapped};
use crate::store::{Store, StoreError};
use crate::supervisor::LineSpawner;

/// Takes in devices that have no file, where the site allows it.
#[derive(Clone, Debug)]
pub struct Adopter {
    pub site: Site,
    pub lines: LineStarter,
    pub policy: Policy,
    pub rules: Unmapped,
    pub most: usize,
    /// One at a time: two pushes for one new device must find one device.
    pub turn: Arc<Mutex<()>>,
}

/// Starts the task of a line and puts it where attempts find it.
#[derive(Clone, Debug)]
pub struct LineStarter {
    pub store: Store,
    pub dispatch: Dispatch,
    pub spawner: LineSpawner,
    pub stop: CancellationToken,
}

impl Adopter {
    /// The device for an address that no file maps: known from before, or new.
    pub async fn adopt(&self, remote: Remote) -> Result<DeviceNo, AdoptError> {
        let _turn = self.turn.lock().await;
        let name = remote.to_string();
        let devices = self.site.devices();
        if let Some(no) = devices.by_name(&name) {
            return Ok(no);
        }
        if devices.iter().count() >= self.most {
            return Err(AdoptError::TooMany(self.most));
        }
        let config = unmapped(remote, &self.policy).ok_or(AdoptError::Address)?;
        let no = self.store().number(name.clone()).await?;
        let mut all: HashMap<DeviceNo, DeviceConfig> = devices
            .iter()
            .map(|(no, device)| (no, device.config.clone()))
            .collect();
        all.insert(no, config.clone());
        let next = Devices::new(all, self.rules.clone(), devices.broken().to_vec())
            .map_err(|_| AdoptError::Address)?;
        self.store().configure(next.for_queue()).await?;
        self.site.replace(next);
        self.lines.start(LineConfig::of(no, &config));
        info!(device = %name, "a push names a device without a file; it is taken in, as [map] allows");
        Ok(no)
    }

    fn store(&self) -> &Store {
        &self.lines.store
    }
}

/// Why a device without a file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("there are {0} devices already, which is the limit; map devices by file")]
    TooMany(usize),
    #[error("the address cannot be used without a file")]
    Address,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LineStarter {
    pub fn start(&self, config: LineConfig) {
        let config = Arc::new(config);
        let (name, no) = (config.name.clone(), config.no);
        let starter = self.clone();
        let store = self.store.clone();
        let run = move || {
            let inbox = starter.dispatch.open(no);
            let line = LineTask::new(
                Arc::clone(&config),
                inbox,
                starter.store.clone(),
                starter.stop.clone(),
            );
            async move {
                if let Err(error) = line.run().await {
                    error!(%error, "a line lost the store");
                }
            }
        };
        self.spawner.line(name, run, move || {
            let store = store.clone();
            async move {
                if let Err(error) = store.line_crashed(no).await {
                    error!(%error, "a crashed line could not be reported");
                }
            }
        });
    }
}
