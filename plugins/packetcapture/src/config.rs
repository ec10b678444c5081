//! What the user sets.

#![forbid(unsafe_code)]

use polycube_layout::ring::MAX_SNAPLEN;
use polycube_plugin_api::Direction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Configuration of a packet capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// Which packets to capture
    pub capture: Capture,
    /// Bytes of a packet that are recorded at most
    pub snaplen: SnapLen,
    /// MiB of memory that packets wait in, for each CPU; reduced where all CPUs together would need more than 256 MiB
    pub ring_size: RingSize,
    /// Which packets to record, and how much of them
    pub filters: Filters,
}

/// Which way the packets go that are captured: into the cube or netdev, out of it, both or none.
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
    /// The hooks that a program is needed at.
    pub(crate) fn directions(self) -> &'static [Direction] {
        match self {
            Self::Off => &[],
            Self::Ingress => &[Direction::Ingress],
            Self::Egress => &[Direction::Egress],
            Self::Bidirectional => &[Direction::Ingress, Direction::Egress],
        }
    }
}

/// Filters of the original's first version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Filters {
    /// Bytes of a packet that are recorded at most; the same as `snaplen` of the cube
    #[serde(skip_serializing_if = "is_elsewhere")]
    #[schemars(extend("x-alias" = "/snaplen"))]
    pub snaplen: SnapLen,
}

/// The host reads and writes the leaf that an alias names: the value here means nothing, and is no default either.
fn is_elsewhere(_: &SnapLen) -> bool {
    true
}

/// A snap length: 1 to [`MAX_SNAPLEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("minimum" = 1, "maximum" = MAX_SNAPLEN))]
pub struct SnapLen(u32);

impl SnapLen {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for SnapLen {
    fn default() -> Self {
        Self(MAX_SNAPLEN)
    }
}

impl From<SnapLen> for u32 {
    fn from(SnapLen(bytes): SnapLen) -> Self {
        bytes
    }
}

impl TryFrom<u32> for SnapLen {
    type Error = LimitError;

    fn try_from(bytes: u32) -> Result<Self, LimitError> {
        if (1..=MAX_SNAPLEN).contains(&bytes) { Ok(Self(bytes)) } else { Err(LimitError::SnapLen(bytes)) }
    }
}

/// The size of a CPU's ring: one of [`SIZES`](Self::SIZES), in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("enum" = Self::SIZES))]
pub struct RingSize(u32);

impl RingSize {
    const SIZES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
    /// Bytes that the rings of all CPUs may take together.
    const TOTAL: usize = 256 << 20;
    /// Where reducing ends, whatever the number of CPUs.
    const LEAST: usize = 64 << 10;

    /// In bytes, before [`TOTAL`](Self::TOTAL) is looked at.
    pub(crate) fn wanted(self) -> usize {
        (self.0 as usize) << 20
    }

    /// Bytes of each ring on a machine with `cpus` CPUs: a power of two.
    pub(crate) fn granted(self, cpus: usize) -> usize {
        let mut bytes = self.wanted();
        while bytes > Self::LEAST && bytes.saturating_mul(cpus) > Self::TOTAL {
            bytes /= 2;
        }
        bytes
    }
}

impl Default for RingSize {
    fn default() -> Self {
        Self(16)
    }
}

impl From<RingSize> for u32 {
    fn from(RingSize(mebibytes): RingSize) -> Self {
        mebibytes
    }
}

impl TryFrom<u32> for RingSize {
    type Error = LimitError;

    fn try_from(mebibytes: u32) -> Result<Self, LimitError> {
        if Self::SIZES.contains(&mebibytes) { Ok(Self(mebibytes)) } else { Err(LimitError::RingSize(mebibytes)) }
    }
}

/// A number that cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("a snap length is 1 to {MAX_SNAPLEN} bytes, not {0}")]
    SnapLen(u32),
    #[error("a ring has 1, 2, 4, 8, 16, 32 or 64 MiB, not {0}")]
    RingSize(u32),
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
        check(json!({"snaplen": 262_145}), Err("a snap length is 1 to 262144 bytes, not 262145"));
        check(json!({"ring-size": 3}), Err("a ring has 1, 2, 4, 8, 16, 32 or 64 MiB, not 3"));
        check(
            json!({"capture": "both"}),
            Err("unknown variant `both`, expected one of `off`, `ingress`, `egress`, `bidirectional`"),
        );
        check(json!({"filters": {"src": "10.0.0.0/8"}}), Err("unknown field `src`, expected `snaplen`"));
    }

    #[test]
    fn rings_shrink_until_all_cpus_fit() {
        let granted = |mebibytes, cpus| RingSize(mebibytes).granted(cpus);
        assert_eq!(granted(16, 2), 16 << 20);
        assert_eq!(granted(16, 16), 16 << 20);
        assert_eq!(granted(16, 17), 8 << 20);
        assert_eq!(granted(64, 128), 2 << 20);
        assert_eq!(granted(1, 1024), 256 << 10);
        assert_eq!(granted(1, 1 << 20), 64 << 10);
    }
}
