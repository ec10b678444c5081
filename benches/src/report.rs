//! A bench's results, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use crate::figures::Samples;

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
    spread: Option<(f64, f64)>,
    digits: usize,
}

impl Cell {
    /// The median of `samples` and their middle half.
    pub(crate) fn of(samples: &Samples, digits: usize) -> Self {
        Self { value: Some(samples.median()), spread: Some(samples.middle_half()), digits }
    }

    pub(crate) fn number(value: f64, digits: usize) -> Self {
        Self { value: Some(value), spread: None, digits }
    }

    pub(crate) fn none() -> Self {
        Self { value: None, spread: None, digits: 0 }
    }

    fn text(&self) -> String {
        let digits = self.digits;
        match (self.value, self.spread) {
            (None, _) => String::from("–"),
            (Some(value), None) => format!("{value:.digits$}"),
            (Some(value), Some((low, high))) => format!("{value:.digits$} ({low:.digits$}–{high:.digits$})"),
        }
    }

    fn json(&self) -> Value {
        match (self.value, self.spread) {
            (None, _) => Value::Null,
            (Some(value), None) => json!(value),
            (Some(value), Some((low, high))) => json!({"median": value, "low": low, "high": high}),
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
        text
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

pub(crate) fn document(benches: &[Value]) -> Value {
    json!({"machine": machine(), "benches": benches})
}

/// The machine that the figures are from.
pub(crate) fn machine() -> String {
    let uname = rustix::system::uname();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let (model, release, machine) = (model.unwrap_or("CPU"), uname.release(), uname.machine());
    format!("{cpus} × {model}, Linux {} {}", release.to_string_lossy(), machine.to_string_lossy())
}
