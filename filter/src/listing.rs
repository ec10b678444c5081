//! A program as text.

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use super::assembly::{Assembled, Label};
use super::classic::Operation;

/// Column of the classic instruction.
const COLUMN: usize = 52;

/// `assembled` as text: one eBPF instruction per line; the first of each group has the classic instruction beside it.
pub(crate) fn listing(title: &str, program: &[Operation], assembled: &Assembled) -> String {
    let mut text = String::new();
    let count = assembled.instructions.len();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "; {title}\n; {} classic instructions, {count} of eBPF", program.len());
    let mut origin = None;
    let mut is_second_half = false;
    for (at, insn) in assembled.instructions.iter().enumerate() {
        for label in labels(assembled, at) {
            let _ = writeln!(text, "{label}:");
            origin = None;
        }
        let item = &assembled.items[at];
        let mut line = format!("{at:5}  {insn}");
        if is_second_half {
            is_second_half = false;
            continue;
        }
        is_second_half = insn.is_wide();
        if let Some(map) = item.map {
            let _ = write!(line, " {map}");
        }
        if item.target.is_some() {
            let distance = if insn.is_call() || insn.is_long_jump() { insn.immediate } else { insn.offset.into() };
            let target = (at + 1).saturating_add_signed(distance as isize);
            match labels(assembled, target).next() {
                Some(label) => drop(write!(line, " {label}")),
                None => drop(write!(line, " {target}")),
            }
        }
        if item.origin != origin {
            origin = item.origin;
            if let Some((number, operation)) = origin.and_then(|number| Some((number, program.get(number)?))) {
                line = format!("{line:COLUMN$}; ({number:03}) {operation}");
            }
        }
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The labels at an instruction, without those that do not help a reader.
fn labels(assembled: &Assembled, at: usize) -> impl Iterator<Item = Label> {
    let first = assembled.labels.partition_point(|(place, _)| *place < at);
    let here = assembled.labels[first..].iter().take_while(move |(place, _)| *place == at);
    here.map(|(_, label)| *label).filter(|label| !matches!(label, Label::Near(_)))
}
