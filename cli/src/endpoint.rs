//! Where the daemon is, as far as the user has said.

/// A daemon, and what it requires of its clients.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) url: Option<String>,
    pub(crate) token_file: Option<String>,
    pub(crate) tls: TlsFiles,
}

/// The files that TLS is made of, as the user names them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TlsFiles {
    /// Those that sign daemons' certificates.
    pub(crate) cacert: Option<String>,
    /// Our certificate, and those between it and its CA.
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
}
