//! Planted faults of the conversations, so that the harnesses can show that they would notice them.
//!
//! Like the shell's own they exist only with the feature `mutants`, which no release enables; without it `is` is `false`
//! at compile time. The shell says once per process which fault it is: nothing is read from outside here.

/// A conversation that is wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// Whatever acknowledgement comes is the one to the message that is out.
    AnyAnswer,
    /// One message of fifty never leaves.
    NeverSent,
    /// An answer is waited for half as long as it should be.
    Impatient,
    /// One answer of fifty is not taken in.
    Deaf,
    /// A message ends with a blank that nobody pushed.
    ForeignBytes,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Mutant;

    static PLANTED: OnceLock<Mutant> = OnceLock::new();

    const NAMES: [(&str, Mutant); 5] = [
        ("any-answer", Mutant::AnyAnswer),
        ("never-sent", Mutant::NeverSent),
        ("impatient", Mutant::Impatient),
        ("deaf", Mutant::Deaf),
        ("foreign-bytes", Mutant::ForeignBytes),
    ];

    /// Whether there is one of this name here. The first one planted stays.
    pub fn plant(name: &str) -> bool {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.is_some_and(|(_, mutant)| PLANTED.get_or_init(|| *mutant) == mutant)
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        PLANTED.get() == Some(&mutant)
    }

    /// Every so-many-th time.
    pub(crate) fn one_in(number: u32, mutant: Mutant) -> bool {
        static TIMES: AtomicU32 = AtomicU32::new(1);
        is(mutant) && TIMES.fetch_add(1, Ordering::Relaxed).is_multiple_of(number)
    }
}

#[cfg(feature = "mutants")]
pub use planted::plant;
#[cfg(feature = "mutants")]
pub(crate) use planted::{is, one_in};

#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_mutant: Mutant) -> bool {
    false
}

#[cfg(not(feature = "mutants"))]
pub(crate) const fn one_in(_number: u32, _mutant: Mutant) -> bool {
    false
}
