//! Tells the story, and remembers it for the comparison with the committed transcript.
//!
//! Two transcripts are the same if they differ only in ids, ports, times and the width of gaps.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Prints each line as it happens.
#[derive(Default)]
pub(super) struct Teller {
    told: String,
}

impl Teller {
    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        println!("{line}");
        self.told.push_str(line);
        self.told.push('\n');
    }

    /// Fails at the first line that tells something else than the transcript does.
    pub(super) fn compare(&self, path: &Path) -> Result<()> {
        let kept =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (expected, told) = (plain(&kept), plain(&self.told));
        let lines = expected.len().max(told.len());
        let pair = |at: usize| {
            (
                expected.get(at).map(String::as_str),
                told.get(at).map(String::as_str),
            )
        };
        let Some(at) = (0..lines).find(|at| pair(*at).0 != pair(*at).1) else {
            return Ok(());
        };
        let (expected, told) = pair(at);
        bail!(
            "the demo tells another story than {}, line {}:\n  kept: {}\n  told: {}\nif it should, run: cargo xtask demo --once --bless",
            path.display(),
            at + 1,
            expected.unwrap_or("(the end)"),
            told.unwrap_or("(the end)")
        );
    }

    /// Makes this story the transcript.
    pub(super) fn bless(&self, path: &Path) -> Result<()> {
        fs::write(path, &self.told).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn plain(text: &str) -> Vec<String> {
    text.lines().map(plain_line).collect()
}

/// The line with a name in place of each id, port and time.
fn plain_line(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = replace_after(&line, "127.0.0.1:", "PORT", |c| c.is_ascii_digit());
    let line = replace_after(&line, "wardpost-demo-", "N", |c| c.is_ascii_digit());
    let words = split(&line);
    let is_unit = |at: usize| {
        words.get(at + 1) == Some(&" ") && matches!(words.get(at + 2), Some(&("ms" | "s")))
    };
    let plain_word = |(at, word): (usize, &&str)| {
        let name = if is_number(word) && is_unit(at) {
            Some("DURATION")
        } else {
            name_of(word)
        };
        name.unwrap_or(word).to_owned()
    };
    let plain: String = words.iter().enumerate().map(plain_word).collect();
    plain
        .replace("DURATION ms", "DURATION")
        .replace("DURATION s", "DURATION")
}

/// What a word is, if it is one that differs from run to run.
fn name_of(word: &str) -> Option<&'static str> {
    let shape: String = word
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let is_id = word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    match () {
        () if shape.starts_with("99:99:99") || shape.starts_with("9999-99-99") => Some("TIME"),
        () if shape.len() >= 8 && shape.chars().all(|c| c == '9') => Some("NUMBER"),
        () if is_id => Some("ID"),
        () if is_time(&shape) => Some("NUMBER"),
        () if is_message_name(word) => Some("NAME"),
        () => None,
    }
}

/// `20260301071500+0000`
fn is_time(shape: &str) -> bool {
    let digits = shape.split_once('+');
    digits.is_some_and(|(time, zone)| time == "9".repeat(14) && zone == "9999")
}

/// MSH-10 as the example's Bots make it.
fn is_message_name(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase();
    word.len() == 20 && word.chars().all(fits)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || "+.".contains(c))
}

/// Cuts a line into words and the signs between them.
fn split(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (part, after) = rest.split_at(word_length(rest).max(first.len_utf8()));
        parts.push(part);
        rest = after;
    }
    parts
}

/// Length of the word that the text begins with; a stop or a colon at its end is a sign, not a part of it.
fn word_length(text: &str) -> usize {
    let is_sign = |c: char| !(c.is_ascii_alphanumeric() || "+.:-_".contains(c));
    let word = text.find(is_sign).map_or(text, |end| &text[..end]);
    word.trim_end_matches(['.', ':']).len()
}

/// Puts `name` in place of what follows each `mark`.
fn replace_after(line: &str, mark: &str, name: &str, belongs: impl Fn(char) -> bool) -> String {
    let mut parts = line.split(mark);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(mark);
        plain.push_str(name);
        plain.push_str(part.trim_start_matches(&belongs));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) {
        assert_eq!(plain_line(a), plain_line(b));
    }

    fn different(a: &str, b: &str) {
        assert_ne!(plain_line(a), plain_line(b));
    }

    #[test]
    fn times_ports_ids_and_gaps_make_no_difference() {
        same(
            "  08:15:02.114   +0 ms  on disk",
            "  23:59:59.001  +112 ms  on disk",
        );
        same("answered after 998 ms, in", "answered after 1.0 s, in");
        same("answered after 2.0 s:", "answered after 2.1 s:");
        same("http://127.0.0.1:40001/fhir", "http://127.0.0.1:8103/fhir");
        same(
            "MSH|^~\\&|LAB|20260301081500|",
            "MSH|^~\\&|LAB|20261124073000|",
        );
        same(
            "Agent/0b1f7a52-93e1-4c5e-8d0a-6f2b7f0c1d2e",
            "Agent/1b1f7a52-93e1-4c5e-8d0a-6f2b7f0c1d2f",
        );
        same(
            "|20261124145812+0000||OML^O21^OML_O21|3ZM79JYD2P9WTDT8Z7WP|P|",
            "|20261124160000+0000||OML^O21^OML_O21|0C2D8K11AAPTR3YXMMV5|P|",
        );
        same(
            "/tmp/wardpost-demo-17/control.sock",
            "/tmp/wardpost-demo-4711/control.sock",
        );
    }

    #[test]
    fn states_answers_and_order_numbers_make_one() {
        different("the caller got 200", "the caller got 202");
        different("MSA|AA|ORD-1001-1", "MSA|AE|ORD-1001-1");
        different("MSA|AA|ORD-1001-1", "MSA|AA|ORD-1002-1");
        different("delivered", "held");
    }
}
