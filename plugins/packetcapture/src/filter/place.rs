//! Where an expression is wrong. libpcap says what is, at best.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::classic::Raw;
use super::libpcap::Libpcap;

/// How long to look for the place. Names of hosts are looked up again and again on the way.
const PATIENCE: Duration = Duration::from_millis(200);

/// What libpcap says where the grammar is broken, and nothing else.
const SYNTAX: &str = "syntax error";

/// One of these makes an expression of any beginning of one; open parentheses are closed behind it.
const COMPLETIONS: [&str; 16] = [
    "",
    " ip",
    " 1",
    " 1.2.3.4",
    " = 0",
    "] = 0",
    " 0] = 0",
    ":1] = 0",
    " 1 = 0",
    " 1] = 0",
    " 1-2",
    " host 1.2.3.4",
    " 255.255.255.0",
    " 00:00:00:00:00:00",
    " \\ip",
    " len = 0",
];

/// An expression that libpcap does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// libpcap's words.
    pub reason: String,
    /// The expression.
    pub expression: String,
    /// The bytes of it that are wrong; empty and at its end where something is missing. `None` where it is wrong as a
    /// whole.
    pub place: Option<Range<usize>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, expression, place } = self;
        match place {
            None => write!(f, "{reason}: `{expression}`"),
            Some(place) if place.is_empty() => write!(f, "{reason} at the end of `{expression}`"),
            Some(place) => {
                let character = expression[..place.start].chars().count() + 1;
                write!(f, "{reason} at `{}`, character {character} of `{expression}`", &expression[place.clone()])
            }
        }
    }
}

/// libpcap's program for `expression`.
pub(crate) fn compile(libpcap: &Libpcap, expression: &str) -> Result<Vec<Raw>, Refused> {
    let mut place = None;
    let result = libpcap.attempt(|compile| {
        compile(expression).inspect_err(|reason| {
            let deadline = Instant::now() + PATIENCE;
            let refusal = |text: &str| compile(text).err();
            place = find(expression, reason, &refusal, &|| Instant::now() > deadline);
        })
    });
    result.map_err(|reason| {
        let reason = reason.trim_start_matches("can't parse filter expression: ").to_owned();
        Refused { reason, expression: expression.to_owned(), place }
    })
}

/// The words of `expression` grow from one to all until libpcap finds fault.
fn find(
    expression: &str,
    reason: &str,
    refusal: &dyn Fn(&str) -> Option<String>,
    is_late: &dyn Fn() -> bool,
) -> Option<Range<usize>> {
    let words = words(expression);
    let is_wrong: &dyn Fn(&str) -> bool = if reason.contains(SYNTAX) {
        &|text| completions(text).all(|text| refusal(&text).is_some_and(|reason| reason.contains(SYNTAX)))
    } else {
        &|text| completions(text).take(1).any(|text| refusal(&text).is_some_and(|found| found == reason))
    };
    for word in &words {
        if is_late() {
            return None;
        }
        if is_wrong(&expression[..word.end]) {
            // What only the end shows is wrong with the whole.
            let is_whole = !reason.contains(SYNTAX) && word.end == expression.trim_end().len() && words.len() > 2;
            return (!is_whole || reason.contains(&expression[word.clone()])).then(|| word.clone());
        }
    }
    reason.contains(SYNTAX).then_some(expression.len()..expression.len())
}

fn completions(text: &str) -> impl Iterator<Item = String> {
    let count = |parenthesis| text.matches(parenthesis).count();
    let closing = ")".repeat(count('(').saturating_sub(count(')')));
    // Parentheses group tests, or numbers that then have to be compared.
    let tests = COMPLETIONS.map(|completion| format!("{text}{completion}{closing}"));
    let numbers = ["", " 1", "]", " 1]"].map(|completion| format!("{text}{completion}{closing} = 0"));
    tests.into_iter().chain(numbers)
}

/// Where words and signs are, roughly as libpcap's `scanner.l` sees them.
fn words(expression: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || "_.:-\\$@\"".contains(c);
    let is_double = |text: &str| ["&&", "||", "<=", ">=", "!=", "==", "<<", ">>"].contains(&text);
    for (at, c) in expression.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        let end = at + c.len_utf8();
        match words.last_mut().filter(|word| word.end == at) {
            Some(word) if is_part(c) && expression[word.clone()].chars().all(is_part) => word.end = end,
            Some(word) if is_double(&expression[word.start..end]) => word.end = end,
            _ => words.push(at..end),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        let refused = compile(Libpcap::get().unwrap(), expression).unwrap_err();
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn the_word_that_breaks_the_grammar_is_named() {
        check("foo bar", "syntax error at `foo`, character 1 of `foo bar`");
        check("tcp and and port 80", "syntax error at `and`, character 9 of `tcp and and port 80`");
        check("host 1.2.3.4 port 80", "syntax error at `port`, character 14 of `host 1.2.3.4 port 80`");
        check("(tcp or udp)) and ip", "syntax error at `)`, character 13 of `(tcp or udp)) and ip`");
        check("tcp) or (udp", "syntax error at `)`, character 4 of `tcp) or (udp`");
        check("ip[0] & 0xf = = 5", "syntax error at `=`, character 15 of `ip[0] & 0xf = = 5`");
        check(
            "tcp[tcpflags] & (tcp-syn|tcp-ack) != 0 udp",
            "syntax error at `udp`, character 40 of `tcp[tcpflags] & (tcp-syn|tcp-ack) != 0 udp`",
        );
        check(
            "src net 10.0.0.0/8 or or vlan 5",
            "syntax error at `or`, character 23 of `src net 10.0.0.0/8 or or vlan 5`",
        );
    }

    #[test]
    fn what_is_missing_at_the_end_is_said_to_be() {
        check("tcp and", "syntax error at the end of `tcp and`");
        check("(tcp or udp", "syntax error at the end of `(tcp or udp`");
        check("tcp[0", "syntax error at the end of `tcp[0`");
        check("src host", "syntax error at the end of `src host`");
    }

    #[test]
    fn the_word_that_means_nothing_is_named() {
        check(
            "tcp and port 99999 and ip",
            "illegal port number 99999 > 65535 at `99999`, character 14 of `tcp and port 99999 and ip`",
        );
        check("port 99999", "illegal port number 99999 > 65535 at `99999`, character 6 of `port 99999`");
    }

    #[test]
    fn what_matches_nothing_is_wrong_as_a_whole() {
        check("icmp and src port 80", "expression rejects all packets: `icmp and src port 80`");
    }
}
