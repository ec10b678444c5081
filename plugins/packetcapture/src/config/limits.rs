//! Numbers that cannot be just any.

#![forbid(unsafe_code)]

use polycube_layout::ring::MAX_SNAPLEN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Maximum bytes of the rings of all CPUs together.
    const TOTAL: usize = 256 << 20;
    /// Rings are not reduced further than this, however many CPUs there are.
    const LEAST: usize = 64 << 10;

    /// In bytes, before [`TOTAL`](Self::TOTAL) is applied.
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

/// A value outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("a snap length is 1 to {MAX_SNAPLEN} bytes, not {0}")]
    SnapLen(u32),
    #[error("a ring has 1, 2, 4, 8, 16, 32 or 64 MiB, not {0}")]
    RingSize(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

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
