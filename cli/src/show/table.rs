//! Aligned columns.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::paper::Paper;
use crate::terminal::Painted;

/// Blanks between two columns.
const GAP: usize = 2;
/// Values of records get so many columns, even where the terminal has fewer.
const LEAST: usize = 12;

/// Cells by column and row. Columns keep the order in which they were first seen, but for those that a later row has before
/// one that is known: there they stand, too.
#[derive(Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    /// The row of the latest cell, and how many columns it has added at the end since the last one that was known.
    latest: (usize, usize),
}

struct Column {
    title: String,
    cells: Vec<String>,
}

impl Table {
    pub(crate) fn put(&mut self, row: usize, title: &str, cell: String) {
        let added = if self.latest.0 == row { self.latest.1 } else { 0 };
        let known = self.columns.iter().position(|column| column.title == title);
        let index = if let Some(known) = known {
            let is_before = known < self.columns.len() - added;
            if is_before {
                self.columns[known..].rotate_right(added);
            }
            self.latest = (row, 0);
            if is_before { known + added } else { known }
        } else {
            self.columns.push(Column { title: title.to_owned(), cells: Vec::new() });
            self.latest = (row, added + 1);
            self.columns.len() - 1
        };
        let cells = &mut self.columns[index].cells;
        if cells.len() <= row {
            cells.resize(row + 1, String::new());
        }
        cells[row] = cell;
    }

    /// Writes the table into lines of at most `width` cells, where there is such a limit: what does not fit into its
    /// column goes on below, and where that is not enough, each row becomes a record.
    pub(crate) fn print(&self, indent: usize, paper: &Paper, out: &mut String) {
        let room = paper.width.map(|width| width.saturating_sub(indent));
        let Some(widths) = self.widths(room) else { return self.records(indent, room.unwrap_or_default(), out) };
        if !self.columns.is_empty() {
            self.line(indent, &widths, |column| &column.title, |_, part| paper.title(part), out);
        }
        for row in 0..self.rows() {
            self.line(indent, &widths, |column| column.cell(row), |title, part| paper.cell(title, part), out);
        }
    }

    /// Whether each row is one line, in lines of at most `width` cells.
    pub(crate) fn fits(&self, width: Option<usize>) -> bool {
        let gaps = GAP * self.columns.len().saturating_sub(1);
        width.is_none_or(|width| self.columns.iter().map(Column::width).sum::<usize>() + gaps <= width)
    }

    fn rows(&self) -> usize {
        self.columns.iter().map(|column| column.cells.len()).max().unwrap_or(0)
    }

    /// Each row as several lines, a title and a cell in each; a blank line separates rows.
    fn records(&self, indent: usize, room: usize, out: &mut String) {
        let titles = self.columns.iter().map(|column| column.title.width()).max().unwrap_or(0);
        let room = room.saturating_sub(titles + GAP).max(LEAST);
        for row in 0..self.rows() {
            if row > 0 {
                out.push('\n');
            }
            for column in self.columns.iter().filter(|column| !column.cell(row).is_empty()) {
                let mut title = column.title.as_str();
                for part in wrap(column.cell(row), room) {
                    let gap = titles - title.width() + GAP;
                    out.push_str(&format!("{:indent$}{title}{:gap$}{part}\n", "", ""));
                    title = "";
                }
            }
        }
    }

    fn line<'a>(
        &'a self,
        indent: usize,
        widths: &[usize],
        text: impl Fn(&'a Column) -> &'a str,
        paint: impl for<'t> Fn(&str, &'t str) -> Painted<'t>,
        out: &mut String,
    ) {
        let cells: Vec<Vec<String>> =
            self.columns.iter().zip(widths).map(|(column, width)| wrap(text(column), *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let mut line = " ".repeat(indent);
            for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
                let part = cell.get(at).map_or("", String::as_str);
                line.push_str(&paint(&column.title, part).to_string());
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(part.width()) + GAP));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }

    /// The columns' widths: what their cells need, or less where that is too much, the widest giving way first. `None`
    /// when words would have to be broken.
    fn widths(&self, room: Option<usize>) -> Option<Vec<usize>> {
        let mut widths: Vec<usize> = self.columns.iter().map(Column::width).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        let Some(room) = room else { return Some(widths) };
        let floors: Vec<usize> = self.columns.iter().map(Column::longest_word).collect();
        while widths.iter().sum::<usize>() + gaps > room {
            let can_give_way = widths.iter_mut().zip(&floors).filter(|(width, floor)| **width > **floor);
            let (widest, _) = can_give_way.max_by_key(|(width, _)| **width)?;
            *widest -= 1;
        }
        Some(widths)
    }
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().chain([&self.title]).map(|cell| cell.width()).max().unwrap_or(0)
    }

    fn longest_word(&self) -> usize {
        self.cells
            .iter()
            .chain([&self.title])
            .flat_map(|cell| words(cell))
            .map(|word| word.trim_end().width())
            .max()
            .unwrap_or(0)
    }

    fn cell(&self, row: usize) -> &str {
        self.cells.get(row).map_or("", String::as_str)
    }
}

/// Splits a text where it can be broken: after blanks, and between the alternatives of `in|out`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '|'])
}

/// A text after `lead`, in lines of at most `width` cells; those below the first begin at `hang`.
pub(crate) fn paragraph(lead: &str, hang: usize, text: &str, width: usize) -> String {
    let lines = wrap(text, width.saturating_sub(hang).max(LEAST));
    format!("{lead}{}\n", lines.join(&format!("\n{:hang$}", "")))
}

/// Breaks a text between words, and a word that is too long wherever necessary.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in words(text) {
        if used > 0 && used + word.trim_end().width() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if used > 0 && used + wide > width && c != ' ' {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += wide;
        }
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end().len());
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
        table.print(1, &width.into(), &mut out);
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
    fn columns_stand_in_the_order_of_all_rows() {
        let rows = [&["name", "file"][..], &["name", "sdk", "abi", "file"], &["name", "abi", "last"]];
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
            let mut table = Table::default();
            for (row, index) in order.into_iter().enumerate() {
                rows[index].iter().for_each(|title| table.put(row, title, String::new()));
            }
            let titles: Vec<&str> = table.columns.iter().map(|column| column.title.as_str()).collect();
            let place = |title: &str| titles.iter().position(|other| *other == title);
            assert!(
                place("name") < place("sdk") && place("sdk") < place("abi") && place("abi") < place("file"),
                "{titles:?}"
            );
        }
    }

    #[test]
    fn texts_go_on_below() {
        assert_eq!(
            table(Some(40)),
            "\u{20}name  about            uuid
 br1   what a bridge    0123456789abcdef
       is for
 日本                   f
"
        );
    }

    #[test]
    fn rows_become_records_before_words_are_broken() {
        assert_eq!(
            table(Some(30)),
            "\u{20}name   br1
 about  what a bridge is for
 uuid   0123456789abcdef

 name   日本
 uuid   f
"
        );
        assert_eq!(
            table(Some(21)),
            "\u{20}name   br1
 about  what a bridge
        is for
 uuid   0123456789abc
        def

 name   日本
 uuid   f
"
        );
        assert_eq!(table(Some(1)), table(Some(20)));
    }

    #[test]
    fn a_paragraph_hangs_from_its_lead() {
        assert_eq!(paragraph("a  ", 3, "what a bridge is for", 16), "a  what a bridge\n   is for\n");
        assert_eq!(paragraph("", 4, "what a bridge", 1), "what a\n    bridge\n");
    }

    #[test]
    fn a_text_is_broken_where_it_can_be() {
        for (text, width, lines) in [
            ("", 3, &[""][..]),
            ("ab cd", 5, &["ab cd"]),
            ("ab cd", 4, &["ab", "cd"]),
            ("in|out|both", 7, &["in|out|", "both"]),
            ("abcdef", 4, &["abcd", "ef"]),
            ("日本語", 4, &["日本", "語"]),
        ] {
            assert_eq!(wrap(text, width), lines, "{text:?}");
        }
    }
}
