//! How many readers a port has room for. They are strangers, so no address may take all of it.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv6Addr};

/// Most readers of a port.
const READERS: usize = 16;
/// Most readers of one address.
const READERS_PER_ORIGIN: usize = 8;

/// The readers that are there, by where they come from.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    taken: Vec<IpAddr>,
    /// Whether a reader was turned away since there was room last.
    is_crowded: bool,
}

/// What becomes of a reader that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted,
    /// The first that finds no room since there was some.
    First,
    Refused,
}

impl Rooms {
    pub(super) fn enter(&mut self, address: IpAddr) -> Admission {
        let origin = origin(address);
        let same = self.taken.iter().filter(|taken| **taken == origin).count();
        if self.taken.len() < READERS && same < READERS_PER_ORIGIN {
            self.taken.push(origin);
            return Admission::Admitted;
        }
        if std::mem::replace(&mut self.is_crowded, true) { Admission::Refused } else { Admission::First }
    }

    pub(super) fn leave(&mut self, address: IpAddr) {
        let origin = origin(address);
        if let Some(index) = self.taken.iter().position(|taken| *taken == origin) {
            self.taken.swap_remove(index);
            self.is_crowded = false;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }
}

/// Of an IPv6 address the first 64 bits, because most hosts can use all addresses with these.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let mut rooms = Rooms::default();
        let mut found = |text: &str, count: usize| (0..count).map(|_| rooms.enter(address(text))).collect::<Vec<_>>();
        assert!(found("10.0.0.1", READERS_PER_ORIGIN).iter().all(|found| *found == Admission::Admitted));
        assert_eq!(found("10.0.0.1", 2), [Admission::First, Admission::Refused]);
        assert_eq!(found("::ffff:10.0.0.1", 1), [Admission::Refused]);
        assert!(found("2001:db8::1", READERS_PER_ORIGIN).iter().all(|found| *found == Admission::Admitted));
        assert_eq!(found("10.0.0.2", 1), [Admission::Refused], "all rooms are taken");
        rooms.leave(address("2001:db8::2"));
        assert_eq!((rooms.count(), rooms.enter(address("10.0.0.2"))), (READERS - 1, Admission::Admitted));
        assert_eq!(rooms.enter(address("10.0.0.2")), Admission::First);
    }
}
