//! Lines for devices: started with the agent, and for devices without a file when the first push names one.

use std::collections::HashMap;
use std::sync::Arc;

use agent_core::push::{DeviceNo, Policy};
use agent_core::route::{Remote, Unmapped};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::DeviceConfig;
use crate::dispatch::Dispatch;
use crate::line::{LineConfig, LineTask};
use crate::site::{Devices, Site, unmapped};
use crate::store::{Store, StoreError};
use crate::supervisor::LineSpawner;
use crate::tls::Watch;

/// Takes in devices that have no file, where the site allows it.
#[derive(Clone, Debug)]
pub struct Adopter {
    pub site: Site,
    pub lines: LineStarter,
    pub policy: Policy,
    pub rules: Unmapped,
    pub most: usize,
}

/// Starts the task of a line and puts it where attempts find it.
#[derive(Clone, Debug)]
pub struct LineStarter {
    pub store: Store,
    pub dispatch: Dispatch,
    pub spawner: LineSpawner,
    /// Told when the certificates of devices will be over.
    pub watch: Watch,
    pub stop: CancellationToken,
}

impl Adopter {
    /// The device for an address that no file maps: known from before, or new.
    ///
    /// Called by the uplink alone, one push after the other, so that two pushes for one new device find one device.
    pub async fn adopt(&self, remote: Remote) -> Result<DeviceNo, AdoptError> {
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
    pub fn start(&self, mut config: LineConfig) {
        config.transport = config.transport.watched_by(&self.watch);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use agent_core::route::{Network, Route, Scheme};
    use tokio::sync::mpsc;

    use super::*;
    use crate::store::{Bounds, Opened, Wiring};
    use crate::supervisor::Supervisor;

    const ANALYZER: Remote = Remote {
        scheme: Scheme::Mllp,
        host: std::net::IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7)),
        port: 2575,
    };

    fn policy() -> Policy {
        let device = "[cloud]\nurl = \"https://c.example/\"\nagent = \"a\"\nclient = \"c\"\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wardpost.toml");
        std::fs::write(&file, device).unwrap();
        let loaded = crate::config::load(&crate::config::Paths::new(file, None)).unwrap();
        loaded.config.unmapped_policy
    }

    /// Lines are told to stop before they begin, so that nothing is dialled.
    fn adopter(state: &Path, most: usize) -> Adopter {
        let rules = Unmapped::Allow(vec!["10.0.0.0/8".parse::<Network>().unwrap()]);
        let site = Site::new(Devices::new([], rules.clone(), Vec::new()).unwrap());
        let dispatch = Dispatch::default();
        let running = Opened::open(state)
            .unwrap()
            .start(Wiring {
                devices: Vec::new(),
                limit: 10,
                bounds: Bounds {
                    max_disk: 1 << 30,
                    min_free: 1 << 20,
                    reserve: 1 << 20,
                },
                lines: dispatch.clone(),
                said: mpsc::channel(1).0,
                join_digest: crate::cloud::join_digest,
            })
            .unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let spawner = Supervisor::new(None).lines();
        let lines = LineStarter {
            store: running.store,
            dispatch,
            spawner,
            watch: Watch::default(),
            stop,
        };
        Adopter {
            site,
            lines,
            policy: policy(),
            rules,
            most,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_device_without_a_file_is_taken_in_once_and_keeps_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let first = adopter(folder.path(), 10);
        let no = first.adopt(ANALYZER).await.unwrap();
        assert_eq!(first.adopt(ANALYZER).await.unwrap(), no);
        let found = first
            .site
            .devices()
            .resolve("mllp://10.20.0.7:2575?encoding=utf-8");
        assert_eq!(found, Route::Found(no));
        let report = first.lines.store.report().await.unwrap();
        assert_eq!(report.devices[0].name, "mllp://10.20.0.7:2575");
        first.lines.store.stop().await.unwrap();
        let known = Opened::open(folder.path())
            .unwrap()
            .known_devices()
            .unwrap();
        assert_eq!(known, [(no, "mllp://10.20.0.7:2575".to_owned())]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_new_addresses_is_refused_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let adopter = adopter(folder.path(), 1);
        adopter.adopt(ANALYZER).await.unwrap();
        let refused = adopter
            .adopt(Remote {
                port: 2576,
                ..ANALYZER
            })
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("map devices by file"),
            "{refused}"
        );
    }
}
