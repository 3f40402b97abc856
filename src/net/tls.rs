//! The server's side of TLS: a certificate chain and its key, read from PEM files (RFC 7468) and
//! read again when the files change.
//!
//! TLS 1.2 and 1.3 with ring; HTTP/2 and HTTP/1.1 are offered through ALPN. No client certificates.
//! A pair that cannot be used never replaces one that can.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io};

use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};

use super::Shutdown;

/// A file of certificates or keys larger than this is none; in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any certificate or key.
    #[error("{} is larger than {MAX_FILE} bytes: it is no PEM file of certificates", .0.display())]
    TooLarge(PathBuf),
    /// A file is not PEM.
    #[error("{} is not well-formed PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{} has no certificate: expected a section BEGIN CERTIFICATE", .0.display())]
    NoCertificate(PathBuf),
    /// A file holds no key.
    #[error("{} has no private key: expected a section BEGIN PRIVATE KEY", .0.display())]
    NoKey(PathBuf),
    /// The key is encrypted.
    #[error(
        "the private key in {} is encrypted: write it without a passphrase, with `openssl pkey -in` it",
        .0.display()
    )]
    EncryptedKey(PathBuf),
    /// The key is of another certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}: expected the certificate of \
         the key first, its issuers after it",
        .0.key.display(), .0.certificate.display()
    )]
    Mismatch(PairFiles),
    /// rustls refuses the pair.
    #[error("cannot use the certificate in {} with the key in {}: {source}",
        files.certificate.display(), files.key.display())]
    Unusable {
        /// The files.
        files: PairFiles,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate cannot be a root to trust.
    #[error("a certificate in {} cannot be trusted as a root: {source}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// rustls and ring have no version of TLS in common. They have.
    #[error("cannot set up TLS: {0}")]
    Provider(rustls::Error),
    /// A self-signed certificate cannot be made.
    #[error("cannot make a self-signed certificate for {names}: {source}")]
    SelfSigned {
        /// The names it was to have.
        names: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A self-signed certificate cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where a certificate chain and its key are. Both may be in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain: the certificate of the key, then its issuers.
    pub certificate: PathBuf,
    /// The key, not encrypted: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
}

impl PairFiles {
    /// Both in one file.
    pub fn combined(path: impl Into<PathBuf>) -> PairFiles {
        let path = path.into();
        PairFiles { certificate: path.clone(), key: path }
    }
}

/// What a look at the files came to.
#[derive(Debug)]
pub enum Reload {
    /// They hold what they held before, or have only just changed to what cannot be used.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
    /// They hold what cannot be used: new connections still get the certificate they got before.
    /// Said once for each change.
    Kept(TlsError),
}

/// The certificate that new connections get.
#[derive(Debug)]
pub struct ServerTls {
    files: PairFiles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Replaced whole, with its session store: a session is not resumed under a certificate that
    /// was taken out of use.
    config: Arc<ServerConfig>,
    /// When its certificate ends, in seconds since the epoch, if that can be read.
    expires_at: Option<i64>,
    /// What the files last held.
    seen: Seen,
    /// What is wrong with that, until it is said.
    wrong: Option<TlsError>,
}

impl ServerTls {
    /// Reads the pair.
    ///
    /// # Errors
    /// When a file cannot be read or the two are no pair that a server can use.
    pub fn load(files: PairFiles) -> Result<ServerTls, TlsError> {
        let contents = Contents::read(&files)?;
        let (config, expires_at) = contents.config(&files)?;
        let state = State { config, expires_at, seen: contents.seen(), wrong: None };
        Ok(ServerTls { files, state: Mutex::new(state) })
    }

    /// The configuration for a connection that begins now. A connection keeps the one it began with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.state().config.clone()
    }

    /// When the certificate that new connections get is valid no more: seconds since the epoch. It is
    /// not known of one that is oddly encoded.
    pub fn expires_at(&self) -> Option<i64> {
        self.state().expires_at
    }

    /// Looks at the files, and takes what they hold into use if it is new.
    ///
    /// The two files are replaced one after the other, so what cannot be used is reported only when
    /// a second look finds it still there.
    pub fn reload(&self) -> Reload {
        let read = Contents::read(&self.files);
        let seen = match &read {
            Ok(contents) => contents.seen(),
            Err(error) => Seen::Unreadable(error.to_string()),
        };
        let mut state = self.state();
        if state.seen == seen {
            return state.wrong.take().map_or(Reload::Unchanged, Reload::Kept);
        }
        state.seen = seen;
        match read.and_then(|contents| contents.config(&self.files)) {
            Ok((config, expires_at)) => {
                (state.config, state.expires_at) = (config, expires_at);
                state.wrong = None;
                Reload::Replaced
            }
            Err(error) => {
                state.wrong = Some(error);
                Reload::Unchanged
            }
        }
    }

    /// Looks at the files every `interval` until shutdown, and reports what is not
    /// [`Reload::Unchanged`].
    pub async fn watch(
        self: Arc<Self>,
        interval: Duration,
        mut shutdown: Shutdown,
        report: impl Fn(Reload),
    ) {
        while tokio::time::timeout(interval, shutdown.begun()).await.is_err() {
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Reload::Unchanged) | Err(_) => {}
                Ok(reload) => report(reload),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What two looks at the files are compared by.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Digests([Vec<u8>; 2]),
    Unreadable(String),
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &PairFiles) -> Result<Contents, TlsError> {
        Ok(Contents { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn seen(&self) -> Seen {
        let digest = |bytes| digest(&SHA256, bytes).as_ref().to_vec();
        Seen::Digests([digest(&self.certificate), digest(&self.key)])
    }

    /// The configuration with the pair, and when its certificate ends.
    fn config(&self, files: &PairFiles) -> Result<(Arc<ServerConfig>, Option<i64>), TlsError> {
        let chain = certificates(&files.certificate, &self.certificate)?;
        let expires_at = chain.first().and_then(|certificate| not_after(certificate));
        let key = key(&files.key, &self.key)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Provider)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| unusable(files, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), expires_at))
    }
}

/// ring, the one crypto library of the program.
pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates in the file at `path`, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, &read(path)?)
}

/// The chain and the key in these files.
pub(super) fn read_pair(
    files: &PairFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let contents = Contents::read(files)?;
    let chain = certificates(&files.certificate, &contents.certificate)?;
    Ok((chain, key(&files.key, &contents.key)?))
}

/// Why rustls does not take the pair.
pub(super) fn unusable(files: &PairFiles, error: rustls::Error) -> TlsError {
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
    // Asked first: the body of an old-style encrypted key is not what its section says it is.
    if ENCRYPTED.iter().any(encrypted) {
        return Err(TlsError::EncryptedKey(path));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path),
        source => TlsError::Pem { path, source },
    })
}

/// When a certificate, in DER, is valid no more: seconds since the epoch (RFC 5280, 4.1.2.5). Whether it
/// is good is for the peer to say.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::Pair;

    fn check(certificate: &str, key: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let files = PairFiles { certificate: dir.path().join("cert"), key: dir.path().join("key") };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        let error = ServerTls::load(files).unwrap_err().to_string();
        let error = error.replace(&format!("{}/", dir.path().display()), "");
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let (one, other) = (Pair::new("one"), Pair::new("other"));
        check("", &one.key, "cert has no certificate");
        check(&one.key, &one.key, "cert has no certificate");
        check(&one.certificate, "", "key has no private key");
        check(&one.certificate, &one.certificate, "key has no private key");
        check(&one.certificate, &other.key, "the key in key does not belong to the first");
        check("-----BEGIN CERTIFICATE-----\nAAAA\n", &one.key, "cert is not well-formed PEM");
        let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        check(&one.certificate, &encrypted, "the private key in key is encrypted");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check(nonsense, &one.key, "cannot use the certificate in cert with the key in key");
        check(&"x".repeat(MAX_FILE as usize + 1), &one.key, "cert is larger than");
        let missing = ServerTls::load(PairFiles::combined("/nowhere/tls.pem")).unwrap_err();
        assert!(missing.to_string().starts_with("cannot read /nowhere/tls.pem: "), "{missing}");
    }

    #[test]
    fn a_pair_is_replaced_only_by_a_pair() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (Pair::new("one"), Pair::new("other"));
        let files = one.write(dir.path());
        let tls = ServerTls::load(files.clone()).unwrap();
        let first = tls.config();
        assert!(matches!(tls.reload(), Reload::Unchanged));

        // Only the certificate is new as yet: said at the second look, and once.
        fs::write(&files.certificate, &other.certificate).unwrap();
        assert!(matches!(tls.reload(), Reload::Unchanged));
        assert!(matches!(tls.reload(), Reload::Kept(TlsError::Mismatch(_))));
        assert!(matches!(tls.reload(), Reload::Unchanged));
        assert!(Arc::ptr_eq(&tls.config(), &first));

        fs::remove_file(&files.key).unwrap();
        assert!(matches!(tls.reload(), Reload::Unchanged));
        assert!(matches!(tls.reload(), Reload::Kept(TlsError::Read { .. })));
        assert!(Arc::ptr_eq(&tls.config(), &first));

        fs::write(&files.key, &other.key).unwrap();
        assert!(matches!(tls.reload(), Reload::Replaced));
        assert!(!Arc::ptr_eq(&tls.config(), &first));
        assert!(matches!(tls.reload(), Reload::Unchanged));
    }

    #[tokio::test]
    async fn the_files_are_watched_until_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        let files = Pair::new("one").write(dir.path());
        let tls = Arc::new(ServerTls::load(files).unwrap());
        let (trigger, shutdown) = crate::net::shutdown();
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let watch = tls.clone().watch(Duration::from_millis(5), shutdown, move |reload| {
            sender.send(reload).unwrap();
        });
        let watch = tokio::spawn(watch);

        Pair::new("other").write(dir.path());
        // The two files are written one after the other, so a look may fall between them.
        while !matches!(reports.recv().await.unwrap(), Reload::Replaced) {}
        trigger.begin(Duration::ZERO);
        watch.await.unwrap();
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_either_form() {
        let certificate = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 3, 1);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
        };
        // UTCTime until 2049, GeneralizedTime from then on.
        for (year, expected) in [(1999, 920_246_400), (2049, 2_498_169_600), (2050, 2_529_705_600)]
        {
            assert_eq!(not_after(&certificate(year)), Some(expected), "{year}");
        }
        let whole = certificate(2049);
        for length in 0..whole.len() {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
    }
}
