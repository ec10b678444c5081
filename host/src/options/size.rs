//! Sizes of memory and of disks, as flags take them.

use polycube_api::{Unit, UnitError};

/// A size in bytes. It is written with a unit, or as a plain number of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Why a text is not a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SizeError {
    #[error("it {0}")]
    Form(UnitError),
    #[error("it is more than any machine has")]
    Large,
    #[error("it must be more than 0")]
    Zero,
}

impl Size {
    pub(super) fn parse(text: &str) -> Result<Self, SizeError> {
        let bytes = match text.parse::<u64>() {
            Ok(mebibytes) => mebibytes.checked_mul(1 << 20),
            Err(_) => match Unit::Bytes.read(text, true) {
                Ok(bytes) => bytes.as_u64(),
                Err(UnitError::Form(_)) => return Err(SizeError::Form(UnitError::Form(Unit::Mebibytes))),
                Err(inexact) => return Err(SizeError::Form(inexact)),
            },
        };
        bytes.filter(|bytes| *bytes < 1 << 60).map(Self).ok_or(SizeError::Large)
    }

    /// The same for what there must be some of.
    pub(super) fn parse_some(text: &str) -> Result<Self, SizeError> {
        let size = Self::parse(text)?;
        if size == Self(0) { Err(SizeError::Zero) } else { Ok(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, &str>) {
        let found = Size::parse_some(text).map(|Size(bytes)| bytes).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_plain_number_is_mebibytes() {
        check("512", Ok(512 << 20));
        check("2GiB", Ok(2 << 30));
        check("2 G", Ok(2 << 30));
        check("1GB", Ok(1_000_000_000));
        assert_eq!(Size::parse("0"), Ok(Size(0)));
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        check("0", Err("it must be more than 0"));
        check("0.3KiB", Err("it is not a whole number of bytes"));
        for text in ["1099511627776", "9999999TiB"] {
            check(text, Err("it is more than any machine has"));
        }
        for text in ["", "-1", "much", "1h"] {
            check(text, Err("it is not a size: give MiB, or a unit, such as 64KiB, 10MiB or 1GB"));
        }
    }
}
