//! Programs of other people: Medplum's published client, command line and HL7 library, and python-hl7.
//!
//! They push through the cloud stub to the agent, and they are its devices: what two ends of ours could agree on and
//! both get wrong shows here. A peer that is not installed fails its test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use scenarios::bench::{
    Bench, DeviceSetup, Process, Ran, SECRET, Setup, url, wait_for, wait_until,
};
use scenarios::cloud::{AGENT, CLIENT};
use scenarios::sim::Order;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

#[test]
fn the_published_types_accept_every_fixture() {
    let ran = check_fixtures(&fixtures());
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains(" 0 mistakes"), "{}", ran.said());
}

#[test]
fn the_published_types_refuse_a_fixture_with_a_mistake() {
    let mistakes = [
        ("to-agent-transmit-request", "\"remote\"", "\"remot\""),
        (
            "to-agent-transmit-request",
            "\"application\"",
            "\"applicaton\"",
        ),
        ("to-agent-error", "\"body\"", "\"text\""),
        (
            "to-server-transmit-response",
            "\"statusCode\": 200",
            "\"statusCode\": \"200\"",
        ),
        ("to-server-logs-response", "\"hasMore\": true,", ""),
        (
            "to-server-heartbeat-response",
            "agent:heartbeat:response",
            "agent:heartbeats",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (number, (name, right, wrong)) in mistakes.into_iter().enumerate() {
        let text = std::fs::read_to_string(fixtures().join(format!("{name}.json"))).unwrap();
        assert!(text.contains(right), "{name} has no {right}");
        std::fs::write(
            folder.path().join(format!("mistake-{number}.json")),
            text.replace(right, wrong),
        )
        .unwrap();
    }
    let ran = check_fixtures(folder.path());
    assert_eq!(ran.code, 1, "{}", ran.said());
    for (number, (.., wrong)) in mistakes.into_iter().enumerate() {
        assert!(
            ran.stderr.contains(&format!("mistake-{number}.json:")),
            "{wrong} was accepted: {}",
            ran.said()
        );
    }
}

#[test]
fn the_client_waits_and_gets_the_words_of_medplums_own_hl7_server() {
    let story = Story::with(Device::MedplumLibrary);
    let said = story.push_by_client(&Order::new(1), true, &json!({}));
    assert!(has_line(&said["answer"], "MSA|AA|C1|OK"), "{said}");
    assert_eq!(story.message_as_read(), as_read(1));
}

#[test]
fn the_client_does_not_wait_and_the_device_gets_the_order_all_the_same() {
    let story = Story::with(Device::MedplumLibrary);
    let said = story.push_by_client(&Order::new(2), false, &json!({}));
    assert_eq!(said["answer"]["id"], "ok", "{said}");
    assert_eq!(story.message_as_read(), as_read(2));
}

#[test]
fn a_client_that_asks_for_the_application_ack_gets_it_and_not_the_commit_ack() {
    let story = Story::with(Device::MedplumLibraryEnhanced);
    let said = story.push_by_client(&Order::new(3), true, &json!({ "returnAck": "application" }));
    assert!(has_line(&said["answer"], "MSA|AA|C3|OK"), "{said}");
}

#[test]
fn a_client_that_asks_for_the_first_ack_gets_the_commit_ack() {
    let story = Story::with(Device::MedplumLibraryEnhanced);
    let said = story.push_by_client(&Order::new(4), true, &json!({ "returnAck": "first" }));
    assert!(
        has_line(&said["answer"], "MSA|CA|C4|Commit Accept"),
        "{said}"
    );
    let next = story.push_by_client(&Order::new(5), true, &json!({ "returnAck": "first" }));
    assert!(
        has_line(&next["answer"], "MSA|CA|C5|Commit Accept"),
        "{next}"
    );
}

#[test]
fn the_client_waits_and_gets_the_words_of_python_hl7() {
    let story = Story::with(Device::PythonLibrary);
    let said = story.push_by_client(&Order::new(6), true, &json!({}));
    assert!(has_line(&said["answer"], "MSA|AA|C6"), "{said}");
    assert_eq!(story.message_as_read(), as_read(6));
}

#[test]
fn the_command_line_pushes_and_its_own_listener_takes_it() {
    let story = Story::with(Device::MedplumCommandLine);
    let order = Order::new(7);
    let ran = story.command_line(&["agent", "push", &story.device, &order.text(), AGENT]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains("MSA|AA|C7|OK"), "{}", ran.said());
    let printed = order.text().replace('\r', "\n");
    wait_until("the listener to print the order", || {
        story.peer.said().contains(printed.trim_end())
    });
}

#[test]
fn the_command_line_pushes_without_waiting() {
    let story = Story::with(Device::MedplumCommandLine);
    let ran = story.command_line(&[
        "agent",
        "push",
        "--no-wait",
        &story.device,
        &Order::new(8).text(),
        AGENT,
    ]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    wait_until("the listener to print the order", || {
        story.peer.said().contains("|C8|")
    });
}

#[test]
fn the_command_line_sees_the_agent_connected() {
    let story = Story::with(Device::MedplumLibrary);
    let ran = story.command_line(&["agent", "status", AGENT]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(
        ran.stdout.contains("1 successful response(s)"),
        "{}",
        ran.said()
    );
    assert!(
        ran.stdout.contains(AGENT) && ran.stdout.contains("'connected'"),
        "{}",
        ran.said()
    );
}

#[test]
fn the_command_line_pings_the_host_of_a_device_and_no_other() {
    let story = Story::with(Device::MedplumLibrary);
    let ran = story.command_line(&["agent", "ping", "127.0.0.1", AGENT, "--count", "2"]);
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains("127.0.0.1"), "{}", ran.said());
    let ran = story.command_line(&["agent", "ping", "127.0.0.2", AGENT]);
    assert_ne!(ran.code, 0, "{}", ran.said());
}

/// An agent whose one device is a peer.
struct Story {
    bench: Bench,
    peer: Process,
    /// The Device's id in the cloud.
    device: String,
}

/// Who plays the device.
#[derive(Clone, Copy)]
enum Device {
    /// `Hl7Server` of `@medplum/hl7`.
    MedplumLibrary,
    /// The same, saying CA before AA.
    MedplumLibraryEnhanced,
    /// `medplum hl7 listen`.
    MedplumCommandLine,
    /// The asyncio server of python-hl7.
    PythonLibrary,
}

impl Story {
    fn with(device: Device) -> Self {
        let mut bench = Setup::new().start_without_agent();
        let (peer, address) = device.start(&bench);
        DeviceSetup::new("peer")
            .write(&bench.path("devices.d"), address)
            .expect("a device file is written");
        let device = create_device(&bench, address);
        bench.start_agent();
        Self {
            bench,
            peer,
            device,
        }
    }

    /// What `pushToAgent` of `@medplum/core` comes back with.
    fn push_by_client(&self, order: &Order, wait: bool, options: &Value) -> Value {
        let call = json!({
            "baseUrl": self.cloud(), "clientId": CLIENT, "clientSecret": SECRET,
            "agent": AGENT, "device": self.device, "body": order.text(), "wait": wait, "options": options,
        });
        let ran = self
            .bench
            .run(node().arg(peers().join("push.mjs")).arg(call.to_string()));
        assert_eq!(ran.code, 0, "{}", ran.said());
        serde_json::from_str(&ran.stdout).expect("push.mjs prints JSON")
    }

    fn command_line(&self, words: &[&str]) -> Ran {
        command_line(&self.bench, words)
    }

    /// The fields of the first message, as the peer's own parser found them.
    fn message_as_read(&self) -> Value {
        wait_for("the peer to read a message", || {
            let said = self.peer.said();
            let complete = said.lines().take(said.matches('\n').count());
            complete
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(Value::is_object)
        })
    }

    fn cloud(&self) -> String {
        cloud_url(&self.bench)
    }
}

impl Device {
    fn start(self, bench: &Bench) -> (Process, SocketAddr) {
        let mut peer = Process::start(&mut self.command(bench), &bench.path("peer.log"))
            .expect("the peer starts");
        let port = wait_for("the peer to listen", || {
            assert!(
                peer.ended().is_none(),
                "the peer ended: {}",
                peer.last_words()
            );
            let said = peer.said();
            let line = said
                .lines()
                .find(|line| line.to_lowercase().starts_with("listening on"))?;
            line.rsplit([' ', ':']).next()?.parse::<u16>().ok()
        });
        (peer, (Ipv4Addr::LOCALHOST, port).into())
    }

    fn command(self, bench: &Bench) -> Command {
        let mut command = match self {
            Self::MedplumLibrary | Self::MedplumLibraryEnhanced => node(),
            Self::MedplumCommandLine => medplum(),
            Self::PythonLibrary => Command::new(installed(".venv/bin/python")),
        };
        match self {
            Self::MedplumLibrary => command.arg(peers().join("hl7-server.mjs")),
            Self::MedplumLibraryEnhanced => {
                command.arg(peers().join("hl7-server.mjs")).arg("enhanced")
            }
            Self::MedplumCommandLine => {
                command.args(["hl7", "listen", &free_port(bench).to_string()])
            }
            Self::PythonLibrary => command.arg(peers().join("hl7_server.py")),
        };
        command
            .env("HOME", bench.path(""))
            .current_dir(bench.path(""));
        command
    }
}

fn create_device(bench: &Bench, address: SocketAddr) -> String {
    let device = json!({
        "resourceType": "Device", "url": url(address), "deviceName": [{ "name": "Peer", "type": "user-friendly-name" }],
    });
    let created = bench
        .wait_on(bench.http().post("/fhir/R4/Device", &device))
        .expect("the cloud answers");
    assert_eq!(created.status, 201, "{}", created.text());
    created.json()["id"]
        .as_str()
        .expect("a created resource has an id")
        .into()
}

/// For the one peer that must be told its port. It may be taken before the peer does, but only by the kernel's choice.
pub(crate) fn free_port(bench: &Bench) -> u16 {
    let _inside = bench.runtime().enter();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind((Ipv4Addr::LOCALHOST, 0).into())
        .expect("a free port");
    socket
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

fn as_read(number: u32) -> Value {
    json!({
        "controlId": format!("C{number}"), "patient": "DOE^JANE",
        "order": format!("P{number}"), "test": "GLU^Glucose^L",
    })
}

fn has_line(answer: &Value, segment: &str) -> bool {
    answer
        .as_str()
        .is_some_and(|text| text.split('\r').any(|line| line == segment))
}

fn check_fixtures(folder: &Path) -> Ran {
    let mut command = node();
    command.arg(peers().join("fixtures.mjs")).arg(folder);
    scenarios::bench::run(&mut command).expect("node runs")
}

/// Runs the `medplum` command with the bench's client, in the folder of the bench, which is its home, too.
pub(crate) fn command_line(bench: &Bench, words: &[&str]) -> Ran {
    let home = bench.path("");
    let mut command = medplum();
    command
        .args(words)
        .current_dir(&home)
        .env("HOME", &home)
        .env("MEDPLUM_BASE_URL", cloud_url(bench))
        .env("MEDPLUM_CLIENT_ID", CLIENT)
        .env("MEDPLUM_CLIENT_SECRET", SECRET);
    bench.run(&mut command)
}

/// What calls of Medplum's client came to: one object each, with `answer` or `refusal`.
pub(crate) fn client(bench: &Bench, calls: &[Value]) -> Vec<Value> {
    let all = json!({
        "baseUrl": cloud_url(bench), "clientId": CLIENT, "clientSecret": SECRET, "calls": calls,
    });
    let mut command = node();
    command.arg(peers().join("client.mjs")).arg(all.to_string());
    let ran = bench.run(&mut command);
    assert_eq!(ran.code, 0, "{}", ran.said());
    let lines = ran.stdout.lines();
    let read = lines.map(|line| serde_json::from_str(line).expect("client.mjs prints JSON"));
    read.collect()
}

/// Where the stub listens, as a process of its own.
pub(crate) fn cloud_url(bench: &Bench) -> String {
    let log = std::fs::read_to_string(bench.path("cloud.log")).expect("the stub has a log");
    let address = log
        .split("listening on ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    format!("{}/", address.expect("the stub says where it listens"))
}

pub(crate) fn node() -> Command {
    let kind = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x64"
    };
    Command::new(installed(&format!(
        "node_modules/node-linux-{kind}/bin/node"
    )))
}

fn medplum() -> Command {
    let mut command = node();
    command.arg(installed("node_modules/@medplum/cli/dist/cjs/index.cjs"));
    command
}

pub(crate) fn installed(name: &str) -> PathBuf {
    let path = peers().join(name);
    assert!(
        path.exists(),
        "{} is not there: run cargo xtask setup",
        path.display()
    );
    path
}

pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/wire/fixtures")
}
