//! A cache of recent results.
//!
//! Direct-mapped: a new entry replaces the one in its slot.

/// A cache from keys to results. The result of zero must be zero.
pub(super) struct Cache {
    /// An empty slot contains the valid entry for zero.
    slots: Box<[(u128, u128)]>,
    shift: u32,
}

impl Cache {
    /// A cache of `2^bits` slots, with at least 1 bit.
    pub(super) fn new(bits: u32) -> Self {
        Self { slots: vec![(0, 0); 1 << bits].into_boxed_slice(), shift: u64::BITS - bits }
    }

    pub(super) fn get_or(&mut self, key: u128, work: impl FnOnce() -> u128) -> u128 {
        let mixed = (key >> 64) as u64 ^ key as u64;
        // Fibonacci hashing: only the product's uppermost bits depend on all bits of the key.
        let at = (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        if self.slots[at].0 != key {
            self.slots[at] = (key, work());
        }
        self.slots[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_gets_its_own_value_though_slots_are_few() {
        let mut cache = Cache::new(2);
        for round in 0..3 {
            for key in 0..100_u128 {
                assert_eq!(cache.get_or(key << 90, || key * 7), key * 7, "round {round}");
            }
        }
    }

    #[test]
    fn neighbours_do_not_share_a_slot() {
        let mut cache = Cache::new(10);
        let hosts = || (1..=100_u128).map(|host| (0x0a00_0000 + host) << 96);
        for host in hosts() {
            cache.get_or(host, || 7);
        }
        let mut again = 0;
        for host in hosts() {
            cache.get_or(host, || {
                again += 1;
                7
            });
        }
        assert!(again < 20, "{again} of 100 hosts of a network were pushed out");
    }

    #[test]
    fn what_is_known_is_not_worked_out_again() {
        let mut cache = Cache::new(2);
        assert_eq!(cache.get_or(0, || unreachable!()), 0);
        assert_eq!(cache.get_or(5, || 6), 6);
        assert_eq!(cache.get_or(5, || unreachable!()), 6);
    }
}
