//! Flags of `capture`, and the words that begin an expression.

use super::error::UsageError;
use super::habits;
use super::view::Clock;
use super::words::{one, set_once, split_flag};
use crate::endpoint::Endpoint;

/// Which packets, as seen from the place.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Direction {
    #[default]
    Both,
    In,
    Out,
}

/// The flags, what follows each, and what it is for.
pub(crate) const FLAGS: [(&str, &str, &str); 23] = [
    ("-i", "PLACE", "a place, again for each; then all other words are the expression"),
    ("-w", "FILE", "write the packets to a new file, or with - to standard output, instead of a line for each"),
    (
        "--format",
        "FORMAT",
        "pcapng, pcap or pcap-nanos; by default pcap if the file's name ends in .pcap or .cap, else pcapng",
    ),
    ("--force", "", "overwrite the file"),
    ("-c", "PACKETS", "end after so many packets"),
    ("--for", "TIME", "end after this time, such as 30s or 5min"),
    ("--bytes", "SIZE", "end after so many bytes of packets, such as 10M"),
    ("-s", "SIZE|headers", "record at most so much of each packet, such as 96 or 1KiB, or its headers and no payload"),
    ("--whole-dns", "", "with -s headers: record DNS packets whole"),
    ("--in", "", "only packets that come in at the place"),
    ("--out", "", "only packets that go out at the place"),
    (
        "--rotate",
        "SIZE|TIME",
        "begin the next file, such as out-000002.pcapng after out-000001.pcapng, after so much: 100MB or 1h",
    ),
    ("--keep", "FILES", "with --rotate: delete the oldest file when there are more"),
    ("--comment", "TEXT", "a comment that the pcapng begins with"),
    ("--bundle", "", "in pcapng: also what surrounds the capture: links, routes, neighbours, cubes and their counters"),
    (
        "--keys",
        "FILE",
        "follow a TLS key log (SSLKEYLOGFILE), and put its keys ahead of the packets, for readers of the pcapng",
    ),
    (
        "--container-socket",
        "PATH",
        "where no daemon runs: the socket of the container runtime, again for each, if it is not at its usual place",
    ),
    ("-q", "", "neither a live line nor a summary"),
    ("--utc", "", "show times in UTC"),
    ("--local", "", "show times in local time, as by default"),
    ("-n", "", "accepted, as addresses are never turned into names"),
    ("-h", "", "this help"),
    ("-v", "", "after a refusal, the log that it comes from"),
];

/// The letters of flags that have a value.
const SHORT: &str = "iwcs";

/// Words that begin an expression, from pcap-filter(7), and `all`, which stands for every packet.
pub(super) const KEYWORDS: [&str; 66] = [
    "all",
    "not",
    "host",
    "net",
    "port",
    "portrange",
    "src",
    "dst",
    "proto",
    "protochain",
    "gateway",
    "broadcast",
    "multicast",
    "less",
    "greater",
    "len",
    "length",
    "inbound",
    "outbound",
    "ifindex",
    "ether",
    "fddi",
    "tr",
    "wlan",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "igrp",
    "pim",
    "ah",
    "esp",
    "vrrp",
    "carp",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "stp",
    "iso",
    "clnp",
    "esis",
    "isis",
    "ipx",
    "netbeui",
    "atalk",
    "aarp",
    "decnet",
    "lat",
    "moprc",
    "mopdl",
    "llc",
    "link",
    "ppp",
    "slip",
    "radio",
    "and",
    "or",
];

/// Flags, as they were given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) places: Vec<String>,
    pub(super) write: Option<String>,
    pub(super) format: Option<String>,
    pub(super) force: bool,
    pub(super) count: Option<String>,
    pub(super) time: Option<String>,
    pub(super) bytes: Option<String>,
    pub(super) snaplen: Option<String>,
    pub(super) whole_dns: bool,
    pub(super) direction: Option<(&'static str, Direction)>,
    pub(super) rotate: Option<String>,
    pub(super) keep: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) bundle: bool,
    pub(super) keys: Option<String>,
    pub(super) container_sockets: Vec<String>,
    pub(super) quiet: bool,
    pub(super) clock: Option<(&'static str, Clock)>,
    pub(super) help: bool,
    pub(super) verbose: bool,
    pub(super) endpoint: Endpoint,
}

impl Flags {
    /// Takes a flag; `next` is the word after it.
    pub(super) fn take(
        &mut self,
        word: &str,
        next: impl FnOnce() -> Result<Option<String>, UsageError>,
    ) -> Result<(), UsageError> {
        // What tcpdump takes, and what we never do otherwise.
        let Some(word) = &habits::without_effect(word) else { return Ok(()) };
        let (name, value) = split_flag(word, SHORT);
        match (name, value) {
            ("-i", _) => {
                let mut place = None;
                set_once(&mut place, "-i", "PLACE", value, next)?;
                self.places.extend(place);
                Ok(())
            }
            ("--container-socket", _) => {
                let mut socket = None;
                set_once(&mut socket, "--container-socket", "PATH", value, next)?;
                self.container_sockets.extend(socket);
                Ok(())
            }
            ("-w", _) => set_once(&mut self.write, "-w", "FILE", value, next),
            ("--format", _) => set_once(&mut self.format, "--format", "FORMAT", value, next),
            ("-c", _) => set_once(&mut self.count, "-c", "PACKETS", value, next),
            ("--for", _) => set_once(&mut self.time, "--for", "TIME", value, next),
            ("--bytes", _) => set_once(&mut self.bytes, "--bytes", "SIZE", value, next),
            ("-s", _) => set_once(&mut self.snaplen, "-s", "SIZE", value, next),
            ("--rotate", _) => set_once(&mut self.rotate, "--rotate", "SIZE", value, next),
            ("--keep", _) => set_once(&mut self.keep, "--keep", "FILES", value, next),
            ("--comment", _) => set_once(&mut self.comment, "--comment", "TEXT", value, next),
            ("--keys", _) => set_once(&mut self.keys, "--keys", "FILE", value, next),
            ("--url", _) => set_once(&mut self.endpoint.url, "--url", "URL", value, next),
            ("--token-file", _) => set_once(&mut self.endpoint.token_file, "--token-file", "FILE", value, next),
            ("--cacert", _) => set_once(&mut self.endpoint.tls.cacert, "--cacert", "FILE", value, next),
            ("--cert", _) => set_once(&mut self.endpoint.tls.cert, "--cert", "FILE", value, next),
            ("--key", _) => set_once(&mut self.endpoint.tls.key, "--key", "FILE", value, next),
            ("--in", None) => one(&mut self.direction, ("--in", Direction::In)),
            ("--out", None) => one(&mut self.direction, ("--out", Direction::Out)),
            ("--utc", None) => one(&mut self.clock, ("--utc", Clock::Utc)),
            ("--local", None) => one(&mut self.clock, ("--local", Clock::Local)),
            ("--force", None) => set(&mut self.force),
            ("--whole-dns", None) => set(&mut self.whole_dns),
            ("--bundle", None) => set(&mut self.bundle),
            ("-q", None) => set(&mut self.quiet),
            ("-v" | "--verbose", None) => set(&mut self.verbose),
            _ => Err(habits::refusal(word, next()?.as_deref())),
        }
    }
}

fn set(flag: &mut bool) -> Result<(), UsageError> {
    *flag = true;
    Ok(())
}
