//! Internet checksums, updated incrementally (RFC 1624).
//!
//! Nothing is recomputed: a correct checksum stays correct, and a wrong one stays wrong.

/// The one's-complement sum of `bytes`, which start at an even offset of the data that the checksum covers (RFC 1071).
pub(super) fn sum(bytes: &[u8]) -> u16 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
    let mut sum = words + odd.first().map_or(0, |byte| u64::from(*byte) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The effect of changed bytes on their sum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change(u16);

impl Change {
    /// The change from a sum of `before` to `after`.
    pub(super) fn between(before: u16, after: u16) -> Self {
        Self(add(!before, after))
    }

    /// The inverse change.
    pub(super) fn reversed(self) -> Self {
        Self(!self.0)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// Updates the checksum at `at`, if it was recorded completely.
    pub(super) fn mend(self, bytes: &mut [u8], at: usize) {
        let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) else { return };
        // Zero has two representations: adding one could still turn 0xffff into 0, the other one.
        if !matches!(self.0, 0 | 0xffff) {
            // Equation 3 of RFC 1624.
            *field = (!add(!u16::from_be_bytes(*field), self.0)).to_be_bytes();
        }
    }

    /// As [`Change::mend`], for UDP, where 0 means that there is no checksum (RFC 768).
    pub(super) fn mend_udp(self, bytes: &mut [u8], at: usize) {
        let Some(was) = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>).copied() else { return };
        if was == [0, 0] {
            return;
        }
        self.mend(bytes, at);
        if bytes[at..at + 2] == [0, 0] {
            bytes[at..at + 2].fill(0xff);
        }
    }
}

fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_rfc_1071s() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0x01]), 0x0100);
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0xff; 262_144]), 0xffff);
    }

    #[test]
    fn the_example_of_rfc_1624_comes_out() {
        let mut field = [0xdd, 0x2f];
        Change::between(0x5555, 0x3285).mend(&mut field, 0);
        assert_eq!(field, [0x00, 0x00]);
    }

    #[test]
    fn what_did_not_change_keeps_its_spelling_of_zero() {
        for was in [[0, 0], [0xff, 0xff]] {
            let mut field = was;
            Change::between(0x1234, 0x1234).and(Change::default()).mend(&mut field, 0);
            assert_eq!(field, was);
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        let mut field = [0, 0];
        Change::between(1, 2).mend_udp(&mut field, 0);
        assert_eq!(field, [0, 0]);
        let mut field = [0xdd, 0x2f];
        Change::between(0x5555, 0x3285).mend_udp(&mut field, 0);
        assert_eq!(field, [0xff, 0xff], "a checksum that comes out as 0 is sent as its other spelling");
    }

    #[test]
    fn half_a_checksum_is_left() {
        let mut bytes = [1, 2, 3];
        Change::between(1, 2).mend(&mut bytes, 2);
        Change::between(1, 2).mend_udp(&mut bytes, 7);
        assert_eq!(bytes, [1, 2, 3]);
    }
}
