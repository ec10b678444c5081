//! Expressions: every primitive of pcap-filter(7) that Ethernet allows, and a generator of more.

use super::random::Random;

/// One per line.
pub(crate) const TABLE: &str = include_str!("expressions.txt");

const NUMBERS: [&str; 12] = ["0", "1", "4", "5", "6", "14", "0x0f", "40", "255", "0x800", "65535", "0xffffffff"];
const BASES: [&str; 14] =
    ["ether", "ip", "ip6", "tcp", "udp", "icmp", "icmp6", "arp", "sctp", "igmp", "pim", "vrrp", "rarp", "link"];
const SIZES: [&str; 4] = ["", ":1", ":2", ":4"];
const OPERATORS: [&str; 10] = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
const RELATIONS: [&str; 6] = ["=", "!=", "<", ">", "<=", ">="];

pub(crate) fn table() -> impl Iterator<Item = &'static str> {
    TABLE.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// An expression that libpcap may or may not accept.
pub(crate) fn expression(random: &mut Random, depth: usize) -> String {
    let atoms = table().collect::<Vec<_>>();
    match random.below(if depth == 0 { 3 } else { 8 }) {
        0 | 1 => random.of(&atoms).to_owned(),
        2 => format!("{} {} {}", value(random, 2), random.of(&RELATIONS), value(random, 2)),
        3 => format!("not ({})", expression(random, depth - 1)),
        4 => format!("vlan and {}", expression(random, depth - 1)),
        number => {
            let word = if number % 2 == 0 { "or" } else { "and" };
            format!("({}) {word} ({})", expression(random, depth - 1), expression(random, depth - 1))
        }
    }
}

/// A number.
fn value(random: &mut Random, depth: usize) -> String {
    match random.below(if depth == 0 { 2 } else { 5 }) {
        0 => random.of(&NUMBERS).to_owned(),
        1 => {
            let offset = random.of(&NUMBERS[..8]);
            format!("{}[{offset}{}]", random.of(&BASES), random.of(&SIZES))
        }
        2 => format!("{}[{}{}]", random.of(&BASES), value(random, depth - 1), random.of(&SIZES)),
        3 => "len".to_owned(),
        _ => format!("({} {} {})", value(random, depth - 1), random.of(&OPERATORS), value(random, depth - 1)),
    }
}
