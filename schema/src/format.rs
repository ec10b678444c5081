//! Forms of texts that neither JSON Schema nor a pattern can describe, as values of `format`.

use std::net::IpAddr;

/// An address and the length of a prefix, `10.0.0.0/8`, or an address alone; of either family. YANG calls the first
/// `inet:ip-prefix` (RFC 6991 section 4).
pub(super) const IP_PREFIX: &str = "ip-prefix";

/// An address of either family, without a zone: what a Rust `IpAddr` reads. YANG calls it `inet:ip-address-no-zone`.
pub(super) const IP: &str = "ip";

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_ip_prefix(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.is_none_or(|length| {
        length.bytes().all(|byte| byte.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|length| length <= longest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_both_families_are_taken() {
        for text in
            ["0.0.0.0/0", "10.0.0.0/32", "10.1.2.3", "::/0", "2001:db8::/64", "::ffff:10.0.0.1/128", "10.0.0.0/08"]
        {
            assert!(is_ip_prefix(text), "{text}");
        }
    }

    #[test]
    fn addresses_have_neither_names_nor_prefixes_nor_zones() {
        for (text, expected) in [
            ("192.0.2.9", true),
            ("2001:db8::9", true),
            ("::ffff:10.0.0.1", true),
            ("foo", false),
            ("", false),
            ("192.0.2.9/24", false),
            ("192.0.2.9:4789", false),
            ("fe80::1%eth0", false),
        ] {
            assert_eq!(is_ip(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_almost_a_prefix_is_not_one() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            " 10.0.0.0/8",
            "10.0.0/8",
            "10.0.0.256",
            "010.0.0.1/8",
            "::1/129",
            "fe80::1%eth0/64",
            "[::1]/128",
            "10.0.0.0/300",
            "10.0.0.0/٨",
            "host/8",
        ] {
            assert!(!is_ip_prefix(text), "{text}");
        }
    }
}
