//! Places in text files that people write.

use std::fmt;

/// A line and a column, both counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    /// Where a text begins.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place of a byte of `text`, or of its end.
    pub(crate) fn of(text: &str, byte: usize) -> Self {
        let before = &text[..text.floor_char_boundary(byte)];
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_begin_with_one() {
        let text = "a = 1\né = 2\n";
        for (byte, expected) in [(0, "1:1"), (4, "1:5"), (6, "2:1"), (8, "2:2"), (13, "3:1"), (99, "3:1")] {
            assert_eq!(Position::of(text, byte).to_string(), expected, "{byte}");
        }
        assert_eq!(Position::of(text, 0), Position::START);
    }
}
