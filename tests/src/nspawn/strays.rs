//! Puts an end to machines, also to those that a killed test has left.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::program;

/// Kills every process of the machine and removes its groups. Sure, where killing `systemd-nspawn` is not: its machine
/// would go on without it.
pub(super) fn end(machine: &str) -> Result<()> {
    let began = Instant::now();
    let script = format!("{CGROUPS}\n{END}");
    loop {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-uc", &script, "sh", machine]);
        let said = program::attempt(&mut command)?;
        if said.code == 0 {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the machine {machine} cannot be ended: {}", said.err);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Puts the second version of control groups where systemd looks for them, in this mount namespace alone.
pub(super) const CGROUPS: &str = r#"
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -l /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi"#;

const END: &str = r#"
cd /sys/fs/cgroup
[ -d "$1" ] || exit 0
echo 1 > "$1/cgroup.kill"
find "$1" -depth -type d -exec rmdir {} +"#;

const PATIENCE: Duration = Duration::from_secs(30);
