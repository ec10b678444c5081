//! Lines that programs write to their cube's log, as text. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use polycube_layout::log::{Header, MAX_WORDS};

/// Bytes of a [`Header`].
const HEADER: usize = size_of::<Header>();

/// A line of a program's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// 1 (error) to 5 (trace).
    pub level: u8,
    pub text: String,
}

impl Line {
    /// Reads a record of a cube's lines; `None` if it is not one.
    pub fn read(record: &[u8]) -> Option<Self> {
        let (header, rest) = record.split_at_checked(HEADER)?;
        let [level, words, low, high, ..] = *header else { return None };
        let (words, length) = (usize::from(words), usize::from(u16::from_le_bytes([low, high])));
        let (words, rest) = rest.split_at_checked(words * 8).filter(|_| words <= MAX_WORDS)?;
        let format = rest.get(..length)?;
        let words = words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        let end = format.iter().position(|byte| *byte == 0).unwrap_or(length);
        Some(Self { level, text: fill(&String::from_utf8_lossy(&format[..end]), words) })
    }
}

/// How a number is written.
#[derive(Default)]
struct Width {
    is_padded: bool,
    digits: usize,
    is_long: bool,
}

/// Puts words into a format, each in the place of its own. A place without a word stays as it is written, so that the line
/// shows what is missing. The log is in lines, so that what would end one becomes a space.
fn fill(format: &str, mut words: impl Iterator<Item = u64>) -> String {
    let mut text = String::new();
    let mut rest = format.trim_end();
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (width, kind, length) = place(&rest[1..]);
        let (written, after) = rest.split_at(1 + length);
        rest = after;
        match kind {
            Some('%') => text.push('%'),
            Some(kind) if "diuxXcpIMP".contains(kind) => match words.next() {
                Some(word) => put(&mut text, kind, &width, word),
                None => text.push_str(written),
            },
            _ => text.push_str(written),
        }
    }
    text.push_str(rest);
    text.replace(char::is_control, " ")
}

/// What stands after a `%`: its width, its kind, and how many bytes that is.
fn place(text: &str) -> (Width, Option<char>, usize) {
    let mut width = Width::default();
    for (at, letter) in text.char_indices() {
        match letter {
            '0' if width.digits == 0 => width.is_padded = true,
            '0'..='9' => width.digits = (width.digits * 10 + letter as usize - '0' as usize).min(32),
            'l' => width.is_long = true,
            'h' => {}
            kind => return (width, Some(kind), at + kind.len_utf8()),
        }
    }
    (width, None, text.len())
}

fn put(text: &mut String, kind: char, width: &Width, word: u64) {
    let number = if width.is_long || kind == 'p' { word } else { u64::from(word as u32) };
    let signed = if width.is_long { word.cast_signed() } else { i64::from((word as u32).cast_signed()) };
    let bytes = word.to_le_bytes();
    let Width { is_padded, digits, .. } = *width;
    let written = match (kind, is_padded) {
        ('d' | 'i', true) => write!(text, "{signed:0digits$}"),
        ('d' | 'i', false) => write!(text, "{signed:digits$}"),
        ('u', true) => write!(text, "{number:0digits$}"),
        ('u', false) => write!(text, "{number:digits$}"),
        ('x', true) => write!(text, "{number:0digits$x}"),
        ('x', false) => write!(text, "{number:digits$x}"),
        ('X', true) => write!(text, "{number:0digits$X}"),
        ('X', false) => write!(text, "{number:digits$X}"),
        ('p', _) => write!(text, "{number:#x}"),
        ('c', _) => write!(text, "{}", char::from(bytes[0])),
        ('I', _) => write!(text, "{}", Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]])),
        ('P', _) => write!(text, "{}", u16::from_be_bytes([bytes[0], bytes[1]])),
        _ => {
            let [a, b, c, d, e, f, ..] = bytes;
            write!(text, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        }
    };
    // A text takes everything.
    let _ = written;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: u8, words: &[u64], format: &[u8]) -> Vec<u8> {
        let length = u16::try_from(format.len()).unwrap().to_le_bytes();
        let mut record = vec![level, u8::try_from(words.len()).unwrap(), length[0], length[1], 0, 0, 0, 0];
        record.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        record.extend_from_slice(format);
        record
    }

    #[track_caller]
    fn check(format: &str, words: &[u64], expected: &str) {
        let line = Line::read(&record(3, words, format.as_bytes())).unwrap();
        assert_eq!((line.level, line.text.as_str()), (3, expected));
    }

    #[test]
    fn words_stand_in_their_places() {
        check("plain", &[], "plain");
        check("%u of %d", &[7, u64::MAX], "7 of -1");
        check("%u", &[u64::MAX], "4294967295");
        check("%llu %lld %lu", &[u64::MAX, u64::MAX, 5], "18446744073709551615 -1 5");
        check("%x %X %04x %4x|%02u %p", &[255, 255, 255, 255, 3, 1 << 40], "ff FF 00ff   ff|03 0x10000000000");
        check("%c%%", &[u64::from(b'a')], "a%");
        let address = u64::from(u32::from_le_bytes([10, 0, 0, 1]));
        check("from %I:%P", &[address, u64::from(443_u16.to_be())], "from 10.0.0.1:443");
        check("%M", &[u64::from_le_bytes([2, 0, 0, 0xab, 0, 0xff, 9, 9])], "02:00:00:ab:00:ff");
    }

    #[test]
    fn what_is_written_wrong_stays_as_it_is() {
        check("%u and %u", &[1], "1 and %u");
        check("%s %u %", &[1], "%s 1 %");
        check("%99999999999999999999u", &[1], &format!("{:32}", 1));
        check("two\nlines\n", &[], "two lines");
        check("ä%ä%u", &[1], "ä%ä1");
        check("%u", &[1, 2, 3], "1");
    }

    #[test]
    fn a_format_ends_at_a_zero() {
        assert_eq!(Line::read(&record(1, &[], b"end\0more")).unwrap().text, "end");
        assert_eq!(Line::read(&record(1, &[], b"\xff")).unwrap().text, "\u{fffd}");
    }

    #[test]
    fn what_is_not_a_line_is_none() {
        let whole = record(1, &[1, 2], b"text");
        for length in 0..whole.len() {
            assert_eq!(Line::read(&whole[..length]), None, "{length}");
        }
        let mut many = whole;
        many[1] = 200;
        assert_eq!(Line::read(&many), None);
    }
}
