//! The keys of the log, and the origin that is its name.
//!
//! A key is an Ed25519 key as PKCS#8 in PEM (RFC 8410 section 7): `key` in the folder of the log, or a
//! file that the operator gives. `origin` in the folder has the origin of the log. It stays when the host
//! gets another name, because checkpoints of another origin are of another log.
//!
//! `vkeys` has every verifier key that the log has had, the oldest first: a line for each, with the time
//! from which it signs, in milliseconds since the epoch. The key can change in two ways:
//!
//! - [`rotate`]: a new key under the same origin. The old one is `key.previous`, and signs too for 30 days.
//! - [`fork`]: the same key under a new origin, because there is another log of the old one.
//!
//! Either adds a leaf with the new verifier key. What was interrupted is done again from the start, with
//! the same new key.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::checkpoints::read_if_there;
use super::error::FileContext;
use crate::clock::now;
use crate::entry::Millis;
use crate::entry::time::DAY;
use crate::private_file;
use crate::private_key;
use crate::tlog::FormatError;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{self, Note, SigningKey, VerifierKey};

/// How long the key before signs too, in milliseconds.
const BOTH: i64 = 30 * DAY;

/// What an operator may set.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySettings {
    /// The origin. `None`: the one that the log has, or else the default.
    pub(crate) origin: Option<String>,
    /// The file with the private key. `None`: `key` in the folder of the log.
    pub(crate) key_file: Option<PathBuf>,
}

/// The keys of a log.
#[derive(Debug)]
pub(crate) struct Keys {
    current: SigningKey,
    /// The key before, and how long it signs too.
    previous: Option<(SigningKey, Millis)>,
    history: History,
}

/// Every verifier key that a log has had, the oldest first, with the time from which it signs.
#[derive(Clone, Debug, Default)]
struct History(Vec<(Millis, VerifierKey)>);

impl Keys {
    /// The verifier key of the key that signs.
    pub(crate) fn verifier(&self) -> &VerifierKey {
        self.current.verifier()
    }

    /// Every verifier key that the log has had, under every origin.
    pub(crate) fn known(&self) -> Vec<VerifierKey> {
        self.history.0.iter().map(|(_, key)| key.clone()).collect()
    }

    /// Those of them whose private key is here. A line of `vkeys` alone makes no key one of this log.
    pub(super) fn held(&self) -> Vec<VerifierKey> {
        let previous = self.previous.iter().map(|(key, _)| key);
        let held: Vec<_> = previous.chain([&self.current]).map(SigningKey::verifier).collect();
        let is_held = |known: &VerifierKey| held.iter().any(|key| key.public() == known.public());
        self.known().into_iter().filter(is_held).collect()
    }

    /// Signs a tree: with the key, and for some time after a new one came with the one before.
    pub(super) fn sign(&self, checkpoint: &Checkpoint, now: Millis) -> Result<Note, FormatError> {
        let mut note = checkpoint.sign(&self.current)?;
        if let Some((previous, _)) = self.previous.as_ref().filter(|(_, until)| now < *until) {
            for signature in checkpoint.sign(previous)?.signatures() {
                note.add(signature.clone())?;
            }
        }
        Ok(note)
    }

    /// Keys of tests: one that signs.
    #[cfg(test)]
    pub(super) fn of(current: SigningKey) -> Keys {
        let history = History(vec![(Millis::MIN, current.verifier().clone())]);
        Keys { current, previous: None, history }
    }
}

impl History {
    /// Reads the file. Empty if there is none.
    fn read(folder: &Path) -> Result<History, LogError> {
        let path = folder.join("vkeys");
        let text = read_if_there(&path, "read the verifier keys")?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut history = History::default();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let read = || {
                let (millis, key) = line.strip_suffix('\n')?.split_once(' ')?;
                Some((Millis::new(millis.parse().ok()?)?, key.parse().ok()?))
            };
            let damaged = || LogError::Damaged {
                path: path.clone(),
                at,
                found: line.trim_end().to_owned(),
                expected: "a time in milliseconds and a verifier key",
            };
            history.0.push(read().ok_or_else(damaged)?);
            at += line.len() as u64;
        }
        Ok(history)
    }

    /// Since when a key signs. `None` if the log has never had it.
    fn since(&self, key: &VerifierKey) -> Option<Millis> {
        self.0.iter().find(|(_, one)| one == key).map(|(since, _)| *since)
    }

    /// Adds a key, unless it is the last one because this was interrupted.
    fn add(&mut self, key: &VerifierKey, folder: &Path) -> Result<(), LogError> {
        if self.is_last(key) {
            return Ok(());
        }
        self.0.push((now(), key.clone()));
        let lines: String =
            self.0.iter().map(|(since, key)| format!("{} {key}\n", since.get())).collect();
        let path = folder.join("vkeys");
        private_file::write(&path, lines).doing("write the verifier keys", &path)
    }

    fn is_last(&self, key: &VerifierKey) -> bool {
        self.0.last().is_some_and(|(_, last)| last == key)
    }
}

/// Opens the keys of the log whose files are in `folder`. If the log has not begun, it begins: the
/// origin is written down, and the key too if none is given.
///
/// # Errors
/// When the origin or the key is not the one that the log has, or a file cannot be read or written.
pub(crate) fn open_or_begin(
    folder: &Path,
    settings: &KeySettings,
    store_id: &str,
) -> Result<Keys, LogError> {
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
        generate(&path)?;
    }
    let origin = settings.origin.clone().unwrap_or_else(|| default_origin(store_id));
    let current = read(&path, &origin)?;
    // An origin that was interrupted before it was written down is forgotten.
    let mut history = History::default();
    history.add(current.verifier(), folder)?;
    // The log has begun when this is written.
    write_origin(folder, &origin)?;
    Ok(Keys { current, previous: None, history })
}

/// Opens the keys of a log that has begun.
///
/// # Errors
/// [`LogError::NoLog`] when it has not, and the others as of [`open_or_begin`].
pub(crate) fn open(folder: &Path, settings: &KeySettings) -> Result<Keys, LogError> {
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
    let path = key_path(folder, settings);
    if !path.exists() {
        return Err(LogError::NoKey(path));
    }
    let current = read(&path, origin)?;
    let history = History::read(folder)?;
    let Some(since) = history.since(current.verifier()) else {
        let found = current.verifier().to_string();
        let expected = history.0.last().map_or_else(String::new, |(_, key)| key.to_string());
        return Err(LogError::OtherKey { path, found, expected });
    };
    let until = Millis::saturating(since.get() + BOTH);
    let path = folder.join("key.previous");
    let previous = match path.exists() {
        true => Some(read(&path, origin)?),
        false => None,
    };
    // One that was made known under an earlier origin does not sign under this one.
    let is_of_log = |key: &SigningKey| {
        key.verifier() != current.verifier() && history.since(key.verifier()).is_some()
    };
    let previous = previous.filter(is_of_log).map(|key| (key, until));
    Ok(Keys { current, previous, history })
}

/// Gives the log a new key under the same origin: the one in the file `new`, or one that is made. `add`
/// adds the leaf. Returns the new verifier key.
///
/// # Errors
/// When the operator keeps the key and there is no `new`, when the log has had that key before, and those
/// of [`open`] and of `add`.
pub(crate) fn rotate(
    folder: &Path,
    settings: &KeySettings,
    new: Option<&Path>,
    add: impl FnOnce(&VerifierKey) -> Result<(), LogError>,
) -> Result<VerifierKey, LogError> {
    let keys = open(folder, settings)?;
    let made = folder.join("key.new");
    match (new, &settings.key_file) {
        (None, Some(path)) => return Err(LogError::KeyFile(path.clone())),
        (None, None) if made.exists() => {}
        (None, None) => generate(&made)?,
        (Some(new), None) => {
            let pem = fs::read(new).doing("read the new key", new)?;
            private_file::write(&made, pem).doing("write the new key", &made)?;
        }
        (Some(_), Some(_)) => {}
    }
    let path = match settings.key_file {
        Some(_) => new.unwrap_or(&made),
        None => &made,
    };
    let key = read(path, keys.verifier().name())?;
    let mut history = keys.history;
    if history.since(key.verifier()).is_some() && !history.is_last(key.verifier())
        || key.verifier() == keys.current.verifier()
    {
        let (path, key) = (path.to_owned(), key.verifier().to_string());
        return Err(LogError::OldKey { path, key });
    }
    add(key.verifier())?;
    history.add(key.verifier(), folder)?;
    let (old, previous) = (key_path(folder, settings), folder.join("key.previous"));
    let pem = fs::read(&old).doing("read the key of the log", &old)?;
    private_file::write(&previous, pem).doing("write the key before", &previous)?;
    if settings.key_file.is_none() {
        let renamed = fs::rename(&made, &old).and_then(|()| private_file::sync_folder(&old));
        renamed.doing("replace the key", &old)?;
    }
    Ok(key.verifier().clone())
}

/// Gives the log a new origin, which the operator names or configured, or the old one with a number. `add`
/// adds the leaf. Returns the new verifier key.
///
/// # Errors
/// When the log has had that origin before, and those of [`open`] and of `add`.
pub(crate) fn fork(
    folder: &Path,
    settings: &KeySettings,
    origin: Option<String>,
    add: impl FnOnce(&VerifierKey) -> Result<(), LogError>,
) -> Result<VerifierKey, LogError> {
    let now = KeySettings { origin: None, key_file: settings.key_file.clone() };
    let Keys { current, mut history, .. } = open(folder, &now)?;
    let old = current.verifier().name();
    let configured = settings.origin.clone().filter(|configured| configured != old);
    let had =
        |history: &History, origin: &str| history.0.iter().any(|(_, key)| key.name() == origin);
    let new = origin.or(configured).unwrap_or_else(|| next_origin(old, &history, had));
    let path = key_path(folder, settings);
    note::key_name(&new).map_err(|source| LogError::Format { path: path.clone(), source })?;
    let key = read(&path, &new)?;
    if had(&history, &new) && (new == old || !history.is_last(key.verifier())) {
        return Err(LogError::OldOrigin(new));
    }
    add(key.verifier())?;
    history.add(key.verifier(), folder)?;
    write_origin(folder, &new)?;
    Ok(key.verifier().clone())
}

/// The origin that follows: `a/log/2` after `a/log`, and `a/log/3` after that. One that was interrupted
/// before it was written down is taken again.
fn next_origin(old: &str, history: &History, had: impl Fn(&History, &str) -> bool) -> String {
    let last = history.0.last().map_or(old, |(_, key)| key.name());
    if last != old {
        return last.to_owned();
    }
    let numbered = old.rsplit_once('/').and_then(|(stem, number)| {
        let number: u64 = number.parse().ok()?;
        Some((stem, number)).filter(|(_, number)| *number > 1)
    });
    let (stem, number) = numbered.unwrap_or((old, 1));
    let mut next = (number + 1..).map(|number| format!("{stem}/{number}"));
    next.find(|next| !had(history, next)).unwrap_or_default()
}

/// Reads a private key, which signs under this origin.
fn read(path: &Path, origin: &str) -> Result<SigningKey, LogError> {
    let pem = fs::read(path).doing("read the key of the log", path)?;
    let der =
        private_key::der(&pem).map_err(|source| LogError::Key { path: path.to_owned(), source })?;
    SigningKey::from_pkcs8(origin, der.secret_pkcs8_der())
        .map_err(|source| LogError::Format { path: path.to_owned(), source })
}

/// Makes a private key.
fn generate(path: &Path) -> Result<(), LogError> {
    let (_, pem) = private_key::generate()
        .map_err(|source| LogError::Key { path: path.to_owned(), source })?;
    private_file::write(path, pem.expose()).doing("write the key", path)
}

fn write_origin(folder: &Path, origin: &str) -> Result<(), LogError> {
    let path = origin_path(folder);
    private_file::write(&path, format!("{origin}\n")).doing("write the origin", &path)
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
    fn check_refused<T: std::fmt::Debug>(done: Result<T, LogError>, expected: &str) {
        let error = done.unwrap_err().to_string();
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
        for name in ["", "key", "origin", "vkeys"] {
            let found = fs::metadata(folder.join(name)).unwrap();
            assert_eq!(found.mode() & 0o077, 0, "{name}");
        }
        let again = open_or_begin(folder, &default, "another").unwrap();
        assert_eq!(again.verifier(), begun.verifier());
        assert_eq!(open(folder, &default).unwrap().verifier(), begun.verifier());
        // The origin that it has may be set.
        let same = settings(Some(begun.verifier().name()), None);
        assert_eq!(open(folder, &same).unwrap().verifier(), begun.verifier());
        check_refused(
            open(folder, &settings(Some("other"), None)),
            "log.origin is \"other\", and the log has the origin",
        );
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

    /// Fails to add the leaf.
    fn interrupted(_: &VerifierKey) -> Result<(), LogError> {
        Err(LogError::NotKept(1))
    }

    /// The names and ids of the keys that sign a checkpoint at a time.
    fn signers(keys: &Keys, at: i64) -> Vec<bool> {
        let checkpoint = Checkpoint::new(keys.verifier().name(), 0, crate::tlog::tree::Hash::EMPTY);
        let note = keys.sign(&checkpoint.unwrap(), Millis::saturating(at)).unwrap();
        note.verify(&keys.known()).unwrap();
        note.signatures().iter().map(|one| one.names(keys.verifier())).collect()
    }

    #[test]
    fn both_keys_sign_for_30_days_after_a_rotation() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let default = KeySettings::default();
        let first = open_or_begin(folder, &default, "abc").unwrap();
        assert_eq!(signers(&first, 5), [true]);
        // What is interrupted goes on with the same new key.
        check_refused(rotate(folder, &default, None, interrupted), "no checkpoint of 1 leaves");
        let made = fs::read(folder.join("key.new")).unwrap();
        let mut added = Vec::new();
        let mut add = |key: &VerifierKey| {
            added.push(key.clone());
            Ok(())
        };
        let second = rotate(folder, &default, None, &mut add).unwrap();
        assert_eq!(fs::read(folder.join("key")).unwrap(), made);
        assert!(!folder.join("key.new").exists());
        let keys = open(folder, &default).unwrap();
        assert_eq!((keys.verifier(), second.name()), (&second, first.verifier().name()));
        assert_eq!(keys.known(), [first.verifier().clone(), second.clone()]);
        let since = keys.history.since(&second).unwrap().get();
        assert_eq!(signers(&keys, since + BOTH - 1), [true, false]);
        assert_eq!(signers(&keys, since + BOTH), [true]);
        // It was interrupted before the files were replaced: the old key signs.
        fs::rename(folder.join("key"), folder.join("key.new")).unwrap();
        fs::copy(folder.join("key.previous"), folder.join("key")).unwrap();
        assert_eq!(open(folder, &default).unwrap().verifier(), first.verifier());
        assert_eq!(rotate(folder, &default, None, &mut add).unwrap(), second);
        assert_eq!(open(folder, &default).unwrap().known().len(), 2);
        // A key that the log has had is not a new one.
        let old = temporary.path().join("old");
        fs::copy(folder.join("key.previous"), &old).unwrap();
        check_refused(rotate(folder, &default, Some(&old), interrupted), "expected a new key");
        assert_eq!(added, [second.clone(), second]);
        // Nor is one that was put there.
        let (_, pem) = private_key::generate().unwrap();
        fs::write(folder.join("key"), pem.expose()).unwrap();
        check_refused(open(folder, &default), "rotate-key` makes a new key known");
    }

    #[test]
    fn a_key_that_the_operator_keeps_is_replaced_by_one_that_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let [one, two] = ["one", "two"].map(|name| {
            let (path, (_, pem)) = (temporary.path().join(name), private_key::generate().unwrap());
            fs::write(&path, pem.expose()).unwrap();
            path
        });
        let begun = settings(None, Some(&one));
        let first = open_or_begin(folder, &begun, "abc").unwrap();
        check_refused(rotate(folder, &begun, None, interrupted), "--new-key FILE");
        check_refused(rotate(folder, &begun, Some(&one), interrupted), "expected a new key");
        let second = rotate(folder, &begun, Some(&two), |_| Ok(())).unwrap();
        // Until the configuration names the new one, the old one signs alone.
        let keys = open(folder, &begun).unwrap();
        assert_eq!((keys.verifier(), signers(&keys, 5)), (first.verifier(), vec![true]));
        let keys = open(folder, &settings(None, Some(&two))).unwrap();
        assert_eq!((keys.verifier(), signers(&keys, 5)), (&second, vec![true, false]));
        assert!(!folder.join("key").exists());
    }

    #[test]
    fn a_fork_has_the_same_key_and_a_new_origin() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = &temporary.path().join("log");
        let default = KeySettings::default();
        let old = settings(Some("a.example/log"), None);
        let first = open_or_begin(folder, &old, "abc").unwrap();
        check_refused(fork(folder, &old, None, interrupted), "no checkpoint of 1 leaves");
        assert_eq!(open(folder, &old).unwrap().known().len(), 1);
        let second = fork(folder, &old, None, |_| Ok(())).unwrap();
        assert_eq!(second.name(), "a.example/log/2");
        assert_eq!(second.public(), first.verifier().public());
        check_refused(open(folder, &old), "set that one, or none");
        let keys = open(folder, &default).unwrap();
        assert_eq!(keys.known(), [first.verifier().clone(), second.clone()]);
        // It was interrupted before the origin was written down.
        fs::write(folder.join("origin"), "a.example/log\n").unwrap();
        assert_eq!(fork(folder, &default, None, |_| Ok(())).unwrap(), second);
        // The operator changed the configuration before, or names one.
        let configured = settings(Some("b.example/log"), None);
        let third = fork(folder, &configured, None, |_| Ok(())).unwrap();
        assert_eq!(open(folder, &configured).unwrap().verifier(), &third);
        let named = fork(folder, &default, Some("c.example/9".to_owned()), |_| Ok(())).unwrap();
        assert_eq!(named.name(), "c.example/9");
        assert_eq!(fork(folder, &default, None, |_| Ok(())).unwrap().name(), "c.example/10");
        let used = Some("a.example/log".to_owned());
        check_refused(fork(folder, &default, used, interrupted), "has had the origin");
        let same = Some("c.example/10".to_owned());
        check_refused(fork(folder, &default, same, interrupted), "has had the origin");
        let bad = Some("two words".to_owned());
        check_refused(fork(folder, &default, bad, interrupted), "the name of a key");
    }
}
