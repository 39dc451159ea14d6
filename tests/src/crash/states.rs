//! Many states of the disk, sampled by a seed, each opened and judged.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;

use super::disk::{Disk, Image, Keeps, Syncs};
use super::record::Event;
use super::run::Recording;
use crate::oracle::{Snapshot, Story, at_kill};

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub states: usize,
    pub seed: u64,
    pub syncs: Syncs,
    /// Judged by so many threads.
    pub at_once: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub states: usize,
    /// States that were also looked through page by page.
    pub examined: usize,
    /// Messages and answers that had left before the states' moments, all in all.
    pub promises: usize,
    pub wrongs: Vec<String>,
}

/// A moment of the run and a part of what was not safe then.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The power goes when so many events have happened.
    moment: usize,
    keeps: Keeps,
    seed: u64,
}

pub fn judge(recording: &Recording, options: &Options) -> anyhow::Result<Report> {
    let samples = samples(recording, options);
    let workers: Vec<anyhow::Result<Report>> = std::thread::scope(|scope| {
        let start = |part: usize| {
            let own = samples.iter().skip(part).step_by(options.at_once);
            let own: Vec<Sample> = own.copied().collect();
            scope.spawn(move || judge_part(recording, options.syncs, &own))
        };
        let started: Vec<_> = (0..options.at_once).map(start).collect();
        let crashed = || anyhow::anyhow!("a judge crashed");
        started
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(crashed())))
            .collect()
    });
    let mut report = Report::default();
    for part in workers {
        report.add(part?);
    }
    Ok(report)
}

/// Half of the moments are those at which something has just been said; the others are anywhere. In their order.
fn samples(recording: &Recording, options: &Options) -> Vec<Sample> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let is_said = |(_, event): &(usize, &Event)| matches!(event, Event::Sent { .. });
    let events = recording.events.iter().enumerate();
    let said: Vec<usize> = events
        .filter(is_said)
        .map(|(number, _)| number + 1)
        .collect();
    let mut sample = |number: usize| Sample {
        moment: match said.get(random.random_range(0..said.len().max(1))) {
            Some(moment) if number.is_multiple_of(2) => *moment,
            _ => random.random_range(0..=recording.events.len()),
        },
        keeps: Keeps::ALL[number % Keeps::ALL.len()],
        seed: random.random(),
    };
    let mut samples: Vec<Sample> = (0..options.states).map(&mut sample).collect();
    samples.sort_by_key(|sample| sample.moment);
    samples
}

fn judge_part(recording: &Recording, syncs: Syncs, samples: &[Sample]) -> anyhow::Result<Report> {
    let folder = folder()?;
    let mut report = Report::default();
    let mut disk = Disk::default();
    let mut done = 0;
    for sample in samples {
        for event in recording
            .events
            .get(done..sample.moment)
            .unwrap_or_default()
        {
            disk.take(event, syncs);
        }
        done = sample.moment;
        let mut random = StdRng::seed_from_u64(sample.seed);
        let image = disk.image(sample.keeps, &mut random);
        write(&image, folder.path(), &mut random)?;
        let story = recording.until(sample.moment);
        let mut wrongs = look(folder.path(), &story, recording, sample.moment);
        if report.states.is_multiple_of(EXAMINE_ONE_IN) {
            report.examined += 1;
            wrongs.extend(examine(folder.path()));
        }
        report.states += 1;
        report.promises += story.received.len() + recording.answers_until(sample.moment).len();
        let said = wrongs
            .into_iter()
            .map(|wrong| format!("{sample:?}: {wrong}"));
        report.wrongs.extend(said);
    }
    Ok(report)
}

impl Recording {
    /// What was known outside at this moment.
    pub(super) fn until(&self, moment: usize) -> Story {
        let received = self.received.iter().filter(|(at, _)| *at < moment);
        Story {
            received: received.map(|(_, receipt)| receipt.clone()).collect(),
            ..self.frame.clone()
        }
    }

    pub(super) fn answers_until(&self, moment: usize) -> Vec<crate::oracle::CloudAnswer> {
        let answers = self.answers.iter().filter(|(at, _)| *at < moment);
        answers.map(|(_, answer)| answer.clone()).collect()
    }

    /// The state of the disk at a moment.
    pub(super) fn image(&self, moment: usize, keeps: Keeps, random: &mut StdRng) -> Image {
        let mut disk = Disk::default();
        for event in self.events.get(..moment).unwrap_or(&self.events) {
            disk.take(event, Syncs::Work);
        }
        disk.image(keeps, random)
    }
}

fn look(folder: &Path, story: &Story, recording: &Recording, moment: usize) -> Vec<String> {
    let snapshot = match Snapshot::read(&folder.join(DATABASE)) {
        Ok(snapshot) => snapshot,
        Err(error) => return vec![format!("the database cannot be read: {error}")],
    };
    let mut story = story.clone();
    story.add(snapshot);
    let breaks = at_kill(&story, &recording.answers_until(moment));
    breaks.iter().map(|wrong| format!("{wrong:?}")).collect()
}

fn examine(folder: &Path) -> Option<String> {
    let path = folder.join(DATABASE);
    if !path.exists() {
        return None;
    }
    let found = Connection::open(path).and_then(|database| {
        database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
    });
    match found {
        Ok(found) if found == "ok" => None,
        found => Some(format!("the database is damaged: {found:?}")),
    }
}

/// The files of the database; what else is in the directory may be lost. The shared memory is no file of the disk, but
/// what it was may be found there after a power cut, or anything.
pub(super) fn write(image: &Image, folder: &Path, random: &mut StdRng) -> anyhow::Result<()> {
    for ending in ["", "-wal", "-journal", "-shm"] {
        let name = format!("{DATABASE}{ending}");
        let path = folder.join(&name);
        match image.get(&name) {
            Some(bytes) if ending != "-shm" => std::fs::write(&path, bytes),
            _ if ending == "-shm" && random.random_ratio(1, 4) => {
                let mut garbage = vec![0; 32 * 1024];
                random.fill(garbage.as_mut_slice());
                std::fs::write(&path, garbage)
            }
            _ if path.exists() => std::fs::remove_file(&path),
            _ => Ok(()),
        }
        .with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// In memory where that is possible: thousands of states are written.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("wpc").tempdir_in(memory);
    Ok(made.or_else(|_| tempfile::tempdir())?)
}

impl Report {
    fn add(&mut self, part: Self) {
        self.states += part.states;
        self.examined += part.examined;
        self.promises += part.promises;
        self.wrongs.extend(part.wrongs);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "power cuts: {} states judged against {} messages and answers that had left, {} looked through page by page; \
             {} promises broken",
            self.states,
            self.promises,
            self.examined,
            self.wrongs.len()
        )
    }
}

pub(super) const DATABASE: &str = "wardpost.db";
const EXAMINE_ONE_IN: usize = 8;
