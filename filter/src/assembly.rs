//! Instructions with labels, which become a program once all distances are known.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt;

use super::classic::Size;
use super::insn::{Insn, Reg};
use super::mode::{Mode, View};

/// A program that is too long for its jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter becomes {0} instructions, and {most} is the most: use a shorter expression", most = MOST)]
pub struct TooLong(usize);

/// Maximum instructions that the kernel loads (`BPF_COMPLEXITY_LIMIT_INSNS` in `include/linux/bpf.h`).
pub(crate) const MOST: usize = 1_000_000;

/// The longest jump that uses its own 16 bits. They would reach four times as far, but the kernel inserts longer
/// instructions in between (`bpf_patch_insn_data()` in kernel/bpf/core.c), and fails if the distance no longer fits.
const NEAR: i64 = 8192;

/// A position in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Label {
    /// The packet matches.
    Accept,
    /// It does not.
    Reject,
    /// The start of a version.
    Version(View, Mode),
    /// The linear version has too little memory: the packet ends there, or continues outside of it.
    Short(View),
    /// A block of a version.
    Block(View, Mode, usize),
    /// The function that loads from anywhere in the packet.
    Load(View, Size),
    /// A nearby position.
    Near(usize),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Reject => f.write_str("reject"),
            Self::Version(view, mode) => write!(f, "{view}.{mode}"),
            Self::Short(view) => write!(f, "{view}.short"),
            Self::Block(view, mode, number) => write!(f, "{view}.{mode}.{number}"),
            Self::Load(view, size) => write!(f, "{view}.load{}", size.bytes()),
            Self::Near(number) => write!(f, "near.{number}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) insn: Insn,
    pub(crate) target: Option<Label>,
    pub(crate) map: Option<&'static str>,
    /// The classic instruction that it implements.
    pub(crate) origin: Option<usize>,
}

/// A program with labels.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    items: Vec<Item>,
    labels: HashMap<Label, usize>,
    /// Functions in the order of their first call.
    functions: Vec<(View, Size)>,
    near: usize,
    origin: Option<usize>,
}

/// A program without labels.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) instructions: Vec<Insn>,
    pub(crate) maps: Vec<(usize, &'static str)>,
    /// The item of each instruction.
    pub(crate) items: Vec<Item>,
    /// The labels, in order of position.
    pub(crate) labels: Vec<(usize, Label)>,
}

impl Assembly {
    /// The following instructions implement this classic instruction.
    pub(crate) fn set_origin(&mut self, origin: Option<usize>) {
        self.origin = origin;
    }

    pub(crate) fn add(&mut self, insn: Insn) {
        self.push(insn, None, None);
    }

    /// Adds a jump or a branch.
    pub(crate) fn goto(&mut self, insn: Insn, target: Label) {
        self.push(insn, Some(target), None);
    }

    /// Loads the address of a map.
    pub(crate) fn map(&mut self, dst: Reg, map: &'static str) {
        self.push(Insn::map(dst), None, Some(map));
        self.add(Insn::default());
    }

    /// Calls the function that loads from anywhere; the caller of [`function`](Self::function) adds its code.
    pub(crate) fn call(&mut self, view: View, size: Size) {
        if !self.functions.contains(&(view, size)) {
            self.functions.push((view, size));
        }
        self.goto(Insn::call(), Label::Load(view, size));
    }

    /// The function that was called as number `at`.
    pub(crate) fn function(&self, at: usize) -> Option<(View, Size)> {
        self.functions.get(at).copied()
    }

    /// A new label for a nearby position, to be placed by [`set`](Self::set).
    pub(crate) fn near(&mut self) -> Label {
        self.near += 1;
        Label::Near(self.near)
    }

    /// Places `label` at the next instruction.
    pub(crate) fn set(&mut self, label: Label) {
        self.labels.insert(label, self.items.len());
    }

    fn push(&mut self, insn: Insn, target: Option<Label>, map: Option<&'static str>) {
        self.items.push(Item { insn, target, map, origin: self.origin });
    }

    /// Computes the distance of each jump. A branch too far for 16 bits skips over a `gotol`, which has 32.
    pub(crate) fn assemble(self) -> Result<Assembled, TooLong> {
        let mut is_far = vec![false; self.items.len()];
        let places = loop {
            let places = self.places(&is_far);
            let before = is_far.clone();
            for (at, item) in self.items.iter().enumerate() {
                let Some(target) = item.target.filter(|_| !item.insn.is_call()) else { continue };
                is_far[at] |= distance(places[at], places[self.labels[&target]]).abs() > NEAR;
            }
            if is_far == before {
                break places;
            }
        };
        let length = places[self.items.len()];
        if length > MOST {
            return Err(TooLong(length));
        }
        let mut assembled =
            Assembled { instructions: Vec::new(), maps: Vec::new(), items: Vec::new(), labels: Vec::new() };
        for (item, is_far) in self.items.iter().zip(is_far) {
            let at = assembled.instructions.len();
            assembled.maps.extend(item.map.map(|map| (at, map)));
            let target = item.target.map(|label| places[self.labels[&label]]);
            for insn in finished(item.insn, at, target, is_far) {
                assembled.instructions.push(insn);
                assembled.items.push(*item);
            }
        }
        assembled.labels = self.labels.into_iter().map(|(label, at)| (places[at], label)).collect();
        assembled.labels.sort_by_key(|(at, label)| (*at, label.to_string()));
        Ok(assembled)
    }

    /// The position of each item, and of the program's end.
    fn places(&self, is_far: &[bool]) -> Vec<usize> {
        let mut places = vec![0];
        let mut place = 0;
        for (item, is_far) in self.items.iter().zip(is_far) {
            place += if *is_far && !item.insn.is_unconditional() { 3 } else { 1 };
            places.push(place);
        }
        places
    }
}

/// Number of instructions between `from` and `to`.
fn distance(from: usize, to: usize) -> i64 {
    // A program has at most some millions.
    to as i64 - from as i64 - 1
}

fn finished(insn: Insn, at: usize, target: Option<usize>, is_far: bool) -> Vec<Insn> {
    let Some(target) = target else { return vec![insn] };
    let near = |insn: Insn| Insn { offset: distance(at, target) as i16, ..insn };
    let far = |insn: Insn, at: usize| Insn { immediate: distance(at, target) as i32, ..insn };
    match (insn, is_far) {
        (insn, _) if insn.is_call() => vec![far(insn, at)],
        (insn, false) => vec![near(insn)],
        (insn, true) if insn.is_unconditional() => vec![far(Insn::long_jump(), at)],
        (insn, true) => {
            vec![Insn { offset: 1, ..insn }, Insn { offset: 1, ..Insn::jump() }, far(Insn::long_jump(), at + 2)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insn::Compare;

    /// A branch over `between` instructions, and a jump back to it.
    fn program(between: usize) -> Vec<Insn> {
        let mut assembly = Assembly::default();
        assembly.set(Label::Reject);
        assembly.goto(Insn::branch32(Compare::Eq, Reg::R8, 1), Label::Accept);
        for _ in 0..between {
            assembly.add(Insn::exit());
        }
        assembly.goto(Insn::jump(), Label::Reject);
        assembly.set(Label::Accept);
        assembly.add(Insn::exit());
        assembly.assemble().unwrap().instructions
    }

    #[test]
    fn jumps_know_their_distance() {
        let found = program(2);
        assert_eq!((found[0].offset, found[3].offset), (3, -4));
    }

    #[test]
    fn a_branch_that_is_too_far_hops() {
        let found = program(8190);
        assert_eq!((found[0].offset, found[8191].offset, found.len()), (8191, -8192, 8193));
        let found = program(8192);
        assert_eq!((found[0].offset, found[1].offset, found[2].immediate), (1, 1, 8193));
        assert_eq!((found[2].code, found[8195].immediate), (Insn::long_jump().code, -8196));
    }

    #[test]
    fn what_the_kernel_would_not_load_is_refused() {
        let mut assembly = Assembly::default();
        (0..=MOST).for_each(|_| assembly.add(Insn::exit()));
        assert_eq!(assembly.assemble().unwrap_err(), TooLong(MOST + 1));
    }
}
