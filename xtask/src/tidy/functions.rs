//! The functions of a file: how long each is, and how much it takes.

use super::lexer::{Token, TokenKind};
use super::source::depth_change;

pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    /// From `fn` to the closing brace.
    pub(super) lines: usize,
    /// Without `self`.
    pub(super) arguments: usize,
}

/// Every function with a body.
pub(super) fn functions(tokens: &[Token]) -> Vec<Function> {
    let code = tokens.iter().filter(|token| token.kind != TokenKind::Comment).collect::<Vec<_>>();
    let starts = code.windows(2).enumerate().filter(|(_, pair)| pair[0].is("fn") && pair[1].kind == TokenKind::Word);
    starts.filter_map(|(at, _)| function(&code[at..])).collect()
}

fn function(code: &[&Token]) -> Option<Function> {
    let open = 2 + generics(&code[2..]);
    let close = open + closing(&code[open..])?;
    let mut depth = 0;
    // An array in what is answered, `[u8; 2]`, has a `;` too.
    let rest = code[close + 1..].iter().position(|token| {
        let is_outside = depth == 0;
        depth += depth_change(token);
        is_outside && (token.is("{") || token.is(";"))
    })?;
    let body = &code[close + 1 + rest..];
    if body[0].is(";") {
        return None;
    }
    let end = body[closing(body)?].line;
    Some(Function {
        name: code[1].text.clone(),
        line: code[0].line,
        lines: end - code[0].line + 1,
        arguments: arguments(&code[open + 1..close]),
    })
}

/// How many tokens the generic parameters take.
fn generics(code: &[&Token]) -> usize {
    let mut depth = 0;
    for (at, token) in code.iter().enumerate() {
        depth += angle(code, at);
        if depth == 0 {
            return if token.is(">") { at + 1 } else { 0 };
        }
    }
    0
}

/// 1 where generic arguments open, -1 where they close; the `>` of an arrow is neither.
fn angle(code: &[&Token], at: usize) -> i32 {
    let is_arrow = at > 0 && (code[at - 1].is("-") || code[at - 1].is("="));
    if code[at].is("<") {
        1
    } else if code[at].is(">") && !is_arrow {
        -1
    } else {
        0
    }
}

/// Where the bracket that `code` begins with closes.
fn closing(code: &[&Token]) -> Option<usize> {
    let mut depth = 0;
    code.iter().position(|token| {
        depth += depth_change(token);
        depth == 0
    })
}

fn arguments(code: &[&Token]) -> usize {
    let mut depth = 0;
    let mut all = vec![0];
    let mut takes_self = false;
    for (at, token) in code.iter().enumerate() {
        depth += depth_change(token) + angle(code, at);
        if depth == 0 && token.is(",") {
            all.push(0);
        } else if let Some(last) = all.last_mut() {
            *last += 1;
        }
        takes_self |= all.len() == 1 && token.is("self");
    }
    all.iter().filter(|tokens| **tokens > 0).count() - usize::from(takes_self)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lexer::tokens;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, usize, usize)]) {
        let found = functions(&tokens(text));
        let found = found.iter().map(|found| (found.name.as_str(), found.lines, found.arguments)).collect::<Vec<_>>();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn arguments_are_counted_and_self_is_not() {
        check("fn a() {}", &[("a", 1, 0)]);
        check("fn a(&mut self, b: B<C, D>, (e, f): (E, F),) {}", &[("a", 1, 2)]);
        check("fn a<B: Fn(C, D) -> E, F>(g: impl Fn(H, I) -> J, k: K) {}", &[("a", 1, 2)]);
        check("fn a(self: Arc<Self>) -> [u8; 2] {}", &[("a", 1, 0)]);
    }

    #[test]
    fn lines_are_counted_from_the_name_to_the_last_brace() {
        check("fn a(\n) {\n  if b { \"}\" }\n}\n", &[("a", 4, 0)]);
        check("trait A { fn b();\n fn c() { fn d() {}\n } }", &[("c", 2, 0), ("d", 1, 0)]);
        check("let a: fn(B) = c;", &[]);
    }
}
