//! The tokens of TCP clients, from a file: one token alone in its first line, or any number in TOML, each with a name and
//! a role:
//!
//! ```toml
//! [[token]]
//! name = "grafana"
//! role = "read"
//! token = "…"
//!
//! [[certificate]]
//! common-name = "alice"
//! role = "capture"
//! ```
//!
//! The same file limits the role of clients with certificates, by the common names of their subjects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::access::{SecretError, read_secret};
use crate::rest::client::Role;
use crate::source::Position;

/// What the file in TOML has lists of.
const TOKENS: &str = "token";
const CERTIFICATES: &str = "certificate";
/// The members of one token.
const MEMBERS: [&str; 3] = ["name", "role", "token"];
/// The members of a rule for certificates.
const RULE: [&str; 2] = ["common-name", "role"];
/// In a rule, any name that no other rule has.
const ANY: &str = "*";

/// A token, as its digest: digests are equally long, so a comparison takes the same time whatever is sent.
#[derive(Clone)]
struct Token {
    name: Option<Arc<str>>,
    role: Role,
    digest: [u8; 32],
}

/// The tokens that are accepted, and the roles of clients with certificates.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    tokens: Arc<[Token]>,
    /// By common name.
    certificates: Arc<BTreeMap<String, Role>>,
}

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
        let tokens = [Token { name: None, role: Role::Admin, digest: digest(token.as_bytes()) }].into();
        Self { tokens, ..Self::default() }
    }

    /// The name and the role of a token that a client sent. Compares it with all of them, so that the time that it takes
    /// does not depend on which one it is.
    pub(super) fn find(&self, given: &[u8]) -> Option<(Option<Arc<str>>, Role)> {
        let given = digest(given);
        let mut found = None;
        for token in &*self.tokens {
            let is_same: Choice = token.digest.ct_eq(&given);
            if is_same.into() {
                found = Some((token.name.clone(), token.role));
            }
        }
        found
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are rules for clients with certificates.
    pub(crate) fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    /// The role of a client whose certificate has these common names; the least one where rules for several of them
    /// differ. What no rule is for may do everything, as the CA has been chosen for this daemon.
    pub(super) fn role_of_certificate(&self, names: &[String]) -> Role {
        let rules = names.iter().filter_map(|name| self.certificates.get(name)).min();
        *rules.or_else(|| self.certificates.get(ANY)).unwrap_or(&Role::Admin)
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
    let (mut tokens, mut certificates) = (Vec::new(), BTreeMap::new());
    for (key, value) in table.get_ref() {
        let (list, entries) = match (&**key.get_ref(), value.get_ref()) {
            (list @ (TOKENS | CERTIFICATES), DeValue::Array(entries)) => (list, entries),
            (other, _) => {
                let message = format!("`{other}` is not known: write [[token]] or [[certificate]]");
                return Err((at(key.span()), message));
            }
        };
        for entry in entries.iter() {
            let added = if list == TOKENS {
                add_token(text, entry, &mut tokens)
            } else {
                add_rule(text, entry, &mut certificates)
            };
            added.map_err(|(place, message)| (place.unwrap_or_else(|| at(entry.span())), message))?;
        }
    }
    Ok(Tokens { tokens: tokens.into(), certificates: certificates.into() })
}

/// A fault, and where it is, if not in the whole entry.
type EntryFault = (Option<Position>, String);

fn add_token(text: &str, entry: &Spanned<DeValue<'_>>, tokens: &mut Vec<Token>) -> Result<(), EntryFault> {
    let [(name, name_at), (role, role_at), (token, token_at)] = members(text, entry, ("token", MEMBERS))?;
    if !is_line(&name) {
        return Err((Some(name_at), "a token needs a name, in one line".to_owned()));
    }
    let role = role_called(&role, role_at)?;
    // What a header can carry (RFC 6750 section 2.1), without the spaces that HTTP would trim.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "a token consists of ASCII letters, digits and signs, without spaces";
        return Err((Some(token_at), message.to_owned()));
    }
    let token = Token { name: Some(name.as_str().into()), role, digest: digest(token.as_bytes()) };
    if tokens.iter().any(|other| other.name == token.name) {
        return Err((None, format!("a second token is called `{name}`: give each its own name")));
    }
    if tokens.iter().any(|other| other.digest == token.digest) {
        return Err((None, "another name has the same token: give each its own".to_owned()));
    }
    tokens.push(token);
    Ok(())
}

fn add_rule(text: &str, entry: &Spanned<DeValue<'_>>, rules: &mut BTreeMap<String, Role>) -> Result<(), EntryFault> {
    let [(name, name_at), (role, role_at)] = members(text, entry, ("certificate", RULE))?;
    if !is_line(&name) {
        let message = "give the common name of the certificates' subject, or `*` for all others";
        return Err((Some(name_at), message.to_owned()));
    }
    let role = role_called(&role, role_at)?;
    match rules.insert(name.clone(), role) {
        None => Ok(()),
        Some(_) => Err((None, format!("a second rule is for certificates of `{name}`: give each one role"))),
    }
}

/// The texts of an entry's members, and where they are.
fn members<const N: usize>(
    text: &str,
    entry: &Spanned<DeValue<'_>>,
    (what, known): (&str, [&str; N]),
) -> Result<[(String, Position); N], EntryFault> {
    let at = |span: std::ops::Range<usize>| Position::of(text, span.start);
    let listed = || match known.split_last() {
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    let DeValue::Table(members) = entry.get_ref() else {
        return Err((None, format!("write [[{what}]], and {} below it", listed())));
    };
    if let Some((key, _)) = members.iter().find(|(key, _)| !known.contains(&&**key.get_ref())) {
        let message = format!("`{}` is not known: a {what} has {}", key.get_ref(), listed());
        return Err((Some(at(key.span())), message));
    }
    let mut found = Vec::new();
    for member in known {
        let value = members.iter().find(|(key, _)| key.get_ref() == member).map(|(_, value)| value);
        match value.map(|value| (value.get_ref(), at(value.span()))) {
            None => return Err((None, format!("`{member}` is missing"))),
            Some((DeValue::String(value), place)) => found.push((value.to_string(), place)),
            Some((_, place)) => return Err((Some(place), format!("`{member}` must be a string"))),
        }
    }
    found.try_into().map_err(|_| (None, format!("a {what} has {}", listed())))
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

fn role_called(role: &str, at: Position) -> Result<Role, EntryFault> {
    Role::parse(role).ok_or_else(|| (Some(at), format!("there is no role `{role}`: give read, capture or admin")))
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

    #[test]
    fn a_certificate_has_the_role_that_the_rules_give_its_names() {
        let rule = |name: &str, role: &str| format!("[[certificate]]\ncommon-name = \"{name}\"\nrole = \"{role}\"\n");
        let role = |tokens: &Tokens, names: &[&str]| {
            tokens.role_of_certificate(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        let some = named(&(TWO.to_owned() + &rule("alice", "capture") + &rule("prometheus", "read"))).unwrap();
        assert!(some.has_certificates() && some.len() == 2);
        assert_eq!(role(&some, &["alice"]), Role::Capture);
        assert_eq!(role(&some, &["alice", "prometheus"]), Role::Read, "the least");
        assert_eq!(role(&some, &["bob"]), Role::Admin, "no rule is for it");
        assert_eq!(role(&some, &[]), Role::Admin);
        let all = named(&(rule("alice", "admin") + &rule("*", "read"))).unwrap();
        assert_eq!(role(&all, &["alice"]), Role::Admin);
        assert_eq!((role(&all, &["bob"]), role(&all, &[])), (Role::Read, Role::Read));
        for (text, expected) in [
            (rule("a", "root"), "3:8: there is no role `root`"),
            (rule("", "read"), "2:15: give the common name"),
            (rule("a", "read") + &rule("a", "read"), "4:1: a second rule is for certificates of `a`"),
            ("[[certificate]]\nrole = \"read\"".to_owned(), "1:1: `common-name` is missing"),
            (
                "[[certificate]]\nname = \"read\"".to_owned(),
                "2:1: `name` is not known: a certificate has common-name and role",
            ),
        ] {
            let (at, message) = named(&text).err().unwrap();
            assert!(format!("{at}: {message}").starts_with(expected), "{text}: {at}: {message}");
        }
    }
}
