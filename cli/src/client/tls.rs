//! TLS to the daemon, and what it means when it fails.

use std::error;
use std::fmt;
use std::sync::Arc;
use std::{fs, io};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

use crate::address::{Address, Scheme, Transport};
use crate::endpoint::TlsFiles;

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(
        "https requires cacert: give the daemon's CA with --cacert FILE, POLYCUBECTL_CACERT or cacert in the configuration file"
    )]
    NoCacert,
    #[error("--cacert, --cert and --key are for https, and {address} is not")]
    NotHttps { address: String },
    #[error("a client certificate needs both --cert FILE and --key FILE")]
    Alone,
    #[error("'{host}' is not a name that a certificate can have")]
    Host { host: String },
    #[error("{what} {file}: {source}")]
    Read { what: &'static str, file: String, source: io::Error },
    #[error("{what} {file}: it has no {wanted} in PEM")]
    Empty { what: &'static str, file: String, wanted: &'static str },
    #[error("{what} {file}: it is not valid PEM: {source}")]
    Pem { what: &'static str, file: String, source: pem::Error },
    #[error("{what} {file}: {source}")]
    Content { what: &'static str, file: String, source: Error },
    #[error("key {key}: it is not the key of the certificate in {cert}")]
    Mismatch { cert: String, key: String },
    #[error("cannot use TLS: {0}")]
    Provider(#[source] Error),
}

/// Why TLS with a server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("its certificate was signed by a CA that is not in {cacert}: give the right one with --cacert")]
    Issuer { cacert: String },
    #[error("its certificate is for {}, not for {host}: use such a name in the URL", names.join(", "))]
    Name { host: String, names: Vec<String> },
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet: compare the clocks")]
    NotYet,
    #[error("its certificate is a CA's own: give the daemon one that the CA has signed")]
    Ca,
    #[error("it does not speak TLS: use http://, or start polycubed with --cert and --key")]
    NotSpoken,
    #[error("it requires a client certificate: give --cert and --key")]
    CertificateWanted,
    #[error("it rejects our certificate: have it signed by a CA of the daemon's --cacert")]
    CertificateRefused,
    #[error("TLS failed: {0}")]
    Other(Error),
}

/// TLS with one server.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    host: String,
    cacert: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, where the address wants TLS.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(crate) fn of(address: &Address, files: &TlsFiles) -> Result<Option<Self>, FileError> {
        match &address.transport {
            Transport::Tcp { scheme: Scheme::Https, host, .. } => Self::new(host, files).map(Some),
            Transport::Tcp { scheme: Scheme::Http, .. } | Transport::Unix(_) => Ok(None),
        }
    }

    /// `host` is what the server's certificate must name.
    fn new(host: &str, files: &TlsFiles) -> Result<Self, FileError> {
        let cacert = files.cacert.as_deref().ok_or(FileError::NoCacert)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| FileError::Host { host: host.to_owned() })?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("cacert", cacert)? {
            let wrong = |source| FileError::Content { what: "cacert", file: cacert.to_owned(), source };
            roots.add(certificate).map_err(wrong)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(FileError::Provider)?
            .with_root_certificates(roots);
        let mut config = match (&files.cert, &files.key) {
            (None, None) => config.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates("cert", cert)?;
                let read = read_key(key)?;
                config.with_client_auth_cert(chain, read).map_err(|source| match source {
                    Error::InconsistentKeys(_) => FileError::Mismatch { cert: cert.clone(), key: key.clone() },
                    Error::InvalidCertificate(_) => FileError::Content { what: "cert", file: cert.clone(), source },
                    source => FileError::Content { what: "key", file: key.clone(), source },
                })?
            }
            _ => return Err(FileError::Alone),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { connector, name, host: host.to_owned(), cacert: cacert.to_owned() })
    }

    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.connector.connect(self.name.clone(), stream).await
    }

    /// The TLS error that caused an error. A server may refuse our certificate after we have begun to send.
    pub(super) fn reason(&self, error: &(dyn error::Error + 'static)) -> Option<TlsError> {
        let inner = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn error::Error + 'static)),
            None => error.source(),
        };
        match error.downcast_ref::<Error>() {
            Some(error) => Some(self.explain(error)),
            None => inner.and_then(|inner| self.reason(inner)),
        }
    }

    fn explain(&self, error: &Error) -> TlsError {
        use CertificateError as Wrong;
        match error {
            // A CA of the same name has another key.
            Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
                TlsError::Issuer { cacert: self.cacert.clone() }
            }
            Error::InvalidCertificate(Wrong::NotValidForNameContext { presented, .. }) => {
                TlsError::Name { host: self.host.clone(), names: presented.clone() }
            }
            Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => TlsError::Expired,
            Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. }) => TlsError::NotYet,
            Error::InvalidCertificate(Wrong::Other(other))
                if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
            {
                TlsError::Ca
            }
            Error::InvalidMessage(_) => TlsError::NotSpoken,
            Error::AlertReceived(AlertDescription::CertificateRequired) => TlsError::CertificateWanted,
            Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::DecryptError,
            ) => TlsError::CertificateRefused,
            error => TlsError::Other(error.clone()),
        }
    }
}

fn certificates(what: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(what, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(FileError::Empty { what, file: file.to_owned(), wanted: "certificate" }),
        Ok(found) => Ok(found),
        Err(source) => Err(FileError::Pem { what, file: file.to_owned(), source }),
    }
}

fn read_key(file: &str) -> Result<PrivateKeyDer<'static>, FileError> {
    let (what, name) = ("key", file.to_owned());
    PrivateKeyDer::from_pem_slice(&read(what, file)?).map_err(|source| match source {
        pem::Error::NoItemsFound => FileError::Empty { what, file: name, wanted: "private key without a password" },
        source => FileError::Pem { what, file: name, source },
    })
}

fn read(what: &'static str, file: &str) -> Result<Vec<u8>, FileError> {
    fs::read(file).map_err(|source| FileError::Read { what, file: file.to_owned(), source })
}
