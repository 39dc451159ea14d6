//! What the service's hardening forbids, tried out.
//!
//! Each probe runs twice as a service with the lines of the real unit: once without the lines that are to forbid it, where
//! it has to succeed, and once with all, where it has to fail for the right reason. Otherwise "it is forbidden" would hold
//! for whatever an ordinary user cannot do anyway.

mod list;

use std::fmt::Write as _;

use anyhow::{Result, bail, ensure};

use self::list::{Holds, PROBES, Probe, SERIAL};
use super::{Machine, Props, Suite};

pub(crate) fn hardening_forbids_what_it_is_there_for(
    machine: &Machine,
    props: &Props,
) -> Result<()> {
    prepare(machine)?;
    let probes: Vec<&Probe> = PROBES
        .iter()
        .filter(|probe| holds(probe, props.suite))
        .collect();
    let found = play(machine, &probes)?;
    let mut wrong = String::new();
    for (probe, [free, bound]) in probes.iter().zip(found) {
        if free != 0 || !probe.denied.contains(&bound) {
            let _ = writeln!(
                wrong,
                "{}: {free} without {:?}, {bound} with it (0 is success, else an error's number, expected {:?})",
                probe.name, probe.by, probe.denied
            );
        }
    }
    ensure!(wrong.is_empty(), "\n{wrong}");
    Ok(())
}

/// A serial line is the one kind of device that may be opened.
pub(crate) fn serial_lines_may_be_opened(machine: &Machine, _: &Props) -> Result<()> {
    let [[_, bound]] = play(machine, &[&SERIAL])?[..] else {
        bail!("one probe has one finding");
    };
    ensure!(bound == 0, "it was refused with error {bound}");
    Ok(())
}

/// Runs every probe without and with what forbids it, all at once.
fn play(machine: &Machine, probes: &[&Probe]) -> Result<Vec<[i32; 2]>> {
    let unit = std::fs::read_to_string(machine.path(UNIT))?;
    let ipc = machine.run(&["readlink", "/proc/1/ns/ipc"])?;
    let mut start = vec!["systemctl".to_owned(), "start".to_owned()];
    for probe in probes {
        let perl = probe.perl.replace("@IPC@", ipc.trim());
        let script = format!("{perl}\nexit($ok ? 0 : $! + 0 || 255);\n");
        machine.write(&format!("/opt/probes/{}.pl", probe.name), &script)?;
        for run in [Run::Free, Run::Bound] {
            let path = format!("/run/systemd/system/{}", run.name(probe));
            machine.write(&path, &run.unit(probe, &unit)?)?;
            start.push(run.name(probe));
        }
    }
    machine.run(&["systemctl", "daemon-reload"])?;
    // That most of them fail is what they are for.
    machine.attempt(&start.iter().map(String::as_str).collect::<Vec<_>>())?;
    let code = |run: Run, probe| run.code(probe, machine);
    let codes = probes
        .iter()
        .map(|probe| Ok([code(Run::Free, probe)?, code(Run::Bound, probe)?]));
    let found = codes.collect();
    for name in start.iter().skip(2) {
        std::fs::remove_file(machine.path(&format!("/run/systemd/system/{name}")))?;
    }
    machine.run(&["systemctl", "daemon-reload"])?;
    machine.run(&["systemctl", "reset-failed"])?;
    found
}

fn holds(probe: &Probe, suite: Suite) -> bool {
    match probe.holds {
        Holds::Everywhere => true,
        Holds::SinceTrixie => suite == Suite::Trixie,
    }
}

/// Files that everybody may read or write, so that only the hardening can be in the way.
fn prepare(machine: &Machine) -> Result<()> {
    for folder in ["/opt/open", "/home", "/srv/open", "/usr/lib/modules"] {
        machine.run(&["install", "-d", "-m", "1777", folder])?;
    }
    for folder in ["/tmp", "/home", "/srv/open"] {
        machine.write(&format!("{folder}/probe"), "open to all\n")?;
    }
    for (device, numbers) in [("ttyS1", ["4", "65"]), ("probe", ["10", "229"])] {
        let path = machine.path(&format!("/dev/{device}"));
        let mut mknod = std::process::Command::new("mknod");
        mknod.args(["-m", "0666"]).arg(path).arg("c").args(numbers);
        ensure!(mknod.status()?.success(), "mknod failed");
    }
    Ok(())
}

/// With all lines of the unit, or without those that forbid the probe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Free,
    Bound,
}

impl Run {
    fn name(self, probe: &Probe) -> String {
        let word = match self {
            Self::Free => "free",
            Self::Bound => "bound",
        };
        format!("probe-{}-{word}.service", probe.name)
    }

    /// The real unit with another program, and folders of its own.
    fn unit(self, probe: &Probe, unit: &str) -> Result<String> {
        let Some((_, service)) = unit.split_once("[Service]\n") else {
            bail!("the unit has no section Service");
        };
        let service = service.split("\n[").next().unwrap_or(service);
        let mut text = String::from("[Service]\n");
        for line in service.lines() {
            let key = line.split_once('=').map_or("", |(key, _)| key);
            let lifted = self == Self::Free && probe.by.contains(&key);
            if !lifted && !NOT_FOR_PROBES.contains(&key) {
                let _ = writeln!(text, "{line}");
            }
        }
        let exec = match self {
            Self::Free if probe.by.contains(&"ExecPaths") => "",
            _ => "ExecPaths=/usr/bin/perl\n",
        };
        let _ = write!(
            text,
            "{exec}Type=oneshot\nExecStart=/usr/bin/perl /opt/probes/{}.pl\nStateDirectory=probe\n",
            probe.name
        );
        Ok(text)
    }

    /// How it ended: 0, or the number of the error that it met.
    fn code(self, probe: &Probe, machine: &Machine) -> Result<i32> {
        let name = self.name(probe);
        let code: i32 = machine.show(&name, "ExecMainStatus")?.parse()?;
        // Codes of systemd itself, such as 226 where a folder cannot be hidden.
        if (200..255).contains(&code) {
            bail!(
                "{name} cannot be set up ({code}): {}",
                machine.journal(&name)?
            );
        }
        Ok(code)
    }
}

const UNIT: &str = "/usr/lib/systemd/system/wardpost.service";

/// What belongs to the agent, and not to its confinement.
const NOT_FOR_PROBES: &[&str] = &[
    "Type",
    "ExecStart",
    "ExecReload",
    "NotifyAccess",
    "Restart",
    "RestartSec",
    "WatchdogSec",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "StateDirectory",
    "ConfigurationDirectory",
    "ConfigurationDirectoryMode",
    "LoadCredential",
    "SetCredential",
];
