//! Numbers that cannot be just any.

#![forbid(unsafe_code)]

use polycube_layout::ring::MAX_SNAPLEN;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// How much of a packet is recorded: 1 to [`MAX_SNAPLEN`] bytes, or its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "NumberOrWord", into = "NumberOrWord")]
#[schemars(
    with = "u32",
    extend(
        "type" = ["integer", "string"], "minimum" = 1, "maximum" = MAX_SNAPLEN, "pattern" = "^headers$",
        "examples" = [96, SnapLen::HEADERS]
    )
)]
pub enum SnapLen {
    /// So many bytes, at most.
    Bytes(u32),
    /// Up to the end of the transport header.
    Headers,
}

impl SnapLen {
    const HEADERS: &str = "headers";

    /// The most bytes that are recorded of a packet.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Headers => MAX_SNAPLEN,
        }
    }
}

impl Default for SnapLen {
    fn default() -> Self {
        Self::Bytes(MAX_SNAPLEN)
    }
}

/// As the user writes it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(u32),
    Word(String),
}

impl From<SnapLen> for NumberOrWord {
    fn from(snaplen: SnapLen) -> Self {
        match snaplen {
            SnapLen::Bytes(bytes) => Self::Number(bytes),
            SnapLen::Headers => Self::Word(SnapLen::HEADERS.to_owned()),
        }
    }
}

impl TryFrom<NumberOrWord> for SnapLen {
    type Error = LimitError;

    fn try_from(given: NumberOrWord) -> Result<Self, LimitError> {
        match given {
            NumberOrWord::Number(bytes) if (1..=MAX_SNAPLEN).contains(&bytes) => Ok(Self::Bytes(bytes)),
            NumberOrWord::Number(bytes) => Err(LimitError::SnapLen(bytes)),
            NumberOrWord::Word(word) if word == Self::HEADERS => Ok(Self::Headers),
            NumberOrWord::Word(_) => Err(LimitError::SnapLenWord),
        }
    }
}

/// The size of a CPU's ring: one of [`SIZES`](Self::SIZES), in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("enum" = Self::SIZES, "x-unit" = "MiB"))]
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

/// A size in MiB, of whole bytes. It may be a fraction: 1 MB is 0.95367431640625 MiB, which a double holds exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
#[schemars(with = "f64", extend("x-unit" = "MiB"))]
pub struct Mebibytes {
    bytes: u64,
}

impl Mebibytes {
    const BYTES: f64 = (1_u64 << 20) as f64;
    /// All whole numbers below are doubles.
    const END: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

    /// A whole number of MiB.
    pub(crate) const fn whole(mebibytes: u32) -> Self {
        Self { bytes: (mebibytes as u64) << 20 }
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.bytes
    }
}

impl TryFrom<f64> for Mebibytes {
    type Error = LimitError;

    fn try_from(mebibytes: f64) -> Result<Self, LimitError> {
        let bytes = mebibytes * Self::BYTES;
        match bytes.fract() == 0.0 && (0.0..Self::END).contains(&bytes) {
            true => Ok(Self { bytes: bytes as u64 }),
            false => Err(LimitError::Mebibytes),
        }
    }
}

/// As a whole number where it is one: most programs expect that.
impl Serialize for Mebibytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.bytes.is_multiple_of(1 << 20) {
            true => serializer.serialize_u64(self.bytes >> 20),
            false => serializer.serialize_f64(self.bytes as f64 / Self::BYTES),
        }
    }
}

/// A value outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("a snap length is 1 to {MAX_SNAPLEN} bytes, not {0}")]
    SnapLen(u32),
    #[error("a snap length is a number of bytes, or `headers`")]
    SnapLenWord,
    #[error("a size is a whole number of bytes")]
    Mebibytes,
    #[error("a ring has 1, 2, 4, 8, 16, 32 or 64 MiB, not {0}")]
    RingSize(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_in_mebibytes_is_kept_to_the_byte() {
        let read = |text: &str| serde_json::from_str::<Mebibytes>(text);
        for (text, bytes) in [("0", 0), ("64", 64 << 20), ("0.95367431640625", 1_000_000), ("1.5", 3 << 19)] {
            let size = read(text).unwrap();
            assert_eq!((size.bytes(), serde_json::to_string(&size).unwrap().as_str()), (bytes, text));
        }
        for text in ["0.1", "-1", "1e300"] {
            assert_eq!(read(text).unwrap_err().to_string(), "a size is a whole number of bytes", "{text}");
        }
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
