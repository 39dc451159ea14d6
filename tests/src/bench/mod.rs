//! Agent, cloud and devices, wired in one line for a story.
//!
//! ```no_run
//! use scenarios::bench::{DeviceSetup, Setup};
//! use scenarios::sim::Order;
//!
//! let bench = Setup::new().device(DeviceSetup::new("chem")).start();
//! let reply = bench.push("chem", &Order::new(1));
//! assert_eq!(reply.status, 200);
//! ```
//!
//! The agent is always the real binary. The cloud is the real stub, or a [fake](crate::cloud) for what a good server
//! never sends. Everything lives in one temporary folder and ends with the bench; if the test fails, the ends of the
//! logs are printed. A bench panics where it cannot go on: that is how it fails its test.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on fails its test"
)]

mod acting;
mod http;
mod process;
mod running;
mod setup;
mod wait;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tokio::net::TcpSocket;

pub use http::{Http, Reply, not_waiting, waiting};
pub use process::{Process, Ran, binary, run, run_bounded};
pub use running::Bench;
pub use setup::{DeviceSetup, Keys, url};
pub use wait::{wait_for, wait_long_until, wait_until};

use crate::cloud::{AGENT, CLIENT};
use crate::sim::Journal;
#[cfg(doc)]
use crate::wire::Wire;

/// What a bench is made of.
#[derive(Debug, Default)]
pub struct Setup {
    devices: Vec<DeviceSetup>,
    agent: Keys,
    cloud: Which,
    environment: Vec<(String, String)>,
    binary: Option<PathBuf>,
    wrapper: Vec<String>,
    journal: Record,
    wires: Wires,
}

/// Which cloud the agent talks to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Which {
    /// The stub as a real server behaves: it forgets.
    #[default]
    Forgetful,
    /// The stub with `--keep-pushes`.
    Keeping,
    /// The stub that keeps pushes, in this process, where a test can script its faults.
    Scripted,
    Fake,
}

/// What the agent's connections go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Wires {
    #[default]
    None,
    /// A [`Wire`] to the cloud and one to each device.
    All,
}

/// Where it is written down what the devices receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Record {
    #[default]
    Memory,
    /// And in `received.jsonl` in the folder of the bench.
    File,
}

impl Setup {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn device(mut self, device: DeviceSetup) -> Self {
        self.devices.push(device);
        self
    }

    /// Sets a key of `wardpost.toml`; the value is TOML text.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.agent.set(key, value);
        self
    }

    /// The stub keeps what an absent agent would miss.
    #[must_use]
    pub fn keeping(self) -> Self {
        Self {
            cloud: Which::Keeping,
            ..self
        }
    }

    /// The stub in this process, which keeps pushes and has [faults](Bench::faults).
    #[must_use]
    pub fn scripted(self) -> Self {
        Self {
            cloud: Which::Scripted,
            ..self
        }
    }

    /// A fake cloud instead of the stub.
    #[must_use]
    pub fn fake_cloud(self) -> Self {
        Self {
            cloud: Which::Fake,
            ..self
        }
    }

    /// An environment variable of the agent.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Another agent than the one beside this program.
    #[must_use]
    pub fn agent_binary(self, binary: Option<PathBuf>) -> Self {
        Self { binary, ..self }
    }

    /// Words before the agent's command line. What they start has to become the agent's process, or signals miss it.
    #[must_use]
    pub fn wrapped(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(ToString::to_string).collect();
        self
    }

    /// Records in `received.jsonl`, too, what the devices receive.
    #[must_use]
    pub fn recording(self) -> Self {
        Self {
            journal: Record::File,
            ..self
        }
    }

    /// The agent reaches the cloud and each device through a [`Wire`].
    #[must_use]
    pub fn wired(self) -> Self {
        Self {
            wires: Wires::All,
            ..self
        }
    }

    /// Starts everything and waits until the agent is connected.
    pub fn start(self) -> Bench {
        let mut bench = self.start_without_agent();
        bench.start_agent();
        bench
    }

    /// Starts everything but the agent.
    pub fn start_without_agent(self) -> Bench {
        let mut bench = self.prepare();
        bench.start_cloud();
        bench
    }

    /// Starts the devices and writes the files: no cloud and no agent yet.
    pub fn prepare(self) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime starts");
        let folder = tempfile::Builder::new()
            .prefix("wp")
            .tempdir()
            .expect("a temporary folder");
        let journal = match self.journal {
            Record::Memory => Journal::default(),
            Record::File => {
                Journal::to_file(&folder.path().join("received.jsonl")).expect("a journal opens")
            }
        };
        let port = {
            let _inside = runtime.enter();
            reserve_port()
        };
        let mut bench = Bench {
            cloud: None,
            agent: None,
            devices: BTreeMap::new(),
            wires: BTreeMap::new(),
            cloud_wire: None,
            http: None,
            journal,
            port,
            setup: self,
            folder,
            runtime,
        };
        bench.start_devices();
        bench.start_wires();
        bench.write_files();
        bench
    }
}

/// Writes what every agent of a test needs into its keys.
pub fn agent_keys(keys: &mut Keys, secret: &Path, cloud: &str) {
    keys.set("cloud.url", &setup::quoted(cloud));
    keys.set("cloud.agent", &setup::quoted(AGENT));
    keys.set("cloud.client", &setup::quoted(CLIENT));
    keys.set(
        "cloud.client_secret_file",
        &setup::quoted(&secret.to_string_lossy()),
    );
}

/// What `$push` calls a device of a bench.
pub fn destination(device: &str) -> String {
    format!("Device/device-{device}")
}

pub fn push_path() -> String {
    format!("/fhir/R4/Agent/{AGENT}/$push")
}

fn reserve_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket option");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a free port");
    socket
}

pub const SECRET: &str = "not-a-secret-but-a-test";
