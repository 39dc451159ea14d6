//! Cuts syntax errors out of a TOML file, so that the rest of it can be checked too.
//!
//! The parser recovers from an error, but then drops or invents what follows. Cutting out the line
//! and parsing again loses only that line: it becomes blanks, so that every place stays where it was.

use std::ops::Range;

use toml::de::{DeTable, Error};

/// Where TOML was not understood, and why.
pub(super) struct SyntaxError {
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

/// Gives the text without its broken lines, and what was wrong with them.
pub(super) fn repair(text: &str) -> (String, Vec<SyntaxError>) {
    let mut text = text.to_owned();
    let mut errors: Vec<SyntaxError> = Vec::new();
    for _ in 0..MOST_ERRORS {
        let (_, found) = DeTable::parse_recoverable(&text);
        let Some(first) = found.iter().min_by_key(|error| offset_of(error)) else {
            return (text, errors);
        };
        let offset = offset_of(first);
        let message = format!(
            "not TOML: {}",
            first.message().trim_end_matches(", expected nothing")
        );
        let line = line_at_or_before(&text, offset);
        // What was open at the end of a cut line is found open again at the one before.
        let is_echo =
            offset > line.end && errors.last().is_some_and(|last| last.message == message);
        if !is_echo {
            errors.push(SyntaxError {
                offset,
                message,
                fix: fix_for(first.message()),
            });
        }
        if found.len() > MOST_FOUND {
            break;
        }
        cut(&mut text, line, first.message());
    }
    (String::new(), errors)
}

fn offset_of(error: &Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

fn fix_for(message: &str) -> &'static str {
    match message {
        DUPLICATE => "give the key or table once",
        text if text.starts_with("string values must be quoted") => IN_QUOTES,
        // The value begins like a number or date and is neither: an address, or a duration.
        text if text.starts_with("invalid float") || text.starts_with("invalid integer") => {
            IN_QUOTES
        }
        _ => "",
    }
}

/// The line around `offset`, without its end; if it is blank, the last one before it that is not.
fn line_at_or_before(text: &str, offset: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let is_newline = |byte: &u8| *byte == b'\n';
    let rest = bytes.get(offset..).unwrap_or_default();
    let mut end = rest
        .iter()
        .position(is_newline)
        .map_or(bytes.len(), |after| offset + after);
    loop {
        let before = bytes.get(..end).unwrap_or_default();
        let start = before
            .iter()
            .rposition(is_newline)
            .map_or(0, |newline| newline + 1);
        if start == 0 || !before.iter().skip(start).all(u8::is_ascii_whitespace) {
            return start..end;
        }
        end = start - 1;
    }
}

/// Blanks a line. Without its header a table's keys would count to the table before, so they go with it.
fn cut(text: &mut String, line: Range<usize>, message: &str) {
    let mut bytes = std::mem::take(text).into_bytes();
    let is_broken_header = message != DUPLICATE && bytes.get(line.clone()).is_some_and(is_header);
    let end = if is_broken_header {
        next_header(&bytes, line.end)
    } else {
        line.end
    };
    for byte in bytes
        .iter_mut()
        .take(end)
        .skip(line.start)
        .filter(|byte| **byte != b'\n')
    {
        *byte = b' ';
    }
    *text = String::from_utf8(bytes).unwrap_or_default();
}

fn is_header(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"[")
}

/// Where the next line that is a header begins; the end if there is none.
fn next_header(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    let lines = rest.split_inclusive(|byte| *byte == b'\n');
    from + lines
        .enumerate()
        .take_while(|(n, line)| *n == 0 || !is_header(line))
        .map(|(_, line)| line.len())
        .sum::<usize>()
}

const IN_QUOTES: &str = "put the value in quotes";
const DUPLICATE: &str = "duplicate key";
/// So many in one pass show the same, and each pass over them takes its time.
const MOST_FOUND: usize = 1000;
/// After so many a file is rather no TOML at all.
const MOST_ERRORS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_cut_out_and_everything_else_stays_in_place() {
        for (text, repaired, errors) in [
            ("a = 1\nb = 2\n", "a = 1\nb = 2\n", 0),
            ("a = 1\nb = x\nc = 3\n", "a = 1\n     \nc = 3\n", 1),
            ("pass word = 1\nc = 3", "             \nc = 3", 1),
            ("word\nc = \"3\nd = 4\n", "    \n      \nd = 4\n", 2),
            ("a = 1\na = 2\n", "a = 1\n     \n", 1),
            ("[a]\nb = 1\n[a]\nc = 1\n", "[a]\nb = 1\n   \nc = 1\n", 1),
            ("[a\nb = 1\n [c]\nd = 1\n", "  \n     \n [c]\nd = 1\n", 1),
            ("[a\nb = 1\n", "  \n     \n", 1),
            ("ü = ö\na = 1", "       \na = 1", 1),
            ("a = [1, 2\n", "         \n", 1),
            ("a = 1\nb = \"\"\"\nx\n\ny", "a = 1\n       \n \n\n ", 1),
        ] {
            let (got, found) = repair(text);
            assert_eq!((got.as_str(), found.len()), (repaired, errors), "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_at_all_ends_with_a_bounded_list() {
        let (text, errors) = repair(&"nonsense\n".repeat(100));
        assert_eq!((text.as_str(), errors.len()), ("", MOST_ERRORS));
        assert_eq!(repair(&"nonsense\n".repeat(MOST_FOUND + 1)).1.len(), 1);
        let (_, errors) = repair(&format!("x = {}", "[".repeat(10_000)));
        assert_eq!(errors.len(), 1);
    }
}
