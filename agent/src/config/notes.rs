//! What is learnt of a file besides its values: mistakes, and keys that nobody knows.

use std::mem;
use std::path::{Path, PathBuf};

use super::nearest::nearest;
use super::problem::{Problem, Severity};
use super::spans::Place;

/// The mistakes of one file so far, and the keys it may have.
pub(super) struct Notes {
    file: PathBuf,
    problems: Vec<Problem>,
    /// Table (empty for the top) and name of every key that was asked for.
    known: Vec<(&'static str, &'static str)>,
    unknown: Vec<Unknown>,
    /// Errors beyond what a person would read.
    dropped: usize,
    /// Syntax errors were cut out, so what is missing may have stood there.
    pub(super) damaged: bool,
}

/// A key that is not known in its table.
pub(super) struct Unknown {
    pub(super) table: &'static str,
    pub(super) key: String,
    pub(super) what: What,
    pub(super) place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Key,
    Table,
}

impl Notes {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            problems: Vec::new(),
            known: Vec::new(),
            unknown: Vec::new(),
            dropped: 0,
            damaged: false,
        }
    }

    pub(super) fn add(&mut self, severity: Severity, key: String, place: Place, words: [&str; 2]) {
        if self.problems.len() >= MOST_PROBLEMS {
            self.dropped += usize::from(severity == Severity::Error);
            return;
        }
        let [message, fix] = words.map(str::to_owned);
        let file = self.file.clone();
        self.problems.push(Problem {
            file,
            place,
            key,
            severity,
            message,
            fix,
        });
    }

    pub(super) fn add_known(&mut self, table: &'static str, key: &'static str) {
        self.known.push((table, key));
    }

    pub(super) fn is_known(&self, table: &str, key: &str) -> bool {
        self.known.contains(&(table, key))
    }

    pub(super) fn add_unknown(&mut self, unknown: Unknown) {
        if self.unknown.len() < MOST_PROBLEMS {
            self.unknown.push(unknown);
        } else {
            self.dropped += 1;
        }
    }

    /// All mistakes. What an unknown key may have meant can be told only now, when all keys are known.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        for unknown in mem::take(&mut self.unknown) {
            let what = match unknown.what {
                What::Key => "unknown key",
                What::Table => "unknown table",
            };
            let key = path_of(unknown.table, &shown(&unknown.key));
            let fix = self.meant(&unknown);
            self.add(Severity::Error, key, unknown.place, [what, &fix]);
        }
        if self.dropped > 0 {
            let message = format!("{} more mistakes are not listed", self.dropped);
            let fix = "correct these and check again";
            self.problems
                .push(Problem::with_file(self.file, message, fix));
        }
        self.problems
    }

    /// Table and key of all that was asked for.
    pub(super) fn known(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.known.iter().copied()
    }

    fn meant(&self, unknown: &Unknown) -> String {
        if let Some(table) = self.table_that_knows(unknown) {
            return match table {
                "" => "it belongs at the top of the file, before the first table".to_owned(),
                table => format!("it belongs in [{table}]"),
            };
        }
        let here = |table: &str| table == unknown.table;
        if let Some((_, key)) = self.nearest(unknown, here) {
            return match unknown.what {
                What::Key => format!("did you mean {key}?"),
                What::Table => format!("did you mean [{key}]?"),
            };
        }
        if let Some((table, key)) = self.nearest(unknown, |table| !here(table) && !table.is_empty())
        {
            return format!("did you mean {key} in [{table}]?");
        }
        let keys: Vec<_> = self
            .known
            .iter()
            .filter(|(table, _)| here(table))
            .map(|(_, key)| *key)
            .collect();
        format!("remove it; known here: {}", keys.join(", "))
    }

    fn table_that_knows(&self, unknown: &Unknown) -> Option<&'static str> {
        let mut known = self.known.iter().filter(|_| unknown.what == What::Key);
        known
            .find(|(_, key)| *key == unknown.key)
            .map(|(table, _)| *table)
    }

    fn nearest(
        &self,
        unknown: &Unknown,
        among: impl Fn(&str) -> bool,
    ) -> Option<(&'static str, &'static str)> {
        let known = || self.known.iter().copied().filter(|(table, _)| among(table));
        let key = nearest(&unknown.key, known().map(|(_, key)| key))?;
        known().find(|(_, known)| *known == key)
    }
}

/// A key and its table as one word.
pub(super) fn path_of(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

/// A key of a file as it may be repeated.
fn shown(key: &str) -> String {
    key.escape_debug().take(LONGEST_KEY).collect()
}

/// Of one file; nobody reads more at once.
const MOST_PROBLEMS: usize = 100;
const LONGEST_KEY: usize = 64;
