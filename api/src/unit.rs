//! Units of numbers in data models. Documents have plain numbers; people give and see them in whatever unit suits them.
//!
//! Nothing is rounded in either direction: a value that the number cannot hold is refused, and a number that no larger unit
//! divides is shown in its own.

use std::fmt;

use serde_json::Number;

/// Size units. Letters alone are binary, as in tcpdump, `head` and `dd`.
const SIZES: [(&[&str], u128); 9] = [
    (&["B", "byte", "bytes"], 1),
    (&["KiB", "K"], 1 << 10),
    (&["MiB", "M"], 1 << 20),
    (&["GiB", "G"], 1 << 30),
    (&["TiB", "T"], 1 << 40),
    (&["kB"], 1_000),
    (&["MB"], 1_000_000),
    (&["GB"], 1_000_000_000),
    (&["TB"], 1_000_000_000_000),
];

/// Units of time, in milliseconds.
const TIMES: [(&[&str], u128); 6] = [
    (&["ms"], 1),
    (&["s", "sec", "second", "seconds"], 1_000),
    (&["min", "m", "minute", "minutes"], 60_000),
    (&["h", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
    (&["w", "week", "weeks"], 604_800_000),
];

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// 1024 bytes.
    Kibibytes,
    /// 1024 KiB.
    Mebibytes,
    /// 1024 MiB.
    Gibibytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// Why a text is not a number in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It is not a number and a unit of the same kind.
    Form(Unit),
    /// The number would have to be rounded.
    Inexact(Unit),
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Bytes, Self::Kibibytes, Self::Mebibytes, Self::Gibibytes, Self::Milliseconds, Self::Seconds];

    /// The unit that a data model calls `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.as_str() == name)
    }

    /// As data models write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Kibibytes => "KiB",
            Self::Mebibytes => "MiB",
            Self::Gibibytes => "GiB",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        }
    }

    fn scale(self) -> &'static [(&'static [&'static str], u128)] {
        if self.is_time() { &TIMES } else { &SIZES }
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Milliseconds | Self::Seconds)
    }

    /// How many of the smallest units it is.
    fn factor(self) -> u128 {
        match self {
            Self::Bytes | Self::Milliseconds => 1,
            Self::Kibibytes => 1 << 10,
            Self::Mebibytes => 1 << 20,
            Self::Gibibytes => 1 << 30,
            Self::Seconds => 1_000,
        }
    }

    /// Reads `10 MiB`, `1.5h` or `1h30min` as a number of this unit, which is an integer if it has to be `whole`.
    ///
    /// # Errors
    /// Another form, or a value that such a number cannot hold.
    pub fn read(self, text: &str, whole: bool) -> Result<Number, UnitError> {
        let smallest = self.smallest(text)?;
        if smallest.is_multiple_of(self.factor()) {
            let number = smallest / self.factor();
            // More than any limit of a schema.
            return Ok(u64::try_from(number).map_or_else(|_| number_of(number as f64), Number::from));
        }
        // Where the unit is a power of two, a double holds the quotient exactly.
        let is_exact = self.factor().is_power_of_two() && smallest < 1 << f64::MANTISSA_DIGITS;
        if whole || !is_exact {
            return Err(UnitError::Inexact(self));
        }
        Ok(number_of(smallest as f64 / self.factor() as f64))
    }

    /// Reads a time, such as `1.5s` or `200 ms`, as milliseconds.
    ///
    /// # Errors
    /// Another form, a fraction of a millisecond, or more than fits.
    pub fn milliseconds(text: &str) -> Result<u64, UnitError> {
        u64::try_from(Self::Seconds.smallest(text)?).map_err(|_| UnitError::Form(Self::Seconds))
    }

    /// How many of the smallest units a text means.
    fn smallest(self, text: &str) -> Result<u128, UnitError> {
        let form = || UnitError::Form(self);
        let (mut rest, mut sum, mut terms) = (text.trim(), 0_u128, 0);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (suffix, after) = after.split_at(letters);
            let is_named = |names: &&[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(suffix));
            let (_, factor) = self.scale().iter().find(|(names, _)| is_named(names)).ok_or_else(form)?;
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            let mantissa: u128 = [whole, fraction].concat().parse().map_err(|_| form())?;
            let parts = 10_u128.checked_pow(u32::try_from(fraction.len()).map_err(|_| form())?).ok_or_else(form)?;
            let product = mantissa.checked_mul(*factor).ok_or_else(form)?;
            if !product.is_multiple_of(parts) {
                return Err(UnitError::Inexact(self));
            }
            sum = sum.checked_add(product / parts).ok_or_else(form)?;
            terms += 1;
            rest = after.trim_start();
        }
        // Times are given in several units at once, sizes are not.
        if terms == 1 || (terms > 1 && self.is_time()) { Ok(sum) } else { Err(form()) }
    }

    /// Writes a number of this unit in the largest one that divides it: `10 MiB`, `1 MB`, `90 min`.
    #[must_use]
    pub fn write(self, number: &Number) -> String {
        let smallest = match (number.as_u64(), number.as_f64()) {
            (Some(count), _) => Some(u128::from(count) * self.factor()),
            // A product with a power of two is exact.
            (None, Some(count)) if self.factor().is_power_of_two() => Some(count * self.factor() as f64)
                .filter(|bytes| bytes.fract() == 0.0 && (0.0..(1_u64 << f64::MANTISSA_DIGITS) as f64).contains(bytes))
                .map(|bytes| bytes as u128),
            _ => None,
        };
        let own = || match self {
            Self::Milliseconds => format!("{number} ms"),
            Self::Seconds => format!("{number} s"),
            _ => format!("{number} {}", self.as_str()),
        };
        let Some(smallest) = smallest.filter(|smallest| *smallest > 0) else { return own() };
        let fits = |(_, factor): &&(&[&str], u128)| *factor > 1 && smallest.is_multiple_of(*factor);
        match (self.scale().iter().filter(fits).max_by_key(|(_, factor)| *factor), self) {
            (Some((names, factor)), _) => format!("{} {}", smallest / factor, names[0]),
            (None, unit) if unit.is_time() => own(),
            (None, _) if smallest == 1 => "1 byte".to_owned(),
            (None, _) => format!("{smallest} bytes"),
        }
    }
}

fn number_of(value: f64) -> Number {
    Number::from_f64(value).unwrap_or_else(|| Number::from(u64::MAX))
}

/// What is wrong, to follow the text.
impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(Unit::Seconds) => {
                f.write_str("is not a time: give seconds, or a unit, such as 90s, 10min or 1h")
            }
            Self::Form(Unit::Milliseconds) => {
                f.write_str("is not a time: give milliseconds, or a unit, such as 200ms or 1s")
            }
            Self::Form(Unit::Bytes) => f.write_str("is not a size: give bytes, or a unit, such as 64KiB, 10MiB or 1MB"),
            Self::Form(unit) => {
                write!(f, "is not a size: give {}, or a unit, such as 64KiB, 10MiB or 1GB", unit.as_str())
            }
            Self::Inexact(unit) => write!(f, "is not a whole number of {}", unit.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(unit: Unit, text: &str, whole: bool, expected: &Result<serde_json::Value, UnitError>) {
        assert_eq!(unit.read(text, whole).map(serde_json::Value::Number), *expected, "{text} in {unit:?}");
    }

    #[test]
    fn sizes_are_read_exactly() {
        for (text, bytes) in [
            ("1B", 1),
            ("10M", 10 << 20),
            ("10 MiB", 10 << 20),
            ("10mib", 10 << 20),
            ("1MB", 1_000_000),
            ("1kB", 1_000),
            ("1k", 1_024),
            ("1.5 GiB", 3 << 29),
            ("0.5kB", 500),
            ("3 bytes", 3),
            ("2T", 2_u64 << 40),
        ] {
            check(Unit::Bytes, text, true, &Ok(json!(bytes)));
        }
        check(Unit::Mebibytes, "1GiB", true, &Ok(json!(1024)));
        check(Unit::Mebibytes, "1024 K", true, &Ok(json!(1)));
        check(Unit::Mebibytes, "1MB", false, &Ok(json!(0.953_674_316_406_25)));
        check(Unit::Mebibytes, "64MiB", false, &Ok(json!(64)));
    }

    #[test]
    fn times_are_read_exactly() {
        for (text, seconds) in [
            ("1h", 3_600),
            ("90s", 90),
            ("10 min", 600),
            ("10m", 600),
            ("1h30m", 5_400),
            ("1.5h", 5_400),
            ("2000ms", 2),
            ("1w 1d", 691_200),
        ] {
            check(Unit::Seconds, text, true, &Ok(json!(seconds)));
            check(Unit::Milliseconds, text, true, &Ok(json!(seconds * 1_000)));
        }
    }

    #[test]
    fn a_time_may_be_shorter_than_its_unit() {
        for (text, expected) in [
            ("1.5s", Ok(1_500)),
            ("200 ms", Ok(200)),
            ("1min 1ms", Ok(60_001)),
            ("0.5ms", Err(UnitError::Inexact(Unit::Seconds))),
            ("1MB", Err(UnitError::Form(Unit::Seconds))),
        ] {
            assert_eq!(Unit::milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_would_have_to_be_rounded_is_refused() {
        for (unit, text, whole) in [
            (Unit::Mebibytes, "1MB", true),
            (Unit::Bytes, "0.3 KiB", true),
            (Unit::Bytes, "1.5B", false),
            (Unit::Seconds, "500ms", true),
            (Unit::Seconds, "500ms", false),
            (Unit::Gibibytes, "9007199254740993B", false),
        ] {
            check(unit, text, whole, &Err(UnitError::Inexact(unit)));
        }
    }

    #[test]
    fn what_is_not_a_quantity_of_the_kind_is_refused() {
        for text in ["", "MB", "10 parsecs", "1h", "-1MB", "1..5MB", ".MB", "1MB 2kB", "5", "1e3B", "1M/s"] {
            check(Unit::Bytes, text, true, &Err(UnitError::Form(Unit::Bytes)));
        }
        for text in ["", "h", "1MB", "1h30", "-1s", "1h-1m"] {
            check(Unit::Seconds, text, true, &Err(UnitError::Form(Unit::Seconds)));
        }
        let huge = "9".repeat(60) + "TiB";
        check(Unit::Bytes, &huge, true, &Err(UnitError::Form(Unit::Bytes)));
    }

    #[test]
    fn more_than_any_schema_takes_is_still_a_number() {
        assert!(Unit::Bytes.read("99999999999TiB", true).unwrap().as_f64().unwrap() > 1e20);
    }

    #[test]
    fn numbers_are_written_in_the_largest_unit_that_divides_them() {
        for (unit, number, expected) in [
            (Unit::Bytes, json!(0), "0 bytes"),
            (Unit::Bytes, json!(1), "1 byte"),
            (Unit::Bytes, json!(96), "96 bytes"),
            (Unit::Bytes, json!(262_144), "256 KiB"),
            (Unit::Bytes, json!(1_000_000), "1 MB"),
            (Unit::Bytes, json!(1_048_576), "1 MiB"),
            (Unit::Bytes, json!(1_048_577), "1048577 bytes"),
            (Unit::Bytes, json!(u64::MAX), "18446744073709551615 bytes"),
            (Unit::Mebibytes, json!(64), "64 MiB"),
            (Unit::Mebibytes, json!(2048), "2 GiB"),
            (Unit::Mebibytes, json!(0.953_674_316_406_25), "1 MB"),
            (Unit::Mebibytes, json!(0.1), "0.1 MiB"),
            (Unit::Mebibytes, json!(0), "0 MiB"),
            (Unit::Seconds, json!(90), "90 s"),
            (Unit::Seconds, json!(5_400), "90 min"),
            (Unit::Seconds, json!(3_600), "1 h"),
            (Unit::Seconds, json!(0), "0 s"),
            (Unit::Seconds, json!(-1), "-1 s"),
            (Unit::Milliseconds, json!(200), "200 ms"),
            (Unit::Milliseconds, json!(1_500), "1500 ms"),
            (Unit::Milliseconds, json!(60_000), "1 min"),
            (Unit::Milliseconds, json!(0), "0 ms"),
        ] {
            let serde_json::Value::Number(number) = number else { panic!("{number}") };
            assert_eq!(unit.write(&number), expected, "{number} {unit:?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        for unit in Unit::ALL {
            for number in [1_u64, 7, 96, 1_000, 1_024, 1_500, 86_400, 999_999, 1_000_000, 1 << 20, 5 << 30] {
                let text = unit.write(&number.into());
                assert_eq!(unit.read(&text, true), Ok(number.into()), "{text}");
            }
        }
    }
}
