//! Flags of `dump` and `watch`.

/// Names of the flags of `dump`.
pub(super) const FLAGS: [&str; 5] = ["-w", "--follow", FORMAT_FLAG, "--force", "-c"];
/// Those that `watch` takes, too.
pub(super) const OF_WATCH: [&str; 3] = ["-c", "--utc", "--local"];
pub(crate) const FORMAT_FLAG: &str = "--format";
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
}

impl Flags {
    /// One that was given.
    pub(super) fn any(&self) -> Option<&'static str> {
        let given = [self.write.is_some(), self.follow, self.format.is_some(), self.force, self.count.is_some()];
        FLAGS.into_iter().zip(given).find_map(|(flag, given)| given.then_some(flag))
    }
}
