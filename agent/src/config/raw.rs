//! A TOML file as it stands: tables and keys with their places.
//!
//! Serde would stop at the first mistake, lose the place of some, and repeat the line of others.
//! So a [`Document`] is parsed around its syntax errors, and each key is asked for by name and type
//! (`values`); whatever was never asked for is unknown. What cannot be read is noted, and reading
//! goes on.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::notes::{Notes, Unknown, What, path_of};
use super::problem::Severity;
use super::repair::repair;
use super::spans::{Lines, Place};

/// One file, with its syntax errors cut out and noted.
pub(super) struct Document {
    text: String,
    lines: Lines,
    notes: Notes,
}

/// One table of a file, or its top.
pub(super) struct Section<'a> {
    lines: &'a Lines,
    notes: &'a mut Notes,
    name: &'static str,
    table: Option<&'a DeTable<'a>>,
    /// Keys that were refused with words of their own.
    forbidden: Vec<&'static str>,
    /// Where the table begins.
    pub(super) place: Place,
}

impl Document {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let (repaired, errors) = repair(text);
        let lines = Lines::of(text);
        let mut notes = Notes::new(file);
        notes.damaged = !errors.is_empty();
        for error in errors {
            let words = [error.message.as_str(), error.fix];
            notes.add(
                Severity::Error,
                String::new(),
                lines.place(error.offset),
                words,
            );
        }
        Self {
            text: repaired,
            lines,
            notes,
        }
    }

    /// Lets `read` ask for every key, then gives what it made of them and what is wrong.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Notes) {
        let (root, _) = DeTable::parse_recoverable(&self.text);
        let mut section = Section {
            lines: &self.lines,
            notes: &mut self.notes,
            name: "",
            table: Some(root.get_ref()),
            forbidden: Vec::new(),
            place: Place::START,
        };
        let value = read(&mut section);
        section.finish();
        (value, self.notes)
    }
}

impl<'a> Section<'a> {
    /// Lets `read` ask for the keys of a table. A table that is not there has no keys.
    pub(super) fn table<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let (table, place) = match self.find(name) {
            Some((DeValue::Table(table), place)) => (Some(table), place),
            Some((_, place)) => {
                let fix = format!("write [{name}] once, and its keys below it");
                self.refuse(name, place, ["is not a table", &fix]);
                (None, place)
            }
            None => (None, self.place),
        };
        let (lines, notes) = (self.lines, &mut *self.notes);
        let mut section = Section {
            lines,
            notes,
            name,
            table,
            forbidden: Vec::new(),
            place,
        };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// The value of a key, which thereby is a known one.
    pub(super) fn find(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, Place)> {
        self.notes.add_known(self.name, key);
        self.peek(key)
    }

    pub(super) fn peek(&self, key: &str) -> Option<(&'a DeValue<'a>, Place)> {
        let value = self.entry(key)?.1;
        Some((value.get_ref(), self.place_of(value)))
    }

    /// Refuses a key that some would look for here, and says why it is not.
    pub(super) fn forbid(&mut self, key: &'static str, words: [&str; 2]) {
        if let Some((written, _)) = self.entry(key) {
            self.refuse(key, self.place_of(written), words);
        }
        self.forbidden.push(key);
    }

    /// Notes an error: what is wrong, and what to do.
    pub(super) fn refuse(&mut self, key: &str, place: Place, words: [&str; 2]) {
        self.notes
            .add(Severity::Error, path_of(self.name, key), place, words);
    }

    /// Notes what is accepted and probably not meant.
    pub(super) fn warn(&mut self, key: &str, place: Place, words: [&str; 2]) {
        self.notes
            .add(Severity::Warning, path_of(self.name, key), place, words);
    }

    /// Whether parts of the file could not be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.notes.damaged
    }

    pub(super) fn place_of<T>(&self, spanned: &Spanned<T>) -> Place {
        self.lines.place(spanned.span().start)
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.table?
            .iter()
            .find(|(written, _)| written.get_ref() == key)
    }

    /// Notes what nobody has asked for.
    fn finish(self) {
        for (key, value) in self.table.into_iter().flatten() {
            if self.notes.is_known(self.name, key.get_ref())
                || self.forbidden.contains(&key.get_ref().as_ref())
            {
                continue;
            }
            self.notes.add_unknown(Unknown {
                table: self.name,
                key: key.get_ref().to_string(),
                what: if value.get_ref().is_table() {
                    What::Table
                } else {
                    What::Key
                },
                place: self.lines.place(key.span().start),
            });
        }
    }
}
