//! The mask of the network, on which `ip broadcast` depends: tcpdump has it from the device, and a point may have none.

#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::str::FromStr;

/// libpcap's `PCAP_NETMASK_UNKNOWN`.
const UNKNOWN: u32 = u32::MAX;

/// The mask of an IPv4 network; unknown by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netmask(u32);

/// A text that is not a netmask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the mask of a network: give its length, 0 to 31, such as 24, or the mask, such as 255.255.255.0")]
pub struct NetmaskError(String);

impl Default for Netmask {
    fn default() -> Self {
        Self(UNKNOWN)
    }
}

impl Netmask {
    /// As `pcap_compile` uses it: in the machine's byte order, whatever its callers do (`gen_broadcast()` in gencode.c
    /// compares an address's bits outside the mask as it compares other numbers).
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl FromStr for Netmask {
    type Err = NetmaskError;

    fn from_str(text: &str) -> Result<Self, NetmaskError> {
        let of_length = |text: &str| {
            let length = text.strip_prefix('/').unwrap_or(text);
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            length.parse::<u32>().ok().filter(|length| is_number && *length <= 32)
        };
        let mask = |length: u32| u32::MAX.checked_shl(u32::BITS - length).unwrap_or_default();
        let mask = of_length(text).map(mask).or_else(|| text.parse::<Ipv4Addr>().ok().map(u32::from));
        // A network of one address has no broadcasts.
        let mask = mask.filter(|mask| *mask != UNKNOWN && mask.leading_ones() + mask.trailing_zeros() == u32::BITS);
        mask.map(Self).ok_or_else(|| NetmaskError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netmask_is_a_length_or_a_mask() {
        for (text, mask) in [
            ("24", 0xffff_ff00),
            ("/24", 0xffff_ff00),
            ("255.255.255.0", 0xffff_ff00),
            ("0", 0),
            ("0.0.0.0", 0),
            ("31", 0xffff_fffe),
            ("255.240.0.0", 0xfff0_0000),
        ] {
            assert_eq!(text.parse(), Ok(Netmask(mask)), "{text}");
        }
        for wrong in ["", "/", "32", "33", "-1", "+8", "255.255.255.255", "255.0.255.0", "0.0.0.255", "10.0.0.0/8"] {
            assert_eq!(wrong.parse::<Netmask>(), Err(NetmaskError(wrong.to_owned())), "{wrong}");
        }
    }
}
