//! Planted faults of the pure decisions, so that the harnesses can show that they would notice them.
//!
//! Like the shell's own they exist only with the feature `mutants`, which no release enables; without it `is` is `false`
//! at compile time. The shell says once per process which fault it is: nothing is read from outside here.

/// A decision that is wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mutant {
    /// An unknown outcome counts as "not delivered".
    RetryUnknown,
    /// The same bytes go out again without end.
    ResendForever,
    /// The newest push of a device goes first.
    LoseOrder,
    /// What waits for a device is forgotten when its line breaks.
    DropWhenAway,
    /// Numbers of pushes are given again after a restart.
    ReuseId,
    /// Nothing that comes twice is recognised, but by its callback.
    JoinNever,
    /// What failed absorbs an equal push.
    JoinAFailed,
    /// Whoever was told 202 is told the outcome, too.
    AnswerTwice,
    /// A later push of the same order goes past a held one.
    ForgetParked,
    /// A device that is to wait for an uncertain push goes on.
    IgnoreScope,
    /// What may have left traces is said to be undelivered.
    ForgetTraces,
    /// An answer counts as arrived when it is written to the socket.
    TakenTooEarly,
    /// One answer of fifty counts as none.
    HoldNeedlessly,
    /// The device's no is booked as its yes.
    NoIsYes,
    /// A start takes a push that waits for delivered.
    SettleUnsent,
    /// A start begins anew to count how often the same bytes went out.
    ForgetResends,
    /// What waits is too old after a quarter of its time.
    ExpireEarly,
    /// What waits for a device that is away is given up, whatever its file says.
    GiveUp,
    /// What a person holds waits for its turn after a restart.
    SendHeld,
    /// A connection that could not be had counts as an attempt of which nobody knows.
    DialRefusedIsUnknown,
    /// What the agent holds is said to be held by a person.
    BlameSomebody,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Mutant;

    static PLANTED: OnceLock<Mutant> = OnceLock::new();

    const NAMES: [(&str, Mutant); 21] = [
        ("retry-unknown", Mutant::RetryUnknown),
        ("resend-forever", Mutant::ResendForever),
        ("lose-order", Mutant::LoseOrder),
        ("drop-when-away", Mutant::DropWhenAway),
        ("reuse-id", Mutant::ReuseId),
        ("join-never", Mutant::JoinNever),
        ("join-a-failed", Mutant::JoinAFailed),
        ("answer-twice", Mutant::AnswerTwice),
        ("forget-parked", Mutant::ForgetParked),
        ("ignore-scope", Mutant::IgnoreScope),
        ("forget-traces", Mutant::ForgetTraces),
        ("taken-too-early", Mutant::TakenTooEarly),
        ("hold-needlessly", Mutant::HoldNeedlessly),
        ("no-is-yes", Mutant::NoIsYes),
        ("settle-unsent", Mutant::SettleUnsent),
        ("forget-resends", Mutant::ForgetResends),
        ("expire-early", Mutant::ExpireEarly),
        ("give-up", Mutant::GiveUp),
        ("send-held", Mutant::SendHeld),
        ("dial-refused-is-unknown", Mutant::DialRefusedIsUnknown),
        ("blame-somebody", Mutant::BlameSomebody),
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
