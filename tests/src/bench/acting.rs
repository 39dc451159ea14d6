//! What a story does with a bench: ask, push, command.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on fails its test"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use wardpost_cloud::Faults;

use super::http::{Http, Reply, not_waiting, waiting};
use super::process::{Ran, binary, run_bounded};
use super::running::{Bench, CloudSide};
use super::setup::url;
use super::wait::wait_for;
use super::wait::wait_until;
use super::{destination, push_path};
use crate::cloud::{AGENT, CLIENT, Cloud};
use crate::sim::{Device, Journal, Order, Received};
use crate::wire::Wire;

/// Asking.
impl Bench {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("state").join("wardpost.db")
    }

    pub fn stub_database(&self) -> PathBuf {
        self.path("cloud.db")
    }

    pub fn device(&self, name: &str) -> &Device {
        self.devices.get(name).expect("the setup has this device")
    }

    /// The wire to a device, on a bench that is [wired](super::Setup::wired).
    pub fn wire(&self, device: &str) -> &Wire {
        self.wires.get(device).expect("the bench is wired")
    }

    /// The wire to the cloud, on a bench that is [wired](super::Setup::wired).
    pub fn cloud_wire(&self) -> &Wire {
        self.cloud_wire.as_ref().expect("the bench is wired")
    }

    pub fn received(&self, device: &str) -> Vec<Received> {
        self.device(device).received()
    }

    /// Control ids of what a device received, oldest first.
    pub fn control_ids(&self, device: &str) -> Vec<String> {
        self.received(device)
            .into_iter()
            .map(|received| received.control_id)
            .collect()
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn http(&self) -> &Http {
        self.http.as_ref().expect("the cloud is the stub")
    }

    /// What the agent has logged so far.
    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Leaves the folder on the disk for a person to look at.
    pub fn keep_folder(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Runs something of the runtime's to its end.
    pub fn wait_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(super) fn cloud_address(&self) -> SocketAddr {
        self.port
            .local_addr()
            .expect("a bound socket has an address")
    }

    pub(super) fn sessions(&self) -> usize {
        match &self.cloud {
            Some(CloudSide::Fake(cloud)) => cloud.sessions(),
            Some(CloudSide::Stub(_) | CloudSide::Scripted(_)) | None => 0,
        }
    }

    pub(super) fn agent_status(&self) -> String {
        let reply = self.wait_on(self.http().read(&format!("/fhir/R4/Agent/{AGENT}/$status")));
        let reply = reply.map(|reply| reply.json()).unwrap_or_default();
        reply["parameter"][0]["valueCode"]
            .as_str()
            .unwrap_or("unknown")
            .into()
    }
}

/// Acting.
impl Bench {
    pub fn switch_off(&self, device: &str) {
        self.wait_on(self.device(device).off())
            .expect("a device switches off");
        // What is sent before the agent has noticed may be there, and is held.
        if self.agent.is_some() {
            wait_until("the agent to miss the device", || !self.has_line_to(device));
        }
    }

    fn has_line_to(&self, device: &str) -> bool {
        let ran = self.wardpost(&["--json", "devices"]);
        let Ok(told) = serde_json::from_str::<Value>(&ran.stdout) else {
            return false;
        };
        let devices = told["devices"].as_array();
        let own = |view: &&Value| view["name"] == device;
        let view = devices.into_iter().flatten().find(own);
        view.is_some_and(|view| view["line"] == "connected" || view["line"] == "sending")
    }

    pub fn switch_on(&self, device: &str) {
        self.wait_on(self.device(device).on())
            .expect("a device switches on");
    }

    /// Pushes an order and waits for the answer.
    pub fn push(&self, device: &str, order: &Order) -> Reply {
        self.send(&waiting(
            &destination(device),
            agent_wire::HL7,
            &order.text(),
        ))
    }

    /// Pushes an order and does not wait for what becomes of it.
    pub fn push_and_go(&self, device: &str, order: &Order) {
        let reply = self.send(&not_waiting(
            &destination(device),
            agent_wire::HL7,
            &order.text(),
        ));
        assert!(reply.status < 300, "{reply:?}");
    }

    /// Pushes an order in the background.
    pub fn pushing(&self, device: &str, order: &Order) -> JoinHandle<Reply> {
        let (http, body) = (
            self.http().clone(),
            waiting(&destination(device), agent_wire::HL7, &order.text()),
        );
        self.runtime.spawn(async move {
            http.post(&push_path(), &body)
                .await
                .expect("the cloud answers")
        })
    }

    /// Gives a command to the agent by push.
    pub fn command(&self, command: &Value) -> Reply {
        self.send(&waiting(
            &destination("self"),
            agent_wire::COMMAND,
            &command.to_string(),
        ))
    }

    /// `$push` with any parameters.
    pub fn send(&self, parameters: &Value) -> Reply {
        self.wait_on(self.http().post(&push_path(), parameters))
            .expect("the cloud answers")
    }

    /// Runs a `wardpost` command on the running agent.
    pub fn wardpost(&self, words: &[&str]) -> Ran {
        let mut command = self.plain_command();
        command
            .arg("--control")
            .arg(self.path("control.sock"))
            .args(words);
        self.run(&mut command)
    }

    /// Runs `wardpost check` on the files of this bench.
    pub fn check(&self, words: &[&str]) -> Ran {
        let mut command = self.plain_command();
        command
            .arg("check")
            .arg("--config")
            .arg(self.path("wardpost.toml"));
        command
            .arg("--devices")
            .arg(self.path("devices.d"))
            .args(words);
        self.run(&mut command)
    }

    /// Runs a command that should end within a few seconds.
    pub fn run(&self, command: &mut Command) -> Ran {
        run_bounded(command, self.folder.path(), COMMAND_PATIENCE)
            .expect("the command runs and ends")
    }

    /// The same with `--json`, read; it has to succeed.
    pub fn wardpost_json(&self, words: &[&str]) -> Value {
        let ran = self.wardpost(&[&["--json"], words].concat());
        assert_eq!(ran.code, 0, "wardpost {words:?}: {}", ran.said());
        serde_json::from_str(&ran.stdout).expect("--json prints JSON")
    }

    pub(super) fn plain_command(&self) -> Command {
        self.clean_command(&[])
    }

    /// The agent behind the words of [`Setup::wrapped`](super::Setup::wrapped).
    pub(super) fn wrapped_command(&self) -> Command {
        self.clean_command(&self.setup.wrapper)
    }

    fn clean_command(&self, wrapper: &[String]) -> Command {
        let agent = self.setup.binary.clone().map_or_else(agent_under_test, Ok);
        let agent = agent.expect("the agent is built");
        let mut command = match wrapper {
            [] => Command::new(agent),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(agent);
                command
            }
        };
        // Nothing of the machine's own setup may leak in.
        for name in FOREIGN_ENVIRONMENT {
            command.env_remove(name);
        }
        if let Some(mutant) = std::env::var_os(MUTANT_UNDER_TEST) {
            command.env("WARDPOST_MUTANT", mutant);
        }
        command.envs(
            self.setup
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command
    }
}

/// With a scripted stub.
impl Bench {
    /// The stub in this process.
    pub fn stub(&self) -> &wardpost_cloud::Cloud {
        match &self.cloud {
            Some(CloudSide::Scripted(cloud)) => Some(cloud),
            Some(CloudSide::Stub(_) | CloudSide::Fake(_)) | None => None,
        }
        .expect("the stub is a scripted one")
    }

    /// Changes the faults in force.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.stub().faults(change);
    }

    /// Gives the agent's client another secret.
    pub fn change_secret(&self, secret: &str) {
        self.change_client("secret", secret);
    }

    /// Changes a member of the agent's `ClientApplication`.
    pub fn change_client(&self, member: &str, value: &str) {
        let client = self.stub().resource("ClientApplication", CLIENT);
        let mut client = client.expect("the seed has the client");
        client[member] = value.into();
        assert!(self.wait_on(self.stub().put(client)));
    }

    /// What the agent's status says about its way to the cloud.
    pub fn uplink_words(&self) -> String {
        let status = self.wardpost_json(&["status"]);
        status["uplink"]["words"]
            .as_str()
            .unwrap_or_default()
            .into()
    }
}

/// The one beside this program, or another one that these tests are to judge.
fn agent_under_test() -> anyhow::Result<PathBuf> {
    std::env::var_os(AGENT_UNDER_TEST).map_or_else(|| binary("wardpost"), |path| Ok(path.into()))
}

/// With a fake cloud.
impl Bench {
    pub fn fake(&self) -> &Cloud {
        match &self.cloud {
            Some(CloudSide::Fake(cloud)) => Some(cloud),
            Some(CloudSide::Stub(_) | CloudSide::Scripted(_)) | None => None,
        }
        .expect("the cloud is a fake one")
    }

    /// Sends one text frame to the agent.
    pub fn say(&self, text: &str) {
        assert!(
            self.wait_on(self.fake().send(text)),
            "no agent is connected"
        );
    }

    /// Pushes an order over the fake cloud's websocket.
    pub fn say_push(&self, callback: &str, device: &str, order: &Order) {
        self.say(&crate::cloud::push(
            callback,
            &url(self.device(device).address()),
            &order.text(),
        ));
    }

    /// Waits for the first answer to a callback.
    pub fn answer(&self, callback: &str) -> Value {
        wait_for(&format!("an answer to {callback}"), || {
            self.fake().answers(callback).into_iter().next()
        })
    }
}

/// Set by `cargo xtask prove`, which wants to see tests fail with an agent that has a planted fault.
const AGENT_UNDER_TEST: &str = "SCENARIOS_AGENT";
const MUTANT_UNDER_TEST: &str = "SCENARIOS_MUTANT";
const COMMAND_PATIENCE: Duration = Duration::from_secs(20);
const FOREIGN_ENVIRONMENT: [&str; 14] = [
    "NOTIFY_SOCKET",
    "CREDENTIALS_DIRECTORY",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "JOURNAL_STREAM",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "WARDPOST_MUTANT",
];
