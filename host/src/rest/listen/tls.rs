//! TLS over TCP: our certificate, and the CA of the clients that need no token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

use super::access::{Access, SecretError, read_secret};
use crate::sys::regular;

/// The files that TLS is made of.
pub(crate) struct Files<'a> {
    /// Our certificate, and those between it and its CA.
    pub cert: &'a Path,
    pub key: &'a Path,
    /// Those that sign clients' certificates.
    pub cacert: Option<&'a Path>,
}

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{option} {}", file.display())]
    Read { option: &'static str, file: PathBuf, source: io::Error },
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error("{option} {}: it has no {wanted} in PEM", file.display())]
    Missing { option: &'static str, file: PathBuf, wanted: &'static str },
    #[error("{option} {}: it is not valid PEM", file.display())]
    Pem { option: &'static str, file: PathBuf, source: pem::Error },
    #[error("{option} {}", file.display())]
    Content { option: &'static str, file: PathBuf, source: Error },
    #[error("--cacert {}", file.display())]
    Cacert { file: PathBuf, source: VerifierBuilderError },
    #[error("--key {}: it is not the key of the certificate in {}", key.display(), cert.display())]
    Mismatch { key: PathBuf, cert: PathBuf },
    #[error("cannot use TLS")]
    Provider(#[source] Error),
}

/// What accepts TLS. Where `access` needs a certificate, there is no connection without one.
///
/// # Errors
/// What is wrong with which file.
pub(crate) fn acceptor(files: &Files<'_>, access: &Access) -> Result<TlsAcceptor, TlsError> {
    let chain = certificates("--cert", files.cert)?;
    let key = key(files.key)?;
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(TlsError::Provider)?;
    let config = match files.cacert {
        None => config.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(file)?, provider);
            let is_enough = matches!(access, Access::Tokens(tokens) if tokens.len() > 0);
            let verifier = if is_enough { verifier.allow_unauthenticated() } else { verifier };
            let unusable = |source| TlsError::Cacert { file: file.to_owned(), source };
            config.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(|source| match source {
        Error::InconsistentKeys(_) => TlsError::Mismatch { key: files.key.to_owned(), cert: files.cert.to_owned() },
        Error::InvalidCertificate(_) => content("--cert", files.cert, source),
        source => content("--key", files.key, source),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--cacert", file)? {
        roots.add(certificate).map_err(|source| content("--cacert", file, source))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(option: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = regular::read(file).map_err(|source| TlsError::Read { option, file: file.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(TlsError::Missing { option, file: file.to_owned(), wanted: "certificate" })
        }
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { option, file: file.to_owned(), source }),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (option, wanted) = ("--key", "private key without a password");
    PrivateKeyDer::from_pem_slice(&read_secret(option, file)?).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Missing { option, file: file.to_owned(), wanted },
        source => TlsError::Pem { option, file: file.to_owned(), source },
    })
}

fn content(option: &'static str, file: &Path, source: Error) -> TlsError {
    TlsError::Content { option, file: file.to_owned(), source }
}
