//! A bench's results, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::figures::Samples;
use crate::machine::Machine;

/// What a bench found.
pub(crate) struct Table {
    pub(crate) bench: &'static str,
    /// One line: what was measured, and in which units.
    pub(crate) what: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// One line of a table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

/// One figure, or none.
pub(crate) struct Cell {
    value: Option<f64>,
    samples: Option<Samples>,
    digits: usize,
}

impl Cell {
    /// The median of `samples` and their middle half.
    pub(crate) fn of(samples: &Samples, digits: usize) -> Self {
        Self { value: Some(samples.median()), samples: Some(samples.clone()), digits }
    }

    pub(crate) fn number(value: f64, digits: usize) -> Self {
        Self { value: Some(value), samples: None, digits }
    }

    pub(crate) fn none() -> Self {
        Self { value: None, samples: None, digits: 0 }
    }

    /// Whether its middle half is narrow, as far as its digits show.
    fn is_steady(&self) -> bool {
        let unit = 10_f64.powi(-i32::try_from(self.digits).unwrap_or(0));
        self.samples.as_ref().is_none_or(|samples| samples.is_steady(unit))
    }

    fn text(&self) -> String {
        let digits = self.digits;
        match (self.value, self.samples.as_ref().map(Samples::middle_half)) {
            (None, _) => String::from("–"),
            (Some(value), None) => format!("{value:.digits$}"),
            (Some(value), Some((low, high))) => format!("{value:.digits$} ({low:.digits$}–{high:.digits$})"),
        }
    }

    fn json(&self) -> Value {
        match (self.value, &self.samples) {
            (None, _) => Value::Null,
            (Some(value), None) => json!(value),
            (Some(value), Some(samples)) => {
                let (low, high) = samples.middle_half();
                let steady = self.is_steady();
                json!({"median": value, "low": low, "high": high, "steady": steady, "samples": samples.all()})
            }
        }
    }
}

impl Table {
    pub(crate) fn text(&self, command: &str) -> String {
        let mut lines =
            vec![[vec![String::new()], self.columns.iter().map(|&column| column.into()).collect()].concat()];
        lines.extend(self.rows.iter().map(|row| {
            let cells = row.cells.iter().map(Cell::text);
            std::iter::once(row.name.clone()).chain(cells).collect::<Vec<_>>()
        }));
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
        let widths = (0..=self.columns.len()).map(width).collect::<Vec<_>>();
        let mut text = format!("\n{} — `{command}`\n\n", self.what);
        for (number, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths).map(|(cell, &width)| format!(" {cell:width$} |"));
            let _ = writeln!(text, "|{}", cells.collect::<String>());
            if number == 0 {
                let rule = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
                let _ = writeln!(text, "|{}", rule.collect::<String>());
            }
        }
        text.push('\n');
        let unsteady = self.unsteady();
        if !unsteady.is_empty() {
            let _ = writeln!(text, "Not steady (middle half wider than 5 % of the median): {}.\n", unsteady.join("; "));
        }
        text
    }

    /// The figures that are not steady.
    fn unsteady(&self) -> Vec<String> {
        let of_row = |row: &Row| {
            let cells = self.columns.iter().zip(&row.cells).filter(|(_, cell)| !cell.is_steady());
            let columns = cells.map(|(&column, _)| column).collect::<Vec<_>>();
            (!columns.is_empty()).then(|| format!("{}: {}", row.name, columns.join(", ")))
        };
        self.rows.iter().filter_map(of_row).collect()
    }

    pub(crate) fn json(&self, command: &str) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert(String::from("name"), json!(row.name));
            let cells = self.columns.iter().zip(&row.cells);
            object.extend(cells.map(|(&column, cell)| (column.to_owned(), cell.json())));
            Value::Object(object)
        };
        let rows = self.rows.iter().map(row).collect::<Vec<_>>();
        json!({"bench": self.bench, "what": self.what, "command": command, "rows": rows})
    }
}

/// The command that produces a table.
pub(crate) fn command(bench: &str, rounds: Option<usize>) -> String {
    let rounds = rounds.map(|rounds| format!(" --rounds {rounds}")).unwrap_or_default();
    let directory = std::env::var("TMPDIR").map(|directory| format!("TMPDIR={directory} ")).unwrap_or_default();
    format!("{directory}./x bench {bench}{rounds}")
}

pub(crate) fn document(machine: &Machine, benches: &[Value]) -> Value {
    json!({"machine": machine.json(), "benches": benches})
}
