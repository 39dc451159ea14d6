//! Values of a [`Section`] by key and type; each may be absent, and what is wrong with it is noted.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::duration;
use super::nearest::nearest;
use super::raw::Section;
use super::spans::Place;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Found<T> {
    pub(super) fn into_value(self) -> T {
        self.value
    }
}

/// A duration that may also be endless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    After(Duration),
    Never,
}

impl Section<'_> {
    /// A text; an empty one says nothing, as if the key were not there.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Found<String>> {
        let found = self.typed(key, "a text in quotes", |value| {
            value.as_str().map(str::to_owned)
        })?;
        (!found.value.is_empty()).then_some(found)
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Found<String>> {
        let fix = format!("write {key} = \"{example}\"");
        let written = self
            .peek(key)
            .map(|(value, place)| (value.as_str() == Some(""), place));
        match written {
            Some((true, place)) => self.refuse(key, place, ["is empty", &fix]),
            None if !self.is_damaged() => self.refuse(key, self.place, ["missing", &fix]),
            Some((false, _)) | None => {}
        }
        self.text(key)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let read = |value: &DeValue<'_>| value.as_bool();
        self.typed(key, "true or false, without quotes", read)
            .map(Found::into_value)
    }

    pub(super) fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Option<Found<usize>> {
        let found = self.typed(key, "a whole number, without quotes", as_number)?;
        match usize::try_from(found.value) {
            Ok(value) if range.contains(&value) => Some(Found {
                value,
                place: found.place,
            }),
            _ => {
                let message = format!(
                    "takes a whole number from {} to {}",
                    range.start(),
                    range.end()
                );
                self.refuse(key, found.place, [&message, ""]);
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Found<Duration>> {
        let found = self.text_as_written(key, "a duration in quotes, for example \"30s\"")?;
        let place = found.place;
        match duration::parse(&found.value) {
            Some(value) if range.contains(&value) => Some(Found { value, place }),
            parsed => {
                self.refuse_duration(key, place, &range, parsed.is_some());
                None
            }
        }
    }

    pub(super) fn duration_or_never(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Limit> {
        if self
            .peek(key)
            .is_some_and(|(value, _)| value.as_str() == Some("never"))
        {
            self.find(key);
            return Some(Limit::Never);
        }
        self.duration(key, range)
            .map(|found| Limit::After(found.value))
    }

    /// One of a few words, each with its meaning.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<Found<T>> {
        let allowed = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect::<Vec<_>>()
            .join(" or ");
        let found = self.text_as_written(key, &allowed)?;
        let place = found.place;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == found.value) {
            return Some(Found {
                value: *value,
                place,
            });
        }
        let near = nearest(&found.value, words.iter().map(|(word, _)| *word));
        let fix = near
            .map(|word| format!("did you mean \"{word}\"?"))
            .unwrap_or_default();
        self.refuse(key, place, [&format!("takes {allowed}"), &fix]);
        None
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Found<String>>> {
        let (value, place) = self.find(key)?;
        let DeValue::Array(items) = value else {
            self.refuse(key, place, [TAKES_LIST, ""]);
            return None;
        };
        if items.len() > MOST_TEXTS {
            self.refuse(
                key,
                place,
                [&format!("takes at most {MOST_TEXTS} texts"), ""],
            );
        }
        let mut found = Vec::new();
        for item in items.iter().take(MOST_TEXTS) {
            let place = self.place_of(item);
            match item.get_ref().as_str() {
                Some(text) if !text.is_empty() => found.push(Found {
                    value: text.to_owned(),
                    place,
                }),
                _ => self.refuse(key, place, [TAKES_LIST, ""]),
            }
        }
        Some(found)
    }

    /// Whether a value is written as a list.
    pub(super) fn is_list(&self, key: &str) -> bool {
        self.peek(key).is_some_and(|(value, _)| value.is_array())
    }

    fn text_as_written(&mut self, key: &'static str, takes: &str) -> Option<Found<String>> {
        self.typed(key, takes, |value| value.as_str().map(str::to_owned))
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        takes: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Option<Found<T>> {
        let (value, place) = self.find(key)?;
        let read = read(value);
        if read.is_none() {
            self.refuse(key, place, [&format!("takes {takes}"), ""]);
        }
        read.map(|value| Found { value, place })
    }

    fn refuse_duration(
        &mut self,
        key: &str,
        place: Place,
        range: &RangeInclusive<Duration>,
        is_duration: bool,
    ) {
        let [least, most] = [range.start(), range.end()].map(|bound| duration::shown(*bound));
        let message = if is_duration {
            format!("takes a duration from {least} to {most}")
        } else {
            "is not a duration".to_owned()
        };
        let fix = if is_duration {
            ""
        } else {
            "write a whole number and ms, s, m, h or d, for example \"30s\""
        };
        self.refuse(key, place, [&message, fix]);
    }
}

fn as_number(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

const TAKES_LIST: &str = "takes a list of texts, for example [\"one\", \"two\"]";
/// No list of a configuration needs as many.
const MOST_TEXTS: usize = 1000;
