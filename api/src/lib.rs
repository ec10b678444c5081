//! What both ends of the REST API share: words, paths, headers, and the types of refusals and help.
//!
//! Types only: no I/O, no HTTP library, and nothing that a plugin needs. Data models are not here; a client learns them
//! from the daemon.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod help;
mod unit;
mod word;
mod words;

pub use self::error::{Candidates, Error, ErrorBody, ErrorInfo, ErrorTag, Errors, Instead, Limits};
pub use self::help::{Form, Help, Keyword, KeywordKind};
pub use self::unit::{Unit, UnitError};
pub use self::word::{COMMAND_LINE, Method, Verb, Word};
pub use self::words::{one_line, without_numbers};

/// What every path begins with, without a slash at its end.
pub const BASE: &str = "/polycube/v1";

/// Header of a stream's answer: which of the readers in the cube's state the client is.
pub const STREAM_ID: &str = "polycube-stream";

/// Header of a request over the Unix socket: with it came a descriptor (`SCM_RIGHTS`) of a file that is open for writing, into
/// which the stream goes. The answer then has reports of it.
pub const INTO: &str = "polycube-into";

/// The value of [`INTO`].
pub const DESCRIPTOR: &str = "descriptor";

/// Parameter of a request that creates a cube: the stream that the cube goes with, and with which it is answered. Member of
/// such a cube: whose it is.
pub const EPHEMERAL: &str = "ephemeral";

/// Leaf of a cube with streams: what keeps packets from coming, such as `off`; null or not there if nothing does.
pub const IDLE: &str = "idle";

/// Media types.
pub mod media {
    /// A document, as Polycube's clients know it.
    pub const DATA: &str = "application/yang.data+json";
    /// The media type that RFC 8040 section 3.1.1 gives a document.
    pub const YANG_DATA: &str = "application/yang-data+json";
    /// Plain JSON (RFC 8259).
    pub const JSON: &str = "application/json";
    /// Packets in pcap.
    pub const PCAP: &str = "application/vnd.tcpdump.pcap";
    /// Packets in pcapng.
    pub const PCAPNG: &str = "application/x-pcapng";
    /// A line of JSON for each report of what is written into the client's file.
    pub const REPORTS: &str = "application/x-ndjson";
}
