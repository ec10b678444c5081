//! Plots of the benches' results, from what `./x bench --json` prints.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::svg::Picture;

/// A plot of one column of a bench: a group of bars for each traffic, a bar for each program.
struct Plot {
    /// Of the picture's file.
    name: &'static str,
    bench: &'static str,
    column: &'static str,
    title: &'static str,
    /// What a bar's number is followed by.
    unit: &'static str,
    digits: usize,
}

const PLOTS: [Plot; 3] = [
    Plot {
        name: "capture-rate",
        bench: "capture",
        column: "rate kept",
        title: "The sender's rate with a capture to a file, 1 = without (more is better)",
        unit: "",
        digits: 2,
    },
    Plot {
        name: "capture-file",
        bench: "capture",
        column: "% in the file",
        title: "Packets of the flood that are in the file (more is better)",
        unit: " %",
        digits: 1,
    },
    Plot {
        name: "capture-cpu",
        bench: "capture",
        column: "capture CPU-s/Mpkt",
        title: "CPU seconds of the recorder per million packets (less is better)",
        unit: " s",
        digits: 3,
    },
];

/// Classes of the programs that are not ours.
const OTHERS: [&str; 2] = ["first", "second"];

const BAR: f64 = 20.0;
const GAP: f64 = 6.0;
const NAMES: f64 = 190.0;
const LENGTH: f64 = 420.0;
const FIGURES: f64 = 150.0;

/// A figure: its median, and where the middle half of the measurements begins and ends.
struct Figure {
    median: f64,
    low: f64,
    high: f64,
}

/// The rows of one traffic: programs and figures.
type Group<'a> = (&'a str, Vec<(&'a str, Figure)>);

/// All plots of a document of the benches, each with its name.
///
/// # Errors
/// The document lacks a bench, a column or the machine.
pub(crate) fn all(document: &str) -> Result<Vec<(&'static str, String)>> {
    let document: Value = serde_json::from_str(document)?;
    let machine = document["machine"]["name"].as_str().context("`machine.name` says where it was measured")?;
    PLOTS.iter().map(|plot| Ok((plot.name, draw(plot, &document, machine)?))).collect()
}

fn draw(plot: &Plot, document: &Value, machine: &str) -> Result<String> {
    let groups = groups(plot, document).with_context(|| format!("bench `{}`, `{}`", plot.bench, plot.column))?;
    let figures = groups.iter().flat_map(|(_, rows)| rows).map(|(_, figure)| figure.high);
    let longest = figures.fold(0.0, f64::max);
    ensure!(longest > 0.0, "bench `{}`: nothing to draw in `{}`", plot.bench, plot.column);
    let rows: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
    let height = 64.0 + rows as f64 * (BAR + GAP) + groups.len() as f64 * 34.0;
    let mut picture = Picture::new(NAMES + LENGTH + FIGURES, height);
    picture.text("title", "start", (12.0, 24.0), plot.title);
    let mut y = 40.0;
    for (traffic, rows) in &groups {
        y += 22.0;
        picture.text("note", "start", (12.0, y), traffic);
        y += 12.0;
        for (number, (program, figure)) in rows.iter().enumerate() {
            picture.text("label", "end", (NAMES - 10.0, y + 14.5), program);
            figure.draw(&mut picture, y, class(program, number, rows), longest);
            let text = format!("{:.*}{}", plot.digits, figure.median, plot.unit);
            let end = NAMES + figure.high / longest * LENGTH;
            picture.text("label", "start", (end + 8.0, y + 14.5), text);
            y += BAR + GAP;
        }
    }
    let note = format!("./x bench {}, {machine}. Lines: the middle half.", plot.bench);
    picture.text("note", "start", (12.0, y + 18.0), note);
    Ok(picture.finish(plot.title))
}

impl Figure {
    /// Draws a bar, where `longest` is as long as a bar may be.
    fn draw(&self, picture: &mut Picture, y: f64, class: &str, longest: f64) {
        let at = |value: f64| NAMES + value / longest * LENGTH;
        picture.rectangle(class, [NAMES, y, at(self.median) - NAMES, BAR], 2.0);
        picture.line([at(self.low), y + BAR / 2.0, at(self.high), y + BAR / 2.0]);
    }
}

fn is_ours(program: &str) -> bool {
    program.starts_with("ours")
}

/// Ours have one colour, and each other program has its own.
fn class(program: &str, number: usize, rows: &[(&str, Figure)]) -> &'static str {
    if is_ours(program) {
        return "ours";
    }
    let others = rows[..number].iter().filter(|(name, _)| !is_ours(name));
    OTHERS[others.count() % OTHERS.len()]
}

/// The rows of a bench, which are named `TRAFFIC, PROGRAM`, by traffic.
fn groups<'a>(plot: &Plot, document: &'a Value) -> Result<Vec<Group<'a>>> {
    let benches = document["benches"].as_array().context("`benches` is an array")?;
    let bench = benches.iter().find(|bench| bench["bench"] == plot.bench).context("not measured")?;
    let mut groups: Vec<Group<'a>> = Vec::new();
    for row in bench["rows"].as_array().context("`rows` is an array")? {
        let name = row["name"].as_str().context("a row has a name")?;
        let (traffic, program) = split(name).with_context(|| format!("`{name}` names no traffic and program"))?;
        let cell = &row[plot.column];
        let number = |member: &str| cell[member].as_f64().with_context(|| format!("`{name}` has no {member}"));
        let figure = Figure { median: number("median")?, low: number("low")?, high: number("high")? };
        match groups.iter_mut().find(|(group, _)| *group == traffic) {
            Some((_, rows)) => rows.push((program, figure)),
            None => groups.push((traffic, vec![(program, figure)])),
        }
    }
    Ok(groups)
}

/// `1500 B, 96 recorded, ours, direct I/O` is the traffic `1500 B, 96 recorded` and the program `ours, direct I/O`.
fn split(name: &str) -> Option<(&str, &str)> {
    let at = name.find(", ours").or_else(|| name.rfind(", "))?;
    Some((&name[..at], &name[at + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_traffic_and_a_program() {
        assert_eq!(split("1500 B, 96 recorded, ours, direct I/O"), Some(("1500 B, 96 recorded", "ours, direct I/O")));
        assert_eq!(split("64 B, tcpdump"), Some(("64 B", "tcpdump")));
        assert_eq!(split("64 B"), None);
    }

    #[test]
    fn a_document_without_the_bench_is_refused() {
        let error = all(r#"{"machine": {"name": "x"}, "benches": []}"#).expect_err("nothing to plot");
        assert_eq!(format!("{error:#}"), "bench `capture`, `rate kept`: not measured");
    }
}
