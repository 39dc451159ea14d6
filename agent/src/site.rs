//! The devices of this site as the rest of the agent needs them: found by what a push calls them, with the settings
//! that its body is checked against.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use agent_core::push::{DeviceNo, Policy};
use agent_core::queue;
use agent_core::route::{Address, Clash, Entry, HostPort, Remote, Route, Table, Target, Unmapped};

use tokio::sync::{Mutex, MutexGuard};

use crate::alarms::AlarmTimes;
use crate::config::{Broken, Commands, Config, DeviceConfig, DeviceTls, Hl7, Lifetime, Timing};
use crate::line::LineConfig;
use crate::store::{Asked, Bounds, Configuration, Kept, Upward};

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
    change: Arc<Mutex<()>>,
}

#[derive(Debug)]
pub struct Devices {
    table: Table,
    by_no: HashMap<DeviceNo, Arc<SiteDevice>>,
    rules: Rules,
}

/// What holds for all pushes of this site.
#[derive(Clone, Debug)]
pub struct Rules {
    pub unmapped: Unmapped,
    /// How pushes to devices without a file are delivered.
    pub unmapped_policy: Policy,
    /// Files that cannot be used; their devices are off.
    pub broken: Vec<Broken>,
    /// What the cloud may do by a push to `device://self`.
    pub commands: Commands,
    pub max_devices: usize,
    pub max_push_bytes: usize,
    pub max_queued_total: usize,
    pub bounds: Bounds,
    /// Where receipts and alarms go.
    pub upward: Upward,
    pub alarms: AlarmTimes,
    /// How long what is over is kept.
    pub kept: Kept,
}

impl Rules {
    pub fn of(config: &Config) -> Self {
        Self {
            unmapped: config.unmapped.clone(),
            unmapped_policy: config.unmapped_policy.clone(),
            broken: config.broken.clone(),
            commands: config.cloud.commands.clone(),
            max_devices: config.limits.max_devices,
            max_push_bytes: config.limits.max_push_bytes,
            max_queued_total: config.limits.max_queued_total,
            bounds: Bounds {
                max_disk: config.limits.max_disk as u64,
                min_free: config.limits.min_free as u64,
                reserve: config.limits.reserve as u64,
            },
            upward: Upward {
                channel: config.cloud.receipts.clone(),
                agent: config.cloud.agent.clone(),
                limit: config.limits.max_uploads as u64,
            },
            alarms: config.alarms.clone(),
            kept: Kept {
                words: config.retention.bodies,
                rows: config.retention.rows,
            },
        }
    }
}

impl Site {
    pub fn new(devices: Devices) -> Self {
        Self {
            now: Arc::new(RwLock::new(Arc::new(devices))),
            change: Arc::default(),
        }
    }

    /// Waits for its turn to change the devices: whoever looks, decides and replaces must do so alone.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.change.lock().await
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
        rules: Rules,
    ) -> Result<Self, Clash> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_no = HashMap::new();
        for (no, config) in devices {
            entries.push(config.entry(no));
            let line = LineConfig::of(no, &config);
            by_no.insert(no, Arc::new(SiteDevice { config, line }));
        }
        Ok(Self {
            table: Table::new(entries, rules.unmapped.clone())?,
            by_no,
            rules,
        })
    }

    /// The devices of the files under their numbers, and of those known by name only the ones that may be without a
    /// file.
    pub fn with_known(
        mapped: HashMap<DeviceNo, DeviceConfig>,
        known: impl IntoIterator<Item = (DeviceNo, String)>,
        rules: Rules,
    ) -> Result<Self, Clash> {
        let files = Self::new(mapped.clone(), rules.clone())?;
        let mut devices = mapped;
        for (no, name) in known {
            if files.broken_file(&name).is_none()
                && files.file_without_address().is_none()
                && let Route::Allowed(remote) = files.resolve(&name)
                && let Some(device) = unmapped(remote, &rules.unmapped_policy)
            {
                devices.insert(no, device);
            }
        }
        Self::new(devices, rules)
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    pub fn resolve(&self, remote: &str) -> Route {
        self.table.resolve(remote)
    }

    /// The file that would map this remote if it could be used. Such a device is off, and nothing else may stand in for
    /// it: its file may have said how to speak to it.
    pub fn broken_file(&self, remote: &str) -> Option<&Path> {
        let address = remote.parse::<Address>().ok();
        let same = |text: &str| text == remote || address.is_some() && text.parse().ok() == address;
        let meant = |broken: &&Broken| {
            let named = broken.name.as_deref().map(Address::of_device);
            let known = [&broken.address, &named];
            (address.is_some() && known.contains(&&address))
                || broken.aliases.iter().any(|alias| same(alias))
        };
        self.first_broken(meant)
    }

    /// A file of which not even the address is known. It may be about any device that has no other file, and may say how
    /// to speak to it, so none is taken in while there is such a file.
    pub fn file_without_address(&self) -> Option<&Path> {
        self.first_broken(|broken| broken.address.is_none())
    }

    fn first_broken(&self, is_it: impl Fn(&&Broken) -> bool) -> Option<&Path> {
        let found = self.rules.broken.iter().find(is_it)?;
        Some(&found.file)
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

    /// The same with the limits, for the store.
    pub fn for_store(&self, asked: Option<Asked>) -> Configuration {
        Configuration {
            devices: self.for_queue(),
            limit: self.rules.max_queued_total,
            bounds: self.rules.bounds,
            upward: self.rules.upward.clone(),
            asked,
        }
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
