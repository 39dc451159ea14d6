//! What a story found, for a person and for the exit code.

use std::fmt;

use super::judge::{Fault, Tally};
use super::{Counts, Form};

/// The result of one form of the story.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) form: Form,
    pub(super) seed: u64,
    pub(super) counts: Counts,
    pub(super) completing: usize,
    pub(super) received: usize,
    pub(super) faults: Vec<Fault>,
    pub(super) tally: Tally,
}

impl Report {
    /// Whether every promise was kept.
    pub fn is_success(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Push => "the Bot pushes, the cloud keeps pushes",
            Form::Task => "the Bot creates Tasks, the cloud forgets pushes",
        };
        let Counts {
            orders,
            messages,
            kinds,
            kills,
            open_kills,
            cuts,
            took,
            drain,
        } = &self.counts;
        writeln!(f, "story, seed {}: {form}", self.seed)?;
        writeln!(
            f,
            "{kills} kills in {took:.1?}, {open_kills} of them found attempts open; {cuts} cuts of the uplink; drained in {drain:.1?}"
        )?;
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let (received, completing) = (self.received, self.completing);
        writeln!(
            f,
            "orders {orders}, messages {messages} ({}), received by devices {received}",
            kinds.join(", ")
        )?;
        let Tally {
            delivered,
            held,
            parked,
        } = self.tally;
        writeln!(
            f,
            "delivered once {delivered}, held as uncertain {held} (attempts completing at a kill: {completing}), behind them {parked}"
        )?;
        for fault in self.faults.iter().take(SHOWN) {
            writeln!(f, "  {fault:?}")?;
        }
        if self.faults.is_empty() {
            writeln!(
                f,
                "every order was delivered once, or is held with its reason"
            )
        } else {
            writeln!(f, "{} promises were broken", self.faults.len())
        }
    }
}

const SHOWN: usize = 20;
