//! Locates the error in an expression. libpcap only says what is wrong, at best.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::classic::Raw;
use super::join::both;
use super::libpcap::{CompileError, Libpcap};
use super::link::{Link, LinkType};
use super::terms::{Terms, moves, within_tags};

/// Time limit of the search. Host names may be looked up again and again.
const PATIENCE: Duration = Duration::from_millis(200);

/// libpcap's message for any error of grammar.
const SYNTAX: &str = "syntax error";

/// The start of libpcap's message for `ip broadcast` without a netmask, and ours.
const NO_NETMASK: &str = "netmask not known";
const BROADCAST: &str = "`ip broadcast` depends on the network's mask: set netmask too, such as netmask=24";

/// libpcap's message for an expression that no packet matches.
const REJECTS_ALL: &str = "expression rejects all packets";

/// One of these completes any valid start of an expression; open parentheses are closed after it.
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

/// Maximum characters of the expression in a message, before and after the error.
const EXCERPT: usize = 60;

/// An expression that libpcap rejects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ExpressionError {
    /// libpcap's message.
    pub reason: String,
    /// The expression.
    pub expression: String,
    /// The bytes that are wrong; empty and at its end if something is missing. `None` if the expression is wrong as a
    /// whole.
    pub place: Option<Range<usize>>,
    /// The fields, as an expression, if it is valid alone and wrong with them.
    pub fields: Option<String>,
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, expression, place, fields } = self;
        let excerpt = |around: usize| excerpt(expression, around);
        match (place, fields) {
            (_, Some(fields)) => {
                write!(f, "{reason}: `{}` and the fields, which say `{fields}`: clear one of them", excerpt(0))
            }
            (None, None) => write!(f, "{reason}: `{}`", excerpt(0)),
            (Some(place), None) if place.is_empty() => write!(f, "{reason} at the end of `{}`", excerpt(place.end)),
            (Some(place), None) => {
                let character = expression[..place.start].chars().count() + 1;
                let word = self::excerpt(&expression[place.clone()], 0);
                write!(f, "{reason} at `{word}`, character {character} of `{}`", excerpt(place.start))
            }
        }
    }
}

/// An excerpt of `expression` for a message, around the byte `around`.
fn excerpt(expression: &str, around: usize) -> String {
    let (before, after) = expression.split_at(around);
    let start = before.char_indices().rev().take(EXCERPT).last().map_or(around, |(at, _)| at);
    let end = after.char_indices().nth(EXCERPT).map_or(expression.len(), |(at, _)| around + at);
    let dots = |is_cut: bool| if is_cut { "…" } else { "" };
    // Tabs and newlines separate words too.
    let text = expression[start..end].replace(char::is_control, " ");
    format!("{}{text}{}", dots(start > 0), dots(end < expression.len()))
}

/// libpcap, and the network for which it compiles.
#[derive(Clone, Copy)]
pub(crate) struct Compiler {
    pub(crate) libpcap: &'static Libpcap,
    pub(crate) link: Link,
}

impl Compiler {
    fn compile(self, expression: &str) -> Result<Vec<Raw>, CompileError> {
        self.libpcap.compile(expression, self.link)
    }

    /// `fields` within tags, where packets can have some.
    fn fields(self, fields: &str) -> Cow<'_, str> {
        match self.link.link_type {
            LinkType::Ethernet => Cow::Owned(within_tags(fields)),
            LinkType::RawIp => Cow::Borrowed(fields),
        }
    }
}

/// libpcap's program for `terms`.
pub(crate) fn compile(compiler: Compiler, terms: &Terms) -> Result<Vec<Raw>, ExpressionError> {
    match terms {
        Terms::Fields(fields) => compile_one(compiler, &compiler.fields(fields)),
        Terms::Expression(expression) => compile_one(compiler, expression),
        Terms::Both { fields, expression } => {
            // Alone first: the error's location is in what the user wrote, and `a) or (b` must be rejected.
            let alone = compile_one(compiler, expression)?;
            if !moves(expression) {
                match compiler.compile(&format!("({expression}) and ({})", compiler.fields(fields))) {
                    Ok(together) => return Ok(together),
                    Err(CompileError::Libpcap(reason)) if reason == REJECTS_ALL => {
                        return Err(ExpressionError::rejects_all(terms));
                    }
                    // Together they are too much.
                    Err(_) => {}
                }
            }
            Ok(both(&compile_one(compiler, &compiler.fields(fields))?, &alone))
        }
    }
}

fn compile_one(compiler: Compiler, expression: &str) -> Result<Vec<Raw>, ExpressionError> {
    compiler.compile(expression).map_err(|error| {
        let reason = error.to_string();
        let deadline = Instant::now() + PATIENCE;
        let place = find(expression, &reason, &mut |text| match Instant::now() < deadline {
            true => Ok(compiler.compile(text).err().map(|error| error.to_string())),
            false => Err(Timeout),
        });
        ExpressionError::new(&reason, expression, place.unwrap_or_default())
    })
}

impl ExpressionError {
    /// For terms that no packet matches, in libpcap's words.
    pub(crate) fn rejects_all(terms: &Terms) -> Self {
        let (fields, expression) = match terms {
            Terms::Fields(expression) | Terms::Expression(expression) => (None, expression),
            Terms::Both { fields, expression } => (Some(fields.clone()), expression),
        };
        Self { fields, ..Self::new(REJECTS_ALL, expression, None) }
    }

    fn new(reason: &str, expression: &str, place: Option<Range<usize>>) -> Self {
        let reason = match reason.trim_start_matches("can't parse filter expression: ") {
            reason if reason.starts_with(NO_NETMASK) => BROADCAST.to_owned(),
            reason => reason.to_owned(),
        };
        Self { reason, expression: expression.to_owned(), place, fields: None }
    }
}

/// The search has taken too long.
struct Timeout;

/// Returns libpcap's message about an expression, or `None` if it is valid.
type Ask<'a> = dyn FnMut(&str) -> Result<Option<String>, Timeout> + 'a;

/// The first word that libpcap objects to. A wrong start stays wrong whatever follows, so this is a binary search over
/// the words.
fn find(expression: &str, reason: &str, ask: &mut Ask<'_>) -> Result<Option<Range<usize>>, Timeout> {
    let words = words(expression);
    let is_syntax = reason.contains(SYNTAX);
    let (mut first, mut end) = (0, words.len());
    while first < end {
        let middle = usize::midpoint(first, end);
        let text = &expression[..words[middle].end];
        let is_wrong = if is_syntax { breaks_grammar(text, ask)? } else { is_refused(text, reason, ask)? };
        if is_wrong {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    let Some(word) = words.get(first) else {
        return Ok(is_syntax.then_some(expression.len()..expression.len()));
    };
    // What only the end shows is wrong with the whole.
    let is_whole = !is_syntax && word.end == expression.trim_end().len() && words.len() > 2;
    Ok((!is_whole || reason.contains(&expression[word.clone()])).then(|| word.clone()))
}

/// Whether no completion makes a valid expression of `text`.
fn breaks_grammar(text: &str, ask: &mut Ask<'_>) -> Result<bool, Timeout> {
    for text in completions(text) {
        if !ask(&text)?.is_some_and(|found| found.contains(SYNTAX)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether libpcap's message about the start is the one about the whole.
fn is_refused(text: &str, reason: &str, ask: &mut Ask<'_>) -> Result<bool, Timeout> {
    let closed = completions(text).next().unwrap_or_default();
    Ok(ask(&closed)?.is_some_and(|found| found == reason))
}

fn completions(text: &str) -> impl Iterator<Item = String> {
    let count = |parenthesis| text.matches(parenthesis).count();
    let closing = ")".repeat(count('(').saturating_sub(count(')')));
    // Parentheses enclose tests, or numbers that must then be compared.
    let tests = COMPLETIONS.map(|completion| format!("{text}{completion}{closing}"));
    let numbers = ["", " 1", "]", " 1]"].map(|completion| format!("{text}{completion}{closing} = 0"));
    tests.into_iter().chain(numbers)
}

/// The positions of words and operators, roughly as in libpcap's `scanner.l`.
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
    use crate::{Fields, FilterError, Hook, Link, Target, compile as compile_filter, raw};

    #[track_caller]
    fn check(expression: &str, expected: &str) {
        assert_eq!(raw(expression, Link::default()).unwrap_err().to_string(), expected);
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
    fn broadcasts_need_a_netmask() {
        let reason = "`ip broadcast` depends on the network's mask: set netmask too, such as netmask=24";
        check("ip broadcast", &format!("{reason} at `broadcast`, character 4 of `ip broadcast`"));
        check(
            "arp or (ip broadcast and udp)",
            &format!("{reason} at `broadcast`, character 12 of `arp or (ip broadcast and udp)`"),
        );
    }

    #[test]
    fn what_matches_nothing_is_wrong_as_a_whole() {
        check("icmp and src port 80", "expression rejects all packets: `icmp and src port 80`");
    }

    #[test]
    fn what_contradicts_the_fields_is_reported_with_them() {
        let fields = Fields { l4proto: "tcp".parse().ok(), ..Fields::default() };
        let refused = |expression| {
            compile_filter(&fields, expression, Link::default(), &Target::returning(Hook::Tc, 1, 0))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("udp"),
            "expression rejects all packets: `udp` and the fields, which say `tcp`: clear one of them"
        );
        assert_eq!(refused("ip) or (arp"), "syntax error at `)`, character 3 of `ip) or (arp`");
        assert_eq!(refused("icmp and tcp"), "expression rejects all packets: `icmp and tcp`");
    }

    /// In `(vlan 10) and (udp)` libpcap looks for UDP within the tag, and in `(udp) and (vlan 10)` before it.
    #[test]
    fn fields_do_not_contradict_tags() {
        let fields = Fields { dport: Some(53), l4proto: "udp".parse().ok(), ..Fields::default() };
        for expression in ["vlan 10", "vlan 10 and ip", "ip or vlan 10", "vlan and vlan", "mpls", "vlan and udp"] {
            assert!(
                compile_filter(&fields, expression, Link::default(), &Target::returning(Hook::Tc, 1, 0))
                    .unwrap()
                    .is_some(),
                "{expression}"
            );
        }
    }

    /// Together these are longer than libpcap takes.
    #[test]
    fn fields_leave_room_for_a_long_expression() {
        let fields = Fields { dport: Some(53), ..Fields::default() };
        let expression = vec!["ip[0] = 1"; 620].join(" or ");
        assert!(within_tags(&fields.expression().unwrap().unwrap()).len() + expression.len() > 8192);
        let compiled = loop {
            match compile_filter(&fields, &expression, Link::default(), &Target::returning(Hook::Tc, 1, 0)) {
                Err(FilterError::Timeout) => {}
                compiled => break compiled,
            }
        };
        assert!(compiled.unwrap().is_some());
    }

    #[test]
    fn a_message_is_one_line_that_a_terminal_shows_whole() {
        check("tcp\n and\tand port 80", "syntax error at `and`, character 10 of `tcp  and and port 80`");
        let list = vec!["host 10.0.0.1"; 20].join(" or ");
        let expected = "syntax error at `or`, character 341 of `…0.0.1 or host 10.0.0.1 or host 10.0.0.1 or host 10.0.0.1 \
                        or or ip`";
        check(&format!("{list} or or ip"), expected);
        let expected = "syntax error at `bar`, character 5 of `tcp bar or host 10.0.0.1 or host 10.0.0.1 or host 10.0.0.1 \
                        or ho…`";
        check(&format!("tcp bar or {list}"), expected);
        let refused = ExpressionError::new("no", &"ä".repeat(9000), Some(10..30));
        let (word, text) = ("ä".repeat(10), "ä".repeat(65));
        assert_eq!(refused.to_string(), format!("no at `{word}`, character 6 of `{text}…`"));
    }

    /// Each question may involve a name that takes seconds to look up.
    #[test]
    fn the_search_for_the_place_ends_with_the_patience_for_it() {
        let mut asked = 0;
        let found = find("host a or or host b", SYNTAX, &mut |_| {
            asked += 1;
            if asked < 3 { Ok(Some(SYNTAX.to_owned())) } else { Err(Timeout) }
        });
        assert!(found.is_err());
        assert_eq!(asked, 3);
    }
}
