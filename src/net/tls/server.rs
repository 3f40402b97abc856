//! The certificate of a listener. It is read again when its files change.
//!
//! TLS 1.2 and 1.3 with ring. HTTP/2 and HTTP/1.1 are offered through ALPN. There are no client
//! certificates. A pair that cannot be used never replaces a pair that can.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use rustls::ServerConfig;

use super::certificate::CertificateInfo;
use super::{PairBytes, PairFiles, TlsError, provider, unusable};
use crate::net::Shutdown;

/// The result of checking the files.
#[derive(Debug)]
pub(crate) enum Reload {
    /// The files have not changed, or have just changed to a pair that cannot be used.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
    /// The files have a pair that cannot be used. New connections still get the old certificate. This
    /// is reported once for each change.
    Kept(TlsError),
}

/// The certificate for new connections.
#[derive(Debug)]
pub(crate) struct ServerTls {
    files: PairFiles,
    state: Mutex<CertificateState>,
}

#[derive(Debug)]
struct CertificateState {
    /// Replaced together with its session store, so that no session resumes under a certificate that
    /// is out of use.
    config: Arc<ServerConfig>,
    /// What the certificate says of itself, if that can be read.
    certificate: Option<CertificateInfo>,
    /// The contents of the files at the last check.
    seen: Fingerprint,
    /// What is wrong with those contents, until it is reported.
    error: Option<TlsError>,
}

impl ServerTls {
    /// Reads the pair.
    ///
    /// # Errors
    /// When a file cannot be read, or when a server cannot use the pair.
    pub(crate) fn load(files: PairFiles) -> Result<ServerTls, TlsError> {
        let bytes = PairBytes::read(&files)?;
        let (config, certificate) = server_config(&bytes, &files)?;
        let seen = Fingerprint::of(&bytes);
        let state = CertificateState { config, certificate, seen, error: None };
        Ok(ServerTls { files, state: Mutex::new(state) })
    }

    /// The configuration for a new connection. A connection keeps its configuration to its end.
    pub(in crate::net) fn config(&self) -> Arc<ServerConfig> {
        self.state().config.clone()
    }

    /// When the certificate for new connections expires, in seconds since the epoch. `None` if the
    /// certificate cannot be parsed.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        self.state().certificate.as_ref().map(|one| one.expires_at)
    }

    /// What the certificate for new connections says of itself. `None` if it cannot be parsed.
    pub(crate) fn certificate(&self) -> Option<CertificateInfo> {
        self.state().certificate.clone()
    }

    /// Checks the files, and uses their contents if they have changed.
    ///
    /// The two files are replaced one after the other. So a pair that cannot be used is reported only
    /// when a second check finds the same contents.
    pub(crate) fn reload(&self) -> Reload {
        let read = PairBytes::read(&self.files);
        let seen = match &read {
            Ok(bytes) => Fingerprint::of(bytes),
            Err(error) => Fingerprint::Unreadable(error.to_string()),
        };
        let mut state = self.state();
        if state.seen == seen {
            return state.error.take().map_or(Reload::Unchanged, Reload::Kept);
        }
        state.seen = seen;
        match read.and_then(|bytes| server_config(&bytes, &self.files)) {
            Ok((config, certificate)) => {
                (state.config, state.certificate) = (config, certificate);
                state.error = None;
                Reload::Replaced
            }
            Err(error) => {
                state.error = Some(error);
                Reload::Unchanged
            }
        }
    }

    /// Checks the files every `interval` until shutdown, and passes every result but
    /// [`Reload::Unchanged`] to `report`.
    pub(crate) async fn watch(
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

    fn state(&self) -> MutexGuard<'_, CertificateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells whether the files have changed between two checks.
#[derive(Debug, PartialEq, Eq)]
enum Fingerprint {
    Digests([Vec<u8>; 2]),
    Unreadable(String),
}

impl Fingerprint {
    fn of(bytes: &PairBytes) -> Fingerprint {
        let digest = |bytes| digest(&SHA256, bytes).as_ref().to_vec();
        Fingerprint::Digests([digest(&bytes.certificate), digest(&bytes.key)])
    }
}

/// The configuration with the pair, and what the certificate says of itself.
fn server_config(
    bytes: &PairBytes,
    files: &PairFiles,
) -> Result<(Arc<ServerConfig>, Option<CertificateInfo>), TlsError> {
    let (chain, key) = bytes.parse(files)?;
    let certificate = chain.first().and_then(|certificate| CertificateInfo::of(certificate));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(files, error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), certificate))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::net::testing::TestCertificate;
    use crate::net::tls::MAX_FILE;

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
        let (one, other) = (TestCertificate::new("one"), TestCertificate::new("other"));
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
    fn a_pair_is_replaced_only_by_a_usable_one() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (TestCertificate::new("one"), TestCertificate::new("other"));
        let files = one.write(dir.path());
        let tls = ServerTls::load(files.clone()).unwrap();
        let first = tls.config();
        assert!(matches!(tls.reload(), Reload::Unchanged));

        // Only the certificate is new. That is reported at the second check, and once.
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
    async fn the_files_are_checked_until_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        let files = TestCertificate::new("one").write(dir.path());
        let tls = Arc::new(ServerTls::load(files).unwrap());
        let (trigger, shutdown) = crate::net::shutdown();
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        let watch = tls.clone().watch(Duration::from_millis(5), shutdown, move |reload| {
            sender.send(reload).unwrap();
        });
        let watch = tokio::spawn(watch);

        TestCertificate::new("other").write(dir.path());
        // The two files are written one after the other, so a check may fall between them.
        while !matches!(reports.recv().await.unwrap(), Reload::Replaced) {}
        trigger.begin(Duration::ZERO);
        watch.await.unwrap();
    }
}
