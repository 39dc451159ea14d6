//! A cloud, a device and a configured agent, all inside one machine.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::program;
use super::{Is, Machine, Props, until};

/// The agent's files for a cloud and a device on the machine itself.
pub(super) fn configure(machine: &Machine, props: &Props) -> Result<()> {
    machine.write("/etc/wardpost/wardpost.toml", AGENT)?;
    machine.write("/etc/wardpost/devices.d/chem-1.toml", DEVICE)?;
    machine.run(&["install", "-d", "-m", "0700", "/etc/credstore"])?;
    machine.write("/etc/credstore/client-secret", SECRET)?;
    let seed = machine.bring(&props.project.join("docs/examples/first-push/seed.json"))?;
    machine.run(&[
        "systemd-run",
        "--quiet",
        "--unit=cloud",
        "/mnt/wardpost-cloud",
        "--keep-pushes",
        "--db=/var/tmp/cloud.db",
        "--heartbeat-ms=500",
        "--seed",
        &seed,
    ])?;
    device_on(machine)
}

pub(super) fn device_on(machine: &Machine) -> Result<()> {
    machine
        .run(&[
            "systemd-run",
            "--quiet",
            "--unit=chem",
            "/mnt/wardpost-sim",
            "hl7",
            "--listen=127.0.0.1:2575",
            "--record=/var/tmp/received.jsonl",
        ])
        .map(drop)
}

pub(super) fn device_off(machine: &Machine) -> Result<()> {
    machine.run(&["systemctl", "stop", "chem"]).map(drop)
}

/// Waits until the service manager shows these words of the agent.
pub(super) fn says(machine: &Machine, words: &str) -> Result<()> {
    until(&format!("the status to say \"{words}\""), || {
        Ok(Is::saying(words, machine.show(SERVICE, "StatusText")?))
    })
}

/// Waits until the agent itself says that it is connected, which the service manager is told a little later.
pub(super) fn connected(machine: &Machine) -> Result<()> {
    until("the agent to be connected", || {
        let (_, said) = machine.attempt(&["wardpost", "status", "--json"])?;
        Ok(Is::saying("\"live\":true", said.replace(": ", ":")))
    })
}

/// Pushes an order and hands back what the caller was told: the status, and the body.
pub(super) fn push(machine: &Machine, order: u32) -> Result<(u16, String)> {
    let said = program::succeed(&mut pushing(machine, order))?;
    let (body, status) = said.rsplit_once('\n').context("curl names no status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// The call that pushes an order.
pub(super) fn pushing(machine: &Machine, order: u32) -> Command {
    let body = json!({
        "destination": "Device/de000000-0000-4000-8000-000000000001",
        "contentType": "x-application/hl7-v2+er7",
        "body": message(order),
        "waitForResponse": true,
    });
    machine.from_outside(&[
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--retry",
        "5",
        "--retry-connrefused",
        "--user",
        &format!("c1de0000-0000-4000-8000-000000000001:{SECRET}"),
        "--header",
        "Content-Type: application/json",
        "--data",
        &body.to_string(),
        "--write-out",
        "\n%{http_code}",
        "http://127.0.0.1:8103/fhir/R4/Agent/a9e00000-0000-4000-8000-000000000001/$push",
    ])
}

/// Pushes an order that the device has to acknowledge at once.
pub(super) fn delivers(machine: &Machine, order: u32) -> Result<()> {
    let (status, body) = push(machine, order)?;
    ensure!(
        status == 200 && body.contains(&format!("MSA|AA|ORD-{order}-1")),
        "order {order} was answered {status}: {body}"
    );
    Ok(())
}

/// Waits until the device has the order, and makes sure that it has it once.
pub(super) fn received_once(machine: &Machine, order: u32) -> Result<()> {
    let id = format!("ORD-{order}-1|");
    let count = || {
        let record = std::fs::read_to_string(machine.path("/var/tmp/received.jsonl"))?;
        anyhow::Ok(record.lines().filter(|line| line.contains(&id)).count())
    };
    until(&format!("order {order} to arrive"), || {
        Ok(match count()? {
            0 => Is::Still("nothing".into()),
            _ => Is::So,
        })
    })?;
    let copies = count()?;
    ensure!(copies == 1, "order {order} came {copies} times");
    Ok(())
}

fn message(order: u32) -> String {
    format!(
        "MSH|^~\\&|EHR|CLINIC|LAB|CLINIC|20260301081500||OML^O21^OML_O21|ORD-{order}-1|P|2.5.1\r\
         PID|1||900001||DOE^JANE||19800101|F\rORC|NW|ORD-{order}\rOBR|1|ORD-{order}||GLU^Glucose^L\r"
    )
}

pub(super) const SERVICE: &str = "wardpost.service";

const SECRET: &str = "not-a-secret";

const AGENT: &str = r#"
[cloud]
url = "http://127.0.0.1:8103/"
agent = "a9e00000-0000-4000-8000-000000000001"
client = "c1de0000-0000-4000-8000-000000000001"
[delivery]
answer_within = "2s"
"#;

const DEVICE: &str = r#"
name = "chem-1"
url = "mllp://127.0.0.1:2575"
[transport]
reconnect_min = "50ms"
reconnect_max = "200ms"
"#;
