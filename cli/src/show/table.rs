//! Aligned columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blanks between two columns.
const GAP: usize = 2;
/// No column is made narrower than this: a column of single letters is no help.
const LEAST: usize = 12;

/// Cells by column and row; columns keep the order in which they were first seen.
#[derive(Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
}

struct Column {
    title: String,
    cells: Vec<String>,
}

impl Table {
    pub(crate) fn put(&mut self, row: usize, title: &str, cell: String) {
        let index = self.columns.iter().position(|column| column.title == title).unwrap_or_else(|| {
            self.columns.push(Column { title: title.to_owned(), cells: Vec::new() });
            self.columns.len() - 1
        });
        let cells = &mut self.columns[index].cells;
        if cells.len() <= row {
            cells.resize(row + 1, String::new());
        }
        cells[row] = cell;
    }

    /// Writes the table into lines of at most `width` cells, where there is such a limit; what does not fit into its
    /// column goes on below.
    pub(crate) fn print(&self, indent: usize, width: Option<usize>, out: &mut String) {
        let widths = self.widths(width.map(|width| width.saturating_sub(indent)));
        if !self.columns.is_empty() {
            self.line(indent, &widths, |column| &column.title, out);
        }
        let rows = self.columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        for row in 0..rows {
            self.line(indent, &widths, |column| column.cells.get(row).map_or("", String::as_str), out);
        }
    }

    fn line<'a>(&'a self, indent: usize, widths: &[usize], text: impl Fn(&'a Column) -> &'a str, out: &mut String) {
        let cells: Vec<Vec<String>> =
            self.columns.iter().zip(widths).map(|(column, width)| wrap(text(column), *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut line = " ".repeat(indent);
            for (cell, width) in cells.iter().zip(widths) {
                let part = cell.get(at).map_or("", String::as_str);
                line.push_str(part);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(part.width()) + GAP));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }

    /// The columns' widths: what their cells need, or less where that is too much. The widest columns give way first,
    /// and words are broken last.
    fn widths(&self, room: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(Column::width).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        let Some(room) = room.map(|room| room.saturating_sub(gaps)) else { return widths };
        let words: Vec<usize> = self.columns.iter().map(|column| column.longest_word().max(LEAST)).collect();
        for floors in [words, vec![LEAST; widths.len()]] {
            while widths.iter().sum::<usize>() > room {
                let gives_way = widths.iter_mut().zip(&floors).filter(|(width, floor)| **width > **floor);
                let Some((widest, _)) = gives_way.max_by_key(|(width, _)| **width) else { break };
                *widest -= 1;
            }
        }
        widths
    }
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().chain([&self.title]).map(|cell| cell.width()).max().unwrap_or(0)
    }

    fn longest_word(&self) -> usize {
        let words = self.cells.iter().chain([&self.title]).flat_map(|cell| cell.split(' '));
        words.map(UnicodeWidthStr::width).max().unwrap_or(0)
    }
}

/// Breaks a text between words, and a word that is too long where it has to be.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let wide = word.width();
        if used > 0 && used + 1 + wide <= width {
            lines.last_mut().into_iter().for_each(|line| line.push(' '));
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used > 0 && used + wide > width {
                lines.push(String::new());
                used = 0;
            }
            lines.last_mut().into_iter().for_each(|line| line.push(c));
            used += wide;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut table = Table::default();
        table.put(0, "name", "br1".to_owned());
        table.put(0, "about", "what a bridge is for".to_owned());
        table.put(0, "uuid", "0123456789abcdef".to_owned());
        table.put(1, "name", "日本".to_owned());
        table.put(1, "uuid", "f".to_owned());
        let mut out = String::new();
        table.print(1, width, &mut out);
        out
    }

    #[test]
    fn without_a_limit_each_row_is_a_line() {
        assert_eq!(
            table(None),
            " name  about                 uuid\n br1   what a bridge is for  0123456789abcdef\n 日本                        f\n"
        );
        assert_eq!(table(None), table(Some(46)));
    }

    #[test]
    fn texts_give_way_before_words_are_broken() {
        assert_eq!(
            table(Some(40)),
            "\u{20}name  about            uuid
 br1   what a bridge    0123456789abcdef
       is for
 日本                   f
"
        );
        assert_eq!(
            table(Some(34)),
            "\u{20}name  about         uuid
 br1   what a        0123456789abc
       bridge is     def
       for
 日本                f
"
        );
    }

    #[test]
    fn no_column_vanishes() {
        assert_eq!(table(Some(5)), table(Some(1)));
        assert!(table(Some(1)).contains("br1"));
    }
}
