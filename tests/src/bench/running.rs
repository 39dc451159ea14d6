//! The life of a bench: starting, stopping and killing its parts.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on fails its test"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

use super::http::Http;
use super::process::{Process, binary};
use super::wait::wait_until;
use super::{SECRET, Setup, Which, Wires, agent_keys};
use crate::cloud::{AGENT, CLIENT, Cloud};
use crate::sim::{Device, Journal};
use crate::wire::Wire;

/// A running arrangement.
#[derive(Debug)]
pub struct Bench {
    // In the order in which they end: nothing may outlive the runtime and the folder.
    pub(super) agent: Option<Process>,
    pub(super) cloud: Option<CloudSide>,
    pub(super) devices: BTreeMap<String, Device>,
    pub(super) wires: BTreeMap<String, Wire>,
    pub(super) cloud_wire: Option<Wire>,
    pub(super) http: Option<Http>,
    pub(super) journal: Journal,
    /// Bound and never listening: the cloud's port stays ours while the cloud is away.
    pub(super) port: TcpSocket,
    pub(super) setup: Setup,
    pub(super) folder: tempfile::TempDir,
    pub(super) runtime: Runtime,
}

#[derive(Debug)]
pub(super) enum CloudSide {
    Stub(Process),
    Scripted(wardpost_cloud::Cloud),
    Fake(Cloud),
}

/// Starting, stopping, killing.
impl Bench {
    pub fn start_cloud(&mut self) {
        let at = self.cloud_address();
        self.cloud = Some(match self.setup.cloud {
            Which::Fake => CloudSide::Fake(
                self.wait_on(Cloud::start_at(at))
                    .expect("the fake cloud starts"),
            ),
            Which::Scripted => CloudSide::Scripted(self.start_scripted(at)),
            Which::Forgetful | Which::Keeping => CloudSide::Stub(self.start_stub(at)),
        });
    }

    pub fn stop_cloud(&mut self) {
        match self.cloud.take() {
            Some(CloudSide::Stub(stub)) => drop(stub.stop()),
            Some(CloudSide::Scripted(stub)) => self.wait_on(stub.shutdown()),
            Some(CloudSide::Fake(_)) | None => {}
        }
    }

    /// Starts the agent and waits until it is connected.
    pub fn start_agent(&mut self) {
        let before = self.sessions();
        self.start_agent_alone();
        self.wait_connected(before);
    }

    /// Starts the agent and returns at once.
    pub fn start_agent_alone(&mut self) {
        let process = Process::start(&mut self.agent_command(), &self.path("agent.log"));
        self.agent = Some(process.expect("the agent starts"));
    }

    /// The command that starts the agent, for a test that starts a second one.
    pub fn agent_command(&self) -> Command {
        let mut command = self.wrapped_command();
        command
            .arg("run")
            .arg("--config")
            .arg(self.path("wardpost.toml"));
        command
            .arg("--devices")
            .arg(self.path("devices.d"))
            .arg("--state")
            .arg(self.path("state"));
        command.arg("--control").arg(self.path("control.sock"));
        command
    }

    /// SIGKILL. Returns when the process is gone and the cloud has noticed.
    pub fn kill_agent(&mut self) {
        let agent = self.agent.take().expect("an agent runs");
        agent.kill().expect("a process that runs can be killed");
        self.wait_disconnected();
    }

    /// SIGTERM. Returns when the process is gone and the cloud has noticed.
    pub fn stop_agent(&mut self) -> ExitStatus {
        let agent = self.agent.take().expect("an agent runs");
        let status = agent.stop().expect("a process that runs can be stopped");
        self.wait_disconnected();
        status
    }

    pub fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("an agent runs")
    }

    /// Waits until the agent's websocket is open, after `before` sessions with a fake cloud.
    fn wait_connected(&mut self, before: usize) {
        wait_until("the agent to connect", || {
            let ended = self.agent.as_mut().and_then(Process::ended);
            assert!(ended.is_none(), "the agent ended: {ended:?}");
            match &self.cloud {
                Some(CloudSide::Fake(cloud)) => cloud.sessions() > before,
                Some(CloudSide::Stub(_) | CloudSide::Scripted(_)) => {
                    self.agent_status() == "connected"
                }
                None => true,
            }
        });
    }

    fn wait_disconnected(&self) {
        if let Some(CloudSide::Stub(_) | CloudSide::Scripted(_)) = &self.cloud {
            wait_until("the cloud to notice that the agent is gone", || {
                self.agent_status() != "connected"
            });
        }
    }

    fn start_stub(&mut self, at: SocketAddr) -> Process {
        std::fs::write(self.path("seed.json"), self.seed().to_string()).expect("a seed is written");
        let mut command = Command::new(binary("wardpost-cloud").expect("the stub is built"));
        command.arg("--listen").arg(at.to_string());
        command
            .arg("--db")
            .arg(self.stub_database())
            .arg("--seed")
            .arg(self.path("seed.json"));
        command.env("WARDPOST_LOG", "warn");
        if self.setup.cloud == Which::Keeping {
            command.arg("--keep-pushes");
        }
        let log = self.path("cloud.log");
        let _ = std::fs::remove_file(&log);
        let mut stub = Process::start(&mut command, &log).expect("the stub starts");
        wait_until("the stub to listen", || {
            assert!(
                stub.ended().is_none(),
                "the stub ended: {}",
                stub.last_words()
            );
            stub.said().contains("listening on http://")
        });
        if self.http.is_none() {
            self.log_in();
        }
        stub
    }

    fn start_scripted(&mut self, at: SocketAddr) -> wardpost_cloud::Cloud {
        let seed = serde_json::from_value(self.seed()).expect("a seed is one");
        let options = wardpost_cloud::Options {
            listen: at,
            database: wardpost_cloud::Database::File(self.stub_database()),
            seed,
            keep_pushes: true,
            ..wardpost_cloud::Options::default()
        };
        let cloud = self.wait_on(wardpost_cloud::Cloud::start(options));
        let cloud = cloud.expect("the stub starts");
        self.log_in();
        cloud
    }

    /// Gets the caller a token, for when the one it has is worth nothing any more.
    pub fn log_in(&mut self) {
        let http = self.wait_on(Http::log_in(self.cloud_address(), CLIENT, SECRET));
        self.http = Some(http.expect("the stub lets its own client in"));
    }

    pub(super) fn start_devices(&mut self) {
        for setup in &self.setup.devices {
            let device = Device::start(&setup.name, &self.journal, setup.script.clone());
            let device = self.runtime.block_on(device).expect("a device starts");
            self.devices.insert(setup.name.clone(), device);
        }
    }

    pub(super) fn start_wires(&mut self) {
        if self.setup.wires == Wires::None {
            return;
        }
        let _inside = self.runtime.enter();
        let to = |peer| Wire::start(peer).expect("a wire starts");
        let devices = self.devices.iter();
        self.wires = devices
            .map(|(name, device)| (name.clone(), to(device.address())))
            .collect();
        self.cloud_wire = Some(to(self.cloud_address()));
    }

    pub(super) fn write_files(&self) {
        let devices = self.path("devices.d");
        for folder in [&devices, &self.path("state")] {
            std::fs::create_dir_all(folder).expect("a folder is made");
        }
        for setup in &self.setup.devices {
            let mut setup = setup.clone();
            if let Some(wire) = self.wires.get(&setup.name) {
                setup = setup.text("transport.connect", &wire.address().to_string());
            }
            setup
                .write(&devices, self.device(&setup.name).address())
                .expect("a device file is written");
        }
        let mut keys = self.setup.agent.clone();
        agent_keys(
            &mut keys,
            &self.path("client-secret"),
            &format!("http://{}/", self.cloud_as_seen_by_the_agent()),
        );
        std::fs::write(self.path("client-secret"), SECRET).expect("a secret is written");
        std::fs::write(self.path("wardpost.toml"), keys.toml())
            .expect("a configuration is written");
    }
}

impl Bench {
    fn cloud_as_seen_by_the_agent(&self) -> SocketAddr {
        let wire = self.cloud_wire.as_ref().map(Wire::address);
        wire.unwrap_or_else(|| self.cloud_address())
    }

    fn seed(&self) -> Value {
        let device = |name: &str, url: String| {
            json!({
                "resourceType": "Device", "id": format!("device-{name}"), "url": url,
                "deviceName": [{ "name": name, "type": "user-friendly-name" }],
            })
        };
        let devices = self.setup.devices.iter().map(|setup| {
            let at = self.device(&setup.name).address();
            device(&setup.name, setup.url(at))
        });
        let agent =
            json!({ "resourceType": "Agent", "id": AGENT, "name": "Ward 3", "status": "active" });
        let itself = device("self", "device://self".into());
        let resources: Vec<Value> = [agent, itself].into_iter().chain(devices).collect();
        json!({ "clients": [{ "id": CLIENT, "secret": SECRET, "name": "Ward 3 agent" }], "resources": resources })
    }
}
