//! The tokens of TCP clients, from a file: one token alone in its first line, or any number in TOML, each with a name and
//! a role:
//!
//! ```toml
//! [[token]]
//! name = "grafana"
//! role = "read"
//! token = "…"
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::{SecretError, read_secret};
use crate::rest::client::Role;
use crate::source::Position;

/// What the file in TOML has a list of.
const LIST: &str = "token";
/// The members of one token.
const MEMBERS: [&str; 3] = ["name", "role", "token"];

/// A token, as its digest: digests are equally long, so a comparison takes the same time whatever is sent.
#[derive(Clone)]
struct Token {
    name: Option<Arc<str>>,
    role: Role,
    digest: [u8; 32],
}

/// The tokens that are accepted.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<[Token]>);

/// A file of tokens that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("token file {} is not valid UTF-8", file.display())]
    NotUtf8 { file: PathBuf },
    #[error("token file {} is empty: write a token into its first line", file.display())]
    Empty { file: PathBuf },
    #[error("token file {}:{at}: {message}", file.display())]
    Content { file: PathBuf, at: Position, message: String },
}

impl Tokens {
    /// Reads the tokens in a file that others cannot use.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub(super) fn from_file(file: &Path) -> Result<Self, TokenError> {
        let text = String::from_utf8(read_secret("token file", file)?);
        let text = text.map_err(|_| TokenError::NotUtf8 { file: file.to_owned() })?;
        let content = |(at, message)| TokenError::Content { file: file.to_owned(), at, message };
        if text.lines().any(|line| line.trim_start().starts_with("[[")) {
            return named(&text).map_err(content);
        }
        match text.lines().next().map(str::trim) {
            None | Some("") => Err(TokenError::Empty { file: file.to_owned() }),
            // A comment belongs to TOML, and is not a secret.
            Some(line) if line.starts_with(['#', '[']) => Err(content((
                Position::START,
                "it has neither a token in its first line nor a [[token]]: see docs/security.md".to_owned(),
            ))),
            Some(token) => Ok(Self::alone(token)),
        }
    }

    /// One token without a name, which may do everything.
    pub(super) fn alone(token: &str) -> Self {
        Self([Token { name: None, role: Role::Admin, digest: digest(token.as_bytes()) }].into())
    }

    /// The name and the role of a token that a client sent. Compares it with all of them, so that the time that it takes
    /// does not depend on which one it is.
    pub(super) fn find(&self, given: &[u8]) -> Option<(Option<Arc<str>>, Role)> {
        let given = digest(given);
        let mut found = None;
        for token in &*self.0 {
            let is_same: Choice = token.digest.ct_eq(&given);
            if is_same.into() {
                found = Some((token.name.clone(), token.role));
            }
        }
        found
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

type Fault = (Position, String);

fn named(text: &str) -> Result<Tokens, Fault> {
    let at = |span: std::ops::Range<usize>| Position::of(text, span.start);
    let table = DeTable::parse(text).map_err(|error| {
        (error.span().map_or(Position::START, at), error.message().lines().collect::<Vec<_>>().join("; "))
    })?;
    let mut tokens = Vec::new();
    for (key, value) in table.get_ref() {
        let entries = match value.get_ref() {
            DeValue::Array(entries) if key.get_ref() == LIST => entries,
            _ => return Err((at(key.span()), format!("`{}` is not known: write [[token]]", key.get_ref()))),
        };
        for entry in entries.iter() {
            let token = one(text, entry)?;
            if tokens.iter().any(|other: &Token| other.name == token.name) {
                let name = token.name.as_deref().unwrap_or_default();
                return Err((at(entry.span()), format!("a second token is called `{name}`: give each its own name")));
            }
            if tokens.iter().any(|other| other.digest == token.digest) {
                return Err((at(entry.span()), "another name has the same token: give each its own".to_owned()));
            }
            tokens.push(token);
        }
    }
    Ok(Tokens(tokens.into()))
}

/// Reads one `[[token]]`.
fn one(text: &str, entry: &Spanned<DeValue<'_>>) -> Result<Token, Fault> {
    let at = |span: std::ops::Range<usize>| Position::of(text, span.start);
    let DeValue::Table(members) = entry.get_ref() else {
        return Err((at(entry.span()), "write [[token]], and name, role and token below it".to_owned()));
    };
    if let Some((key, _)) = members.iter().find(|(key, _)| !MEMBERS.contains(&&**key.get_ref())) {
        let message = format!("`{}` is not known: a token has name, role and token", key.get_ref());
        return Err((at(key.span()), message));
    }
    let [(name, name_at), (role, role_at), (token, token_at)] = MEMBERS.map(|member| {
        let found = members.iter().find(|(key, _)| key.get_ref() == member);
        match found.map(|(_, value)| (value.get_ref(), value.span())) {
            None => (Err(format!("`{member}` is missing")), at(entry.span())),
            Some((DeValue::String(value), span)) => (Ok(value.as_ref()), at(span)),
            Some((_, span)) => (Err(format!("`{member}` must be a string")), at(span)),
        }
    });
    let name = name.map_err(|message| (name_at, message))?;
    if name.is_empty() || name.contains(|character: char| character.is_control()) {
        return Err((name_at, "a token needs a name, in one line".to_owned()));
    }
    let role = role.map_err(|message| (role_at, message))?;
    let Some(role) = Role::parse(role) else {
        return Err((role_at, format!("there is no role `{role}`: give read, capture or admin")));
    };
    let token = token.map_err(|message| (token_at, message))?;
    // What a header can carry (RFC 6750 section 2.1), without the spaces that HTTP would trim.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err((token_at, "a token consists of ASCII letters, digits and signs, without spaces".to_owned()));
    }
    Ok(Token { name: Some(name.into()), role, digest: digest(token.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# Those who may.\n[[token]]\nname = \"grafana\"\nrole = \"read\"\ntoken = \"r1\"\n\n\
        [[token]]\nname = \"alice\"\nrole = \"admin\"\ntoken = \"a1\"\n";

    #[test]
    fn each_token_has_its_name_and_role() {
        let tokens = named(TWO).unwrap();
        let found = |given: &str| tokens.find(given.as_bytes()).map(|(name, role)| (name.unwrap().to_string(), role));
        assert_eq!(found("r1"), Some(("grafana".to_owned(), Role::Read)));
        assert_eq!(found("a1"), Some(("alice".to_owned(), Role::Admin)));
        for other in ["", "r", "r11", "R1", "grafana"] {
            assert_eq!(found(other), None, "{other:?}");
        }
        assert_eq!(tokens.len(), 2);
    }

    #[test]
    fn a_fault_has_its_place() {
        for (text, expected) in [
            ("[[token]]\nname = \"a\"\nrole = \"root\"\ntoken = \"t\"", "3:8: there is no role `root`"),
            ("[[token]]\nname = \"a\"\nrole = \"read\"", "1:1: `token` is missing"),
            ("[[token]]\nname = 5\nrole = \"read\"\ntoken = \"t\"", "2:8: `name` must be a string"),
            ("[[token]]\nname = \"\"\nrole = \"read\"\ntoken = \"t\"", "2:8: a token needs a name"),
            ("[[token]]\nname = \"a\"\nrole = \"read\"\ntoken = \"t u\"", "4:9: a token consists of"),
            ("[[token]]\nname = \"a\"\nrolle = \"read\"\ntoken = \"t\"", "3:1: `rolle` is not known"),
            ("[[tokens]]\nname = \"a\"", "1:3: `tokens` is not known: write [[token]]"),
            ("[[token]]\nname = ", "2:8: "),
        ] {
            let (at, message) = named(text).err().unwrap();
            assert!(format!("{at}: {message}").starts_with(expected), "{text}: {at}: {message}");
        }
        let twice = format!("{TWO}[[token]]\nname = \"alice\"\nrole = \"read\"\ntoken = \"x\"\n");
        assert!(named(&twice).err().unwrap().1.contains("a second token is called `alice`"));
        let same = format!("{TWO}[[token]]\nname = \"bob\"\nrole = \"read\"\ntoken = \"a1\"\n");
        assert!(named(&same).err().unwrap().1.contains("another name has the same token"));
    }
}
