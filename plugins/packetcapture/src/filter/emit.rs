//! From blocks of classic BPF to eBPF: the versions of a filter, and what they share.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::mem::offset_of;

use polycube_layout::ring::{self, FILTER};

use super::access::{A, Access, CONTEXT, X};
use super::assembly::{Assembly, Label, MapName};
use super::blocks::{Block, Terminator};
use super::body::{Body, NetworkOrder};
use super::bounds::{Headers, checks};
use super::classic::{Operand, Operation, SCRATCH, Test};
use super::insn::{Alu, Compare, Insn, Reg, Source, Width};
use super::liveness::{LiveSet, Liveness};
use super::mode::{Mode, Modes, View};
use super::reach;
use super::skb::{self, Skb};
use super::stack::{MOST_LOOPS, SCRAP, forget, rounds, word};

const MAP_LOOKUP: i32 = 1;
const CPU: i32 = 8;
const TAIL_CALL: i32 = 12;
/// `TCX_NEXT`: programs that others attached after the chain still run.
const END: i32 = -1;

/// Offset of the counter in this CPU's element.
const REJECTED: i16 = (FILTER + offset_of!(ring::Filter, rejected)) as i16;

/// Maximum rounds of a loop (`protochain`), after which a packet does not match: `MAX_BACKWARD_JUMPS` of newer
/// libpcap's `bpf_filter.c`. In older ones a loop ends where the packet does, or never.
const MOST_ROUNDS: i32 = 64;

/// A filter, and the results of its analysis.
pub(crate) struct Filter<'a> {
    pub(crate) program: &'a [Operation],
    pub(crate) blocks: &'a [Block],
    pub(crate) headers: &'a Headers,
    pub(crate) liveness: &'a Liveness,
}

/// Emits all versions, the exits that they share and the functions that they call.
pub(crate) fn emit(filter: &Filter<'_>, modes: Modes) -> Assembly {
    let mut code = Assembly::default();
    let versions = filter.versions(modes);
    let tagged = versions.iter().find(|version| version.view == View::Tagged);
    skb::begin(&mut code, tagged.map(|version| Label::Version(version.view, version.mode)));
    for (number, version) in versions.iter().enumerate() {
        if number > 0 && versions[number - 1].view == version.view {
            code.set(Label::Short(version.view));
            skb::short(&mut code);
        }
        filter.version(&mut code, *version, (number == 0).then_some(Label::Accept));
        if number == 0 {
            filter.ends(&mut code);
        }
    }
    let mut number = 0;
    while let Some((view, size)) = code.function(number) {
        code.set(Label::Load(view, size));
        reach::function(&mut code, view, size);
        number += 1;
    }
    code
}

impl Filter<'_> {
    fn operations(&self) -> impl Iterator<Item = Operation> {
        self.blocks.iter().flat_map(|block| block.body.clone()).map(|at| self.program[at])
    }

    /// The first blocks of loops.
    fn loops(&self) -> impl Iterator<Item = usize> {
        let back = |(at, block): (usize, &Block)| block.terminator.targets().find(|target| *target <= at);
        self.blocks.iter().enumerate().filter_map(back).collect::<BTreeSet<_>>().into_iter()
    }

    /// The versions that packets can need; a linear one comes before the general one that it falls back on.
    fn versions(&self, modes: Modes) -> Vec<Skb> {
        let sees_tag = self.operations().any(skb::sees_tag);
        let views = if sees_tag { &[View::Untagged, View::Tagged][..] } else { &[View::Untagged] };
        let of = |view: &View| {
            let linear = Skb { view: *view, mode: Mode::Linear };
            let pays = self.operations().any(|load| linear.reads_directly(load) || linear.extent(load).is_some());
            let general = Skb { mode: Mode::General, ..linear };
            [(pays && modes == Modes::All).then_some(linear), Some(general)]
        };
        views.iter().flat_map(of).flatten().collect()
    }

    /// Emits a version; `following` is the label after its code.
    fn version(&self, code: &mut Assembly, access: Skb, following: Option<Label>) {
        code.set(Label::Version(access.view, access.mode));
        access.enter(code);
        self.clear(code);
        let checks = checks(self.blocks, self.program, |operation| access.extent(operation));
        let label = |number| self.outcome(number).unwrap_or(Label::Block(access.view, access.mode, number));
        let numbers = (0..self.blocks.len()).filter(|number| *number == 0 || self.outcome(*number).is_none());
        let mut numbers = numbers.peekable();
        while let Some(number) = numbers.next() {
            let block = &self.blocks[number];
            let following = numbers.peek().map(|next| label(*next)).or(following);
            code.set(Label::Block(access.view, access.mode, number));
            code.set_origin(Some(block.body.start));
            if let Some(bytes) = checks[number] {
                access.check(code, bytes);
            }
            let order = NetworkOrder::of(block, self.program, &access, self.liveness);
            let body = Body { program: self.program, access: &access, order };
            body.emit(code, block, self.headers.at(number));
            code.set_origin(Some(block.body.end));
            match block.terminator {
                Terminator::Goto(target) => {
                    if target <= number {
                        count_round(code, rounds(self.loops().position(|start| start == target).unwrap_or_default()));
                    }
                    goto(code, label(target), following);
                }
                Terminator::Branch { test, operand, then, otherwise } => {
                    let source = match operand {
                        Operand::X => Source::Reg(X),
                        Operand::K(k) => order.map_or(k, |order| order.constant(k)).into(),
                    };
                    branch(code, test, source, [label(then), label(otherwise)], following);
                }
                Terminator::Return(value) => goto(code, outcome(value), following),
                Terminator::ReturnA => {
                    code.goto(Insn::branch32(Compare::Eq, A, 0), Label::Reject);
                    goto(code, Label::Accept, following);
                }
            }
            code.set_origin(None);
        }
    }

    /// The target of a block that only returns, so that jumps to the block can go there directly.
    fn outcome(&self, number: usize) -> Option<Label> {
        match &self.blocks[number] {
            Block { body, terminator: Terminator::Return(value) } if body.is_empty() => Some(outcome(*value)),
            _ => None,
        }
    }

    /// Zeroes what the filter reads before it writes.
    fn clear(&self, code: &mut Assembly) {
        let live = self.liveness.at(0);
        for (place, reg) in [(LiveSet::A, A), (LiveSet::X, X)] {
            if live.contains(place) {
                code.add(Insn::alu32(Alu::Mov, reg, 0));
            }
        }
        for k in (0..SCRATCH).filter(|k| live.contains(LiveSet::word(*k))) {
            code.add(Insn::store(Width::W, Reg::R10, word(k), 0));
        }
        for (number, _) in self.loops().enumerate().take(MOST_LOOPS) {
            code.add(Insn::store(Width::D, Reg::R10, rounds(number), 0));
        }
    }

    /// The exits. One that no packet takes is omitted, or the verifier would reject it as unreachable.
    fn ends(&self, code: &mut Assembly) {
        let ends = |outcome: fn(u32) -> bool| {
            self.blocks.iter().any(|block| match block.terminator {
                Terminator::Return(value) => outcome(value),
                Terminator::ReturnA => true,
                Terminator::Goto(_) | Terminator::Branch { .. } => false,
            })
        };
        if ends(|value| value != 0) {
            code.set(Label::Accept);
            tail_call(code, MapName::Accept);
        }
        if self.loops().next().is_some() || ends(|value| value == 0) || self.operations().any(can_fail) {
            code.set(Label::Reject);
            let absent = code.near();
            code.add(Insn::helper(CPU));
            code.add(Insn::store(Width::W, Reg::R10, SCRAP, Reg::R0));
            code.add(Insn::alu64(Alu::Mov, Reg::R2, Reg::R10));
            code.add(Insn::alu64(Alu::Add, Reg::R2, i32::from(SCRAP)));
            code.map(Reg::R1, MapName::Rings);
            code.add(Insn::helper(MAP_LOOKUP));
            code.goto(Insn::branch64(Compare::Eq, Reg::R0, 0), absent);
            code.add(Insn::load(Width::D, Reg::R1, Reg::R0, REJECTED));
            code.add(Insn::alu64(Alu::Add, Reg::R1, 1));
            code.add(Insn::store(Width::D, Reg::R0, REJECTED, Reg::R1));
            code.set(absent);
            tail_call(code, MapName::Next);
        }
    }
}

/// Whether `operation` can end the filter.
fn can_fail(operation: Operation) -> bool {
    use super::classic::Arithmetic::{Div, Mod};
    matches!(
        operation,
        Operation::Load { .. }
            | Operation::LoadIndirect { .. }
            | Operation::LoadHeaderLength { .. }
            | Operation::Arithmetic(Div | Mod, Operand::X)
    )
}

fn outcome(value: u32) -> Label {
    if value == 0 { Label::Reject } else { Label::Accept }
}

fn tail_call(code: &mut Assembly, map: MapName) {
    code.add(Insn::alu64(Alu::Mov, Reg::R1, CONTEXT));
    code.map(Reg::R2, map);
    code.add(Insn::alu32(Alu::Mov, Reg::R3, 0));
    code.add(Insn::helper(TAIL_CALL));
    code.add(Insn::alu32(Alu::Mov, Reg::R0, END));
    code.add(Insn::exit());
}

/// Before a jump back: the verifier requires an upper bound, and follows each round separately.
fn count_round(code: &mut Assembly, rounds: i16) {
    forget(code, A, A);
    forget(code, X, X);
    code.add(Insn::load(Width::D, Reg::R0, Reg::R10, rounds));
    code.add(Insn::alu64(Alu::Add, Reg::R0, 1));
    code.goto(Insn::branch64(Compare::Gt, Reg::R0, MOST_ROUNDS), Label::Reject);
    code.add(Insn::store(Width::D, Reg::R10, rounds, Reg::R0));
}

fn goto(code: &mut Assembly, target: Label, following: Option<Label>) {
    if following != Some(target) {
        code.goto(Insn::jump(), target);
    }
}

/// Goes to the first label if the test holds, otherwise to the second.
fn branch(code: &mut Assembly, test: Test, source: Source, [then, otherwise]: [Label; 2], following: Option<Label>) {
    let (compare, opposite) = match test {
        Test::Equal => (Compare::Eq, Some(Compare::Ne)),
        Test::Greater => (Compare::Gt, Some(Compare::Le)),
        Test::GreaterOrEqual => (Compare::Ge, Some(Compare::Lt)),
        Test::AnySet => (Compare::Set, None),
    };
    match opposite {
        // Two blocks may have the same outcome.
        _ if then == otherwise => goto(code, then, following),
        Some(opposite) if following == Some(then) => code.goto(Insn::branch32(opposite, A, source), otherwise),
        _ => {
            code.goto(Insn::branch32(compare, A, source), then);
            goto(code, otherwise, following);
        }
    }
}
