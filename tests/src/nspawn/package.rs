//! What a package goes through: upgraded, removed, purged.

use anyhow::{Result, ensure};

use super::site::{self, SERVICE};
use super::{Machine, Props};

pub(crate) fn upgrade_takes_the_queue_along(machine: &Machine, props: &Props) -> Result<()> {
    site::device_off(machine)?;
    let (status, body) = site::push(machine, 6)?;
    ensure!(status == 202, "order 6 was answered {status}: {body}");
    let before = (version(machine)?, machine.show(SERVICE, "MainPID")?);
    let upgrade = machine.bring(&props.upgrade)?;
    machine.run(&["dpkg", "-i", &upgrade])?;
    let after = (version(machine)?, machine.show(SERVICE, "MainPID")?);
    ensure!(
        before.0 != after.0 && before.1 != after.1,
        "{before:?}, {after:?}"
    );
    site::connected(machine)?;
    site::device_on(machine)?;
    site::received_once(machine, 6)
}

pub(crate) fn removing_keeps_queue_and_configuration(
    machine: &Machine,
    props: &Props,
) -> Result<()> {
    machine.run(&["dpkg", "--remove", "wardpost"])?;
    let state = machine.attempt(&["systemctl", "is-active", SERVICE])?.1;
    ensure!(state.trim() == "inactive", "it is still {state}");
    for path in [
        DATABASE,
        "/etc/wardpost/wardpost.toml",
        "/etc/wardpost/devices.d/chem-1.toml",
    ] {
        ensure!(machine.path(path).exists(), "{path} is gone");
    }
    let package = machine.bring(&props.upgrade)?;
    machine.run(&["dpkg", "-i", &package])?;
    site::connected(machine)?;
    let story = machine.run(&["wardpost", "why", "1"])?;
    ensure!(story.contains("delivered"), "{story}");
    site::delivers(machine, 7)
}

pub(crate) fn purging_leaves_nothing_behind(machine: &Machine, _: &Props) -> Result<()> {
    machine.run(&["dpkg", "--purge", "wardpost"])?;
    for path in [
        "/var/lib/wardpost",
        "/etc/wardpost",
        "/run/wardpost",
        "/usr/lib/systemd/system/wardpost.service",
        "/etc/systemd/system/wardpost.service",
        "/etc/systemd/system/multi-user.target.wants/wardpost.service",
        "/usr/share/doc/wardpost",
    ] {
        ensure!(!machine.path(path).exists(), "{path} is still there");
    }
    let state = machine.run(&["systemctl", "is-system-running"])?;
    ensure!(state.trim() == "running", "the machine is {state}");
    // Its number must not be given to somebody else.
    machine.run(&["id", "wardpost"]).map(drop)
}

fn version(machine: &Machine) -> Result<String> {
    machine.run(&["dpkg-query", "-W", "-f", "${Version}", "wardpost"])
}

const DATABASE: &str = "/var/lib/wardpost/wardpost.db";
