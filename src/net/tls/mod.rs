//! TLS with rustls: certificates and private keys from PEM files (RFC 7468).
//!
//! `certificate` reads what a certificate says of itself. `server` is the certificate of a listener,
//! reloaded when its files change. `self_signed` makes a certificate on the first run. `client`
//! chooses the servers that the client trusts. `session` is what a handshake agreed on.

mod certificate;
mod client;
mod self_signed;
mod server;
mod session;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use certificate::CertificateInfo;
pub(crate) use client::client_config;
pub(super) use client::insecure;
pub(crate) use self_signed::{check_names, ensure_self_signed};
pub(crate) use server::{Reload, ServerTls};
pub(crate) use session::TlsSession;

/// The size of the largest PEM file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is larger than 1 MiB.
    #[error("{} is larger than {MAX_FILE} bytes, so it is not a PEM file of certificates", .0.display())]
    TooLarge(PathBuf),
    /// A file is not PEM.
    #[error("{} is not well-formed PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with its contents.
        source: pem::Error,
    },
    /// A file has no certificate.
    #[error("{} has no certificate: expected a section BEGIN CERTIFICATE", .0.display())]
    NoCertificate(PathBuf),
    /// A file has no private key.
    #[error("{} has no private key: expected a section BEGIN PRIVATE KEY", .0.display())]
    NoKey(PathBuf),
    /// The private key is encrypted.
    #[error(
        "the private key in {} is encrypted: decrypt it with `openssl pkey -in`",
        .0.display()
    )]
    EncryptedKey(PathBuf),
    /// The private key belongs to another certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}: expected the certificate of \
         the key first, and its issuers after it",
        .0.key.display(), .0.certificate.display()
    )]
    Mismatch(PairFiles),
    /// rustls rejects the certificate or the key.
    #[error("cannot use the certificate in {} with the key in {}: {source}",
        files.certificate.display(), files.key.display())]
    Unusable {
        files: PairFiles,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A certificate cannot be a root.
    #[error("a certificate in {} cannot be trusted as a root: {source}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// rustls and ring have no version of TLS in common. This does not happen.
    #[error("cannot set up TLS: {0}")]
    Provider(rustls::Error),
    /// A certificate that was made earlier is not for a name.
    #[error(
        "the certificate in {} is not for {name}: remove the file, and a new certificate is made",
        path.display()
    )]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The host name or address.
        name: String,
    },
    /// A self-signed certificate cannot be made.
    #[error("cannot make a self-signed certificate for {names}: {source}")]
    SelfSigned {
        /// The names of the certificate, separated by commas.
        names: String,
        /// What rcgen says.
        source: rcgen::Error,
    },
    /// A self-signed certificate cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The files of a certificate chain and its private key. Both may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain: the certificate of the key, then its issuers.
    pub certificate: PathBuf,
    /// The private key, not encrypted: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

impl PairFiles {
    /// Both in one file.
    pub fn combined(path: impl Into<PathBuf>) -> PairFiles {
        let path = path.into();
        PairFiles { certificate: path.clone(), key: path }
    }
}

/// The contents of the files, before they are parsed.
struct PairBytes {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl PairBytes {
    fn read(files: &PairFiles) -> Result<PairBytes, TlsError> {
        Ok(PairBytes { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    /// The chain and the key. `files` are the names for errors.
    fn parse(&self, files: &PairFiles) -> Result<Pair, TlsError> {
        Ok((certificates(&files.certificate, &self.certificate)?, key(&files.key, &self.key)?))
    }
}

/// A certificate chain and its private key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// ring, the only crypto library of the program.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads the certificates in the file at `path`, at least one.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, &read(path)?)
}

/// Reads the chain and the key in these files.
fn read_pair(files: &PairFiles) -> Result<Pair, TlsError> {
    PairBytes::read(files)?.parse(files)
}

/// The error for a pair that rustls rejects.
fn unusable(files: &PairFiles, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch(files.clone())
        }
        source => TlsError::Unusable { files: files.clone(), source },
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TlsError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    match chain.is_empty() {
        true => Err(TlsError::NoCertificate(path.to_owned())),
        false => Ok(chain),
    }
}

fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    let encrypted = |mark: &&[u8]| text.windows(mark.len()).any(|window| window == *mark);
    let path = path.to_owned();
    // Checked first: an old-style encrypted key does not parse as what its section names.
    if ENCRYPTED.iter().any(encrypted) {
        return Err(TlsError::EncryptedKey(path));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path),
        source => TlsError::Pem { path, source },
    })
}
