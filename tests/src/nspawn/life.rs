//! What a service goes through: started, connected, hung, crashed, stopped.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::site::{self, SERVICE};
use super::{Is, Machine, Props, until};

pub(crate) fn runs_at_once_and_says_what_it_lacks(machine: &Machine, props: &Props) -> Result<()> {
    let package = machine.bring(&props.package)?;
    machine.run(&["dpkg", "-i", &package])?;
    site::says(machine, "there is no secret for the client")?;
    for (question, answer) in [("is-active", "active"), ("is-enabled", "enabled")] {
        let said = machine.run(&["systemctl", question, SERVICE])?;
        ensure!(said.trim() == answer, "{question}: {said}");
    }
    let status = machine.run(&["wardpost", "status"])?;
    ensure!(status.contains("no secret for the client"), "{status}");
    Ok(())
}

pub(crate) fn connects_and_delivers(machine: &Machine, props: &Props) -> Result<()> {
    site::configure(machine, props)?;
    machine.write(
        "/etc/systemd/system/wardpost.service.d/test.conf",
        IMPATIENT,
    )?;
    machine.run(&["systemctl", "daemon-reload"])?;
    machine.run(&["systemctl", "restart", SERVICE])?;
    site::says(machine, "live")?;
    site::delivers(machine, 1)
}

/// All of it, or nothing: a file with a mistake fails the reload, and the agent goes on as before.
pub(crate) fn reads_its_configuration_anew(machine: &Machine, _: &Props) -> Result<()> {
    let process = machine.show(SERVICE, "MainPID")?;
    machine.write(
        HEMA,
        "name = \"hema-1\"\nurl = \"mllp://127.0.0.1:2576\"\nenabled = false\n",
    )?;
    machine.run(&["systemctl", "reload", SERVICE])?;
    let devices = machine.run(&["wardpost", "devices"])?;
    ensure!(devices.contains("hema-1"), "{devices}");
    machine.write(HEMA, "name = \"hema-1\"\nurl = 7\n")?;
    let (code, said) = machine.attempt(&["systemctl", "reload", SERVICE])?;
    ensure!(code != 0, "a broken file was taken: {said}");
    std::fs::remove_file(machine.path(HEMA))?;
    machine.run(&["systemctl", "reload", SERVICE])?;
    ensure!(
        machine.show(SERVICE, "MainPID")? == process,
        "it was restarted"
    );
    ensure!(
        machine.show(SERVICE, "ActiveState")? == "active",
        "it does not run"
    );
    site::delivers(machine, 2)
}

pub(crate) fn is_missed_when_it_is_frozen(machine: &Machine, _: &Props) -> Result<()> {
    let restarted = restarts(machine)?;
    signal(machine, Signal::STOP)?;
    restarted(machine)?;
    let journal = machine.journal(SERVICE)?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    site::connected(machine)?;
    site::delivers(machine, 3)
}

/// Orders and pushes have the same numbers here. A push is on its way to a disk that does not answer, so nothing is sent and nobody is told that it is safe. What the
/// new process finds of it is an attempt without an end, on which a person has to decide.
pub(crate) fn is_missed_when_its_disk_hangs(machine: &Machine, _: &Props) -> Result<()> {
    let restarted = restarts(machine)?;
    let disk = HungDisk::of(machine.process(SERVICE)?)?;
    let mut caller = site::pushing(machine, 4)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    until("the silent store to be named", || {
        let words = [
            "journalctl",
            "--no-pager",
            "-o",
            "cat",
            "WARDPOST_UNIT=store",
        ];
        Ok(Is::saying("unit=store", machine.run(&words)?))
    })?;
    until("the watchdog to bite", || {
        let state = machine.show(SERVICE, "ActiveState")?;
        Ok(Is::saying("deactivating", state))
    })?;
    // Its end is decided. A process that is being traced cannot end.
    drop(disk);
    restarted(machine)?;
    caller.wait()?;
    site::connected(machine)?;
    let story = machine.run(&["wardpost", "why", "4"])?;
    ensure!(story.contains("uncertain"), "{story}");
    machine.run(&["wardpost", "resend", "4"])?;
    site::received_once(machine, 4)
}

pub(crate) fn is_started_anew_when_it_is_killed(machine: &Machine, _: &Props) -> Result<()> {
    let restarted = restarts(machine)?;
    signal(machine, Signal::KILL)?;
    restarted(machine)?;
    site::connected(machine)?;
    site::delivers(machine, 5)
}

pub(crate) fn stops_in_good_order(machine: &Machine, _: &Props) -> Result<()> {
    machine.run(&["systemctl", "stop", SERVICE])?;
    for (property, value) in [
        ("ActiveState", "inactive"),
        ("Result", "success"),
        ("ExecMainStatus", "0"),
    ] {
        let found = machine.show(SERVICE, property)?;
        ensure!(found == value, "{property} is {found}");
    }
    machine.run(&["systemctl", "start", SERVICE])?;
    site::connected(machine)
}

/// Waits until the service was restarted once more than now, and runs.
fn restarts(machine: &Machine) -> Result<impl Fn(&Machine) -> Result<()>> {
    let count =
        |machine: &Machine| -> Result<u32> { Ok(machine.show(SERVICE, "NRestarts")?.parse()?) };
    let before = count(machine)?;
    Ok(move |machine: &Machine| {
        until("a restart", || {
            let (now, state) = (count(machine)?, machine.show(SERVICE, "ActiveState")?);
            Ok(if now > before && state == "active" {
                Is::So
            } else {
                Is::Still(format!("{now} restarts, {state}"))
            })
        })
    })
}

fn signal(machine: &Machine, signal: Signal) -> Result<()> {
    let process = i32::try_from(machine.process(SERVICE)?)?;
    let process = Pid::from_raw(process).context("no process")?;
    Ok(kill_process(process, signal)?)
}

/// Every fsync of a process takes far too long, for as long as this is kept.
struct HungDisk(Child);

impl HungDisk {
    fn of(process: u32) -> Result<Self> {
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"])
            .args(["-e", "inject=fdatasync:delay_enter=600000000"])
            .args(["-p", &process.to_string()])
            // It wonders about a process that is told to end meanwhile.
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run strace")?;
        let disk = Self(strace);
        until("every thread to be traced", || {
            let untraced = std::fs::read_dir(format!("/proc/{process}/task"))?
                .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
                .filter(|status| status.contains("\nTracerPid:\t0\n"))
                .count();
            Ok(match untraced {
                0 => Is::So,
                count => Is::Still(format!("{count} threads are not")),
            })
        })?;
        Ok(disk)
    }
}

impl Drop for HungDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const HEMA: &str = "/etc/wardpost/devices.d/hema-1.toml";

/// The unit as it is, but with a watchdog that bites within a test.
const IMPATIENT: &str = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\nRestartSec=100ms\n";
