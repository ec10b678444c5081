//! Filters in user space: libpcap's program for an expression, applied to packets that are stored already.

#![forbid(unsafe_code)]

use super::classic::{self, Arithmetic, Operand, Operation, Register, SCRATCH, Size, Test};
use super::{FilterError, Link, raw};

/// Most instructions for one packet. Without loops no program has as many, and a loop (`protochain`) may have no end:
/// the length of an authentication header can lead back to where it was.
const MOST_STEPS: usize = 65_536;

/// An expression, ready to be applied to packets. It decides as `pcap_filter()` in libpcap's `bpf_filter.c` does.
///
/// ```
/// # use polycube_filter::{Interpreter, Link};
/// let filter = Interpreter::new("ip or arp", Link::default())?;
/// let packet = [&[0; 12][..], &[8, 6], &[0; 28]].concat();
/// assert!(filter.matches(&packet, packet.len() as u32));
/// # Ok::<(), polycube_filter::FilterError>(())
/// ```
#[derive(Debug)]
pub struct Interpreter(Vec<Operation>);

impl Interpreter {
    /// Compiles `expression`; an empty one matches every packet.
    ///
    /// # Errors
    /// Any [`FilterError`].
    pub fn new(expression: &str, link: Link) -> Result<Self, FilterError> {
        Ok(Self(classic::decode(&raw(expression, link)?)?))
    }

    /// Whether a packet of `length` bytes matches, of which `packet` was recorded.
    #[must_use]
    pub fn matches(&self, packet: &[u8], length: u32) -> bool {
        self.run(packet, length).is_some_and(|verdict| verdict != 0)
    }

    /// What the program returns; `None` if it reads past the packet's end, divides by zero or has no end.
    fn run(&self, packet: &[u8], length: u32) -> Option<u32> {
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0);
        let mut scratch = [0_u32; SCRATCH as usize];
        for _ in 0..MOST_STEPS {
            let operation = self.0.get(at)?;
            at += 1;
            let operand = |operand: &Operand| match operand {
                Operand::K(k) => *k,
                Operand::X => x,
            };
            match operation {
                Operation::Load { size, k } => a = load(packet, *k, *size)?,
                Operation::LoadIndirect { size, k } => a = load(packet, x.checked_add(*k)?, *size)?,
                Operation::LoadHeaderLength { k } => x = (load(packet, *k, Size::Byte)? & 0xf) * 4,
                Operation::LoadImmediate(Register::A, k) => a = *k,
                Operation::LoadImmediate(Register::X, k) => x = *k,
                Operation::LoadLength(Register::A) => a = length,
                Operation::LoadLength(Register::X) => x = length,
                Operation::LoadScratch(Register::A, k) => a = scratch[*k as usize],
                Operation::LoadScratch(Register::X, k) => x = scratch[*k as usize],
                Operation::Store(Register::A, k) => scratch[*k as usize] = a,
                Operation::Store(Register::X, k) => scratch[*k as usize] = x,
                Operation::Arithmetic(arithmetic, by) => a = compute(*arithmetic, a, operand(by))?,
                Operation::Negate => a = a.wrapping_neg(),
                Operation::ToX => x = a,
                Operation::ToA => a = x,
                Operation::Jump(target) => at = *target,
                Operation::Branch { test, operand: with, then, otherwise } => {
                    at = if holds(*test, a, operand(with)) { *then } else { *otherwise };
                }
                Operation::Return(k) => return Some(*k),
                Operation::ReturnA => return Some(a),
            }
        }
        None
    }
}

fn load(packet: &[u8], at: u32, size: Size) -> Option<u32> {
    let at = at as usize;
    let bytes = packet.get(at..at.checked_add(size.bytes() as usize)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// Shifts by 32 bits and more leave nothing.
fn compute(arithmetic: Arithmetic, a: u32, by: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => a.wrapping_add(by),
        Arithmetic::Sub => a.wrapping_sub(by),
        Arithmetic::Mul => a.wrapping_mul(by),
        Arithmetic::Div => a.checked_div(by)?,
        Arithmetic::Mod => a.checked_rem(by)?,
        Arithmetic::Or => a | by,
        Arithmetic::And => a & by,
        Arithmetic::Xor => a ^ by,
        Arithmetic::Lsh => a.checked_shl(by).unwrap_or_default(),
        Arithmetic::Rsh => a.checked_shr(by).unwrap_or_default(),
    })
}

fn holds(test: Test, a: u32, with: u32) -> bool {
    match test {
        Test::Equal => a == with,
        Test::Greater => a > with,
        Test::GreaterOrEqual => a >= with,
        Test::AnySet => a & with != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet from 10.0.0.1:5000 to 10.0.0.2:53.
    fn packet() -> Vec<u8> {
        let ethernet = [&[2; 12][..], &[8, 0]].concat();
        let ip = [69, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&ethernet[..], &ip, &[0x13, 0x88, 0, 53, 0, 12, 0, 0], b"text"].concat()
    }

    #[track_caller]
    fn check(expression: &str, expected: bool) {
        let filter = Interpreter::new(expression, Link::default()).unwrap();
        assert_eq!(filter.matches(&packet(), packet().len() as u32), expected, "{expression}");
    }

    #[test]
    fn packets_match_as_in_libpcap() {
        for expression in ["", "udp", "host 10.0.0.1", "udp port 53 and src net 10.0.0.0/8", "len = 46", "greater 46"] {
            check(expression, true);
        }
        for expression in ["tcp", "host 10.0.0.3", "dst port 5000", "vlan", "ip6 protochain 17", "len = 45"] {
            check(expression, false);
        }
        check("udp[8:4] = 0x74657874 and (ip[0] & 0xf) * 4 = 20", true);
    }

    #[test]
    fn what_reads_past_the_end_or_has_no_end_does_not_match() {
        check("udp[100] = 0 or len > 1", false);
        let endless = Interpreter(vec![Operation::Jump(1), Operation::Jump(0), Operation::Return(1)]);
        assert!(!endless.matches(&packet(), 46));
        let divided = [Operation::Arithmetic(Arithmetic::Div, Operand::X), Operation::Return(1)];
        assert!(!Interpreter(divided.to_vec()).matches(&packet(), 46));
    }
}
