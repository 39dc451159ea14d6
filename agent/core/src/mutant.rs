//! Planted faults of the pure decisions, so that the harnesses can show that they would notice them.
//!
//! Like the shell's own they exist only with the feature `mutants`, which no release enables; without it [`is`] is `false`
//! at compile time. The shell says once per process which fault it is: nothing is read from outside here.

/// A decision that is wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// An unknown outcome counts as "not delivered".
    RetryUnknown,
    /// The same bytes go out again without end.
    ResendForever,
    /// An answer counts as arrived when it is written to the socket.
    TakenTooEarly,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::OnceLock;

    use super::Mutant;

    static PLANTED: OnceLock<Mutant> = OnceLock::new();

    const NAMES: [(&str, Mutant); 3] = [
        ("retry-unknown", Mutant::RetryUnknown),
        ("resend-forever", Mutant::ResendForever),
        ("taken-too-early", Mutant::TakenTooEarly),
    ];

    /// Whether there is one of this name here. The first one planted stays.
    pub fn plant(name: &str) -> bool {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.is_some_and(|(_, mutant)| PLANTED.get_or_init(|| *mutant) == mutant)
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        PLANTED.get() == Some(&mutant)
    }
}

#[cfg(feature = "mutants")]
pub(crate) use planted::is;
#[cfg(feature = "mutants")]
pub use planted::plant;

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_mutant: Mutant) -> bool {
    false
}
