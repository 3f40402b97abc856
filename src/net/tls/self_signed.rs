//! A self-signed certificate, made on the first run of a server that has no other.
//!
//! One PEM file has both the key and the certificate (RFC 7468), so that they are replaced together.
//! The certificate is its own issuer and may not sign other certificates. So a client that uses the
//! file as its CA trusts this server only.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;

use super::{PairFiles, ServerTls, TlsError, read_certificates};
use crate::private_file;

/// How long the certificate is valid, in years. It is long because nothing renews a certificate for
/// development.
const YEARS: i32 = 10;

/// Writes a key and a self-signed certificate to the file at `path`, and returns `true`. If the file
/// exists, it is only checked, and the result is `false`.
///
/// The certificate is for `localhost`, `127.0.0.1`, `::1` and `names` (host names or addresses). It is
/// valid for ten years from the first day of the month of `now`. Only the owner can read the file.
///
/// # Errors
/// When an existing file cannot be used, a name is not valid, or the file cannot be written.
pub(crate) fn ensure_self_signed(
    path: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<bool, TlsError> {
    let exists =
        path.try_exists().map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if !exists {
        let pair = make(names, now)?;
        private_file::write(path, &pair)
            .map_err(|source| TlsError::Write { path: path.to_owned(), source })?;
    }
    ServerTls::load(PairFiles::combined(path))?;
    Ok(!exists)
}

/// Checks that the certificate in the file at `path` is for all `names`.
///
/// # Errors
/// When the file cannot be used, or the certificate is not for one of the names.
pub(crate) fn check_names(path: &Path, names: &[String]) -> Result<(), TlsError> {
    let chain = read_certificates(path)?;
    let certificate = chain.first().ok_or_else(|| TlsError::NoCertificate(path.to_owned()))?;
    for name in names {
        let is_for = ParsedCertificate::try_from(certificate).is_ok_and(|certificate| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| verify_server_name(&certificate, &name).is_ok())
        });
        if !is_for {
            return Err(TlsError::OtherName { path: path.to_owned(), name: name.clone() });
        }
    }
    Ok(())
}

fn make(names: &[String], now: Timestamp) -> Result<String, TlsError> {
    let mut all = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for name in names {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let failed = |source| TlsError::SelfSigned { names: all.join(", "), source };
    let mut params = CertificateParams::new(all.clone()).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Vidimus self-signed");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // The first day of the month, because the clocks of clients differ, and because not every year has
    // a 29th of February.
    let today = now.to_zoned(TimeZone::UTC).date();
    let (year, month) = (i32::from(today.year()), today.month().unsigned_abs());
    params.not_before = rcgen::date_time_ymd(year, month, 1);
    params.not_after = rcgen::date_time_ymd((year + YEARS).min(9999), month, 1);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-31T23:59:59Z".parse().unwrap()
    }

    #[test]
    fn the_pair_is_made_once_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        fs::write(dir.path().join("tls.pem.tmp"), "left by a crash").unwrap();
        assert!(ensure_self_signed(&path, &["vidimus.test".to_owned()], now()).unwrap());
        let made = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!ensure_self_signed(&path, &[], now()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), made);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_certificate_for_other_names_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        let names = ["global.api.konghq.com", "192.0.2.1"].map(str::to_owned);
        ensure_self_signed(&path, &names, now()).unwrap();
        check_names(&path, &names).unwrap();
        check_names(&path, &["localhost".to_owned()]).unwrap();
        for other in ["api.konghq.com", "eu.api.konghq.com", "192.0.2.2", "not a name"] {
            let error = check_names(&path, &[other.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(other), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_a_pair_is_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        fs::write(&path, "mine").unwrap();
        let error = ensure_self_signed(&path, &[], now()).unwrap_err();
        assert!(matches!(error, TlsError::NoCertificate(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn an_invalid_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        let error = ensure_self_signed(&path, &["müller".to_owned()], now()).unwrap_err();
        assert!(error.to_string().contains("müller"), "{error}");
        assert!(!path.exists());
    }
}
