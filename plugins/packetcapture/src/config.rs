//! What the user sets.

#![forbid(unsafe_code)]

mod connection;
mod limits;
mod over_ip;
mod storage;

use polycube_filter::{Fields, FiltersError, Netmask, NetmaskError};
use polycube_plugin_api::{Direction, Refusal, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format::Format;

use connection::ConnectionError;
pub(crate) use connection::{Connection, without};
pub use limits::{LimitError, Mebibytes, RingSize, SnapLen};
pub(crate) use over_ip::OverIp;
use over_ip::OverIpError;
pub use storage::{Direct, Fsync, Queue, Rotate, StopAfter, Storage, Store};

/// Configuration of a packet capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// Which packets to capture
    pub capture: Capture,
    /// Maximum bytes to record of each packet, or `headers`: everything up to the end of the TCP, UDP, ICMP or SCTP header,
    /// and no payload
    pub snaplen: SnapLen,
    /// Whether DNS packets (port 53 of TCP and UDP) are recorded whole with `snaplen=headers`
    #[schemars(extend("x-minor" = true))]
    pub whole_dns: bool,
    /// MiB of memory that buffers packets, per CPU; reduced if all CPUs together would need more than 256 MiB
    #[schemars(extend("x-minor" = true))]
    pub ring_size: RingSize,
    /// When the greater part of the rings is made: right after the capture is attached, or when packets come faster than
    /// they are written for the first time (then an idle capture needs 1.3 MiB per CPU, and packets may be lost until the
    /// rest is there, within milliseconds)
    #[schemars(extend("x-minor" = true))]
    pub ring_memory: RingMemory,
    /// Scheduling priority of the thread that takes packets from the rings: high lets it run before programs that compete for
    /// its CPU, which loses fewer packets and slows those down; the daemon needs `--keep-capability CAP_SYS_NICE` for it
    #[schemars(extend("x-minor" = true))]
    pub priority: Priority,
    /// Which packets to record, within VLAN tags too, and how much of them; all conditions must hold
    pub filters: Filters,
    /// Which packets to record, in tcpdump's language (pcap-filter(7)); `all` or an empty value records every packet
    #[schemars(extend("examples" = ["host 10.10.10.1 and tcp port 80"]))]
    pub filter: Option<String>,
    /// Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as 255.255.255.0
    #[schemars(regex(pattern = "^(/?[0-9]{1,2}|[0-9.]{7,15})$"), extend("x-minor" = true, "examples" = ["24"]))]
    pub netmask: Option<String>,
    /// Format of the file: pcap (microseconds), pcap-nanos, or pcapng (with directions, interfaces and drop counts)
    pub format: Format,
    /// Path of the capture file, below the daemon's capture directory; the format determines its extension, and %Y, %m,
    /// %d, %H, %M, %S, %F and %s in the name are the time in UTC
    #[schemars(extend("examples" = ["trace"]))]
    pub dump: Option<String>,
    /// A comment that the capture's pcapng begins with
    #[schemars(extend("x-minor" = true, "maxLength" = 4096, "examples" = ["before the change of firmware"]))]
    pub comment: Option<String>,
    /// Where packets are kept: in files, or nowhere (none), which leaves them to streams and network mode
    pub store: Store,
    /// A TCP connection that is not recorded, as its two ends, or all that an address has with one end; a capture that is
    /// streamed over TCP leaves out what its client has with the daemon
    #[schemars(
        regex(pattern = "^[0-9a-fA-F.:\\[\\]]+ [0-9a-fA-F.:\\[\\]]+$"),
        extend("x-connection" = true, "x-minor" = true, "examples" = ["192.0.2.1:9000 192.0.2.7:40000", "192.0.2.1:9000 192.0.2.7"])
    )]
    pub without_connection: Option<String>,
    /// Where readers of PCAP-over-IP get the packets, as soon as they connect: a TCP port of 127.0.0.1, or ADDRESS:PORT, which
    /// everybody who reaches it can read; `/pcapng` or `/pcap-nanos` after it is another format than pcap; `none` is nowhere.
    /// Captures with the same one are served together. Left out, it is polycubed's `--pcap-over-ip`, if that is given
    #[schemars(extend("x-minor" = true, "examples" = ["57012", "57012/pcapng", "192.0.2.1:57012"]))]
    pub pcap_over_ip: Option<String>,
    /// Whether packets go to a queue, from which clients take them one by one, instead of to a file
    pub networkmode: bool,
    /// Whether to replace addresses, preserving their prefixes, in everything that leaves the daemon
    pub anonimize: bool,
    /// The same as `anonimize`
    #[serde(skip_serializing_if = "is_elsewhere")]
    #[schemars(extend("x-alias" = "/anonimize", "x-minor" = true))]
    pub anonymize: bool,
    /// When the next file begins
    pub rotate: Rotate,
    /// When the capture stops by itself, setting `capture` to `off`
    pub stop_after: StopAfter,
    /// How files are written and kept
    pub storage: Storage,
    /// Limits of network mode's queue; the oldest packets are discarded
    pub queue: Queue,
    /// Milliseconds that packets of a pcapng capture wait for the TLS keys that they need, so that these precede them, once
    /// `keys` were given; 0 for none
    #[schemars(range(max = 10_000), extend("x-minor" = true, "x-unit" = "milliseconds"))]
    pub keys_wait: u32,
    /// MiB that buffer packets for a slow reader of a stream, per reader
    #[schemars(range(min = 0.0625, max = 1024), extend("x-minor" = true))]
    pub stream_buffer: Mebibytes,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capture: Capture::default(),
            snaplen: SnapLen::default(),
            whole_dns: false,
            ring_size: RingSize::default(),
            ring_memory: RingMemory::default(),
            priority: Priority::default(),
            filters: Filters::default(),
            filter: None,
            netmask: None,
            format: Format::default(),
            dump: None,
            comment: None,
            store: Store::default(),
            without_connection: None,
            pcap_over_ip: None,
            networkmode: false,
            anonimize: false,
            anonymize: false,
            rotate: Rotate::default(),
            stop_after: StopAfter::default(),
            storage: Storage::default(),
            queue: Queue::default(),
            keys_wait: 200,
            stream_buffer: Mebibytes::whole(16),
        }
    }
}

/// When the greater part of the rings is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum RingMemory {
    #[default]
    AtOnce,
    WhenNeeded,
}

/// Scheduling priority of the thread that takes packets from the rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Priority {
    #[default]
    Normal,
    High,
}

/// Directions to capture: into the cube or netdev, out of it, both or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Capture {
    #[default]
    Off,
    Ingress,
    Egress,
    Bidirectional,
}

impl Capture {
    /// The hooks that need a program.
    pub(crate) fn directions(self) -> &'static [Direction] {
        match self {
            Self::Off => &[],
            Self::Ingress => &[Direction::Ingress],
            Self::Egress => &[Direction::Egress],
            Self::Bidirectional => &[Direction::Ingress, Direction::Egress],
        }
    }
}

/// Filters of Polycube's first version, which has a snap length among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Filters {
    #[serde(flatten)]
    pub fields: polycube_filter::Filters,
    /// Maximum bytes to record of each packet; the same as the cube's `snaplen`
    #[serde(skip_serializing_if = "is_elsewhere")]
    #[schemars(extend("x-alias" = "/snaplen"))]
    pub snaplen: SnapLen,
}

impl Config {
    /// The parsed filter fields.
    ///
    /// # Errors
    /// A text that is not a prefix or protocol, with the field's path.
    pub(crate) fn fields(&self) -> Result<Fields, Refusal> {
        let refused = |error: FiltersError| {
            Refusal::new(Tag::InvalidValue, error.to_string()).at(format!("filters/{}", error.field()))
        };
        self.filters.fields.fields().map_err(refused)
    }

    /// The network's mask, unknown if it is not set.
    ///
    /// # Errors
    /// A text that is not a netmask.
    pub(crate) fn netmask(&self) -> Result<Netmask, Refusal> {
        let refused = |error: NetmaskError| Refusal::new(Tag::InvalidValue, error.to_string()).at("netmask");
        self.netmask.as_deref().map_or(Ok(Netmask::default()), str::parse).map_err(refused)
    }

    /// The connection that is not recorded.
    ///
    /// # Errors
    /// A text that is not two ends of a connection.
    pub(crate) fn without_connection(&self) -> Result<Option<Connection>, Refusal> {
        let refused = |error: ConnectionError| Refusal::new(Tag::InvalidValue, error.to_string());
        let parsed = self.without_connection.as_deref().map(str::parse).transpose();
        parsed.map_err(|error| refused(error).at("without-connection"))
    }

    /// Where readers of PCAP-over-IP get the packets, which is at `default` unless the user says something.
    ///
    /// # Errors
    /// A text that says nothing of the kind.
    pub(crate) fn over_ip(&self, default: Option<&str>) -> Result<Option<OverIp>, Refusal> {
        let refused = |error: OverIpError| Refusal::new(Tag::InvalidValue, error.to_string()).at("pcap-over-ip");
        let given = self.pcap_over_ip.as_deref().or(default);
        given.filter(|text| *text != OverIp::NONE).map(str::parse).transpose().map_err(refused)
    }

    /// The format of what the kernel writes. It is that of the file; where there is none, nothing is lost for streams.
    pub(crate) fn recorded(&self) -> Format {
        if self.store == Store::None && !self.networkmode { Format::Pcapng } else { self.format }
    }

    /// The expression; empty if there is none.
    pub(crate) fn expression(&self) -> &str {
        self.filter.as_deref().unwrap_or_default()
    }
}

/// The host reads and writes the leaf that an alias refers to: the value here is meaningless, so it is never
/// serialized.
fn is_elsewhere<T>(_: &T) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(text: Value, expected: Result<(Capture, u32, u32), &str>) {
        let found = serde_json::from_value::<Config>(text)
            .map(|config| (config.capture, config.snaplen.bytes(), config.ring_size.into()))
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        check(json!({}), Ok((Capture::Off, 262_144, 16)));
        check(json!({"capture": "bidirectional", "snaplen": 96, "ring-size": 4}), Ok((Capture::Bidirectional, 96, 4)));
    }

    #[test]
    fn an_alias_is_accepted_and_means_nothing() {
        check(json!({"snaplen": 96, "filters": {"snaplen": 128}}), Ok((Capture::Off, 96, 16)));
    }

    #[test]
    fn what_is_out_of_range_or_unknown_is_refused() {
        check(json!({"snaplen": 0}), Err("a snap length is 1 to 262144 bytes, not 0"));
        check(json!({"snaplen": "header"}), Err("a snap length is a number of bytes, or `headers`"));
        check(json!({"snaplen": 262_145}), Err("a snap length is 1 to 262144 bytes, not 262145"));
        check(json!({"ring-size": 3}), Err("a ring has 1, 2, 4, 8, 16, 32 or 64 MiB, not 3"));
        check(
            json!({"capture": "both"}),
            Err("unknown variant `both`, expected one of `off`, `ingress`, `egress`, `bidirectional`"),
        );
        check(json!({"filters": {"port": 80}}), Err("unknown field `port`"));
    }

    #[track_caller]
    fn check_fields(filters: &Value, expected: Result<&str, (&str, &str)>) {
        let config: Config = serde_json::from_value(json!({ "filters": filters })).unwrap();
        let found = config.fields().map(|fields| fields.expression().unwrap().unwrap_or_default());
        let found = found.as_deref().map_err(|refusal| (refusal.path.as_str(), refusal.message.as_str()));
        assert_eq!(found, expected);
    }

    #[test]
    fn fields_are_read_as_people_write_them() {
        check_fields(&json!({}), Ok(""));
        check_fields(&json!({"src": "10.10.10.10/24"}), Ok("ip src net 10.10.10.0/24"));
        check_fields(&json!({"dst": "10.0.0.1"}), Ok("ip dst net 10.0.0.1/32"));
        let why = "`10.0.0.0/33` is not a prefix: give an address and its length, such as 10.10.10.0/24";
        check_fields(&json!({"src": "10.0.0.0/33"}), Err(("filters/src", why)));
        let why = "`tpc` is not a protocol: give tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255";
        check_fields(&json!({"l4proto": "tpc"}), Err(("filters/l4proto", why)));
        check_fields(&json!({"l4proto": "TCP"}), Ok("tcp"));
    }
}
