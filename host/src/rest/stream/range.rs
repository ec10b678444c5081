//! Parts of a file that a client asks for (RFC 9110 section 14).

/// Bytes from `start` up to `end`, which is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u64,
    pub end: u64,
}

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range),
    /// A part that the file does not have.
    Nothing,
}

impl Wanted {
    /// Reads `header` for a file of `size` bytes. It ignores what it does not understand, as the standard allows, and
    /// several ranges at once.
    pub(super) fn parse(header: Option<&str>, size: u64) -> Self {
        let bounds = header.and_then(|header| header.trim().strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = bounds else { return Self::Whole };
        let range = match (first.trim().parse::<u64>(), last.trim()) {
            (Ok(start), "") => Some((start, size)),
            (Ok(start), last) => last.parse::<u64>().ok().filter(|last| start <= *last).map(|last| {
                let end = last.saturating_add(1).min(size);
                (start, end)
            }),
            (Err(_), last) if first.trim().is_empty() => {
                last.parse::<u64>().ok().map(|count| (size.saturating_sub(count), size))
            }
            _ => None,
        };
        match range {
            None => Self::Whole,
            Some((start, end)) if start < end => Self::Part(Range { start, end }),
            Some(_) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: Wanted) {
        assert_eq!(Wanted::parse(Some(header), 100), expected, "{header}");
    }

    fn part(start: u64, end: u64) -> Wanted {
        Wanted::Part(Range { start, end })
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        check("bytes=0-0", part(0, 1));
        check("bytes=10-19", part(10, 20));
        check("bytes=90-", part(90, 100));
        check("bytes=90-1000", part(90, 100));
        check("bytes=-10", part(90, 100));
        check("bytes=-1000", part(0, 100));
    }

    #[test]
    fn a_range_beyond_the_file_is_not_satisfiable() {
        check("bytes=100-", Wanted::Nothing);
        check("bytes=100-200", Wanted::Nothing);
        check("bytes=-0", Wanted::Nothing);
    }

    #[test]
    fn what_is_not_a_range_is_ignored() {
        for header in ["", "lines=1-2", "bytes=", "bytes=a-b", "bytes=5-4", "bytes=1-2,4-5", "bytes=-"] {
            check(header, Wanted::Whole);
        }
        assert_eq!(Wanted::parse(None, 100), Wanted::Whole);
    }
}
