use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// The key of the published implementation's sample.
const KEY: [u8; 32] = [
    21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121, 121, 101, 39, 98,
    87, 76, 45, 42, 132, 34, 2,
];

/// The addresses of `sample_trace_raw.dat` and `sample_trace_sanitized.dat`, which come with it.
const SAMPLE: &str = include_str!("sample.txt");

/// Other implementations' way with IPv6; no vectors were ever published for it.
const V6_SAMPLE: [(&str, &str); 5] = [
    ("::1", "78ff:f001:9fc0:20df:8380:b1f1:704:ed"),
    ("::2", "78ff:f001:9fc0:20df:8380:b1f1:704:ef"),
    ("::ffff", "78ff:f001:9fc0:20df:8380:b1f1:704:f838"),
    ("2001:db8::1", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1e"),
    ("2001:db8::2", "4401:2bc:603f:d91d:27f:ff8e:e6f1:dc1c"),
];

#[test]
fn the_published_sample_comes_out() {
    let scheme = CryptoPan::new(KEY);
    for line in SAMPLE.lines() {
        let (raw, expected) = line.split_once(' ').unwrap();
        let raw = u128::from(u32::from(raw.parse::<Ipv4Addr>().unwrap())) << 96;
        let hidden = raw ^ scheme.flips(raw, 0..24) ^ scheme.flips(raw, 24..32);
        assert_eq!(Ipv4Addr::from((hidden >> 96) as u32).to_string(), expected, "{line}");
    }
    assert_eq!(SAMPLE.lines().count(), 71);
}

#[test]
fn ipv6_comes_out_as_elsewhere() {
    let scheme = CryptoPan::new(KEY);
    for (raw, expected) in V6_SAMPLE {
        let raw = u128::from(raw.parse::<Ipv6Addr>().unwrap());
        let hidden = raw ^ scheme.flips(raw, 0..64) ^ scheme.flips(raw, 64..128);
        assert_eq!(Ipv6Addr::from(hidden).to_string(), expected);
    }
}

#[test]
fn what_names_no_host_is_left() {
    let mut addresses = Addresses::new(KEY);
    for text in ["0.0.0.0", "255.255.255.255", "224.0.0.251", "239.255.255.250"] {
        let address = u32::from(text.parse::<Ipv4Addr>().unwrap());
        assert_eq!(addresses.v4(address), address, "{text}");
    }
    for text in ["::", "ff02::1", "ff05::1:3"] {
        let address = u128::from(text.parse::<Ipv6Addr>().unwrap());
        assert_eq!(addresses.v6(address), address, "{text}");
    }
}

#[test]
fn the_kinds_of_addresses_stay_what_they_are() {
    let mut addresses = Addresses::new(KEY);
    for host in 0..1_000_u128 {
        let of =
            |addresses: &mut Addresses, prefix: u128| addresses.v6(prefix | host.wrapping_mul(0x1234_5678_9abc_def1));
        assert_eq!(of(&mut addresses, 0x2001_0db8 << 96) >> 125, 1, "global unicast, 2000::/3");
        assert_eq!(of(&mut addresses, 0xfe80 << 112) >> 120, 0xfe, "link-local");
        assert_eq!(of(&mut addresses, 0xfd00 << 112) >> 121, 0xfc >> 1, "unique local");
        assert_ne!(addresses.v4(0x0a00_0001 + host as u32) >> 28, 0xe, "no host becomes a group");
    }
}

proptest! {
    #[test]
    fn prefixes_are_preserved(key: [u8; 32], a: u32, shared in 0..=32_u32, b: u32) {
        let b = (a & !u32::MAX.checked_shr(shared).unwrap_or(0)) | (b & u32::MAX.checked_shr(shared).unwrap_or(0));
        let mut addresses = Addresses::new(key);
        let (hidden_a, hidden_b) = (addresses.v4(a), addresses.v4(b));
        prop_assert_eq!((a ^ b).leading_zeros(), (hidden_a ^ hidden_b).leading_zeros());
        prop_assert_eq!(addresses.v4(a), hidden_a, "what is known says the same");
        prop_assert_eq!(Addresses::new(key).v4(b), hidden_b, "the order of packets does not matter");
    }

    #[test]
    fn prefixes_of_ipv6_are_preserved(key: [u8; 32], a: u128, shared in 0..=128_u32, b: u128) {
        let b = (a & !u128::MAX.checked_shr(shared).unwrap_or(0)) | (b & u128::MAX.checked_shr(shared).unwrap_or(0));
        let mut addresses = Addresses::new(key);
        let (hidden_a, hidden_b) = (addresses.v6(a), addresses.v6(b));
        prop_assert_eq!((a ^ b).leading_zeros(), (hidden_a ^ hidden_b).leading_zeros());
        prop_assert_eq!(addresses.v6(a), hidden_a);
        prop_assert_eq!(Addresses::new(key).v6(b), hidden_b);
    }

    #[test]
    fn the_beginning_of_an_address_is_hidden_as_in_the_whole(key: [u8; 32], address: u128, bytes in 1..16_u32) {
        let mut addresses = Addresses::new(key);
        let beginning = !(u128::MAX >> (bytes * 8));
        prop_assert_eq!(addresses.v6(address) & beginning, addresses.v6(address & beginning) & beginning);
    }
}
