//! Expressions with times: `host 10.0.0.1 and after 3h ago`.
//!
//! The times are taken out, and libpcap compiles the rest. That means the same only where a time applies to the whole
//! expression: joined by `and`, outside brackets, and with no `or` after it, because `and` and `or` bind equally and from
//! the left. Anything else is refused.

#![forbid(unsafe_code)]

use std::net::IpAddr;

use polycube_plugin_api::{Refusal, Tag};

use super::EXPRESSION;
use crate::calendar::days;
use crate::format::Stamp;
use crate::index::{FIRST_EPHEMERAL, Index, Term};

const SECOND: u64 = 1_000_000_000;

/// Why an expression is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("`{0}` has no time after it: give one such as `3h ago`, 2026-11-29 or 2026-11-29T10:30:00Z (UTC)")]
    NoTime(String),
    #[error(
        "`{0}` is not a time: give one such as `3h ago`, 2026-11-29, 2026-11-29T10:30 or 2026-11-29T10:30:00+01:00"
    )]
    NotATime(String),
    #[error("`{given}` is not a time: write `{right}`")]
    Written { given: String, right: String },
    #[error(
        "`{0}` has to apply to the whole expression: join it by `and`, outside brackets, with no `or` after it (put `or` \
         into brackets)"
    )]
    NotWhole(String),
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::new(Tag::InvalidValue, error.to_string()).at(EXPRESSION)
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The expression without times.
    pub(crate) expression: String,
    /// The first time, and the first one after the last.
    pub(crate) from: Stamp,
    pub(crate) until: Stamp,
    /// How many packets; `None` for all.
    pub(crate) limit: Option<u64>,
    /// What each matching packet has.
    terms: Vec<Term>,
}

impl Query {
    /// Reads `text`, at the time `now`.
    pub(super) fn at(text: &str, now: Stamp) -> Result<Self, QueryError> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_ascii_whitespace().collect();
        let (mut from, mut until) = (Stamp(0), Stamp(u64::MAX));
        let (mut kept, mut depth, mut at) = (Vec::new(), 0_i32, 0);
        let mut whole: Option<&str> = None;
        while let Some(word) = words.get(at) {
            match *word {
                "(" => depth += 1,
                ")" => depth -= 1,
                "or" | "||" if depth == 0 => {
                    if let Some(time) = whole {
                        return Err(QueryError::NotWhole(time.to_owned()));
                    }
                }
                "after" | "since" | "before" => {
                    let follows_and = matches!(kept.last(), None | Some(&("and" | "&&")));
                    if depth != 0 || !follows_and {
                        return Err(QueryError::NotWhole((*word).to_owned()));
                    }
                    let (time, taken) = time(word, &words[at + 1..], now)?;
                    if *word == "before" {
                        until = until.min(time);
                    } else {
                        from = from.max(time);
                    }
                    whole = Some(word);
                    at += 1 + taken;
                    // The `and` before it or the one after it goes with it.
                    if kept.pop().is_none() && matches!(words.get(at), Some(&("and" | "&&"))) {
                        at += 1;
                    } else if words.get(at).is_some_and(|next| !matches!(*next, "and" | "&&" | "or" | "||")) {
                        return Err(QueryError::NotWhole((*word).to_owned()));
                    }
                    continue;
                }
                _ => {}
            }
            kept.push(*word);
            at += 1;
        }
        let expression = if whole.is_some() { kept.join(" ") } else { text.trim().to_owned() };
        let expression = if expression == "all" { String::new() } else { expression };
        Ok(Self { terms: terms(&kept), expression, from, until, limit: None })
    }

    /// The same for the first `limit` packets.
    pub(crate) fn up_to(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
    }

    /// Whether a packet of this time is asked for.
    pub(crate) fn takes(&self, stamp: Stamp) -> bool {
        (self.from..self.until).contains(&stamp)
    }

    /// Whether a file with this index can have a packet that is asked for.
    pub(crate) fn may_be_in(&self, index: &Index) -> bool {
        index.last >= self.from && index.first < self.until && self.terms.iter().all(|term| index.may_have(*term))
    }
}

/// The time at the start of `words`, which follow `preposition`, and how many of them it takes.
fn time(preposition: &str, words: &[&str], now: Stamp) -> Result<(Stamp, usize), QueryError> {
    let Some((first, rest)) = words.split_first() else { return Err(QueryError::NoTime(preposition.to_owned())) };
    if let Some((given, right)) = miswritten(first, rest) {
        return Err(QueryError::Written { given, right });
    }
    let stated = || {
        if rest.first() == Some(&"ago") {
            return Some((Stamp(now.0.saturating_sub(duration(first)?)), 2));
        }
        if *first == "now" {
            return Some((now, 1));
        }
        let is_number = first.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = first.parse::<u64>().ok().filter(|_| is_number).map(|seconds| seconds.checked_mul(SECOND));
        Some((Stamp(seconds.unwrap_or_else(|| moment(first))?), 1))
    };
    stated().ok_or_else(|| QueryError::NotATime((*first).to_owned()))
}

/// What people write for a time, and how it is written here.
fn miswritten(first: &str, rest: &[&str]) -> Option<(String, String)> {
    let is_clock = |word: &&str| word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit());
    match rest {
        [clock, ..] if first.contains('-') && moment(first).is_some() && is_clock(clock) => {
            Some((format!("{first} {clock}"), format!("{first}T{clock}")))
        }
        [word, "ago", ..] if first.bytes().all(|byte| byte.is_ascii_digit()) => {
            let units = [("s", "s"), ("m", "min"), ("h", "h"), ("d", "d"), ("w", "w")];
            let (_, unit) = units.into_iter().find(|(start, _)| word.starts_with(start))?;
            Some((format!("{first} {word} ago"), format!("{first}{unit} ago")))
        }
        ["ago", ..] => None,
        _ => duration(first).map(|_| (first.to_owned(), format!("{first} ago"))),
    }
}

/// `90s`, `5min`, `3h`, `2d`, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds)?.checked_mul(SECOND)
}

/// `2026-11-29`, `2026-11-29T10:30`, `2026-11-29T10:30:05.25Z`, `2026-11-29T10:30:05+01:00`, in nanoseconds since 1970.
fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let (time, offset) = match (time.strip_suffix('Z'), time.rfind(['+', '-'])) {
        (Some(time), _) => (time, 0),
        (None, Some(at)) => (&time[..at], offset(&time[at..])?),
        (None, None) => (time, 0),
    };
    let (time, fraction) = time.split_once('.').map_or((time, Some(0)), |(time, digits)| (time, fraction(digits)));
    let [year, month @ 1..=12, day @ 1..=31] = numbers(date, '-')?[..] else { return None };
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year.into(), month.into(), day.into());
    let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - offset;
    u64::try_from(seconds).ok()?.checked_mul(SECOND)?.checked_add(fraction?)
}

fn numbers(text: &str, mark: char) -> Option<Vec<u32>> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(mark).map(|part| part.parse().ok().filter(|_| is_number(part))).collect()
}

/// `-05:00`, in seconds.
fn offset(text: &str) -> Option<i64> {
    let [hours @ 0..=23, minutes @ 0..=59] = numbers(&text[1..], ':')?[..] else { return None };
    let seconds = i64::from(hours * 3_600 + minutes * 60);
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// The digits after the point of a second, in nanoseconds.
fn fraction(digits: &str) -> Option<u64> {
    let is_number = (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("{digits:0<9}").parse().ok()).flatten()
}

/// Addresses and ports that each packet has which matches the expression of these words. Of an expression with any other
/// word than those whose meaning is known here, none.
fn terms(words: &[&str]) -> Vec<Term> {
    let mut terms = Vec::new();
    for primitive in words.split(|word| matches!(*word, "and" | "&&")) {
        let (last, before) = match primitive.split_last() {
            Some((last, before)) => (*last, before),
            None => continue,
        };
        let is_plain =
            |word: &&str| matches!(*word, "ip" | "ip6" | "arp" | "tcp" | "udp" | "sctp" | "icmp" | "icmp6" | "vlan");
        if primitive.len() == 1 && is_plain(&last) {
            continue;
        }
        let Some((kind, qualifiers)) = before.split_last() else { return Vec::new() };
        if !qualifiers.iter().all(|word| is_plain(word) || matches!(*word, "src" | "dst")) {
            return Vec::new();
        }
        match (*kind, last.parse::<IpAddr>(), last.parse::<u16>()) {
            ("host", Ok(address), _) => terms.push(Term::Address(address)),
            ("port", _, Ok(port)) if port < FIRST_EPHEMERAL => terms.push(Term::Port(port)),
            ("port", _, Ok(_)) => {}
            _ => return Vec::new(),
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp(1_000_000 * SECOND);

    #[track_caller]
    fn check(text: &str, expression: &str, from: u64, until: u64) {
        let query = Query::at(text, NOW).unwrap();
        let seconds = |stamp: Stamp| if stamp.0 == u64::MAX { 0 } else { stamp.seconds() };
        let found = (query.expression.as_str(), seconds(query.from), seconds(query.until));
        assert_eq!(found, (expression, from, until), "{text}");
    }

    #[test]
    fn times_are_taken_out() {
        check("", "", 0, 0);
        check("all", "", 0, 0);
        check("host 10.0.0.1 or (tcp and port 80)", "host 10.0.0.1 or (tcp and port 80)", 0, 0);
        check("host 10.0.0.1 and after 1h ago", "host 10.0.0.1", 996_400, 0);
        check("after 1h ago and host 10.0.0.1", "host 10.0.0.1", 996_400, 0);
        check("since 1970-01-02 and before 1970-01-02T01:00:01Z", "", 86_400, 90_001);
        check("after 1970-01-01T19:00:00.297671-05:00", "", 86_400, 0);
        check("after 1970-01-02T01:30+01:30", "", 86_400, 0);
        check("tcp or udp and before 100", "tcp or udp", 0, 100);
        check("udp and after 5min ago and (port 53 or port 54)", "udp and ( port 53 or port 54 )", 999_700, 0);
        check("before now and after 2d ago and after 60s ago", "", 999_940, 1_000_000);
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        let error = Query::at(text, NOW).unwrap_err().to_string();
        assert!(error.starts_with(message), "{text}: {error}");
    }

    #[test]
    fn a_time_that_does_not_apply_to_everything_is_refused() {
        for text in ["tcp or after 1h ago", "not after 1h ago", "after 1h ago or tcp", "(tcp and after 1h ago)"] {
            check_refused(text, "`after` has to apply to the whole expression");
        }
        check_refused("after 1h ago and tcp or udp", "`after` has to apply");
        check_refused("tcp after 1h ago", "`after` has to apply");
        check_refused("after 1h ago tcp", "`after` has to apply");
        check_refused("after", "`after` has no time after it");
        for time in
            ["soon", "14:46", "2026-13-01", "1970-01-01T24:00", "1970-01-02T01:00+1", "1970-01-02T01:00:00.", "+5"]
        {
            check_refused(&format!("after {time}"), &format!("`{time}` is not a time: give one such as"));
        }
        check_refused("after 5y ago", "`5y` is not a time");
    }

    #[test]
    fn a_time_that_is_written_otherwise_is_refused_with_the_right_form() {
        for (text, given, right) in [
            ("since 1h", "1h", "1h ago"),
            ("after 2026-11-29 14:46 and udp", "2026-11-29 14:46", "2026-11-29T14:46"),
            ("after 2 minutes ago", "2 minutes ago", "2min ago"),
            ("after 1 h ago", "1 h ago", "1h ago"),
        ] {
            check_refused(text, &format!("`{given}` is not a time: write `{right}`"));
        }
    }

    #[track_caller]
    fn check_terms(text: &str, expected: &[Term]) {
        assert_eq!(Query::at(text, NOW).unwrap().terms, expected, "{text}");
    }

    #[test]
    fn only_what_every_match_has_is_looked_up() {
        let address = |text: &str| Term::Address(text.parse().unwrap());
        check_terms("host 10.0.0.1", &[address("10.0.0.1")]);
        let both = [address("fe80::1"), Term::Port(53)];
        check_terms("ip6 src host fe80::1 and udp dst port 53 and after 1h ago", &both);
        check_terms("udp && port 40000 && host 10.0.0.1", &[address("10.0.0.1")]);
        for text in
            ["host 10.0.0.1 or udp", "not host 10.0.0.1", "(host 10.0.0.1)", "mpls and host 10.0.0.1", "10.0.0.1"]
        {
            check_terms(text, &[]);
        }
        for text in ["host example.org", "port http", "net 10.0.0.0/8 and port 80", "host 10.0.0.1 && len > 5"] {
            check_terms(text, &[]);
        }
    }
}
