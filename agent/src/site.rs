//! The devices of this site as the rest of the agent needs them: found by what a push calls them, with the settings
//! that its body is checked against.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use agent_core::push::{DeviceNo, Policy};
use agent_core::queue;
use agent_core::route::{Address, Clash, Entry, HostPort, Remote, Route, Table, Target, Unmapped};

use crate::config::{Broken, DeviceConfig, DeviceTls, Hl7, Lifetime, Timing};
use crate::line::LineConfig;

/// One device, under its number.
#[derive(Debug)]
pub struct SiteDevice {
    pub config: DeviceConfig,
    pub line: LineConfig,
}

/// A cheap handle on the current set of devices.
#[derive(Clone, Debug)]
pub struct Site {
    now: Arc<RwLock<Arc<Devices>>>,
}

#[derive(Debug)]
pub struct Devices {
    table: Table,
    by_no: HashMap<DeviceNo, Arc<SiteDevice>>,
    broken: Vec<Broken>,
}

impl Site {
    pub fn new(devices: Devices) -> Self {
        Self {
            now: Arc::new(RwLock::new(Arc::new(devices))),
        }
    }

    pub fn devices(&self) -> Arc<Devices> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, devices: Devices) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(devices);
    }
}

impl Devices {
    pub fn new(
        devices: impl IntoIterator<Item = (DeviceNo, DeviceConfig)>,
        unmapped: Unmapped,
        broken: Vec<Broken>,
    ) -> Result<Self, Clash> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_no = HashMap::new();
        for (no, config) in devices {
            entries.push(config.entry(no));
            let line = LineConfig::of(no, &config);
            by_no.insert(no, Arc::new(SiteDevice { config, line }));
        }
        Ok(Self {
            table: Table::new(entries, unmapped)?,
            by_no,
            broken,
        })
    }

    pub fn resolve(&self, remote: &str) -> Route {
        self.table.resolve(remote)
    }

    /// The file that would map this remote if it could be used. Such a device is off, and nothing else may stand in for
    /// it: its file may have said how to speak to it.
    pub fn broken_file(&self, remote: &str) -> Option<&Path> {
        let address = remote.parse::<Address>().ok()?;
        let meant = |broken: &&Broken| {
            let named = broken.name.as_deref().map(Address::of_device);
            broken.address.as_ref() == Some(&address) || named.as_ref() == Some(&address)
        };
        self.broken
            .iter()
            .find(meant)
            .map(|broken| broken.file.as_path())
    }

    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Where a ping to a mapped host goes.
    pub fn host(&self, host: &str) -> Option<Target> {
        self.table.host(host)
    }

    pub fn get(&self, no: DeviceNo) -> Option<&Arc<SiteDevice>> {
        self.by_no.get(&no)
    }

    pub fn by_name(&self, name: &str) -> Option<DeviceNo> {
        self.by_no
            .iter()
            .find(|(_, device)| device.config.name == name)
            .map(|(no, _)| *no)
    }

    pub fn iter(&self) -> impl Iterator<Item = (DeviceNo, &Arc<SiteDevice>)> {
        self.by_no.iter().map(|(no, device)| (*no, device))
    }

    /// What the queue is told of the devices.
    pub fn for_queue(&self) -> Vec<(DeviceNo, queue::DeviceConfig)> {
        self.by_no
            .iter()
            .map(|(no, device)| (*no, for_queue(&device.config)))
            .collect()
    }
}

fn for_queue(device: &DeviceConfig) -> queue::DeviceConfig {
    queue::DeviceConfig {
        name: device.name.clone(),
        policy: device.policy.clone(),
        enabled: device.enabled,
    }
}

/// A device that has no file because the site allows some without.
pub fn unmapped(remote: Remote, policy: &Policy) -> Option<DeviceConfig> {
    let name = remote.to_string();
    let address: Address = name.parse().ok()?;
    let dial: HostPort = remote.host_port();
    let tls = DeviceTls::of(&address);
    Some(DeviceConfig {
        file: std::path::PathBuf::new(),
        label: name.clone(),
        url: name.clone(),
        name,
        address,
        aliases: Vec::new(),
        enabled: true,
        channel: None,
        dial,
        tls,
        timing: Timing::default(),
        lifetime: Lifetime::Persistent,
        hl7: Hl7::default(),
        policy: policy.clone(),
    })
}
