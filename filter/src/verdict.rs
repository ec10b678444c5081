//! Whether a filter decides anything: libpcap's optimizer finds most filters that match every packet or none, but has
//! no idea of how large a value can be (`len >= 0`), and does not run if there is a loop.
//!
//! An interval of values is propagated through the blocks, for both registers and each word of scratch memory. A branch
//! that the interval decides leads to one target only, and what then is reached tells the verdict.

#![forbid(unsafe_code)]

use super::blocks::{Block, Terminator};
use super::classic::{Arithmetic, Operand, Operation, Register, SCRATCH, Size, Test};

/// What a filter does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every packet matches.
    Always,
    /// No packet matches.
    Never,
    /// It depends on the packet.
    Depends,
}

/// The values that a register or word can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    low: u32,
    high: u32,
}

/// Words of scratch memory, A and X.
type Values = [Interval; SCRATCH as usize + 2];

const A: usize = SCRATCH as usize;
const X: usize = A + 1;

impl Interval {
    const ANY: Self = Self { low: 0, high: u32::MAX };

    const fn only(value: u32) -> Self {
        Self { low: value, high: value }
    }

    const fn up_to(high: u32) -> Self {
        Self { low: 0, high }
    }

    fn join(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    fn value(self) -> Option<u32> {
        (self.low == self.high).then_some(self.low)
    }

    /// The result of the test, if it is the same for all values.
    fn decide(self, test: Test, other: Self) -> Option<bool> {
        let Self { low, high } = self;
        let by_order = |always: bool, never: bool| if always { Some(true) } else { never.then_some(false) };
        match test {
            Test::Equal => {
                by_order(self.value().is_some() && self.value() == other.value(), high < other.low || low > other.high)
            }
            Test::Greater => by_order(low > other.high, high <= other.low),
            Test::GreaterOrEqual => by_order(low >= other.high, high < other.low),
            Test::AnySet => match (self.value(), other.value()) {
                (Some(one), Some(other)) => Some(one & other != 0),
                (_, Some(0)) | (Some(0), _) => Some(false),
                _ => None,
            },
        }
    }
}

/// The verdict of `program`, which consists of `blocks`.
pub(crate) fn verdict(blocks: &[Block], program: &[Operation]) -> Verdict {
    let mut before: Vec<Option<Values>> = vec![None; blocks.len()];
    before[0] = Some([Interval::only(0); SCRATCH as usize + 2]);
    let mut outcomes = [false; 2];
    let mut open = vec![0];
    while let Some(number) = open.pop() {
        let Some(mut values) = before[number] else { continue };
        let block = &blocks[number];
        for at in block.body.clone() {
            let can_fail = step(&mut values, program[at]);
            outcomes[0] |= can_fail;
        }
        let (first, second) = match block.terminator {
            Terminator::Goto(target) => (Some(target), None),
            Terminator::Branch { test, operand, then, otherwise } => {
                match values[A].decide(test, operand_of(&values, operand)) {
                    Some(true) => (Some(then), None),
                    Some(false) => (Some(otherwise), None),
                    None => (Some(then), Some(otherwise)),
                }
            }
            Terminator::Return(value) => {
                outcomes[usize::from(value != 0)] = true;
                (None, None)
            }
            Terminator::ReturnA => {
                outcomes[0] |= values[A].low == 0;
                outcomes[1] |= values[A].high != 0;
                (None, None)
            }
        };
        for target in first.into_iter().chain(second) {
            // The second visit of a block gives up what differs, so that loops end.
            let joined = before[target].map_or(values, |known| widen(known, values));
            // Out of a loop that does not end, nothing matches.
            outcomes[0] |= target <= number;
            if before[target] != Some(joined) {
                before[target] = Some(joined);
                open.push(target);
            }
        }
    }
    match outcomes {
        [false, true] => Verdict::Always,
        [_, false] => Verdict::Never,
        [true, true] => Verdict::Depends,
    }
}

fn widen(known: Values, values: Values) -> Values {
    std::array::from_fn(|at| if known[at].join(values[at]) == known[at] { known[at] } else { Interval::ANY })
}

fn operand_of(values: &Values, operand: Operand) -> Interval {
    match operand {
        Operand::K(k) => Interval::only(k),
        Operand::X => values[X],
    }
}

/// Applies `operation` to `values`, and says whether it can end the filter.
fn step(values: &mut Values, operation: Operation) -> bool {
    let register = |register: Register| if register == Register::A { A } else { X };
    match operation {
        Operation::Load { size, .. } | Operation::LoadIndirect { size, .. } => {
            values[A] = match size {
                Size::Byte => Interval::up_to(0xff),
                Size::Half => Interval::up_to(0xffff),
                Size::Word => Interval::ANY,
            };
            return true;
        }
        Operation::LoadHeaderLength { .. } => {
            values[X] = Interval::up_to(4 * 0xf);
            return true;
        }
        Operation::LoadImmediate(to, value) => values[register(to)] = Interval::only(value),
        Operation::LoadLength(to) => values[register(to)] = Interval::ANY,
        Operation::LoadScratch(to, k) => values[register(to)] = values[k as usize],
        Operation::Store(from, k) => values[k as usize] = values[register(from)],
        Operation::Arithmetic(arithmetic, operand) => {
            let other = operand_of(values, operand);
            values[A] = compute(arithmetic, values[A], other);
            return matches!(arithmetic, Arithmetic::Div | Arithmetic::Mod) && other.low == 0;
        }
        Operation::Negate => values[A] = compute(Arithmetic::Sub, Interval::only(0), values[A]),
        Operation::ToX => values[X] = values[A],
        Operation::ToA => values[A] = values[X],
        Operation::Jump(_) | Operation::Branch { .. } | Operation::Return(_) | Operation::ReturnA => {}
    }
    false
}

fn compute(arithmetic: Arithmetic, a: Interval, other: Interval) -> Interval {
    let (Some(left), Some(right)) = (a.value(), other.value()) else {
        return match (arithmetic, other.value()) {
            (Arithmetic::And, _) => Interval::up_to(a.high.min(other.high)),
            (Arithmetic::Rsh, Some(shift)) => Interval::up_to(a.high.checked_shr(shift).unwrap_or_default()),
            (Arithmetic::Div, _) => Interval::up_to(a.high),
            (Arithmetic::Mod, _) => Interval::up_to(a.high.min(other.high.saturating_sub(1))),
            _ => Interval::ANY,
        };
    };
    Interval::only(match arithmetic {
        Arithmetic::Add => left.wrapping_add(right),
        Arithmetic::Sub => left.wrapping_sub(right),
        Arithmetic::Mul => left.wrapping_mul(right),
        // Division by 0 ends the filter.
        Arithmetic::Div => left.checked_div(right).unwrap_or_default(),
        Arithmetic::Mod => left.checked_rem(right).unwrap_or_default(),
        Arithmetic::Or => left | right,
        Arithmetic::And => left & right,
        Arithmetic::Xor => left ^ right,
        Arithmetic::Lsh => left.checked_shl(right).unwrap_or_default(),
        Arithmetic::Rsh => left.checked_shr(right).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::split;
    use crate::{Link, classic, raw};

    #[track_caller]
    fn check(expressions: &[&str], expected: Verdict) {
        for expression in expressions {
            let program = classic::decode(&raw(expression, Link::default()).unwrap()).unwrap();
            assert_eq!(verdict(&split(&program), &program), expected, "{expression}");
        }
    }

    #[test]
    fn what_takes_every_packet_is_found() {
        check(&["1 = 1", "len >= 0", "ip or not ip", "tcp-syn = 2", "icmp-echo = 8", "1 + 1 = 2"], Verdict::Always);
        check(&["len & 0 = 0", "len & 7 < 8", "len % 8 < 8", "len >> 28 <= 15", "not len < 0"], Verdict::Always);
    }

    #[test]
    fn what_takes_no_packet_is_found_too() {
        check(&["len < 0", "ether[0] = 256", "ether[0:2] > 65535", "ip[8] & 7 = 8", "ip[8] >> 4 > 15"], Verdict::Never);
        // libpcap does not optimize a loop.
        check(&["1 = 2 and ip protochain 6", "ip protochain 6 and 3 - 1 = 1"], Verdict::Never);
    }

    #[test]
    fn what_depends_on_the_packet_does() {
        // A packet may be too short.
        check(&["ether[0] <= 255", "ether[20] >= 0", "ip", "not ip", "len >= 1", "len & 7 < 7"], Verdict::Depends);
        check(&["ip protochain 6", "1 = 1 and ip protochain 6", "ip6 protochain 17 or arp"], Verdict::Depends);
        check(&["len / len = 1", "ip[8] * 2 = 600", "ether[0] / 1 = 255"], Verdict::Depends);
    }
}
