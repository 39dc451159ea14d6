//! The last messages of a connection, so that an answer that comes when nobody waits for it finds its message.

use std::collections::VecDeque;

use crate::conversation::SubmissionId;

/// The last few messages that were settled on this connection.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Past>);

/// One settled message.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) id: SubmissionId,
    pub(super) control_id: String,
    pub(super) standing: Standing,
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The device has it and did not say more; it may.
    InCustody,
    /// The device's last word was said.
    Answered,
    /// We stopped waiting.
    GivenUp,
}

impl Recent {
    pub(super) fn remember(&mut self, past: Past) {
        if self.0.len() >= MEMORY {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }

    /// Finds the newest message with this control id.
    pub(super) fn find(&mut self, control_id: &str) -> Option<&mut Past> {
        self.0
            .iter_mut()
            .rev()
            .find(|past| past.control_id == control_id)
    }
}

/// Messages to remember: a device answers a message before it has taken many others.
const MEMORY: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sixteen_are_remembered_and_the_newest_of_a_name_is_found() {
        let mut recent = Recent::default();
        for number in 0..17 {
            let (id, control_id) = (SubmissionId(number), number.to_string());
            recent.remember(Past {
                id,
                control_id,
                standing: Standing::Answered,
            });
        }
        assert!(recent.find("0").is_none());
        assert!(recent.find("1").is_some());
        let again = Past {
            id: SubmissionId(99),
            control_id: "16".into(),
            standing: Standing::GivenUp,
        };
        recent.remember(again);
        assert_eq!(
            recent.find("16").map(|past| past.id),
            Some(SubmissionId(99))
        );
    }
}
