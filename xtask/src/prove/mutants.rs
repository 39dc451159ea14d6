//! The planted faults, what each breaks, and which harness has to notice.

/// One planted fault.
#[derive(Debug)]
pub(crate) struct Mutant {
    /// What `WARDPOST_MUTANT` calls it.
    pub(crate) name: &'static str,
    pub(crate) breaks: &'static str,
    pub(crate) by: Harness,
}

/// Who has to notice, and how much it may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Harness {
    /// The kill harness, so many kills at most.
    Kill(u32),
    /// The kill harness on a faulty network, so many kills at most.
    KillWithFaults(u32),
    /// A story of the whole system.
    Scenario(&'static str),
    /// A test of the store in its own process.
    Store(&'static str),
}

impl Harness {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kill(_) => "kill".into(),
            Self::KillWithFaults(_) => "kill --faults".into(),
            Self::Scenario(test) | Self::Store(test) => format!("`{test}`"),
        }
    }
}

const KILL: Harness = Harness::Kill(40);
const FAULTS: Harness = Harness::KillWithFaults(40);

const fn mutant(name: &'static str, breaks: &'static str, by: Harness) -> Mutant {
    Mutant { name, breaks, by }
}

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "attempt-not-recorded",
        "nothing goes to a device that the disk does not know",
        KILL,
    ),
    mutant(
        "forget-mark",
        "nor does the attempt that rides on another row",
        KILL,
    ),
    mutant("keep-in-memory", "what was accepted is on disk", KILL),
    mutant(
        "answer-before-commit",
        "nobody is answered before the disk has it",
        KILL,
    ),
    mutant(
        "blind-resend",
        "what a crash made uncertain is held, not sent again",
        KILL,
    ),
    mutant(
        "sync-off",
        "a commit is on disk when it returns",
        Harness::Scenario("trace::nothing_is_said_before_the_disk_has_it"),
    ),
    mutant(
        "false-yes",
        "a commit that failed says nothing",
        Harness::Store(
            "store::tests::a_full_disk_refuses_the_push_and_loses_nothing_that_was_accepted",
        ),
    ),
    mutant(
        "retry-unknown",
        "an unknown outcome is not \"not delivered\"",
        FAULTS,
    ),
    mutant(
        "resend-forever",
        "the same bytes go out again three times at most",
        Harness::Scenario(
            "wire::an_order_whose_acknowledgement_never_comes_is_sent_four_times_and_then_held",
        ),
    ),
    mutant("lose-order", "the oldest push of a device goes first", KILL),
    mutant(
        "drop-when-away",
        "what waits goes on waiting when the line breaks",
        FAULTS,
    ),
    mutant("reuse-id", "a number belongs to one push for ever", KILL),
    mutant(
        "join-never",
        "an order that comes twice is delivered once",
        KILL,
    ),
    mutant(
        "join-a-failed",
        "what failed absorbs nothing",
        Harness::Scenario("push::what_the_device_refused_absorbs_nothing"),
    ),
    mutant(
        "answer-twice",
        "the first answer of a callback is its only one",
        KILL,
    ),
    mutant(
        "forget-parked",
        "nothing overtakes a held push of the same order",
        KILL,
    ),
    mutant(
        "ignore-scope",
        "a device set to wait for an uncertain push is sent nothing",
        KILL,
    ),
    mutant(
        "forget-traces",
        "what may be there is not said to be undelivered",
        FAULTS,
    ),
    mutant(
        "any-answer",
        "an answer settles only the message that it names",
        KILL,
    ),
    mutant(
        "taken-too-early",
        "an answer waits on disk until it has arrived",
        Harness::Scenario("wire::an_answer_that_was_lost_on_its_way_comes_again"),
    ),
    mutant(
        "forget-untaken",
        "also across a restart",
        Harness::Scenario("restart::an_answer_survives_a_kill"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_name_of_its_own() {
        let mut names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), MUTANTS.len());
    }
}
