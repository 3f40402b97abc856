//! The files with checkpoints, in the folder of the log.
//!
//! `checkpoints/SIZE` has the checkpoint that was signed over SIZE leaves, and is never replaced.
//! `checkpoint` has the newest one, and is what is given out. It is written after the other is on
//! the disk. So whatever was given out is there after a crash, and `checkpoint` may be behind.
//!
//! All of the last 30 days are kept, and of those before one an hour.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::LogError;
use super::error::{Contradiction, FileContext};
use crate::entry::Millis;
use crate::private_file;
use crate::store::Tiles;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{Note, VerifierKey};
use crate::tlog::tree;

/// How long all checkpoints are kept, in milliseconds.
const KEPT: i64 = 30 * 24 * HOUR;
const HOUR: i64 = 3_600_000;

/// The checkpoints of a log.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    newest: PathBuf,
    kept: PathBuf,
}

impl Checkpoints {
    /// Those in the folder of a log, which need not be there.
    pub(crate) fn new(folder: &Path) -> Checkpoints {
        Checkpoints { newest: folder.join("checkpoint"), kept: folder.join("checkpoints") }
    }

    /// The newest one as it is given out: a signed note. `None` if there is none yet.
    pub(crate) fn given_out(&self) -> Result<Option<Vec<u8>>, LogError> {
        match fs::read(&self.newest) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.doing("read the checkpoint", &self.newest).map(Some),
        }
    }

    /// Where the newest one is.
    pub(crate) fn path(&self) -> &Path {
        &self.newest
    }

    /// The sizes of those that are kept, the smallest first.
    pub(crate) fn sizes(&self) -> Result<Vec<u64>, LogError> {
        let folder = match fs::read_dir(&self.kept) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.doing("list", &self.kept)?,
        };
        let mut sizes = Vec::new();
        for file in folder {
            let name = file.doing("list", &self.kept)?.file_name();
            let size = name.to_str().and_then(|name| name.parse::<u64>().ok());
            sizes.extend(size.filter(|size| Some(size.to_string().as_str()) == name.to_str()));
        }
        sizes.sort_unstable();
        Ok(sizes)
    }

    /// Where the one over `size` leaves is, if it is kept.
    pub(crate) fn path_of(&self, size: u64) -> PathBuf {
        self.kept.join(size.to_string())
    }

    /// The newest one that was signed with this key, with its note. What was signed and not given
    /// out counts too. `None` if the log has signed nothing.
    ///
    /// # Errors
    /// When it is not a checkpoint of this key.
    pub(super) fn newest(
        &self,
        key: &VerifierKey,
    ) -> Result<Option<(Checkpoint, Vec<u8>)>, LogError> {
        let given_out = match self.given_out()? {
            Some(note) => Some((verified(&note, key, &self.newest)?, note)),
            None => None,
        };
        let given = given_out.as_ref().map(|(checkpoint, _)| checkpoint.size());
        match self.sizes()?.last() {
            Some(size) if given.is_none_or(|given| *size > given) => {
                let path = self.path_of(*size);
                let note = fs::read(&path).doing("read the checkpoint", &path)?;
                Ok(Some((verified(&note, key, &path)?, note)))
            }
            _ => Ok(given_out),
        }
    }

    /// Keeps a signed note over `size` leaves, and then gives it out. Both are on the disk when
    /// this returns.
    ///
    /// # Errors
    /// [`Contradiction::SignedTwice`] if there is another one over as many leaves.
    pub(super) fn put(&self, size: u64, note: &[u8]) -> Result<(), LogError> {
        match DirBuilder::new().mode(0o700).create(&self.kept) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.doing("make the folder", &self.kept)?,
        }
        let path = self.path_of(size);
        // The folder has checkpoints alone: a backup takes all of it.
        let temporary = self.newest.with_extension("tmp");
        let is_new = private_file::create(&path, &temporary, note);
        let is_new = is_new.doing("write the checkpoint", &path)?;
        if !is_new && fs::read(&path).doing("read the checkpoint", &path)? != note {
            return Err(Contradiction::SignedTwice(path).into());
        }
        private_file::write(&self.newest, note).doing("write the checkpoint", &self.newest)
    }

    /// Removes those that need not be kept any more.
    pub(super) fn thin(&self, now: Millis) -> Result<(), LogError> {
        let mut hour = None;
        let mut sizes = self.sizes()?;
        sizes.pop();
        for path in sizes.into_iter().map(|size| self.path_of(size)) {
            let at = modified_at(&path).doing("look at the checkpoint", &path)?;
            if now.get().saturating_sub(at) < KEPT {
                break;
            }
            if hour == Some(at / HOUR) {
                fs::remove_file(&path).doing("remove the checkpoint", &path)?;
            }
            hour = Some(at / HOUR);
        }
        Ok(())
    }
}

/// The checkpoint in a note, if it is signed with this key.
pub(super) fn verified(
    note: &[u8],
    key: &VerifierKey,
    path: &Path,
) -> Result<Checkpoint, LogError> {
    let verify = || Checkpoint::verify(&Note::parse(note)?, [key]);
    verify().map_err(|source| LogError::Checkpoint { path: path.to_owned(), source })
}

/// Checks that a tree begins with the one that was signed.
///
/// # Errors
/// A [`Contradiction`] if it does not, and others if it cannot be read.
pub(super) fn check_tree(checkpoint: &Checkpoint, tiles: &Tiles) -> Result<(), LogError> {
    let (size, signed) = (checkpoint.size(), *checkpoint.root());
    if size > tiles.size() {
        return Err(Contradiction::Shrunk { size: tiles.size(), signed: size }.into());
    }
    let found = tree::root(tiles, size)?;
    if found != signed {
        return Err(Contradiction::Root { size, found, signed }.into());
    }
    Ok(())
}

/// When a file was written, in milliseconds since the epoch.
fn modified_at(path: &Path) -> io::Result<i64> {
    let since = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::now;
    use crate::tlog::note::SigningKey;
    use crate::tlog::tree::Hash;

    fn note(key: &SigningKey, size: u64) -> Vec<u8> {
        let checkpoint = Checkpoint::new(key.verifier().name(), size, Hash([7; 32])).unwrap();
        checkpoint.sign(key).unwrap().to_string().into_bytes()
    }

    fn start() -> (tempfile::TempDir, Checkpoints, SigningKey) {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path());
        (folder, checkpoints, SigningKey::from_seed("example.com/log", &[1; 32]).unwrap())
    }

    #[test]
    fn the_newest_is_what_was_signed_last() {
        let (_folder, checkpoints, key) = start();
        let newest = || {
            let newest = checkpoints.newest(key.verifier()).unwrap();
            newest.map(|(checkpoint, _)| checkpoint.size())
        };
        assert_eq!((newest(), checkpoints.given_out().unwrap()), (None, None));
        checkpoints.put(9, &note(&key, 9)).unwrap();
        checkpoints.put(10, &note(&key, 10)).unwrap();
        assert_eq!(newest(), Some(10));
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 10)));
        assert_eq!(checkpoints.sizes().unwrap(), [9, 10]);
        // A crash came between the two files. What is no number is no checkpoint.
        fs::write(checkpoints.path_of(12), note(&key, 12)).unwrap();
        fs::write(checkpoints.kept.join("013"), "other").unwrap();
        assert_eq!(newest(), Some(12));
        // The kept ones are lost.
        fs::remove_dir_all(&checkpoints.kept).unwrap();
        assert_eq!(newest(), Some(10));
    }

    #[test]
    fn a_size_is_signed_once() {
        let (_folder, checkpoints, key) = start();
        checkpoints.put(9, &note(&key, 9)).unwrap();
        // It was interrupted before the second file was written.
        checkpoints.put(9, &note(&key, 9)).unwrap();
        let other = SigningKey::from_seed("example.com/log", &[2; 32]).unwrap();
        let error = checkpoints.put(9, &note(&other, 9)).unwrap_err();
        assert!(matches!(error, LogError::Contradiction(Contradiction::SignedTwice(_))), "{error}");
        assert_eq!(checkpoints.given_out().unwrap(), Some(note(&key, 9)));
        let error = checkpoints.newest(other.verifier()).unwrap_err();
        assert!(matches!(error, LogError::Checkpoint { .. }), "{error}");
    }

    #[test]
    fn one_an_hour_is_kept_after_30_days() {
        let (_folder, checkpoints, key) = start();
        let minutes_ago = [50_000, 44_000, 43_999, 43_998, 43_901, 43_130, 43_129, 3, 2, 1];
        let hour = Duration::from_secs(3600);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let this_hour = UNIX_EPOCH + hour * u32::try_from(since.as_secs() / 3600).unwrap();
        for (size, minutes) in (1..).zip(minutes_ago) {
            checkpoints.put(size, &note(&key, size)).unwrap();
            let file = File::options().write(true).open(checkpoints.path_of(size)).unwrap();
            file.set_modified(this_hour - Duration::from_secs(minutes * 60)).unwrap();
        }
        checkpoints.thin(now()).unwrap();
        // 30 days are 43,200 minutes. 44,000, 43,999 and 43,998 minutes ago was the same hour.
        assert_eq!(checkpoints.sizes().unwrap(), [1, 2, 5, 6, 7, 8, 9, 10]);
    }
}
