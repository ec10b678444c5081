//! Aligned columns.

use std::fmt::Write;

/// Cells by column and row; columns keep the order in which they were first seen.
#[derive(Default)]
pub(super) struct Table {
    columns: Vec<Column>,
}

struct Column {
    title: String,
    cells: Vec<String>,
}

impl Table {
    pub(super) fn put(&mut self, row: usize, title: &str, cell: String) {
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

    pub(super) fn print(&self, indent: usize, out: &mut String) {
        let widths: Vec<usize> = self.columns.iter().map(Column::width).collect();
        let mut line = |cell: &dyn Fn(&Column) -> &str| {
            let mut line = " ".repeat(indent);
            for (column, &width) in self.columns.iter().zip(&widths) {
                let _ = write!(line, "{:width$}  ", cell(column));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        };
        if !self.columns.is_empty() {
            line(&|column| &column.title);
        }
        let rows = self.columns.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        for row in 0..rows {
            line(&|column| column.cells.get(row).map_or("", String::as_str));
        }
    }
}

impl Column {
    fn width(&self) -> usize {
        self.cells.iter().chain([&self.title]).map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}
