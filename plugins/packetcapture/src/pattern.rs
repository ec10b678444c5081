//! Times in the names that users choose for capture files, as in strftime(3).

#![forbid(unsafe_code)]

use std::fmt::Write as _;

use crate::calendar::date;

/// The conversions that a name may contain. The rest of strftime(3) depends on the locale, or contains characters that
/// are special to a shell or another system.
const TAKEN: &str = "%Y, %y, %m, %d, %F, %H, %M, %S and %s are the time in UTC, and %% is a percent sign";

/// Why a name is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("`%{0}` does not stand for a part of the time: {TAKEN}")]
    Unknown(char),
    #[error("`%` at the end does not stand for a part of the time: {TAKEN}")]
    Unfinished,
}

/// The stem of file names, in which `%` and a letter stand for a part of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(char),
    Time(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    YearOfCentury,
    Month,
    Day,
    Date,
    Hour,
    Minute,
    Second,
    Epoch,
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let (mut parts, mut rest) = (Vec::new(), text.chars());
        while let Some(letter) = rest.next() {
            parts.push(match letter {
                '%' => conversion(rest.next().ok_or(PatternError::Unfinished)?)?,
                letter => Part::Text(letter),
            });
        }
        Ok(Self(parts))
    }

    /// Whether it contains a part of the time.
    pub(crate) fn has_time(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Time(_)))
    }

    /// Whether it differs from one second to the next.
    pub(crate) fn has_seconds(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Time(Field::Second | Field::Epoch)))
    }

    /// The stem at a time, in seconds since 1970.
    pub(crate) fn at(&self, seconds: i64) -> String {
        let mut stem = String::new();
        for part in &self.0 {
            match part {
                Part::Text(letter) => stem.push(*letter),
                Part::Time(field) => field.write(seconds, &mut stem),
            }
        }
        stem
    }
}

fn conversion(letter: char) -> Result<Part, PatternError> {
    Ok(Part::Time(match letter {
        '%' => return Ok(Part::Text('%')),
        'Y' => Field::Year,
        'y' => Field::YearOfCentury,
        'm' => Field::Month,
        'd' => Field::Day,
        'F' => Field::Date,
        'H' => Field::Hour,
        'M' => Field::Minute,
        'S' => Field::Second,
        's' => Field::Epoch,
        unknown => return Err(PatternError::Unknown(unknown)),
    }))
}

impl Field {
    fn write(self, seconds: i64, out: &mut String) {
        let (year, month, day) = date(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400);
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Year => write!(out, "{year:04}"),
            Self::YearOfCentury => write!(out, "{:02}", year.rem_euclid(100)),
            Self::Month => write!(out, "{month:02}"),
            Self::Day => write!(out, "{day:02}"),
            Self::Date => write!(out, "{year:04}-{month:02}-{day:02}"),
            Self::Hour => write!(out, "{:02}", second / 3600),
            Self::Minute => write!(out, "{:02}", second / 60 % 60),
            Self::Second => write!(out, "{:02}", second % 60),
            Self::Epoch => write!(out, "{seconds}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, PatternError>) {
        // 2026-11-03T06:05:09Z.
        let found = Pattern::parse(text).map(|pattern| pattern.at(1_793_685_909));
        assert_eq!(found, expected.map(str::to_owned));
    }

    #[test]
    fn times_are_written_as_strftime_writes_them() {
        check("trace-%Y%m%d-%H%M%S", Ok("trace-20261103-060509"));
        check("%F_%y", Ok("2026-11-03_26"));
        check("%s", Ok("1793685909"));
        check("100%% %%Y", Ok("100% %Y"));
        check("trace", Ok("trace"));
    }

    #[test]
    fn other_conversions_are_refused() {
        for letter in ['j', 'Z', 'T', 'q', ' ', 'é'] {
            check(&format!("a%{letter}b"), Err(PatternError::Unknown(letter)));
        }
        check("a%", Err(PatternError::Unfinished));
        check("a%%%", Err(PatternError::Unfinished));
    }

    #[test]
    fn a_name_with_seconds_is_not_taken_twice() {
        let of = |text: &str| {
            let pattern = Pattern::parse(text).unwrap();
            (pattern.has_time(), pattern.has_seconds())
        };
        assert_eq!(
            [of("a%%S"), of("a%H"), of("a%S"), of("%s")],
            [(false, false), (true, false), (true, true), (true, true)]
        );
    }
}
