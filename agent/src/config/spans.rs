//! Byte offsets as lines and columns.

use serde::Serialize;

/// A place in a file, counted from 1 as editors do; columns are characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// Where a file as a whole is meant.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A text in which places are looked up.
pub(super) struct Lines {
    text: String,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let starts = std::iter::once(0).chain(after_newlines).collect();
        Self {
            text: text.to_owned(),
            starts,
        }
    }

    /// Finds the place of a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let on_line = self.text.get(start..offset).unwrap_or_default();
        let column = on_line.trim_start_matches('\u{feff}').chars().count() + 1;
        Place { line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns_of_characters() {
        let text = "a = 1\nü = \"ö\" # x\r\n\nlast";
        let lines = Lines::of(text);
        for (needle, line, column) in [
            ("a", 1, 1),
            ("1", 1, 5),
            ("\"", 2, 5),
            ("#", 2, 9),
            ("last", 4, 1),
        ] {
            let offset = text.find(needle).unwrap();
            assert_eq!(lines.place(offset), Place { line, column }, "{needle}");
        }
        assert_eq!(
            lines.place(7),
            Place { line: 2, column: 1 },
            "inside a character"
        );
        assert_eq!(lines.place(9999), Place { line: 4, column: 5 });
        assert_eq!(Lines::of("").place(0), Place::START);
        assert_eq!(
            Lines::of("\u{feff}ab").place(4),
            Place { line: 1, column: 2 }
        );
    }
}
