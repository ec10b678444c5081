//! Classic programs that no expression compiles to.

use polycube_filter::Raw;

use super::random::Random;

fn raw(code: u16, k: u32) -> Raw {
    Raw { code, jt: 0, jf: 0, k }
}

/// A valid program of `length` instructions of all kinds; jumps lead forward.
pub(crate) fn program(random: &mut Random, length: usize) -> Vec<Raw> {
    let last = length - 1;
    let mut program = (0..last).map(|at| instruction(random, last - at - 1)).collect::<Vec<_>>();
    program.push(raw(0x16, 0));
    program
}

/// An instruction followed by `rest` others and the last one.
fn instruction(random: &mut Random, rest: usize) -> Raw {
    let offsets = [12, 14, 3, 16, 9, 11, 13, 15, 20, 0, 30, 54, 70, 0x7ffe, u32::MAX];
    let far = if random.once_in(40) { offsets.len() } else { 11 };
    let offset = offsets[random.below(far)];
    let small = random.below(20) as u32;
    let number = random.number() as u32 >> random.below(32);
    match random.below(28) {
        0..=3 => raw([0x20, 0x28, 0x30][random.below(3)], offset),
        4..=7 => raw([0x40, 0x48, 0x50][random.below(3)], offset),
        8 => raw(0xb1, offset),
        9 => raw([0x00, 0x01][random.below(2)], if random.once_in(2) { small } else { number }),
        10 => raw([0x80, 0x81][random.below(2)], 0),
        11 | 12 => raw([0x60, 0x61][random.below(2)], small % 16),
        13 | 14 => raw([0x02, 0x03][random.below(2)], small % 16),
        // Division and modulo by X end a program if X is 0, which it often is.
        15 => raw([0x3c, 0x9c][random.below(2)], 0),
        16 => raw([0x34, 0x94][random.below(2)], number.max(1)),
        17 => raw([0x64, 0x74][random.below(2)], number % 32),
        18..=20 => raw([0x04, 0x14, 0x24, 0x44, 0x54, 0xa4][random.below(6)], number),
        21 => raw([0x0c, 0x1c, 0x2c, 0x4c, 0x5c, 0xac, 0x6c, 0x7c][random.below(8)], 0),
        // Keeps X small, so that some of its loads stay within the packet.
        22 => raw(0x54, 0x1f),
        23 => raw([0x84, 0x87][random.below(2)], 0),
        24 => raw(0x07, 0),
        25 if random.once_in(8) => raw(0x06, small % 2),
        25 => raw(0x05, random.below(rest.min(30) + 1) as u32),
        _ => {
            let code = [0x15, 0x25, 0x35, 0x45][random.below(4)] | [0, 0x08][random.below(2)];
            let mut skip = || random.below(rest.min(20) + 1) as u8;
            Raw { code, jt: skip(), jf: skip(), k: if number.is_multiple_of(2) { small } else { number } }
        }
    }
}

/// The longest programs, whose path only ends early if a packet is short: the most that a program demands of the
/// verifier.
pub(crate) fn longest(load: u16) -> Vec<Raw> {
    let mut program = Vec::new();
    for number in 0..1365 {
        program.push(raw(load, number % 40));
        program.push(Raw { code: 0x15, jt: 0, jf: 1, k: 0x1_0000 + number });
        program.push(raw(0x07, 0));
    }
    program.push(raw(0x06, 1));
    program
}
