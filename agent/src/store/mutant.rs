//! Planted faults of the shell, so that the harnesses can show that they would notice them.
//!
//! They exist only with the feature `mutants`, which no release enables; without it every question here is `false`
//! at compile time. `WARDPOST_MUTANT` names the one to plant; the pure crates have some of their own.

use agent_core::push::{DeviceNo, OnUncertain};
use agent_core::queue::{DeviceConfig, Effect};

use super::Lines;
use super::writer::{Batch, Writer};

use super::Request;

/// A promise that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mutant {
    /// Attempts leave no trace on disk.
    AttemptNotRecorded,
    /// The next attempt that rides on a settled row is not written.
    ForgetMark,
    /// Only what can be sent at once is on disk.
    KeepInMemory,
    /// Answers are let out before the commit.
    AnswerBeforeCommit,
    /// What a commit that failed would have said is said all the same.
    FalseYes,
    /// What is uncertain after a crash is simply sent again.
    BlindResend,
    /// A commit returns before the disk has it.
    SyncOff,
    /// A start takes every recorded answer for arrived.
    ForgetUntaken,
    /// The newest of several pushes that come together gets the lowest number.
    LoseTurn,
    /// What a person did is not written down.
    UnwrittenAudit,
    /// What became of a push after its 202 is told to nobody.
    ForgetReceipt,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::LazyLock;

    use super::Mutant;

    static PLANTED: LazyLock<String> =
        LazyLock::new(|| std::env::var("WARDPOST_MUTANT").unwrap_or_default());

    /// Tells the pure crates of theirs. Called before the first decision.
    pub(in crate::store) fn plant() {
        let known = agent_core::mutant::plant(&PLANTED)
            || device_drivers::mutant::plant(&PLANTED)
            || name_of_own(&PLANTED);
        if !PLANTED.is_empty() {
            tracing::warn!(mutant = %*PLANTED, known, "this agent is made to fail");
        }
    }

    pub(in crate::store) fn is(mutant: Mutant) -> bool {
        *PLANTED == name(mutant)
    }

    fn name_of_own(wanted: &str) -> bool {
        ALL.iter().any(|mutant| name(*mutant) == wanted)
    }

    fn name(mutant: Mutant) -> &'static str {
        match mutant {
            Mutant::AttemptNotRecorded => "attempt-not-recorded",
            Mutant::ForgetMark => "forget-mark",
            Mutant::KeepInMemory => "keep-in-memory",
            Mutant::AnswerBeforeCommit => "answer-before-commit",
            Mutant::FalseYes => "false-yes",
            Mutant::BlindResend => "blind-resend",
            Mutant::SyncOff => "sync-off",
            Mutant::ForgetUntaken => "forget-untaken",
            Mutant::LoseTurn => "lose-turn",
            Mutant::UnwrittenAudit => "unwritten-audit",
            Mutant::ForgetReceipt => "forget-receipt",
        }
    }

    const ALL: [Mutant; 11] = [
        Mutant::AttemptNotRecorded,
        Mutant::ForgetMark,
        Mutant::KeepInMemory,
        Mutant::AnswerBeforeCommit,
        Mutant::FalseYes,
        Mutant::BlindResend,
        Mutant::SyncOff,
        Mutant::ForgetUntaken,
        Mutant::LoseTurn,
        Mutant::UnwrittenAudit,
        Mutant::ForgetReceipt,
    ];
}

#[cfg(feature = "mutants")]
pub(super) use planted::{is, plant};

#[cfg(not(feature = "mutants"))]
pub(super) const fn plant() {}

#[cfg(not(feature = "mutants"))]
pub(super) const fn is(_mutant: Mutant) -> bool {
    false
}

impl<L: Lines> Writer<L> {
    pub(super) fn answer_too_early(&mut self, batch: &mut Batch) {
        let effects = std::mem::take(&mut batch.effects);
        for effect in effects {
            match effect {
                Effect::Answer(answer) => drop(self.hand_answer(answer)),
                other => batch.effects.push(other),
            }
        }
        // A window wide enough for a kill to fall into.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Has every device send again what may have arrived, where that fault is planted.
pub(super) fn plant_blind_resend(devices: &mut [(DeviceNo, DeviceConfig)]) {
    if is(Mutant::BlindResend) {
        for (_, device) in devices {
            device.policy.on_uncertain = OnUncertain::Resend;
        }
    }
}

/// Turns several pushes that come together round, where that fault is planted.
pub(super) fn plant_lose_turn(waiting: &mut [Request]) {
    let is_push = |request: &Request| matches!(request, Request::Accept(..));
    if is(Mutant::LoseTurn) && waiting.iter().all(is_push) {
        waiting.reverse();
    }
}
