//! IP addresses: Crypto-PAn (Xu, Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, ICNP 2002).
//!
//! Bit `i` is flipped depending on a block cipher of the bits before it, so that two addresses share as many leading
//! bits afterwards as before. IPv6 is the same construction over 128 bits, as in other implementations.
//!
//! Two flips are fixed. The bit after leading zeros only, or leading ones only, stays: so `0.0.0.0`, `::`, the
//! broadcast address and the multicast prefixes map to themselves, no host becomes one of them, and the mapping stays
//! prefix-preserving and reversible. Multicast groups are left unchanged, since they do not identify a host.

use std::ops::Range;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Block};

use super::cache::Cache;

/// Maximum bits computed at once: half an IPv6 address.
const BATCH: usize = 64;
/// Cache slots, as powers of two: 16 and 64 KiB for each family.
const NETWORKS: u32 = 9;
const HOSTS: u32 = 11;

/// The published scheme: which bits of an address are flipped.
struct CryptoPan {
    cipher: Aes128,
    pad: u128,
}

impl CryptoPan {
    fn new(key: [u8; 32]) -> Self {
        let (cipher, pad) = key.split_at(16);
        let cipher = Aes128::new_from_slice(cipher).unwrap_or_else(|_| unreachable!("sixteen bytes are a key"));
        let mut block = Block::try_from(pad).unwrap_or_else(|_| unreachable!("sixteen bytes are a block"));
        cipher.encrypt_block(&mut block);
        Self { cipher, pad: u128::from_be_bytes(block.into()) }
    }

    /// The flips of the bits in `range`, counted from the left; the address is left-aligned in `address`.
    fn flips(&self, address: u128, range: Range<u32>) -> u128 {
        let mut blocks = [Block::default(); BATCH];
        let blocks = &mut blocks[..range.len()];
        for (block, bit) in blocks.iter_mut().zip(range.clone()) {
            let prefix = !(u128::MAX.checked_shr(bit).unwrap_or(0));
            *block = ((address & prefix) | (self.pad & !prefix)).to_be_bytes().into();
        }
        self.cipher.encrypt_blocks(blocks);
        blocks.iter().zip(range).fold(0, |flips, (block, bit)| flips | (u128::from(block[0] >> 7) << (127 - bit)))
    }
}

/// One family of addresses, left-aligned in 128 bits.
struct Family {
    /// Bits that the hosts of a network share; each network's flips are cached, so that a new host costs half.
    network: u32,
    bits: u32,
    networks: Cache,
    hosts: Cache,
}

impl Family {
    fn new(network: u32, bits: u32) -> Self {
        Self { network, bits, networks: Cache::new(NETWORKS), hosts: Cache::new(HOSTS) }
    }

    fn flips(&mut self, scheme: &CryptoPan, address: u128) -> u128 {
        let Self { network, bits, networks, hosts } = self;
        hosts.get_or(address, || {
            let prefix = address & !(u128::MAX >> *network);
            let of_network = networks.get_or(prefix, || scheme.flips(prefix, 0..*network) & left_to_chance(prefix));
            let of_host = scheme.flips(address, *network..*bits);
            (of_network | of_host) & left_to_chance(address)
        })
    }
}

/// The bits after a leading zero and a leading one.
fn left_to_chance(address: u128) -> u128 {
    let run = address.leading_zeros().max(address.leading_ones());
    u128::MAX.checked_shr(run + 1).unwrap_or(0)
}

/// Hides IP addresses.
pub(super) struct Addresses {
    scheme: CryptoPan,
    v4: Family,
    v6: Family,
}

impl Addresses {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { scheme: CryptoPan::new(key), v4: Family::new(24, 32), v6: Family::new(64, 128) }
    }

    /// For a truncated address, its first bytes; the rest is 0.
    pub(super) fn v4(&mut self, address: u32) -> u32 {
        // 224.0.0.0/4
        if address >> 28 == 0xe {
            return address;
        }
        address ^ (self.v4.flips(&self.scheme, u128::from(address) << 96) >> 96) as u32
    }

    /// As [`Addresses::v4`].
    pub(super) fn v6(&mut self, address: u128) -> u128 {
        // ff00::/8
        if address >> 120 == 0xff {
            return address;
        }
        address ^ self.v6.flips(&self.scheme, address)
    }
}

#[cfg(test)]
mod tests;
