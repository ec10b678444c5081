//! Two classic programs as one, which matches what both match.
//!
//! libpcap joins expressions by `and`, but a word that moves the offsets of what follows it (`vlan`) moves those of the
//! other term too.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::classic::Raw;

/// `ret #k`, the only way in which libpcap's programs return.
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const LOAD_IMMEDIATE: u16 = 0x00;
const TO_X: u16 = 0x07;
const STORE_A: u16 = 0x02;
const STORE_X: u16 = 0x03;

/// The program that matches what `first` and `second` match.
pub(crate) fn both(first: &[Raw], second: &[Raw]) -> Vec<Raw> {
    let new = |code, k| Raw { code, jt: 0, jf: 0, k };
    let jump = |(at, raw): (usize, &Raw)| match raw {
        Raw { code: RETURN, k: 1.., .. } => new(JUMP, (first.len() - at - 1) as u32),
        raw => *raw,
    };
    // A program may read what it has not written, as zero.
    let written = first.iter().filter(|raw| matches!(raw.code, STORE_A | STORE_X)).map(|raw| raw.k);
    let written = written.collect::<BTreeSet<_>>();
    let clear = [new(LOAD_IMMEDIATE, 0), new(TO_X, 0)].into_iter().chain(written.into_iter().map(|k| new(STORE_A, k)));
    first.iter().enumerate().map(jump).chain(clear).chain(second.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::decode;

    #[track_caller]
    fn check(first: &[(u16, u32)], second: &[(u16, u32)], expected: &[&str]) {
        let raw =
            |program: &[(u16, u32)]| program.iter().map(|&(code, k)| Raw { code, jt: 0, jf: 0, k }).collect::<Vec<_>>();
        let joined = decode(&both(&raw(first), &raw(second))).unwrap();
        assert_eq!(joined.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_match_of_the_first_is_the_start_of_the_second() {
        let expected = ["ja 2", "ret #0", "ld #0x0", "tax", "ldh [12]", "ret #7"];
        check(&[(RETURN, 9), (RETURN, 0)], &[(0x28, 12), (RETURN, 7)], &expected);
    }

    #[test]
    fn the_second_finds_zeros_where_the_first_has_written() {
        let expected = ["st M[3]", "stx M[1]", "ja 3", "ld #0x0", "tax", "st M[1]", "st M[3]", "ld M[3]", "ret #0"];
        check(&[(STORE_A, 3), (STORE_X, 1), (RETURN, 1)], &[(0x60, 3), (RETURN, 0)], &expected);
    }
}
