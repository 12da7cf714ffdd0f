//! TLS for the public listener: the certificate and key that the operator names. HTTP/2 and HTTP/1.1 by ALPN.

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why there is no TLS. Each says what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path} cannot be read ({source}): it must be a file in PEM form that the server's user may read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error(
        "there is no certificate in {0}: it must have the server's, and then those that lead to a root, in PEM form (BEGIN CERTIFICATE)"
    )]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("there is no private key in {0}: it must have one without a password, in PEM form (BEGIN PRIVATE KEY)")]
    NoKey(PathBuf),
    /// The key is another certificate's.
    #[error("{key} is not the key of the first certificate in {certificate}: name the two that were made together")]
    Mismatch {
        /// `--tls-cert`.
        certificate: PathBuf,
        /// `--tls-key`.
        key: PathBuf,
    },
    /// The library does not take them.
    #[error("{certificate} and {key} cannot be used: {source}")]
    Refused {
        /// `--tls-cert`.
        certificate: PathBuf,
        /// `--tls-key`.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What a listener needs to speak TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads a certificate with those that lead to a root, and its key, from PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let file = |path: &Path, source| Error::File { path: path.to_owned(), source };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|source| file(certificate, source))?;
        if certificates.is_empty() {
            return Err(Error::NoCertificate(certificate.to_owned()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
            pem::Error::NoItemsFound => Error::NoKey(key.to_owned()),
            source => file(key, source),
        })?;
        let refused = |source| match source {
            rustls::Error::InconsistentKeys(_) => {
                Error::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
            }
            source => Error::Refused { certificate: certificate.to_owned(), key: key.to_owned(), source },
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(certificates, private)
            .map_err(refused)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The encrypted stream, once both sides have agreed on it; they have as long as `patience`.
    pub(super) async fn accept(&self, stream: TcpStream, patience: Duration) -> io::Result<TlsStream<TcpStream>> {
        let agreed = timeout(patience, self.0.accept(stream)).await;
        agreed.unwrap_or_else(|late: Elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, late)))
    }
}
