//! The client of a request: its identity, and what it may do.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::sys::process;

/// What a client may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Read settings, state and metrics, but no packets.
    Read,
    /// Attach, detach, set, start and stop captures that exist, and read their packets.
    Capture,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Capture, Self::Admin];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Capture => "capture",
            Self::Admin => "admin",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a client has identified itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A local user, if the kernel says which.
    User(Option<u32>),
    /// The subject of its certificate.
    Certificate(Arc<str>),
    /// The name of its token; the only token of a file may have none.
    Token(Option<Arc<str>>),
    /// Not at all, on a port that does not ask.
    Anyone,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(Some(uid)) => match process::user_name(*uid) {
                Some(name) => write!(f, "uid {uid} ({name})"),
                None => write!(f, "uid {uid}"),
            },
            Self::User(None) => f.write_str("a local user"),
            Self::Certificate(subject) => write!(f, "certificate {subject}"),
            Self::Token(Some(name)) => write!(f, "token {name}"),
            Self::Token(None) => f.write_str("the token"),
            Self::Anyone => f.write_str("anyone (--no-auth)"),
        }
    }
}

/// The client of a request. Each request has it as an extension.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub who: Who,
    /// Where its connection comes from.
    pub from: Arc<str>,
    /// The ends of its connection, over TCP: ours and the client's.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_those_before_it() {
        assert!(Role::Read < Role::Capture && Role::Capture < Role::Admin);
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn clients_are_called_by_what_they_showed() {
        for (who, text) in [
            (Who::User(Some(0)), "uid 0 (root)"),
            (Who::User(Some(4_000_000_000)), "uid 4000000000"),
            (Who::User(None), "a local user"),
            (Who::Certificate("CN=alice".into()), "certificate CN=alice"),
            (Who::Token(Some("grafana".into())), "token grafana"),
            (Who::Token(None), "the token"),
            (Who::Anyone, "anyone (--no-auth)"),
        ] {
            assert_eq!(who.to_string(), text);
        }
    }
}
