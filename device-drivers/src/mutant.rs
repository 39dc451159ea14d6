//! Planted faults of the conversations, so that the harnesses can show that they would notice them.
//!
//! Like the shell's own they exist only with the feature `mutants`, which no release enables; without it `is` is `false`
//! at compile time. The shell says once per process which fault it is: nothing is read from outside here.

/// A conversation that is wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// Whatever acknowledgement comes is the one to the message that is out.
    AnyAnswer,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::OnceLock;

    use super::Mutant;

    static PLANTED: OnceLock<Mutant> = OnceLock::new();

    const NAMES: [(&str, Mutant); 1] = [("any-answer", Mutant::AnyAnswer)];

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
