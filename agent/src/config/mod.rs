//! The configuration: `wardpost.toml` and the device files beside it.
//!
//! | step | module |
//! | --- | --- |
//! | a file as keys with places, around its syntax errors | `raw`, `repair`, `spans` |
//! | values by key and type, every mistake noted | `values`, `notes` |
//! | values as settings | `check`, `alarms`, `cloud`, `way`, `devices`, `transport`, `tls`, `hl7`, `delivery` |
//! | what only several files together get wrong | `clash` |
//! | what a stranger may see of the files | `shown` |
//! | the last configuration that was applied, for a start without a good one | `good` |
//!
//! Only what passed is a [`Config`]. Nothing here opens a socket or reads a secret.

mod alarms;
mod check;
mod clash;
mod cloud;
mod delivery;
mod devices;
mod duration;
mod files;
pub mod good;
mod hl7;
mod nearest;
mod notes;
mod problem;
mod raw;
mod repair;
mod shown;
mod spans;
mod tls;
mod transport;
mod values;
mod way;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use agent_core::push::{DeviceNo, Policy, ReturnAck};
use agent_core::route::{Address, Entry, HostPort, Unmapped};
use device_drivers::hl7::Charset;
use tracing::Level;
use url::Url;

pub use files::{Folder, Loaded, Paths, Texts, check, load, load_texts, reload};
pub use problem::{Problem, Severity};
pub use shown::{Shown, shown};
pub use spans::Place;
pub use tls::DeviceTls;

use crate::alarms::AlarmTimes;
use crate::cloud::dial::WayOut;
use crate::secret::Secret;

/// What the agent does, as its files say.
#[derive(Clone, Debug)]
pub struct Config {
    pub cloud: Cloud,
    pub unmapped: Unmapped,
    pub limits: Limits,
    pub alarms: AlarmTimes,
    pub retention: Retention,
    pub level: Level,
    /// How pushes to devices without a file are delivered.
    pub unmapped_policy: Policy,
    /// In order of their files' names.
    pub devices: Vec<DeviceConfig>,
    /// Files that cannot be used; their devices are off.
    pub broken: Vec<Broken>,
}

/// The Medplum server and who the agent is there.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// Ends with a slash.
    pub url: Url,
    /// `Agent.id`.
    pub agent: String,
    /// `ClientApplication.id`.
    pub client: String,
    /// Where the client's secret is, if it is no systemd credential.
    pub client_secret_file: Option<PathBuf>,
    /// How it is reached: proxy, trust, and who we are in TLS.
    pub way: WayOut,
    /// The Agent channel that takes receipts and alarms.
    pub receipts: Option<String>,
    pub commands: Commands,
    /// Whether and how often Tasks are looked for.
    pub mailbox: crate::cloud::mailbox::Rules,
}

impl Cloud {
    /// Where the client's secret is.
    pub fn secret(&self) -> Secret {
        let file = self.client_secret_file.clone();
        file.map_or_else(|| Secret::Credential(CREDENTIAL.into()), Secret::File)
    }
}

/// Which commands the cloud may give by a push to `device://self`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Commands {
    All,
    Only(BTreeSet<String>),
}

impl Commands {
    pub fn allow(&self, verb: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(verbs) => verbs.contains(verb),
        }
    }
}

/// What would otherwise grow without end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the body of a push.
    pub max_push_bytes: usize,
    /// Pushes that wait for one device, where its file does not say.
    pub max_queued: usize,
    /// Pushes that wait for all devices.
    pub max_queued_total: usize,
    pub max_devices: usize,
    /// Receipts and alarms that wait for the cloud; what is new beyond them is left out.
    pub max_uploads: usize,
    /// Bytes in use in the database, above which no new push is taken.
    pub max_disk: usize,
    /// Bytes free on the file system of the state, below which no new push is taken.
    pub min_free: usize,
    /// Bytes of a file that is given up when the disk is full.
    pub reserve: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_push_bytes: 16 * 1024 * 1024,
            max_queued: 100_000,
            max_queued_total: 1_000_000,
            max_devices: 1000,
            max_uploads: 100_000,
            max_disk: 8 << 30,
            min_free: 128 << 20,
            reserve: 16 << 20,
        }
    }
}

/// How long what is over is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    pub bodies: Duration,
    pub rows: Duration,
}

/// One device of the site.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    pub file: PathBuf,
    pub name: String,
    /// For people; the name if the file has none.
    pub label: String,
    /// As written, with its query.
    pub url: String,
    pub address: Address,
    pub aliases: Vec<String>,
    pub enabled: bool,
    /// The Agent channel that takes what the device sends.
    pub channel: Option<String>,
    pub dial: HostPort,
    /// How it proves who it is, where its url asks for TLS.
    pub tls: Option<DeviceTls>,
    pub timing: Timing,
    pub lifetime: Lifetime,
    pub hl7: Hl7,
    pub policy: Policy,
}

impl DeviceConfig {
    /// The device in the table of routes, under its number in the store.
    pub fn entry(&self, no: DeviceNo) -> Entry {
        Entry {
            no,
            name: self.name.clone(),
            address: self.address.clone(),
            aliases: self.aliases.clone(),
            dial: Some(self.dial.clone()),
        }
    }
}

/// How a line connects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    pub reconnect_min: Duration,
    pub reconnect_max: Duration,
    pub keepalive: Duration,
    pub connect_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            reconnect_min: Duration::from_millis(500),
            reconnect_max: 30 * SECOND,
            keepalive: 30 * SECOND,
            connect_timeout: 10 * SECOND,
        }
    }
}

/// How long a connection lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    Persistent,
    PerMessage,
}

/// How a device speaks HL7.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hl7 {
    /// `None`: the query of the url decides.
    pub return_ack: Option<ReturnAck>,
    /// `None`: the query of the url decides.
    pub charset: Option<Charset>,
    pub ack_timeout: Duration,
    pub app_ack_timeout: Duration,
    pub strict_end: bool,
    /// Bytes of a message, either way.
    pub max_message: usize,
}

impl Default for Hl7 {
    fn default() -> Self {
        Self {
            return_ack: None,
            charset: None,
            ack_timeout: 30 * SECOND,
            app_ack_timeout: 120 * SECOND,
            strict_end: false,
            max_message: 16 * 1024 * 1024,
        }
    }
}

/// A device file that cannot be used.
#[derive(Clone, Debug)]
pub struct Broken {
    pub file: PathBuf,
    /// Its device, as far as the file could be read.
    pub name: Option<String>,
    pub address: Option<Address>,
    pub aliases: Vec<String>,
    pub problems: Vec<Problem>,
}

/// Name of the systemd credential with the client's secret.
const CREDENTIAL: &str = "client-secret";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Shorter waits are for tests and too short even there.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const MOST_QUEUED: usize = 10_000_000;
/// Escaped as JSON it can be six times as long, and the unit file lets the agent have 1 GiB of memory.
const MOST_BYTES: usize = 64 * 1024 * 1024;
const MOST_DEVICES: usize = 10_000;

#[cfg(test)]
mod tests;
