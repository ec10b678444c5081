//! Splits running text into words and marks.

use crate::tidy::lexer::{Token, TokenKind};

/// A word in lower case, or a mark that ends a sentence or a clause.
pub(super) struct Word {
    pub(super) text: String,
    pub(super) line: usize,
}

impl Word {
    pub(super) fn is_mark(&self) -> bool {
        !self.text.starts_with(|c: char| c.is_alphanumeric() || c == '\'' || c == '_')
    }
}

pub(super) fn words(token: &Token) -> Vec<Word> {
    let mut words = Vec::new();
    let mut line = token.line;
    let mut text = String::new();
    let mut is_escape = false;
    for c in token.text.chars().chain([' ']) {
        let is_word = !is_escape && (c.is_alphanumeric() || c == '\'' || c == '_');
        is_escape = !is_escape && c == '\\' && token.kind == TokenKind::Text;
        if is_word {
            text.extend(c.to_lowercase());
            continue;
        }
        if !text.is_empty() {
            words.push(Word { text: std::mem::take(&mut text), line });
        }
        if matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '-' | '/' | '=') {
            words.push(Word { text: c.to_string(), line });
        }
        line += usize::from(c == '\n');
    }
    words
}
