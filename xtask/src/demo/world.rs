//! The demo's world: a cloud, an agent and two devices, and the files that say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::http::Server;
use super::process::{Folder, Process, program, wait_until};

/// Ids of Agents are UUIDs: the `medplum` command takes no other.
pub(super) const AGENT: &str = "3a5d0c1e-0000-4000-8000-00000000a9e3";
pub(super) const CLIENT: &str = "demo-client";
pub(super) const SECRET: &str = "demo-secret";

/// Everything that runs, and where it can be reached.
pub(super) struct World {
    pub(super) binaries: PathBuf,
    pub(super) cloud: Server,
    pub(super) chem: Device,
    pub(super) hema: Device,
    cloud_process: Process,
    agent_process: Option<Process>,
    /// The last to go: the processes work in it.
    folder: Folder,
}

impl World {
    /// Starts devices, cloud and agent, and waits until the cloud sees the agent.
    pub(super) fn start(binaries: PathBuf) -> Result<Self> {
        let folder = Folder::create()?;
        let chem = Device::switch_on(&binaries, &folder, "chem-1", "127.0.0.1:0")?;
        let hema = Device::switch_on(&binaries, &folder, "hema-1", "127.0.0.1:0")?;
        let (cloud_process, cloud) = start_cloud(&binaries, &folder, [&chem, &hema])?;
        write_files(&folder, &cloud, [&chem, &hema])?;
        let agent_process = Some(start_agent(&binaries, &folder)?);
        let mut world = Self {
            binaries,
            cloud,
            chem,
            hema,
            cloud_process,
            agent_process,
            folder,
        };
        world.wait_for_agent()?;
        Ok(world)
    }

    /// Asks the agent itself, as a person would at the box.
    pub(super) fn ask_agent(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(self.binaries.join("wardpost"));
        command
            .arg("--control")
            .arg(self.control())
            .arg("--json")
            .args(words);
        Ok(serde_json::from_str(&crate::run::output(&mut command)?)?)
    }

    pub(super) fn switch_hema_off(&mut self) {
        self.hema.process = None;
    }

    /// Switches the box off, and waits until the cloud has noticed.
    pub(super) fn switch_agent_off(&mut self) -> Result<()> {
        self.agent_process = None;
        wait_until("the cloud to notice that the agent is gone", || {
            Ok(!self.is_connected()?)
        })
    }

    /// Switches it on again, with the state that it had.
    pub(super) fn switch_agent_on(&mut self) -> Result<()> {
        self.agent_process = Some(start_agent(&self.binaries, &self.folder)?);
        wait_until("the agent to connect", || self.is_connected())
    }

    /// Switches hema-1 on again, at the address that it had.
    pub(super) fn switch_hema_on(&mut self) -> Result<()> {
        self.hema = Device::switch_on(
            &self.binaries,
            &self.folder,
            self.hema.name,
            &self.hema.address,
        )?;
        Ok(())
    }

    /// How the agent says that it stands with a device: connected, away and so on.
    fn line(&self, name: &str) -> Result<String> {
        let answer = self.ask_agent(&["devices"])?;
        let devices = answer["devices"].as_array().map_or(&[][..], Vec::as_slice);
        let device = devices.iter().find(|device| device["name"] == name);
        let line = device.and_then(|device| device["line"].as_str());
        Ok(line
            .with_context(|| format!("the agent does not know {name}"))?
            .to_owned())
    }

    /// How many messages each device has recorded.
    pub(super) fn received(&self) -> Result<[usize; 2]> {
        Ok([
            self.record(&self.chem)?.len(),
            self.record(&self.hema)?.len(),
        ])
    }

    /// The so-many-th message of a device, once it is there.
    pub(super) fn wait_for_message(&self, device: &Device, number: usize) -> Result<String> {
        wait_until(
            &format!("message {number} to reach {}", device.name),
            || Ok(self.record(device)?.len() >= number),
        )?;
        let record = self.record(device)?;
        let message = record
            .get(number.saturating_sub(1))
            .and_then(|line| line["body"].as_str());
        Ok(message.context("a record has a body")?.to_owned())
    }

    fn record(&self, device: &Device) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.record_of(device.name)).unwrap_or_default();
        // A line that is being written is for the next time.
        let lines = text.lines().take(text.matches('\n').count());
        Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    pub(super) fn control(&self) -> PathBuf {
        self.folder.path.join("control.sock")
    }

    /// Lets it run until one of them ends, or somebody ends us.
    pub(super) fn stay(&mut self) -> Result<()> {
        loop {
            self.check()?;
            sleep(Duration::from_millis(200));
        }
    }

    /// Fails if a process has ended that should not.
    pub(super) fn check(&mut self) -> Result<()> {
        let optional = [
            &mut self.chem.process,
            &mut self.hema.process,
            &mut self.agent_process,
        ];
        let optional = optional.into_iter().flatten();
        let mut processes = optional.chain([&mut self.cloud_process]);
        processes.try_for_each(Process::check)
    }

    /// Waits until the cloud sees the agent, and the agent its devices.
    fn wait_for_agent(&mut self) -> Result<()> {
        wait_until("the agent to connect", || {
            self.check()?;
            self.is_connected()
        })?;
        for name in [self.chem.name, self.hema.name] {
            wait_until("the agent to reach its devices", || {
                // Its control socket may open after the cloud has seen it.
                Ok(self.line(name).is_ok_and(|line| line == "connected"))
            })?;
        }
        Ok(())
    }
}

impl World {
    fn is_connected(&self) -> Result<bool> {
        let answer = self.cloud.get(&format!("/fhir/R4/Agent/{AGENT}/$status"))?;
        Ok(answer.status == 200 && answer.body.contains("\"connected\""))
    }
}

/// A simulated device, on or off.
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) address: String,
    process: Option<Process>,
}

impl Device {
    fn switch_on(
        binaries: &Path,
        folder: &Folder,
        name: &'static str,
        listen: &str,
    ) -> Result<Self> {
        let mut command = program(&binaries.join("wardpost-sim"));
        command
            .args(["hl7", "--name", name, "--listen", listen, "--record"])
            .arg(folder.record_of(name));
        let (process, ready) = Process::start_and_wait(&mut command, folder, name)?;
        let address = ready.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self {
            name,
            address,
            process: Some(process),
        })
    }

    /// What the cloud calls it.
    pub(super) fn url(&self) -> String {
        format!("mllp://{}", self.address)
    }
}

fn start_cloud(
    binaries: &Path,
    folder: &Folder,
    devices: [&Device; 2],
) -> Result<(Process, Server)> {
    let seed = folder.path.join("seed.json");
    fs::write(&seed, seed_of(devices).to_string())?;
    let mut command = program(&binaries.join("wardpost-cloud"));
    command
        .args(["--listen", "127.0.0.1:0", "--db"])
        .arg(folder.path.join("cloud.db"));
    command.arg("--seed").arg(seed);
    let (process, ready) = Process::start_and_wait(&mut command, folder, "cloud")?;
    let address = ready
        .rsplit("http://")
        .next()
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_owned();
    Ok((
        process,
        Server {
            address,
            client: CLIENT.into(),
            secret: SECRET.into(),
        },
    ))
}

fn seed_of(devices: [&Device; 2]) -> Value {
    let name = |name: &str| json!([{ "name": name, "type": "user-friendly-name" }]);
    let devices = devices.map(|device| {
        json!({ "resourceType": "Device", "id": device.name, "deviceName": name(device.name), "url": device.url() })
    });
    let agent =
        json!({ "resourceType": "Agent", "id": AGENT, "name": "Ward 3", "status": "active" });
    let itself = json!({ "resourceType": "Device", "id": "self", "url": "device://self" });
    let resources: Vec<Value> = [agent, itself].into_iter().chain(devices).collect();
    json!({
        "clients": [{ "id": CLIENT, "secret": SECRET }],
        "resources": resources,
    })
}

/// The agent's configuration.
fn write_files(folder: &Folder, cloud: &Server, devices: [&Device; 2]) -> Result<()> {
    let path = |name: &str| folder.path.join(name);
    fs::create_dir(path("devices.d"))?;
    fs::write(path("client-secret"), SECRET)?;
    let (url, secret) = (format!("http://{}/", cloud.address), path("client-secret"));
    let text = format!(
        "[cloud]\nurl = \"{url}\"\nagent = \"{AGENT}\"\nclient = \"{CLIENT}\"\nclient_secret_file = \"{}\"\nmailbox = true\n",
        secret.display()
    );
    fs::write(path("wardpost.toml"), text)?;
    for device in devices {
        let file = path("devices.d").join(format!("{}.toml", device.name));
        fs::write(file, device_file(device))?;
    }
    Ok(())
}

fn start_agent(binaries: &Path, folder: &Folder) -> Result<Process> {
    let path = |name: &str| folder.path.join(name);
    let mut command = program(&binaries.join("wardpost"));
    command
        .arg("--control")
        .arg(path("control.sock"))
        .arg("run");
    command
        .arg("--config")
        .arg(path("wardpost.toml"))
        .arg("--state")
        .arg(path("state"));
    Process::start(&mut command, folder, "agent")
}

/// Shorter waits than a clinic would set, so that nobody has to watch a clock.
fn device_file(device: &Device) -> String {
    format!(
        "name = \"{}\"\nurl = \"{}\"\n[transport]\nkind = \"dial\"\nreconnect_min = \"200ms\"\nreconnect_max = \"500ms\"\n\
         [delivery]\nanswer_within = \"2s\"\n",
        device.name,
        device.url()
    )
}
