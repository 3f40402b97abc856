//! The certificate that a server without one makes for itself on its first run.
//!
//! One PEM file holds the key and the certificate (RFC 7468), so that the two are replaced together.
//! The certificate is its own issuer: a client that is given the file as its CA trusts this server
//! and no other, since it may not sign certificates.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::{PairFiles, ServerTls, TlsError};

/// How long the certificate is valid, in years. Nobody renews what is made for development.
const YEARS: i32 = 10;

/// Makes a key and a self-signed certificate in the file at `path`, unless the file is there: then
/// it is left alone, and only checked. `true` if it was made.
///
/// The certificate is for `localhost`, `127.0.0.1`, `::1` and `names` (host names or addresses), and
/// valid from the first of the month of `now` for ten years. The file can be read by its owner only.
///
/// # Errors
/// When the file that is there is no pair, a name is not one, or the file cannot be written.
pub fn ensure_self_signed(path: &Path, names: &[String], now: Timestamp) -> Result<bool, TlsError> {
    let there =
        path.try_exists().map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    if !there {
        let pair = make(names, now)?;
        write(path, pair.as_bytes())
            .map_err(|source| TlsError::Write { path: path.to_owned(), source })?;
    }
    ServerTls::load(PairFiles::combined(path))?;
    Ok(!there)
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
    // The first of the month: clients' clocks differ, and not every year has a 29th of February.
    let today = now.to_zoned(TimeZone::UTC).date();
    let (year, month) = (i32::from(today.year()), today.month().unsigned_abs());
    params.not_before = rcgen::date_time_ymd(year, month, 1);
    params.not_after = rcgen::date_time_ymd((year + YEARS).min(9999), month, 1);
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

/// Writes a file that others cannot read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-31T23:59:59Z".parse().unwrap()
    }

    #[test]
    fn the_pair_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        fs::write(dir.path().join("tls.new"), "left by a crash").unwrap();
        assert!(ensure_self_signed(&path, &["vidimus.test".to_owned()], now()).unwrap());
        let made = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!ensure_self_signed(&path, &[], now()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), made);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_pair_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        fs::write(&path, "mine").unwrap();
        let error = ensure_self_signed(&path, &[], now()).unwrap_err();
        assert!(matches!(error, TlsError::NoCertificate(_)), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.pem");
        let error = ensure_self_signed(&path, &["müller".to_owned()], now()).unwrap_err();
        assert!(error.to_string().contains("müller"), "{error}");
        assert!(!path.exists());
    }
}
