//! Words that stand in paths and on command lines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// First words of the framework's paths. A cube cannot have one as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Services that are loaded.
    Services,
    /// All cubes.
    Cubes,
    /// Network devices.
    Netdevs,
    /// All cubes with their chains.
    Topology,
    /// The whole configuration.
    Config,
    /// Version of the daemon.
    Version,
    /// Metrics, for Prometheus.
    Metrics,
    /// Whether the daemon works, for probes.
    Healthz,
    /// The API's description.
    OpenApi,
    /// Connects a port.
    Connect,
    /// Disconnects a port.
    Disconnect,
    /// Attaches a transparent cube.
    Attach,
    /// Detaches a transparent cube.
    Detach,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Services,
        Self::Cubes,
        Self::Netdevs,
        Self::Topology,
        Self::Config,
        Self::Version,
        Self::Metrics,
        Self::Healthz,
        Self::OpenApi,
        Self::Connect,
        Self::Disconnect,
        Self::Attach,
        Self::Detach,
    ];

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Cubes => "cubes",
            Self::Netdevs => "netdevs",
            Self::Topology => "topology",
            Self::Config => "config",
            Self::Version => "version",
            Self::Metrics => "metrics",
            Self::Healthz => "healthz",
            Self::OpenApi => "openapi.json",
            Self::Connect => "connect",
            Self::Disconnect => "disconnect",
            Self::Attach => "attach",
            Self::Detach => "detach",
        }
    }

    /// The word that is written `text`, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.as_str() == text)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Words that the command line keeps for itself. A cube cannot have one as its name either.
pub const COMMAND_LINE: [&str; 3] = ["help", "completion", "plugin"];

/// What the command line does to what a path names. Neither a cube nor a port can be called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Creates it.
    Add,
    /// Changes it.
    Set,
    /// Reads it.
    Show,
    /// Deletes it, or sets it back to its default.
    Del,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Add, Self::Set, Self::Show, Self::Del];

    /// As it is typed. `OPTIONS …?help=` takes it in either case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Set => "set",
            Self::Show => "show",
            Self::Del => "del",
        }
    }

    /// The verb that is written `text`, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// The method of the request that it becomes.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Add => Method::Post,
            Self::Set => Method::Patch,
            Self::Show => Method::Get,
            Self::Del => Method::Delete,
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Methods of HTTP that resources take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or runs an action.
    Post,
    /// Replaces.
    Put,
    /// Changes what is named.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// The method that HTTP writes `text`, if resources can take it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete].into_iter().find(|one| one.as_str() == text)
    }

    /// The verb that sends it; a request to replace comes from no command line.
    #[must_use]
    pub fn verb(self) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.method() == self)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in Word::ALL {
            assert_eq!(Word::parse(word.as_str()), Some(word));
        }
        for verb in Verb::ALL {
            assert_eq!(Verb::parse(verb.as_str()), Some(verb));
            assert_eq!(verb.method().verb(), Some(verb));
            assert_eq!(Method::parse(verb.method().as_str()), Some(verb.method()));
        }
        assert_eq!((Word::parse("br1"), Verb::parse("SHOW"), Method::parse("TRACE")), (None, None, None));
        assert_eq!(Method::Put.verb(), None);
    }
}
