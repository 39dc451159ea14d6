//! A small Debian with a real systemd, in which the package is installed and the service lives.
//!
//! `systemd-nspawn` boots a tree of files in a mount namespace of its own, with every write in memory, so that neither the
//! tree nor this machine is changed. `life` tells what the service goes through, `package` what happens to its package,
//! `probes` what its hardening forbids, and `rating` what systemd thinks of it.

mod life;
mod machine;
mod notify;
mod package;
mod probes;
mod program;
mod rating;
mod site;
mod strays;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use machine::Machine;

/// What the stories play with.
#[derive(Clone, Debug)]
pub struct Props {
    /// A Debian release and the folder with its files.
    pub suite: Suite,
    pub tree: PathBuf,
    /// The package, and the same with a higher version.
    pub package: PathBuf,
    pub upgrade: PathBuf,
    /// Binaries of the cloud stub and the simulators.
    pub binaries: PathBuf,
    /// The root folder of the project.
    pub project: PathBuf,
}

/// The releases that the package is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    Bookworm,
    Trixie,
}

impl Suite {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

impl std::str::FromStr for Suite {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "bookworm" => Ok(Self::Bookworm),
            "trixie" => Ok(Self::Trixie),
            other => bail!("no such suite: {other}"),
        }
    }
}

type Act = fn(&Machine, &Props) -> Result<()>;

/// In the order in which one relies on the others.
const ACTS: &[(&str, Act)] = &[
    (
        "it runs at once, and says what it lacks",
        life::runs_at_once_and_says_what_it_lacks,
    ),
    (
        "its unit is understood completely",
        rating::is_understood_completely,
    ),
    ("its unit is little exposed", rating::is_little_exposed),
    (
        "it is limited in memory and threads",
        rating::is_limited_in_memory_and_threads,
    ),
    (
        "its hardening forbids what it is there for",
        probes::hardening_forbids_what_it_is_there_for,
    ),
    (
        "it may open serial lines",
        probes::serial_lines_may_be_opened,
    ),
    ("it connects and delivers", life::connects_and_delivers),
    (
        "it reads its configuration anew",
        life::reads_its_configuration_anew,
    ),
    (
        "it is missed when it is frozen",
        life::is_missed_when_it_is_frozen,
    ),
    (
        "it is missed when its disk hangs",
        life::is_missed_when_its_disk_hangs,
    ),
    (
        "it is started anew when it is killed",
        life::is_started_anew_when_it_is_killed,
    ),
    ("it stops in good order", life::stops_in_good_order),
    (
        "an upgrade takes the queue along",
        package::upgrade_takes_the_queue_along,
    ),
    (
        "removing keeps queue and configuration",
        package::removing_keeps_queue_and_configuration,
    ),
    (
        "purging leaves nothing behind",
        package::purging_leaves_nothing_behind,
    ),
];

/// Plays everything on one machine; the first act that fails is the last.
pub fn play(props: &Props, tell: &dyn Fn(&str)) -> Result<()> {
    let machine = Machine::boot(props)?;
    for (sentence, act) in ACTS {
        let began = Instant::now();
        if let Err(error) = act(&machine, props) {
            let journal = machine.run(&["journalctl", "--no-pager", "-b", "-n", "60"]);
            tell(&journal.unwrap_or_else(|error| error.to_string()));
            return Err(error).context(*sentence);
        }
        let took = began.elapsed().as_secs_f64();
        tell(&format!(
            "{:<10} {took:>5.1} s  {sentence}",
            props.suite.name()
        ));
    }
    machine.power_off()
}

/// Waits until the condition holds; says what it last was if it never does.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> Result<Is>) -> Result<()> {
    let began = Instant::now();
    loop {
        let last = match is()? {
            Is::So => return Ok(()),
            Is::Still(last) => last,
        };
        if began.elapsed() > PATIENCE {
            bail!("waited in vain for {what}; last seen: {last}");
        }
        std::thread::sleep(PAUSE);
    }
}

/// What a condition that is waited for looks like now.
pub(crate) enum Is {
    So,
    Still(String),
}

impl Is {
    /// It is so if the words are there.
    pub(crate) fn saying(words: &str, said: String) -> Self {
        if said.contains(words) {
            Self::So
        } else {
            Self::Still(said)
        }
    }
}

/// Far longer than anything takes, also on a machine that builds meanwhile.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(30);
