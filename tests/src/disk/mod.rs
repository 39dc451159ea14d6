//! The disk fails: a short life of the agent is lived again and again, and each time another call on its files fails.
//!
//! The calls are failed by the [`shim`](crate::shim). After each life the agent is started without a fault, finishes
//! what it has, and the [`oracle`](crate::oracle) judges the whole. What must hold is in `judge`.

mod judge;
mod life;
mod report;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::shim::{Errno, Fault, Kind, Lasting, Plan};
pub use report::{Ending, Lived, Report};

/// One call after the other fails in one way.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    pub start: Start,
    /// The calls that are failed.
    pub kinds: &'static [Kind],
    pub errno: Errno,
    pub lasting: Lasting,
}

/// What the failing life begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// An empty state directory.
    Empty,
    /// What a killed agent has left, with something queued, held and open in it.
    Used,
}

impl Sweep {
    fn plan(&self, plan: Plan) -> Plan {
        plan.counting(self.kinds)
    }

    fn fault(&self, nth: usize) -> Fault {
        Fault {
            nth,
            errno: self.errno,
            lasting: self.lasting,
        }
    }
}

/// Lives as many lives as there are calls, `at_once` at a time, and says what came of them.
///
/// How many calls there are is counted first; threads and timing make it a little different each time, so that some
/// faults at the end are never met.
pub fn run(sweep: &Sweep, at_once: usize) -> anyhow::Result<Report> {
    let calls = life::count(sweep)?;
    let next = AtomicUsize::new(1);
    let report = Mutex::new(Report::new(sweep, calls));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth > calls {
                        return;
                    }
                    let lived = live(sweep, nth);
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    report.add(nth, lived);
                }
            });
        }
    });
    Ok(report.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Lives a life, and again if a port that was ours was taken by somebody else meanwhile.
fn live(sweep: &Sweep, nth: usize) -> anyhow::Result<Lived> {
    let mut lived = life::live(sweep, nth);
    for _ in 0..AGAIN {
        let error = lived
            .as_ref()
            .err()
            .and_then(|error| error.downcast_ref::<io::Error>());
        if error.is_none_or(|error| error.kind() != io::ErrorKind::AddrInUse) {
            break;
        }
        lived = life::live(sweep, nth);
    }
    lived
}

const AGAIN: usize = 3;
