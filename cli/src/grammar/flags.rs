//! Flags of `dump` and `watch`.

/// Names of the flags of `dump`.
pub(super) const FLAGS: [&str; 8] = ["-w", "--follow", FORMAT_FLAG, "--force", "-c", BUNDLE, "--keys", "-n"];
/// Those that `watch` takes, too.
pub(super) const OF_WATCH: [&str; 4] = ["-c", "--utc", "--local", "-n"];
pub(crate) const FORMAT_FLAG: &str = "--format";
/// What surrounds a capture, in its file.
pub(super) const BUNDLE: &str = "--bundle";
/// Formats of a stream that can be asked for; the daemon knows which of them the cube has.
pub(crate) const FORMATS: [&str; 3] = ["pcap", "pcap-nanos", "pcapng"];

/// Flags of `dump`, as they were given.
#[derive(Debug, Default)]
pub(super) struct Flags {
    pub(super) write: Option<String>,
    pub(super) format: Option<String>,
    pub(super) follow: bool,
    pub(super) force: bool,
    pub(super) count: Option<String>,
    pub(super) bundle: bool,
    pub(super) keys: Option<String>,
    /// Accepted as tcpdump's, as addresses are never turned into names.
    pub(super) numeric: bool,
}

impl Flags {
    /// One that was given.
    pub(super) fn any(&self) -> Option<&'static str> {
        let Self { write, format, follow, force, count, bundle, keys, numeric } = self;
        let given =
            [write.is_some(), *follow, format.is_some(), *force, count.is_some(), *bundle, keys.is_some(), *numeric];
        FLAGS.into_iter().zip(given).find_map(|(flag, given)| given.then_some(flag))
    }
}
