//! Spawns every task there is, restarts what crashed, and says when something essential is over.
//!
//! Not reaching the cloud or a device is waiting, and happens inside a unit. A panic is a crash: a line is started again
//! and, if it keeps crashing, given up alone; if a core unit ends, the process ends and the service manager takes over.

use std::future::Future;
use std::time::Duration;

use agent_core::push::Mono;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::clock;
use crate::pulse::{Pulses, Tether};

/// Owns all tasks of the process.
#[derive(Debug)]
pub struct Supervisor {
    tasks: TaskTracker,
    lines: TaskTracker,
    stop: CancellationToken,
    pulses: Pulses,
    over: mpsc::Sender<Over>,
    ended: mpsc::Receiver<Over>,
}

/// A core unit has ended though nobody told it to.
#[derive(Debug)]
pub struct Over {
    pub unit: &'static str,
    pub why: String,
}

/// Starts tasks that nobody waits for, such as one answer on the control socket.
#[derive(Clone, Debug)]
pub struct Spawner {
    tasks: TaskTracker,
}

impl Spawner {
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(task));
    }
}

/// Starts lines, also later ones.
#[derive(Clone, Debug)]
pub struct LineSpawner {
    tasks: TaskTracker,
    pulses: Pulses,
}

impl LineSpawner {
    /// Runs a line, made anew after each crash; `settle` sees to what it had in its hands.
    pub fn line<F, C>(
        &self,
        name: String,
        mut make: impl FnMut() -> F + Send + 'static,
        mut settle: impl FnMut() -> C + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
        C: Future<Output = ()> + Send + 'static,
    {
        let (tasks, pulses) = (self.tasks.clone(), self.pulses.clone());
        self.tasks.spawn(async move {
            let mut crashes = Crashes::default();
            while let Err(failure) = tasks.spawn(make()).await {
                if failure.is_cancelled() {
                    break;
                }
                // What a line does with its device is its own affair. Here somebody waits for us: until what the line had
                // in its hands is settled, its device gets nothing.
                let watched = pulses.unit(format!("supervision of line {name}"));
                settle().await;
                drop(watched);
                if crashes.add(clock::mono()) == Patience::Exhausted {
                    error!(device = %name, "the line keeps crashing and is given up");
                    break;
                }
                warn!(device = %name, "the line crashed and is started again");
            }
        });
    }
}

/// What becomes of a line that has crashed too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patience {
    Left,
    Exhausted,
}

/// Crashes of one line, forgiven after a while.
#[derive(Debug, Default)]
struct Crashes(Vec<Mono>);

impl Supervisor {
    /// `watchdog`: how often the service manager wants to hear that every unit lives.
    pub fn new(watchdog: Option<Duration>) -> Self {
        let (over, ended) = mpsc::channel(CORE_UNITS);
        let (tasks, lines) = (TaskTracker::new(), TaskTracker::new());
        Self {
            tasks,
            lines,
            stop: CancellationToken::new(),
            pulses: Pulses::new(watchdog),
            over,
            ended,
        }
    }

    /// Cancelled when everything is to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// What a core unit is given, which from now on has to report.
    pub fn tether(&self, unit: &'static str) -> Tether {
        Tether {
            stop: self.stop.clone(),
            pulse: self.pulses.unit(unit),
        }
    }

    pub fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    pub fn spawner(&self) -> Spawner {
        Spawner {
            tasks: self.tasks.clone(),
        }
    }

    /// Runs a unit without which the agent is none.
    pub fn core<E: ToString + Send + 'static>(
        &self,
        unit: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let (report, stop) = (self.over.clone(), self.stop.clone());
        let running = self.tasks.spawn(task);
        self.tasks.spawn(async move {
            let why = match running.await {
                Ok(Ok(())) if stop.is_cancelled() => return,
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it crashed".to_owned(),
            };
            // The receiver is dropped only when the process is ending anyway.
            let _ = report.send(Over { unit, why }).await;
        });
    }

    pub fn lines(&self) -> LineSpawner {
        LineSpawner {
            tasks: self.lines.clone(),
            pulses: self.pulses.clone(),
        }
    }

    /// Waits until a core unit is over.
    pub async fn over(&mut self) -> Over {
        match self.ended.recv().await {
            Some(over) => over,
            None => std::future::pending().await,
        }
    }

    /// Tells everything to stop. Lines finish what is on the wire, `last` is done, then the rest is waited for; but
    /// not for ever.
    pub async fn stop(&self, patience: Duration, last: impl Future<Output = ()>) {
        self.stop.cancel();
        wait(&self.lines, patience, "some lines did not stop in time").await;
        last.await;
        wait(&self.tasks, patience, "some tasks did not stop in time").await;
    }
}

/// What a task that is left behind had in its hands is on disk.
async fn wait(tasks: &TaskTracker, patience: Duration, otherwise: &str) {
    tasks.close();
    if tokio::time::timeout(patience, tasks.wait()).await.is_err() {
        warn!("{otherwise}");
    }
}

impl Crashes {
    fn add(&mut self, now: Mono) -> Patience {
        self.0.push(now);
        self.0.retain(|at| now.0 - at.0 < FORGIVEN_AFTER_MS);
        match self.0.len() {
            0..MOST_CRASHES => Patience::Left,
            _ => Patience::Exhausted,
        }
    }
}

const CORE_UNITS: usize = 16;
const MOST_CRASHES: usize = 5;
const FORGIVEN_AFTER_MS: u64 = 10 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crashed_line_that_cannot_be_settled_is_missed() {
        let patience = Duration::from_secs(30);
        let supervisor = Supervisor::new(Some(patience));
        let (begun, mut settling) = mpsc::channel::<()>(1);
        let settle = move || {
            let begun = begun.clone();
            async move {
                let _ = begun.send(()).await;
                std::future::pending::<()>().await;
            }
        };
        let crash = || async { assert_eq!(clock::mono(), Mono(u64::MAX), "a planned crash") };
        supervisor.lines().line("chem-1".into(), crash, settle);
        settling.recv().await.unwrap();
        let silence = supervisor.pulses().silent(clock::mono().plus(patience * 2));
        assert_eq!(silence.unwrap().unit, "supervision of line chem-1");
    }

    #[test]
    fn five_crashes_in_ten_minutes_are_too_many() {
        let mut crashes = Crashes::default();
        for minute in 0..4 {
            assert_eq!(crashes.add(Mono(minute * 60_000)), Patience::Left);
        }
        assert_eq!(crashes.add(Mono(4 * 60_000)), Patience::Exhausted);
        let mut slow = Crashes::default();
        for hour in 0..100 {
            assert_eq!(slow.add(Mono(hour * 3_600_000)), Patience::Left);
        }
    }
}
