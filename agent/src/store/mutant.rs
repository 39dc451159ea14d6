//! Planted faults, so that the kill harness can show that it would notice them.
//!
//! They exist only with the feature `mutants`, which no release enables; without it every question here is `false`
//! at compile time.

/// A promise that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mutant {
    /// Attempts leave no trace on disk.
    AttemptNotRecorded,
    /// Answers are let out before the commit.
    AnswerBeforeCommit,
    /// What is uncertain after a crash is simply sent again.
    BlindResend,
}

#[cfg(feature = "mutants")]
pub(super) fn is(mutant: Mutant) -> bool {
    use std::sync::LazyLock;
    static PLANTED: LazyLock<String> =
        LazyLock::new(|| std::env::var("WARDPOST_MUTANT").unwrap_or_default());
    *PLANTED
        == match mutant {
            Mutant::AttemptNotRecorded => "attempt-not-recorded",
            Mutant::AnswerBeforeCommit => "answer-before-commit",
            Mutant::BlindResend => "blind-resend",
        }
}

#[cfg(not(feature = "mutants"))]
pub(super) const fn is(_mutant: Mutant) -> bool {
    false
}
