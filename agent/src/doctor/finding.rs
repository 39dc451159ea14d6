//! One thing that was looked at, how it is, and what to do.

use serde::Serialize;

/// What came of one look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// `cloud`, `token`, `policy`, `clock`, `disk`, `configuration` or `agent`.
    pub check: &'static str,
    /// Which part of it.
    pub step: &'static str,
    pub verdict: Verdict,
    pub said: String,
    /// What to do; empty where there is nothing to do.
    pub next: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Good,
    /// It works, and somebody should know.
    Warning,
    Wrong,
    /// Something that it needs is not well.
    NotTried,
}

impl Finding {
    pub fn good(what: (&'static str, &'static str), said: impl Into<String>) -> Self {
        Self::new(what, Verdict::Good, [said.into(), String::new()])
    }

    pub fn not_tried(what: (&'static str, &'static str), because: impl Into<String>) -> Self {
        Self::new(what, Verdict::NotTried, [because.into(), String::new()])
    }

    pub fn warning(what: (&'static str, &'static str), words: [String; 2]) -> Self {
        Self::new(what, Verdict::Warning, words)
    }

    pub fn wrong(what: (&'static str, &'static str), words: [String; 2]) -> Self {
        Self::new(what, Verdict::Wrong, words)
    }

    fn new(
        (check, step): (&'static str, &'static str),
        verdict: Verdict,
        [said, next]: [String; 2],
    ) -> Self {
        Self {
            check,
            step,
            verdict,
            said,
            next,
        }
    }
}
