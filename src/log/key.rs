//! The key of the log, and the origin that is its name.
//!
//! The key is an Ed25519 key as PKCS#8 in PEM (RFC 8410 section 7): `key` in the folder of the log,
//! or a file that the operator gives. `origin` in the folder has the origin that the log began
//! with. It stays when the host gets another name, because checkpoints of another origin are of
//! another log.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::error::FileContext;
use crate::private_file;
use crate::private_key;
use crate::tlog::note::SigningKey;

/// What an operator may set.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySettings {
    /// The origin. `None`: the one that the log began with, or else the default.
    pub(crate) origin: Option<String>,
    /// The file with the private key. `None`: `key` in the folder of the log.
    pub(crate) key_file: Option<PathBuf>,
}

/// Opens the key of the log whose files are in `folder`. If the log has not begun, it begins: the
/// origin is written down, and the key too if none is given.
///
/// # Errors
/// When the origin or the key is not the one that the log began with, or a file cannot be read or
/// written.
pub(crate) fn open_or_begin(
    folder: &Path,
    settings: &KeySettings,
    store_id: &str,
) -> Result<SigningKey, LogError> {
    match open(folder, settings) {
        Err(LogError::NoLog(_)) => {}
        opened => return opened,
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.doing("make the folder", folder)?,
    }
    let path = key_path(folder, settings);
    if settings.key_file.is_none() && !path.exists() {
        let (_, pem) = private_key::generate()
            .map_err(|source| LogError::Key { path: path.clone(), source })?;
        private_file::write(&path, pem.expose()).doing("write the key", &path)?;
    }
    let origin = settings.origin.clone().unwrap_or_else(|| default_origin(store_id));
    let key = read(&path, &origin)?;
    // The log has begun when this is written.
    let path = origin_path(folder);
    private_file::write(&path, format!("{origin}\n")).doing("write the origin", &path)?;
    Ok(key)
}

/// Opens the key of a log that has begun.
///
/// # Errors
/// [`LogError::NoLog`] when it has not, and the others as of [`open_or_begin`].
pub(crate) fn open(folder: &Path, settings: &KeySettings) -> Result<SigningKey, LogError> {
    let path = origin_path(folder);
    let origin = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(LogError::NoLog(path)),
        read => read.doing("read the origin", &path)?,
    };
    let origin = origin.trim_end_matches('\n');
    if let Some(configured) = settings.origin.as_ref().filter(|one| *one != origin) {
        let (configured, found) = (configured.clone(), origin.to_owned());
        return Err(LogError::OtherOrigin { path, configured, found });
    }
    match read(&key_path(folder, settings), origin) {
        Err(LogError::Io { path, source, .. }) if source.kind() == ErrorKind::NotFound => {
            Err(LogError::NoKey(path))
        }
        read => read,
    }
}

fn read(path: &Path, origin: &str) -> Result<SigningKey, LogError> {
    let pem = fs::read(path).doing("read the key of the log", path)?;
    let der =
        private_key::der(&pem).map_err(|source| LogError::Key { path: path.to_owned(), source })?;
    SigningKey::from_pkcs8(origin, der.secret_pkcs8_der())
        .map_err(|source| LogError::Format { path: path.to_owned(), source })
}

fn key_path(folder: &Path, settings: &KeySettings) -> PathBuf {
    settings.key_file.clone().unwrap_or_else(|| folder.join("key"))
}

fn origin_path(folder: &Path) -> PathBuf {
    folder.join("origin")
}

/// The name of the host and the id of the store, in the form of a URL without a scheme (C2SP
/// tlog-checkpoint, "Note text").
fn default_origin(store_id: &str) -> String {
    let name = rustix::system::uname();
    let host = name.nodename().to_str().unwrap_or_default();
    let is_host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let host = match !host.is_empty() && host.chars().all(is_host) {
        true => host,
        false => "localhost",
    };
    format!("{host}/vidimus/{store_id}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn settings(origin: Option<&str>, key_file: Option<&Path>) -> KeySettings {
        KeySettings { origin: origin.map(str::to_owned), key_file: key_file.map(Path::to_owned) }
    }

    #[track_caller]
    fn check_refused(opened: Result<SigningKey, LogError>, expected: &str) {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_key_and_the_origin_are_made_once() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let default = KeySettings::default();
        check_refused(open(folder, &default), "on its first run");
        let begun = open_or_begin(folder, &default, "abc").unwrap();
        assert!(begun.verifier().name().ends_with("/vidimus/abc"), "{begun:?}");
        for name in ["", "key", "origin"] {
            let found = fs::metadata(folder.join(name)).unwrap();
            assert_eq!(found.mode() & 0o077, 0, "{name}");
        }
        let again = open_or_begin(folder, &default, "another").unwrap();
        assert_eq!(again.verifier(), begun.verifier());
        assert_eq!(open(folder, &default).unwrap().verifier(), begun.verifier());
        // The origin that it has may be set.
        let same = settings(Some(begun.verifier().name()), None);
        assert_eq!(open(folder, &same).unwrap().verifier(), begun.verifier());
        check_refused(open(folder, &settings(Some("other"), None)), "an origin never changes");
        fs::remove_file(folder.join("key")).unwrap();
        check_refused(open_or_begin(folder, &default, "abc"), "bring the key back");
    }

    #[test]
    fn a_start_that_was_interrupted_goes_on() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let default = KeySettings::default();
        let begun = open_or_begin(folder, &default, "abc").unwrap();
        // The origin is written last.
        fs::remove_file(folder.join("origin")).unwrap();
        let again = open_or_begin(folder, &default, "abc").unwrap();
        assert_eq!(again.verifier(), begun.verifier());
    }

    #[test]
    fn a_key_may_be_given() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let file = temporary.path().join("key.pem");
        let given = settings(Some("example.com/log"), Some(&file));
        check_refused(open_or_begin(folder, &given, "abc"), "cannot read the key of the log");
        fs::write(&file, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
        check_refused(open_or_begin(folder, &given, "abc"), "openssl genpkey");
        fs::write(&file, "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n").unwrap();
        check_refused(open_or_begin(folder, &given, "abc"), "expected Ed25519 in PKCS#8");
        // None of these began the log.
        assert!(!folder.join("origin").exists());
        let (_, pem) = private_key::generate().unwrap();
        fs::write(&file, pem.expose()).unwrap();
        let key = open_or_begin(folder, &given, "abc").unwrap();
        assert_eq!(key.verifier().name(), "example.com/log");
        assert!(!folder.join("key").exists());
    }
}
