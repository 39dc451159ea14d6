//! The verbs, as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One request, for example `{"verb":"settle","push":7,"outcome":"delivered","reason":"seen on the analyzer"}`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    Status,
    Devices,
    /// Pushes that are not final, oldest first.
    Queue {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        /// At most this many, 1 to 1000; 100 if not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    /// The whole life of one push.
    Why {
        push: u64,
    },
    /// Looks into the mailbox at once.
    Poll {
        /// What is to be looked into; only `mailbox`, also where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// Reads the configuration anew.
    Reload,
    /// All that helps somebody who helps, and no patient.
    Diag,
    /// Tries what the agent needs.
    Doctor,
    Hold {
        push: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Release {
        push: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Resend {
        push: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Settle {
        push: u64,
        outcome: Outcome,
        reason: String,
    },
    Cancel {
        push: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// What somebody found out about an uncertain push.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Delivered,
    NotDelivered,
}

impl Verb {
    /// Reads a request. The error is a sentence that names the verbs and holds nothing of a reason text.
    pub fn read(text: &str) -> Result<Self, String> {
        let verb: Self = serde_json::from_str(text).map_err(|error| {
            let what = match error.classify() {
                // Without the value it stood on: nobody knows what was sent by mistake.
                serde_json::error::Category::Data => format!(
                    "a verb or a member is unknown or of the wrong type, at column {}",
                    error.column()
                ),
                _ => "it is not JSON".to_owned(),
            };
            format!("unreadable command: {what}; known verbs are {KNOWN}")
        })?;
        verb.check().map(|()| verb)
    }

    fn check(&self) -> Result<(), String> {
        let reason = match self {
            Self::Hold { reason, .. }
            | Self::Release { reason, .. }
            | Self::Resend { reason, .. }
            | Self::Cancel { reason, .. } => reason.as_deref(),
            Self::Settle { reason, .. } => {
                if reason.trim().is_empty() {
                    return Err("settle needs a reason: how do you know?".into());
                }
                Some(reason.as_str())
            }
            Self::Status
            | Self::Devices
            | Self::Queue { .. }
            | Self::Why { .. }
            | Self::Reload
            | Self::Poll { .. }
            | Self::Diag
            | Self::Doctor => None,
        };
        match reason {
            Some(reason) if reason.len() > LONGEST_REASON => {
                Err(format!("a reason may have {LONGEST_REASON} bytes at most"))
            }
            _ => Ok(()),
        }
    }

    /// What to do where nobody knows whether this was done. Done twice, some of it does harm: a second `resend` is a
    /// second order.
    pub fn unanswered(&self) -> String {
        match self {
            Self::Status
            | Self::Devices
            | Self::Queue { .. }
            | Self::Why { .. }
            | Self::Poll { .. }
            | Self::Diag
            | Self::Doctor => {
                "the agent gave no answer in time; look at its log, then ask again".to_owned()
            }
            Self::Reload => "the agent did not say what came of it; look at `wardpost status`, which says what is \
                             applied, before you ask again"
                .to_owned(),
            Self::Hold { push, .. }
            | Self::Release { push, .. }
            | Self::Resend { push, .. }
            | Self::Settle { push, .. }
            | Self::Cancel { push, .. } => format!(
                "the agent did not say what came of it: it may have been done, or may yet be. Look at `wardpost why \
                 {push}` before you ask again"
            ),
        }
    }

    /// How long the agent takes for it at most.
    pub fn patience(&self) -> Duration {
        match self {
            Self::Doctor => Duration::from_secs(45),
            _ => Duration::from_secs(10),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Devices => "devices",
            Self::Queue { .. } => "queue",
            Self::Why { .. } => "why",
            Self::Reload => "reload",
            Self::Poll { .. } => "poll",
            Self::Diag => "diag",
            Self::Doctor => "doctor",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::Resend { .. } => "resend",
            Self::Settle { .. } => "settle",
            Self::Cancel { .. } => "cancel",
        }
    }
}

const KNOWN: &str = "status, devices, queue, why, reload, diag, doctor, hold, release, resend, settle, cancel, poll";
const LONGEST_REASON: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_as_it_is_written_in_the_guide() {
        let text = r#"{"verb":"settle","push":7,"outcome":"not-delivered","reason":"not there"}"#;
        let read = Verb::read(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(Verb::read(r#"{"verb":"status"}"#), Ok(Verb::Status));
    }

    #[test]
    fn a_command_that_cannot_be_read_is_told_what_is_known() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"verb":"explode"}"#,
            r#"{"verb":"why"}"#,
            r#"{"verb":"hold","push":1,"reson":"typo"}"#,
            r#"{"verb":"hold","push":-1}"#,
        ] {
            let refused = Verb::read(text).unwrap_err();
            assert!(refused.contains("known verbs"), "{text}: {refused}");
        }
        let blank = r#"{"verb":"settle","push":1,"outcome":"delivered","reason":" "}"#;
        assert!(Verb::read(blank).unwrap_err().contains("how do you know"));
    }
}
