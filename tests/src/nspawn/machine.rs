//! One machine: booted, used through its namespaces, ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::notify::Notify;
use super::program::{self, Said};
use super::{Props, strays};

/// A machine that runs. It ends with this value, whatever happens.
#[derive(Debug)]
pub struct Machine {
    name: String,
    nspawn: Child,
    /// Its process 1, as this machine numbers it.
    leader: u32,
    folder: tempfile::TempDir,
    notify: Notify,
}

impl Machine {
    /// Boots the tree of the props, in place of what an earlier test has left running.
    pub fn boot(props: &Props) -> Result<Self> {
        let name = format!("wardpost-test-{}", props.suite.name());
        strays::end(&name)?;
        let folder = tempfile::Builder::new().prefix("wp").tempdir()?;
        let notify = Notify::listen(&folder.path().join("notify"))?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let nspawn = Command::new("unshare")
            .args(["--mount", "sh", "-euc"])
            .arg(format!("{}\n{BOOT}", strays::CGROUPS))
            .args(["sh", &name])
            .arg(&props.tree)
            .arg(&props.binaries)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run unshare")?;
        let mut machine = Self {
            name,
            nspawn,
            leader: 0,
            folder,
            notify,
        };
        machine.leader = machine.notify.booted().with_context(|| machine.console())?;
        machine.run(&["systemctl", "is-system-running", "--wait"])?;
        Ok(machine)
    }

    /// Runs a command inside that has to succeed, and hands back what it wrote.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        program::succeed(&mut self.command(words))
    }

    /// Runs a command inside, whatever comes of it: code, output.
    pub fn attempt(&self, words: &[&str]) -> Result<(i32, String)> {
        let Said { code, out, err } = program::attempt(&mut self.command(words))?;
        Ok((code, format!("{out}{err}")))
    }

    /// Prepares a command inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string(), "--all"])
            .args(["--root", "--wd", "env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8"])
            .args(words);
        command
    }

    /// Prepares a command of this machine that sees the network of that one.
    pub fn from_outside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string(), "--net"])
            .args(words);
        command
    }

    /// Where a file of the machine is for this one.
    pub fn path(&self, inside: &str) -> PathBuf {
        Path::new("/proc").join(format!("{}/root{inside}", self.leader))
    }

    pub fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.path(inside);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {inside}"))
    }

    /// Copies a file into its folder `/opt`, and names it there.
    pub fn bring(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("no file")?.to_string_lossy();
        let inside = format!("/opt/{name}");
        std::fs::copy(file, self.path(&inside))
            .with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(inside)
    }

    /// What the service manager knows of a unit.
    pub fn show(&self, unit: &str, property: &str) -> Result<String> {
        let said = self.run(&["systemctl", "show", unit, "-P", property])?;
        Ok(said.trim().to_owned())
    }

    /// The main process of a unit, as this machine numbers it.
    pub fn process(&self, unit: &str) -> Result<u32> {
        let inside = self.show(unit, "MainPID")?;
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = space(&self.leader.to_string());
        for entry in std::fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_string_lossy().into_owned();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            let innermost = numbers.and_then(|numbers| numbers.split_whitespace().next_back());
            if innermost == Some(&inside) && space(&pid) == own {
                return Ok(pid.parse()?);
            }
        }
        bail!("the process {inside} of {unit} is not to be found")
    }

    pub fn journal(&self, unit: &str) -> Result<String> {
        self.run(&["journalctl", "--no-pager", "-o", "cat", "-u", unit])
    }

    /// Powers it off in good order.
    pub fn power_off(mut self) -> Result<()> {
        self.run(&["systemctl", "--no-block", "poweroff"])?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.nspawn.try_wait()? {
                anyhow::ensure!(
                    status.success(),
                    "{}: {status}\n{}",
                    self.name,
                    self.console()
                );
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not power off\n{}", self.name, self.console())
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = strays::end(&self.name) {
            eprintln!("{error:#}");
        }
        // Already gone after a good end.
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

/// What `systemd-nspawn` needs around it, and its call. Its own filter of system calls would hide what the service's
/// rules do, so it is off. `/run` has to be in memory.
const BOOT: &str = r#"
mount -t tmpfs tmpfs /run
mkdir "/sys/fs/cgroup/$1"
echo $$ > "/sys/fs/cgroup/$1/cgroup.procs"
export SYSTEMD_SECCOMP=0
exec systemd-nspawn --directory="$2" --boot --volatile=overlay --private-network --register=no --keep-unit \
    --machine="$1" --notify-ready=yes --console=read-only --bind-ro="$3:/mnt""#;

const PATIENCE: Duration = Duration::from_secs(30);
