//! What can be wrong with a configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::spans::Place;

/// One mistake: where it is, what it is, and what to do.
///
/// It never holds the text of the file. A mistake can stand on the line of a secret, and problems
/// go to terminals, logs and tickets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    #[serde(flatten)]
    pub place: Place,
    /// Path of the key with dots, as `hl7.ack_timeout`; empty where the file as a whole is meant.
    pub key: String,
    pub severity: Severity,
    pub message: String,
    pub fix: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    /// Unusual, and accepted.
    Warning,
}

impl Problem {
    /// A problem with a whole file.
    pub(super) fn with_file(file: PathBuf, message: String, fix: &str) -> Self {
        Self {
            file,
            place: Place::START,
            key: String::new(),
            severity: Severity::Error,
            message,
            fix: fix.to_owned(),
        }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: ",
            self.file.display(),
            self.place.line,
            self.place.column
        )?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        match self.key.split_once('.') {
            Some((table, key)) => write!(f, "[{table}] {key}: ")?,
            None if self.key.is_empty() => {}
            None => write!(f, "{}: ", self.key)?,
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// Puts problems in the order in which a person works through them.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        (&a.file, a.place, a.severity, &a.key).cmp(&(&b.file, b.place, b.severity, &b.key))
    });
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
