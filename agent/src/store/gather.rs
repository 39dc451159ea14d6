//! What the next commit waits for: answers that are about to come.
//!
//! ```text
//!  commit ─► attempts go out ─► their answers come ─► one commit for all of them
//!                 └──────── no longer than a commit takes ────────┘
//! ```
//!
//! A sync costs the same for one row as for a hundred. Devices that answer at once would still fall into two halves: the
//! first answer starts a commit, and the others wait for the one after it, two syncs a push where one would do. So the
//! writer waits for attempts whose device answered in time the last time, and for nothing else: a push alone waits for
//! nobody, and a slow device holds nobody up.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use agent_core::push::DeviceNo;

use crate::clock;

/// The attempts that are waited for, as lines and writer both see them.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// How often the writer gave up on what did not come, and below it how many have not come since.
    rounds_and_count: AtomicU64,
    writer: OnceLock<Thread>,
}

/// When an attempt was handed to its line, and how long the line took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handed {
    at: Instant,
    /// In which round it is waited for, if it is.
    round: Option<u64>,
    took: Duration,
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What a batch takes with its commit, smoothed.
    batch: Duration,
    /// Devices that answered within the [patience](Self::patience) the last time.
    quick: HashSet<DeviceNo>,
    last_handed: Option<Instant>,
}

impl Awaited {
    fn hand(&self) -> u64 {
        self.rounds_and_count.fetch_add(1, Ordering::AcqRel) >> COUNT_BITS
    }

    /// An attempt is back. To be called when its outcome is on its way: the writer looks for it at once.
    pub(super) fn came(&self, handed: Handed) {
        let Some(round) = handed.round else { return };
        let left =
            self.rounds_and_count
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                    (state >> COUNT_BITS == round && state & COUNT != 0).then(|| state - 1)
                });
        if left.is_ok_and(|before| before & COUNT == 1)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    /// Blocks the writer, which is whoever calls this.
    fn wait(&self, since: Instant, patience: Duration) {
        let _ = self.writer.get_or_init(std::thread::current);
        while !self.nobody() {
            let left = patience.saturating_sub(clock::since(since));
            if left.is_zero() {
                return self.give_up();
            }
            std::thread::park_timeout(left);
        }
    }

    fn nobody(&self) -> bool {
        self.rounds_and_count.load(Ordering::Acquire) & COUNT == 0
    }

    fn give_up(&self) {
        let _ = self
            .rounds_and_count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                Some(((state >> COUNT_BITS) + 1) << COUNT_BITS)
            });
    }
}

impl Handed {
    pub(super) fn back(self) -> Self {
        Self {
            took: clock::since(self.at),
            ..self
        }
    }
}

impl Gather {
    pub(super) fn hand(&mut self, device: DeviceNo, awaited: &Awaited) -> Handed {
        let at = clock::instant();
        let round = self.quick.contains(&device).then(|| {
            self.last_handed = Some(at);
            awaited.hand()
        });
        Handed {
            at,
            round,
            took: Duration::MAX,
        }
    }

    /// An attempt came back.
    pub(super) fn learn(&mut self, device: DeviceNo, handed: Handed) {
        if handed.took <= self.patience() {
            self.quick.insert(device);
        } else {
            self.quick.remove(&device);
        }
    }

    pub(super) fn committed(&mut self, took: Duration) {
        self.batch = (self.batch * 7 + took) / 8;
    }

    /// Blocks the writer until all that it waits for has come, but not longer than it is worth.
    pub(super) fn wait(&self, awaited: &Awaited) {
        if let Some(last) = self.last_handed {
            awaited.wait(last, self.patience());
        }
    }

    /// What an answer loses that has to wait for a batch begun just before it.
    fn patience(&self) -> Duration {
        self.batch.min(LONGEST)
    }
}

/// So that nothing waits for long behind a disk that stalls.
const LONGEST: Duration = Duration::from_millis(5);
const COUNT_BITS: u32 = 32;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const DEVICE: DeviceNo = DeviceNo(1);

    /// One whose batches take 4 ms.
    fn gather() -> Gather {
        Gather {
            batch: Duration::from_millis(4),
            ..Gather::default()
        }
    }

    fn back(handed: Handed, took: u64) -> Handed {
        Handed {
            took: Duration::from_millis(took),
            ..handed
        }
    }

    #[test]
    fn only_a_device_that_was_quick_is_waited_for() {
        let (mut gather, awaited) = (gather(), Awaited::default());
        let first = gather.hand(DEVICE, &awaited);
        assert!(awaited.nobody(), "nothing is known of it yet");
        gather.learn(DEVICE, back(first, 4));
        let second = gather.hand(DEVICE, &awaited);
        assert!(!awaited.nobody());
        awaited.came(second);
        assert!(awaited.nobody());
        gather.learn(DEVICE, back(second, 5));
        gather.hand(DEVICE, &awaited);
        assert!(awaited.nobody(), "it was slow the last time");
    }

    #[test]
    fn what_comes_after_the_writer_gave_up_counts_for_nothing() {
        let (mut gather, awaited) = (gather(), Awaited::default());
        gather.quick.extend([DEVICE, DeviceNo(2)]);
        let late = gather.hand(DEVICE, &awaited);
        awaited.give_up();
        let other = gather.hand(DeviceNo(2), &awaited);
        awaited.came(late);
        assert!(!awaited.nobody(), "the other one is still out");
        awaited.came(other);
        assert!(awaited.nobody());
    }

    #[test]
    fn the_writer_goes_on_without_an_answer_that_does_not_come() {
        let (mut gather, awaited) = (gather(), Awaited::default());
        gather.quick.insert(DEVICE);
        gather.hand(DEVICE, &awaited);
        gather.wait(&awaited);
        assert!(awaited.nobody());
    }

    /// Whether the answer comes before the writer sleeps or after it is up to the machine, so it is tried often.
    #[test]
    fn the_last_answer_wakes_the_writer() {
        for _ in 0..100 {
            let (mut gather, awaited) = (gather(), Arc::new(Awaited::default()));
            gather.quick.insert(DEVICE);
            let handed = gather.hand(DEVICE, &awaited);
            let (woken, news) = std::sync::mpsc::channel();
            let writers = Arc::clone(&awaited);
            std::thread::spawn(move || {
                writers.wait(clock::instant(), Duration::from_hours(1));
                woken.send(()).expect("the test waits for it");
            });
            while awaited.writer.get().is_none() {
                std::thread::yield_now();
            }
            awaited.came(handed);
            let woken = news.recv_timeout(Duration::from_secs(30));
            assert!(woken.is_ok(), "nobody woke it");
        }
    }

    #[test]
    fn the_writer_is_as_patient_as_its_batches_are_slow_and_never_for_long() {
        let mut gather = Gather::default();
        assert_eq!(gather.patience(), Duration::ZERO);
        for _ in 0..100 {
            gather.committed(Duration::from_millis(2));
        }
        assert!(gather.patience() <= Duration::from_millis(2));
        assert!(gather.patience() > Duration::from_micros(1_900));
        for _ in 0..100 {
            gather.committed(Duration::from_secs(1));
        }
        assert_eq!(gather.patience(), LONGEST);
    }
}
