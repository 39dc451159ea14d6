//! What an outcome means for the push: the one place where "may we send it again?" is decided.
//!
//! | outcome | resend allowed | verdict |
//! |---|---|---|
//! | acknowledged, refused | – | final |
//! | not delivered, not a byte left | – | again at once |
//! | not delivered, a part left | – | again after a pause |
//! | unknown | hold | held |
//! | unknown | resend, fewer than three so far | again after a pause |
//! | unknown | resend, three so far | held |

use std::sync::Arc;

use crate::mutant::{self, Mutant};
use crate::phi::Phi;
use crate::push::{Level, OnUncertain};

/// The text of an answer, shared between its row and its way to the cloud.
pub type Words = Phi<Arc<str>>;

/// What came of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Acknowledged {
        level: Level,
        reply: Words,
    },
    /// The device's no, in its own words.
    Refused {
        reply: Words,
    },
    /// Certain: the device cannot have acted.
    NotDelivered {
        why: String,
        left: Left,
    },
    /// The completing part left and no answer came.
    Unknown {
        why: String,
    },
    /// The driver cannot put this push into bytes.
    Impossible {
        why: String,
    },
}

/// Whether any byte of an attempt reached the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    Nothing,
    Part,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Delivered {
        level: Level,
        reply: Words,
    },
    Rejected {
        reply: Words,
    },
    Retry {
        after: Pause,
        why: String,
        resend: Option<u8>,
    },
    Hold {
        why: String,
    },
    Dead {
        why: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    None,
    Backoff,
}

/// Judges one outcome. `resent` counts the times the same bytes went out again after an unknown outcome.
pub fn judge(outcome: Outcome, on_uncertain: OnUncertain, resent: u8) -> Verdict {
    match outcome {
        Outcome::Acknowledged { .. } if mutant::one_in(50, Mutant::HoldNeedlessly) => {
            uncertain("no reason".into(), on_uncertain, resent)
        }
        Outcome::Acknowledged { level, reply } => Verdict::Delivered { level, reply },
        Outcome::Refused { reply } if mutant::is(Mutant::NoIsYes) => Verdict::Delivered {
            level: Level::Accepted,
            reply,
        },
        Outcome::Refused { reply } => Verdict::Rejected { reply },
        Outcome::NotDelivered {
            why,
            left: Left::Nothing,
        } => Verdict::Retry {
            after: Pause::None,
            why,
            resend: None,
        },
        Outcome::NotDelivered {
            why,
            left: Left::Part,
        } => Verdict::Retry {
            after: Pause::Backoff,
            why,
            resend: None,
        },
        Outcome::Unknown { why } if mutant::is(Mutant::RetryUnknown) => Verdict::Retry {
            after: Pause::Backoff,
            why,
            resend: None,
        },
        Outcome::Unknown { why } => uncertain(why, on_uncertain, resent),
        Outcome::Impossible { why } => Verdict::Dead { why },
    }
}

fn uncertain(why: String, on_uncertain: OnUncertain, resent: u8) -> Verdict {
    match on_uncertain {
        OnUncertain::Resend if resent < MAX_RESENDS || mutant::is(Mutant::ResendForever) => {
            Verdict::Retry {
                after: Pause::Backoff,
                why,
                resend: Some(resent.saturating_add(1)),
            }
        }
        OnUncertain::Resend | OnUncertain::Hold => Verdict::Hold { why },
    }
}

/// The same bytes go out again at most this often by themselves; then a person decides.
pub const MAX_RESENDS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(on: OnUncertain, resent: u8) -> Verdict {
        judge(
            Outcome::Unknown {
                why: "no answer".into(),
            },
            on,
            resent,
        )
    }

    #[test]
    fn an_unknown_outcome_is_held_unless_the_device_may_be_sent_the_same_again() {
        assert!(matches!(
            unknown(OnUncertain::Hold, 0),
            Verdict::Hold { .. }
        ));
        for resent in 0..MAX_RESENDS {
            let Verdict::Retry { resend, .. } = unknown(OnUncertain::Resend, resent) else {
                panic!("not sent again after {resent} resends");
            };
            assert_eq!(resend, Some(resent + 1));
        }
        assert!(matches!(
            unknown(OnUncertain::Resend, MAX_RESENDS),
            Verdict::Hold { .. }
        ));
    }

    #[test]
    fn an_attempt_of_which_nothing_left_is_tried_again_at_once() {
        let outcome = Outcome::NotDelivered {
            why: "closed".into(),
            left: Left::Nothing,
        };
        let verdict = judge(outcome, OnUncertain::Hold, 0);
        assert!(matches!(
            verdict,
            Verdict::Retry {
                after: Pause::None,
                resend: None,
                ..
            }
        ));
    }
}
