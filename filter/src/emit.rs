//! From blocks of classic BPF to eBPF: the versions of a filter, and what they share.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::access::{A, Access, CONTEXT, X};
use super::assembly::{Assembly, Label};
use super::blocks::{Block, Terminator};
use super::body::{Body, NetworkOrder};
use super::bounds::{Headers, checks};
use super::classic::{Operand, Operation, SCRATCH, Test};
use super::insn::{Alu, Compare, Insn, Reg, Source, Width};
use super::link::LinkType;
use super::liveness::{LiveSet, Liveness};
use super::mode::{Mode, View};
use super::reach;
use super::reader::{self, Reader};
use super::stack::{SCRAP, forget, rounds, word};
use super::target::{Counter, Element, Exit, Hook, Target, Then};

const MAP_LOOKUP: i32 = 1;
const CPU: i32 = 8;
const TAIL_CALL: i32 = 12;

/// Maximum rounds of all loops (`protochain`) together, as the verifier follows each: it processes at most a million
/// instructions (`BPF_COMPLEXITY_LIMIT_INSNS`), and takes some tenths of a second for this many.
const MOST_ROUNDS: usize = 384;
/// Minimum rounds of a loop, however many loops there are.
const FEWEST_ROUNDS: usize = 64;

/// A filter, and the results of its analysis.
pub(crate) struct Filter<'a> {
    pub(crate) program: &'a [Operation],
    pub(crate) blocks: &'a [Block],
    pub(crate) headers: &'a Headers,
    pub(crate) liveness: &'a Liveness,
    pub(crate) link_type: LinkType,
    pub(crate) target: &'a Target,
}

/// Emits all versions, the exits that they share and the functions that they call.
pub(crate) fn emit(filter: &Filter<'_>) -> Assembly {
    let mut code = Assembly::default();
    let versions = filter.versions();
    let tagged = versions.iter().find(|version| version.view == View::Tagged);
    reader::begin(&mut code, tagged.map(|version| Label::Version(version.view, version.mode)));
    for (number, version) in versions.iter().enumerate() {
        if number > 0 && versions[number - 1].view == version.view {
            code.set(Label::Short(version.view));
            reader::short(&mut code, filter.target.hook);
        }
        filter.version(&mut code, *version, (number == 0).then_some(Label::Accept));
        if number == 0 {
            filter.ends(&mut code);
        }
    }
    let mut number = 0;
    while let Some((view, size)) = code.function(number) {
        code.set(Label::Load(view, size));
        reach::function(&mut code, view, size, filter.target.hook);
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

    /// Whether a loop contains this block.
    fn is_in_loop(&self, number: usize) -> bool {
        let leads_back =
            |(end, block): (usize, &Block)| block.terminator.targets().any(|start| (start..=end).contains(&number));
        self.blocks.iter().enumerate().skip(number).any(leads_back)
    }

    /// Maximum rounds of each loop, after which a packet does not match. In libpcap a loop ends where the packet does,
    /// or never. An extension header has at least 8 bytes, so one loop or two follow any chain for which a frame of
    /// 1,514 bytes has room.
    fn most_rounds(&self) -> i32 {
        let rounds = MOST_ROUNDS / self.loops().count().max(1);
        rounds.max(FEWEST_ROUNDS) as i32
    }

    /// The versions that packets can need; a linear one comes before the general one that it falls back on.
    fn versions(&self) -> Vec<Reader> {
        let hook = self.target.hook;
        let has_tag = self.link_type == LinkType::Ethernet && hook != Hook::Xdp;
        let sees_tag = has_tag && self.operations().any(reader::sees_tag);
        let views = if sees_tag { &[View::Untagged, View::Tagged][..] } else { &[View::Untagged] };
        let of = |view: &View| {
            let linear = Reader { hook, view: *view, mode: Mode::Linear };
            let pays = self.operations().any(|load| linear.reads_directly(load) || linear.extent(load).is_some());
            let general = Reader { mode: Mode::General, ..linear };
            [(pays && hook != Hook::SocketFilter).then_some(linear), Some(general)]
        };
        views.iter().flat_map(of).flatten().collect()
    }

    /// Emits a version; `following` is the label after its code.
    fn version(&self, code: &mut Assembly, access: Reader, following: Option<Label>) {
        code.set(Label::Version(access.view, access.mode));
        access.enter(code);
        self.clear(code, access.mode);
        let checks = checks(self.blocks, self.program, |operation| access.extent(operation));
        let has_loops = self.loops().next().is_some();
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
                    if target > number {
                        goto(code, label(target), following);
                    } else if access.mode == Mode::Linear {
                        // The verifier follows each round of each version, and few packets need more than one.
                        goto(code, Label::Version(access.view, Mode::General), following);
                    } else {
                        let place = self.loops().position(|start| start == target).unwrap_or_default();
                        count_round(code, rounds(place), self.most_rounds());
                        goto(code, label(target), following);
                    }
                }
                Terminator::Branch { test, operand, then, otherwise } => {
                    let source = match operand {
                        Operand::X => Source::Reg(X),
                        Operand::K(k) => order.map_or(k, |order| order.constant(k)).into(),
                    };
                    let leaves = |target| has_loops && self.is_in_loop(number) && !self.is_in_loop(target);
                    let is_then_first = match (leaves(then), leaves(otherwise)) {
                        // The verifier follows what falls through first, and only keeps so many branches for later
                        // (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`, kernel/bpf/verifier.c).
                        (true, false) => true,
                        (false, true) => false,
                        _ => following == Some(label(then)),
                    };
                    branch(code, test, source, [label(then), label(otherwise)], (is_then_first, following));
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
    fn clear(&self, code: &mut Assembly, mode: Mode) {
        let live = self.liveness.at(0);
        for (place, reg) in [(LiveSet::A, A), (LiveSet::X, X)] {
            if live.contains(place) {
                code.add(Insn::alu32(Alu::Mov, reg, 0));
            }
        }
        for k in (0..SCRATCH).filter(|k| live.contains(LiveSet::word(*k))) {
            code.add(Insn::store(Width::W, Reg::R10, word(k), 0));
        }
        let loops = if mode == Mode::General { self.loops().count() } else { 0 };
        for number in 0..loops {
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
            exit(code, self.target.on_match);
        }
        if self.loops().next().is_some() || ends(|value| value == 0) || self.operations().any(can_fail) {
            code.set(Label::Reject);
            exit(code, self.target.on_mismatch);
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

fn exit(code: &mut Assembly, exit: Exit) {
    if let Some(counter) = exit.count {
        count(code, counter);
    }
    let value = match exit.then {
        Then::Return(value) => value,
        Then::TailCall { map, slot, otherwise } => {
            code.add(Insn::alu64(Alu::Mov, Reg::R1, CONTEXT));
            code.map(Reg::R2, map);
            code.add(Insn::alu32(Alu::Mov, Reg::R3, slot));
            code.add(Insn::helper(TAIL_CALL));
            otherwise
        }
    };
    code.add(Insn::alu32(Alu::Mov, Reg::R0, value));
    code.add(Insn::exit());
}

/// Adds one to a counter of this CPU's.
fn count(code: &mut Assembly, counter: Counter) {
    let absent = code.near();
    match counter.element {
        Element::OfCpu => {
            code.add(Insn::helper(CPU));
            code.add(Insn::store(Width::W, Reg::R10, SCRAP, Reg::R0));
        }
        Element::At(element) => code.add(Insn::store(Width::W, Reg::R10, SCRAP, Source::K(element.cast_signed()))),
    }
    code.add(Insn::alu64(Alu::Mov, Reg::R2, Reg::R10));
    code.add(Insn::alu64(Alu::Add, Reg::R2, i32::from(SCRAP)));
    code.map(Reg::R1, counter.map);
    code.add(Insn::helper(MAP_LOOKUP));
    code.goto(Insn::branch64(Compare::Eq, Reg::R0, 0), absent);
    code.add(Insn::load(Width::D, Reg::R1, Reg::R0, counter.offset));
    code.add(Insn::alu64(Alu::Add, Reg::R1, 1));
    code.add(Insn::store(Width::D, Reg::R0, counter.offset, Reg::R1));
    code.set(absent);
}

/// Before a jump back: the verifier requires an upper bound, and follows each round separately.
fn count_round(code: &mut Assembly, rounds: i16, most: i32) {
    forget(code, A, A);
    forget(code, X, X);
    code.add(Insn::load(Width::D, Reg::R0, Reg::R10, rounds));
    code.add(Insn::alu64(Alu::Add, Reg::R0, 1));
    code.goto(Insn::branch64(Compare::Gt, Reg::R0, most), Label::Reject);
    code.add(Insn::store(Width::D, Reg::R10, rounds, Reg::R0));
}

fn goto(code: &mut Assembly, target: Label, following: Option<Label>) {
    if following != Some(target) {
        code.goto(Insn::jump(), target);
    }
}

/// Goes to the first label if the test holds, otherwise to the second; to the preferred one by falling through, if the
/// test has an opposite.
fn branch(
    code: &mut Assembly,
    test: Test,
    source: Source,
    [then, otherwise]: [Label; 2],
    (is_then_first, following): (bool, Option<Label>),
) {
    let (compare, opposite) = match test {
        Test::Equal => (Compare::Eq, Some(Compare::Ne)),
        Test::Greater => (Compare::Gt, Some(Compare::Le)),
        Test::GreaterOrEqual => (Compare::Ge, Some(Compare::Lt)),
        Test::AnySet => (Compare::Set, None),
    };
    match opposite.filter(|_| is_then_first) {
        // Two blocks may have the same outcome.
        _ if then == otherwise => goto(code, then, following),
        Some(opposite) => {
            code.goto(Insn::branch32(opposite, A, source), otherwise);
            goto(code, then, following);
        }
        None => {
            code.goto(Insn::branch32(compare, A, source), then);
            goto(code, otherwise, following);
        }
    }
}
