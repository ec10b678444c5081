//! MAC addresses: the vendor's half stays, the device's half is permuted.
//!
//! The permutation of the 24 bits is a Feistel network of ten rounds, as many as FF1 has (NIST SP 800-38G), over the
//! same cipher; the vendor's half is an input of each round. Groups and the broadcast address are unchanged, except for
//! `33:33:ff`: its device half is the end of the requested IPv6 address (RFC 4291 section 2.7.1).

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};

use super::cache::Cache;

pub(super) const LENGTH: usize = 6;
/// Size of the vendor's half.
pub(super) const VENDOR: usize = 3;
/// IPv6 multicast (RFC 2464 section 7) to solicited-node groups.
const SOLICITED_NODE: [u8; VENDOR] = [0x33, 0x33, 0xff];
const ROUNDS: u8 = 10;
/// Cache slots, as a power of two: 32 KiB.
const SLOTS: u32 = 10;
/// Input that this key is derived from; other uses of the original key never encrypt exactly this block.
const LABEL: [u8; 16] = *b"MAC permutation.";

/// Hides MAC addresses.
pub(super) struct Macs {
    cipher: Aes128,
    known: Cache,
}

impl Macs {
    pub(super) fn new(key: [u8; 32]) -> Self {
        let whole =
            |key: &[u8]| Aes128::new_from_slice(key).unwrap_or_else(|_| unreachable!("sixteen bytes are a key"));
        let mut own = Block::from(LABEL);
        whole(&key[..16]).encrypt_block(&mut own);
        own.iter_mut().zip(&key[16..]).for_each(|(byte, more)| *byte ^= more);
        Self { cipher: whole(&own), known: Cache::new(SLOTS) }
    }

    /// Hides the address in `field`, which may be truncated.
    pub(super) fn hide(&mut self, field: &mut [u8]) {
        let Some((vendor, device)) = field.split_first_chunk_mut::<VENDOR>() else { return };
        if vendor[0] & 1 != 0 && *vendor != SOLICITED_NODE {
            return;
        }
        self.hide_device(*vendor, device);
    }

    /// Hides the end of a solicited-node group, so that it still matches its MAC address.
    pub(super) fn hide_solicited(&mut self, device: &mut [u8]) {
        self.hide_device(SOLICITED_NODE, device);
    }

    fn hide_device(&mut self, vendor: [u8; VENDOR], device: &mut [u8]) {
        let Ok(whole) = <[u8; 3]>::try_from(&*device) else {
            // A truncated input determines no part of the output.
            device.fill(0);
            return;
        };
        let [a, b, c] = vendor;
        let [d, e, f] = whole;
        let address = u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        let Self { cipher, known } = self;
        // The cache stores the difference, not the address, so that zero maps to zero.
        let difference =
            known.get_or(address, || u128::from(permute(cipher, vendor, device_of(whole)) ^ device_of(whole)));
        device.copy_from_slice(&(device_of(whole) ^ difference as u32).to_be_bytes()[1..]);
    }
}

fn device_of([d, e, f]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, d, e, f])
}

fn permute(cipher: &Aes128, vendor: [u8; VENDOR], device: u32) -> u32 {
    // The all-zero address stays. Applying the permutation once more where it would be the result keeps the rest
    // one-to-one.
    match feistel(cipher, vendor, device) {
        _ if vendor == [0; VENDOR] && device == 0 => 0,
        0 if vendor == [0; VENDOR] => feistel(cipher, vendor, 0),
        moved => moved,
    }
}

fn feistel(cipher: &Aes128, vendor: [u8; VENDOR], device: u32) -> u32 {
    let (left, right) = (0..ROUNDS).fold((device >> 12, device & 0xfff), |(left, right), round| {
        (right, left ^ draw(cipher, vendor, round, right))
    });
    left << 12 | right
}

/// Twelve bits computed from half of a device in a round.
fn draw(cipher: &Aes128, [a, b, c]: [u8; VENDOR], round: u8, half: u32) -> u32 {
    let [.., high, low] = half.to_be_bytes();
    let mut block = Block::from([a, b, c, round, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    cipher.encrypt_block(&mut block);
    u32::from_be_bytes([0, 0, block[0], block[1]]) & 0xfff
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hidden(macs: &mut Macs, address: [u8; LENGTH]) -> [u8; LENGTH] {
        let mut field = address;
        macs.hide(&mut field);
        field
    }

    #[test]
    fn the_vendor_stays_and_devices_stay_apart() {
        let mut macs = Macs::new([7; 32]);
        let mut seen = HashSet::new();
        for device in 0..20_000_u32 {
            let [_, d, e, f] = device.to_be_bytes();
            let hidden = hidden(&mut macs, [0x52, 0x54, 0, d, e, f]);
            assert_eq!(hidden[..3], [0x52, 0x54, 0]);
            assert!(seen.insert(hidden), "{hidden:02x?} twice");
        }
        let same = (0..20_000_u32).filter(|device| {
            seen.contains(&{
                let [_, d, e, f] = device.to_be_bytes();
                [0x52, 0x54, 0, d, e, f]
            })
        });
        assert!(same.count() < 100, "20,000 of 16.7 million meet 24 of their own by chance");
    }

    #[test]
    fn groups_and_the_zero_address_are_unchanged() {
        let mut macs = Macs::new([7; 32]);
        for address in
            [[0xff; 6], [0x01, 0x00, 0x5e, 0, 0, 0xfb], [0x33, 0x33, 0, 0, 0, 1], [0x01, 0x80, 0xc2, 0, 0, 0], [0; 6]]
        {
            assert_eq!(hidden(&mut macs, address), address);
        }
    }

    #[test]
    fn the_zero_address_maps_to_itself_and_nothing_else_to_it() {
        let cipher = Aes128::new(&[7; 16].into());
        assert_eq!(permute(&cipher, [0; 3], 0), 0);
        let (left, right) =
            (0..ROUNDS).rev().fold((0, 0), |(left, right), round| (right ^ draw(&cipher, [0; 3], round, left), left));
        let became = left << 12 | right;
        assert_eq!(feistel(&cipher, [0; 3], became), 0);
        assert_eq!(permute(&cipher, [0; 3], became), feistel(&cipher, [0; 3], 0));
        assert_ne!(permute(&cipher, [2, 0, 0], 0), 0);
    }

    #[test]
    fn a_solicited_node_group_is_hidden_with_its_address() {
        let mut macs = Macs::new([7; 32]);
        let group = hidden(&mut macs, [0x33, 0x33, 0xff, 1, 2, 3]);
        let mut end = [1, 2, 3];
        macs.hide_solicited(&mut end);
        assert_ne!(end, [1, 2, 3]);
        assert_eq!(group, [0x33, 0x33, 0xff, end[0], end[1], end[2]]);
    }

    #[test]
    fn keys_and_vendors_matter() {
        let of = |key: [u8; 32], vendor| hidden(&mut Macs::new(key), [vendor, 0, 0, 1, 2, 3]);
        assert_ne!(of([7; 32], 2), of([8; 32], 2));
        assert_ne!(of([7; 32], 2)[3..], of([7; 32], 4)[3..]);
        let mut halves = [7; 32];
        halves[31] = 8;
        assert_ne!(of([7; 32], 2), of(halves, 2));
    }

    #[test]
    fn half_a_device_is_zeroed() {
        let mut macs = Macs::new([7; 32]);
        for length in 0..LENGTH {
            let mut field = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];
            macs.hide(&mut field[..length]);
            assert_eq!(field[..length], [0x52, 0x54, 0, 0, 0, 0][..length]);
            assert_eq!(field[length..], [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef][length..]);
        }
    }
}
