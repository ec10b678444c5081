//! Splits Rust source into tokens, as far as the rules need it: comments, strings and code are kept apart, and a token
//! knows its line. It accepts everything that `rustc` accepts; what `rustc` refuses never gets here, because lint
//! builds first.

/// What a token is. Numbers and lifetimes are dropped: no rule asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    Punctuation,
    /// The contents of a string literal, escapes included.
    Text,
    /// A comment without its marks.
    Comment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Punctuation) && self.text == text
    }
}

pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1, tokens: Vec::new() };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.step(first);
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self, first: char) {
        if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            let text = self.rest[..end].trim_start_matches(['/', '!']).trim().to_owned();
            self.push(TokenKind::Comment, text, end);
        } else if self.rest.starts_with("/*") {
            let end = block_comment(self.rest);
            let text = self.rest[..end].trim_matches(['/', '*', '!']).to_owned();
            self.push(TokenKind::Comment, text, end);
        } else if let Some((open, close)) = string(self.rest) {
            let text = self.rest[open..close.start].to_owned();
            self.push(TokenKind::Text, text, close.end);
        } else if first == '\'' {
            self.skip(quote(self.rest));
        } else if first.is_ascii_digit() {
            self.skip(word_end(self.rest));
        } else if is_word(first) {
            let end = word_end(self.rest);
            self.push(TokenKind::Word, self.rest[..end].to_owned(), end);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(TokenKind::Punctuation, first.to_string(), first.len_utf8());
        }
    }

    fn push(&mut self, kind: TokenKind, text: String, length: usize) {
        self.tokens.push(Token { kind, text, line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at(length);
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_end(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// Where a block comment ends; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Where a string's contents begin, and its closing marks, when `rest` begins with a string literal of any kind.
fn string(rest: &str) -> Option<(usize, std::ops::Range<usize>)> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix);
        after.is_some_and(|after| after.starts_with('"') || (prefix.ends_with('r') && is_raw(after)))
    })?;
    let hashes = rest[prefix.len()..].chars().take_while(|c| *c == '#').count();
    let open = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let mark = format!("\"{}", "#".repeat(hashes));
        let close = rest[open..].find(&mark).map_or(rest.len(), |at| open + at);
        return Some((open, close..(close + mark.len()).min(rest.len())));
    }
    let mut is_escaped = false;
    for (at, c) in rest[open..].char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some((open, open + at..open + at + 1)),
            _ => {}
        }
    }
    Some((open, rest.len()..rest.len()))
}

fn is_raw(after: &str) -> bool {
    after.starts_with('#') && after.trim_start_matches('#').starts_with('"')
}

/// How long a character literal is, or the mark of a lifetime, whose name is skipped with it.
fn quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let closing = chars.skip(1).find(|(_, c)| *c == '\'');
            closing.map_or(rest.len(), |(at, _)| at + 1)
        }
        Some((at, c)) if rest[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 1 + word_end(&rest[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[(TokenKind, &str, usize)]) {
        let found = tokens(source);
        let found = found.iter().map(|token| (token.kind, token.text.as_str(), token.line)).collect::<Vec<_>>();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn code_comments_and_strings_are_kept_apart() {
        check(
            "let a = \"// no\"; // \"yes\"\nb",
            &[
                (TokenKind::Word, "let", 1),
                (TokenKind::Word, "a", 1),
                (TokenKind::Punctuation, "=", 1),
                (TokenKind::Text, "// no", 1),
                (TokenKind::Punctuation, ";", 1),
                (TokenKind::Comment, "\"yes\"", 1),
                (TokenKind::Word, "b", 2),
            ],
        );
        check(
            "/* a /* b */ c */ d /// e",
            &[(TokenKind::Comment, " a /* b */ c ", 1), (TokenKind::Word, "d", 1), (TokenKind::Comment, "e", 1)],
        );
    }

    #[test]
    fn every_kind_of_string_ends_where_it_ends() {
        check("r#\"a\"b\"# c", &[(TokenKind::Text, "a\"b", 1), (TokenKind::Word, "c", 1)]);
        check("b\"\\\"\" c", &[(TokenKind::Text, "\\\"", 1), (TokenKind::Word, "c", 1)]);
        check(
            "c\"x\" \"a\nb\" d",
            &[(TokenKind::Text, "x", 1), (TokenKind::Text, "a\nb", 1), (TokenKind::Word, "d", 2)],
        );
        check("r#type", &[(TokenKind::Word, "r", 1), (TokenKind::Punctuation, "#", 1), (TokenKind::Word, "type", 1)]);
    }

    #[test]
    fn characters_and_lifetimes_hide_no_code() {
        check(
            "'\"' a '\\'' b 'x: c",
            &[
                (TokenKind::Word, "a", 1),
                (TokenKind::Word, "b", 1),
                (TokenKind::Punctuation, ":", 1),
                (TokenKind::Word, "c", 1),
            ],
        );
        check(
            "'\\u{1f}' a 0..5 1.5",
            &[
                (TokenKind::Word, "a", 1),
                (TokenKind::Punctuation, ".", 1),
                (TokenKind::Punctuation, ".", 1),
                (TokenKind::Punctuation, ".", 1),
            ],
        );
    }
}
