//! The planted faults, what each breaks, and which harness has to notice.

/// One planted fault.
#[derive(Debug)]
pub(crate) struct Mutant {
    /// What `WARDPOST_MUTANT` calls it.
    pub(crate) name: &'static str,
    pub(crate) breaks: &'static str,
    pub(crate) by: Harness,
    /// What has to be seen: names of broken promises, or words of a failed test. One of them is enough.
    pub(crate) expects: &'static [&'static str],
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

const KILL: Harness = Harness::Kill(80);
const FAULTS: Harness = Harness::KillWithFaults(80);

const fn mutant(
    name: &'static str,
    breaks: &'static str,
    by: Harness,
    expects: &'static [&'static str],
) -> Mutant {
    Mutant {
        name,
        breaks,
        by,
        expects,
    }
}

pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "attempt-not-recorded",
        "nothing goes to a device that the disk does not know",
        KILL,
        &["SentWithoutRecord", "FalseYes"],
    ),
    mutant(
        "forget-mark",
        "nor does the attempt that rides on another row",
        KILL,
        &["SentWithoutRecord", "FalseYes", "Duplicate"],
    ),
    mutant(
        "keep-in-memory",
        "what was accepted is on disk",
        KILL,
        &["Lost", "SentWithoutRecord", "AnswerWithoutRecord"],
    ),
    mutant(
        "answer-before-commit",
        "nobody is answered before the disk has it",
        KILL,
        &["AnswerWithoutRecord"],
    ),
    mutant(
        "blind-resend",
        "what a crash made uncertain is held, not sent again",
        KILL,
        &["NotHeld"],
    ),
    mutant(
        "sync-off",
        "a commit is on disk when it returns",
        Harness::Scenario("trace::nothing_is_said_before_the_disk_has_it"),
        &["safe at line", "was not safe at"],
    ),
    mutant(
        "false-yes",
        "a commit that failed says nothing",
        Harness::Store(
            "store::tests::a_full_disk_refuses_the_push_and_loses_nothing_that_was_accepted",
        ),
        &["something is said in time"],
    ),
    mutant(
        "retry-unknown",
        "an unknown outcome is not \"not delivered\"",
        FAULTS,
        &["NotHeld", "Duplicate", "FalseNo"],
    ),
    mutant(
        "resend-forever",
        "the same bytes go out again three times at most",
        Harness::Scenario(
            "wire::an_order_whose_acknowledgement_never_comes_is_sent_four_times_and_then_held",
        ),
        &["waited in vain"],
    ),
    mutant(
        "lose-order",
        "the oldest push of a device goes first",
        KILL,
        &["OutOfOrder"],
    ),
    mutant(
        "drop-when-away",
        "what waits goes on waiting when the line breaks",
        FAULTS,
        &["Unfinished", "OutOfOrder"],
    ),
    mutant(
        "reuse-id",
        "a number belongs to one push for ever",
        KILL,
        &["Renumbered", "Lost", "AnswerWithoutRecord"],
    ),
    mutant(
        "join-never",
        "an order that comes twice is delivered once",
        KILL,
        &["MissedJoin"],
    ),
    mutant(
        "join-a-failed",
        "what failed absorbs nothing",
        Harness::Scenario("push::what_the_device_refused_absorbs_nothing"),
        &["left == right"],
    ),
    mutant(
        "answer-twice",
        "the first answer of a callback is its only one",
        KILL,
        &["AnswersDiffer", "Receipts"],
    ),
    mutant(
        "forget-parked",
        "nothing overtakes a held push of the same order",
        KILL,
        &["Overtook"],
    ),
    mutant(
        "ignore-scope",
        "a device set to wait for an uncertain push is sent nothing",
        KILL,
        &["Overtook"],
    ),
    mutant(
        "forget-traces",
        "what may be there is not said to be undelivered",
        FAULTS,
        &["FalseNo"],
    ),
    mutant(
        "any-answer",
        "an answer settles only the message that it names",
        KILL,
        &["AnswerToAnother"],
    ),
    mutant(
        "taken-too-early",
        "an answer waits on disk until it has arrived",
        Harness::Scenario("wire::an_answer_that_was_lost_on_its_way_comes_again"),
        &["waited in vain"],
    ),
    mutant(
        "forget-untaken",
        "also across a restart",
        Harness::Scenario("restart::an_answer_survives_a_kill"),
        &["waited in vain"],
    ),
    mutant(
        "never-sent",
        "what is called uncertain had left",
        FAULTS,
        &["UncertainWithoutCause"],
    ),
    mutant(
        "hold-needlessly",
        "an answer that came is taken",
        FAULTS,
        &["UncertainWithoutCause"],
    ),
    mutant(
        "deaf",
        "also if a cut comes before the patience ends",
        FAULTS,
        &["UncertainWithoutCause"],
    ),
    mutant(
        "impatient",
        "an answer is waited for as long as the file says",
        FAULTS,
        &["UncertainWithoutCause"],
    ),
    mutant(
        "dial-refused-is-unknown",
        "a connection that could not be had is no attempt",
        FAULTS,
        &["UncertainWithoutCause"],
    ),
    mutant(
        "settle-unsent",
        "nothing is called delivered that was not sent",
        KILL,
        &["FalseYes"],
    ),
    mutant(
        "give-up",
        "what waits is not given up",
        FAULTS,
        &["Dropped"],
    ),
    mutant(
        "expire-early",
        "what waits may wait as long as the file says",
        KILL,
        &["ExpiredEarly", "UncertainWithoutCause"],
    ),
    mutant(
        "no-is-yes",
        "a device's no is not its yes",
        KILL,
        &["NotItsWords"],
    ),
    mutant(
        "foreign-bytes",
        "a device gets the bytes that were pushed",
        KILL,
        &["ForeignBytes"],
    ),
    mutant(
        "lose-turn",
        "the order is that of the cloud",
        KILL,
        &["OutOfOrder"],
    ),
    mutant(
        "forget-resends",
        "the resends are counted across a restart",
        FAULTS,
        &["Miscounted", "ResentTooOften"],
    ),
    mutant(
        "send-held",
        "what a person holds stays",
        FAULTS,
        &["Touched", "Overtook"],
    ),
    mutant(
        "unwritten-audit",
        "what a person did is written down",
        KILL,
        &["CommandLost"],
    ),
    mutant(
        "blame-somebody",
        "a person did what he is said to have done",
        KILL,
        &["NobodyAsked"],
    ),
    mutant(
        "forget-receipt",
        "what a caller cannot know from its answer has a receipt",
        KILL,
        &["Receipts"],
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

    #[test]
    fn every_mutant_says_what_has_to_be_seen() {
        assert!(MUTANTS.iter().all(|mutant| !mutant.expects.is_empty()));
    }
}
