//! TLS for TCP: who we are, and whose clients are taken at their certificate.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

use super::access::{Access, read_secret};

/// The files that TLS is made of.
pub struct Files<'a> {
    /// Our certificate, and those between it and its CA.
    pub cert: &'a Path,
    pub key: &'a Path,
    /// Those that sign clients' certificates.
    pub cacert: Option<&'a Path>,
}

/// What accepts TLS. Where certificates are all that `access` takes, nobody gets in without one.
///
/// # Errors
/// One line that names the file and says what is wrong with it.
pub fn acceptor(files: &Files<'_>, access: &Access) -> Result<TlsAcceptor, String> {
    let chain = certificates("--cert", files.cert)?;
    let key = key(files.key)?;
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = match files.cacert {
        None => config.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots(file)?, provider);
            let verifier = if matches!(access, Access::Token(_)) { verifier.allow_unauthenticated() } else { verifier };
            config.with_client_cert_verifier(verifier.build().map_err(|error| wrong("--cacert", file, error))?)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            format!("--key {}: it is not the key of the certificate in {}", files.key.display(), files.cert.display())
        }
        Error::InvalidCertificate(_) => wrong("--cert", files.cert, error),
        error => wrong("--key", files.key, error),
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--cacert", file)? {
        roots.add(certificate).map_err(|error| wrong("--cacert", file, error))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(file).map_err(|error| wrong(option, file, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(option, file, "there is no certificate in PEM in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(option, file, format_args!("it is no PEM: {error}"))),
    }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    use rustls_pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(&read_secret("--key", file)?).map_err(|error| match error {
        Error::NoItemsFound => wrong("--key", file, "there is no private key in PEM in it, or it is encrypted"),
        error => wrong("--key", file, format_args!("it is no PEM: {error}")),
    })
}

fn wrong(option: &str, file: &Path, reason: impl Display) -> String {
    format!("{option} {}: {reason}", file.display())
}
