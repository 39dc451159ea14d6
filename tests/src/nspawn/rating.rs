//! What systemd itself makes of the unit: how exposed it is, whether it is understood, what it is limited to.

use anyhow::{Result, ensure};

use super::{Machine, Props, Suite};

const UNIT: &str = "/usr/lib/systemd/system/wardpost.service";

/// The exposure in tenths, lower is better. The older release does not know some of what is counted.
fn most(suite: Suite) -> &'static str {
    match suite {
        Suite::Bookworm => "16",
        Suite::Trixie => "15",
    }
}

pub(crate) fn is_little_exposed(machine: &Machine, props: &Props) -> Result<()> {
    let threshold = format!("--threshold={}", most(props.suite));
    machine
        .run(&[
            "systemd-analyze",
            "security",
            "--offline=true",
            &threshold,
            UNIT,
        ])
        .map(drop)
}

pub(crate) fn is_understood_completely(machine: &Machine, _: &Props) -> Result<()> {
    let (code, said) = machine.attempt(&["systemd-analyze", "verify", "--man=no", UNIT])?;
    ensure!(code == 0, "{said}");
    let about_us: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("wardpost"))
        .collect();
    ensure!(about_us.is_empty(), "{said}");
    Ok(())
}

pub(crate) fn is_limited_in_memory_and_threads(machine: &Machine, _: &Props) -> Result<()> {
    let groups = machine.path("/sys/fs/cgroup/system.slice/wardpost.service");
    for (controller, file, value) in [
        ("memory", "memory.max", "1073741824"),
        ("pids", "pids.max", "128"),
    ] {
        let controllers = std::fs::read_to_string(groups.join("cgroup.controllers"))?;
        if !controllers
            .split_whitespace()
            .any(|name| name == controller)
        {
            eprintln!(
                "NOT TRIED: {file}; another version of control groups owns {controller} on this machine"
            );
            continue;
        }
        let found = std::fs::read_to_string(groups.join(file))?;
        ensure!(found.trim() == value, "{file} is {found}");
    }
    Ok(())
}
