//! The data directory: who may use it, where its files are, and the lock of the one writer.
//!
//! It is 0700 and every file in it is 0600. A directory that is not ours, a symbolic link, or one
//! that others may write to is refused, and so are network file systems, whose locks SQLite cannot
//! trust (sqlite.org, "How To Corrupt An SQLite Database File", section 2.1).

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store::error::{SqliteContext, StoreError};

/// A data directory that was looked at and may be used.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

/// The right to write to a data directory. Dropping it releases the right.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a child process that was just forked has it open too, until it
    /// executes its program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Directory {
    /// Opens a data directory that is there, to write to it.
    pub fn open(path: &Path) -> Result<Directory, StoreError> {
        let directory = Directory::open_to_read(path)?;
        let found = fs::metadata(directory.path()).doing("look at", directory.path())?;
        let us = rustix::process::geteuid().as_raw();
        if found.uid() != us {
            return Err(StoreError::Directory {
                path: directory.0,
                what: format!(
                    "belongs to user {}, and this is user {us}; run as that user, or change its owner",
                    found.uid()
                ),
            });
        }
        Ok(directory)
    }

    /// The folder of a backup, which may be on any file system. It is made if it is not there.
    pub(in crate::store) fn backup(path: &Path) -> Result<Directory, StoreError> {
        create_folder(path)?;
        let mut files = fs::read_dir(path).doing("list", path)?;
        if files.next().is_some() && !path.join("segments").is_dir() {
            let what = "is not empty, and is no backup; name a folder of its own".into();
            return Err(StoreError::Directory { path: path.to_owned(), what });
        }
        Ok(Directory(path.to_owned()))
    }

    /// Opens a data directory that is there, to read it. It may be another user's.
    pub fn open_to_read(path: &Path) -> Result<Directory, StoreError> {
        // With a slash at its end a symbolic link would be followed.
        let path = &path.components().collect::<PathBuf>();
        let refuse = |what: String| Err(StoreError::Directory { path: path.to_owned(), what });
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return refuse(
                    "is not there; `vidimus serve` makes it, or name it with --data-dir".into(),
                );
            }
            Err(error) => return refuse(format!("cannot be looked at: {error}")),
        };
        if found.is_symlink() {
            return refuse("is a symbolic link; name the directory itself".into());
        }
        if !found.is_dir() {
            return refuse("is not a directory".into());
        }
        if found.mode() & 0o022 != 0 {
            return refuse(format!(
                "may be written to by others (mode {:o}); chmod 700 it",
                found.mode() & 0o7777
            ));
        }
        if let Some(kind) = network_file_system(path) {
            return refuse(format!(
                "is on a network file system ({kind}), where SQLite's locks cannot be trusted; use a local disk"
            ));
        }
        Ok(Directory(path.to_owned()))
    }

    /// Opens a data directory, and makes it if it is not there.
    pub fn create(path: &Path) -> Result<Directory, StoreError> {
        create_folder(path)?;
        let directory = Directory::open(path)?;
        directory.make_private()?;
        create_folder(&directory.segments())?;
        Ok(directory)
    }

    /// Takes away what others may do with it: whoever made it may not have thought of them.
    fn make_private(&self) -> Result<(), StoreError> {
        let path = &self.0;
        let mode = fs::metadata(path).doing("look at", path)?.mode() & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).doing("chmod 700", path)?;
        tracing::warn!(
            directory = %path.display(),
            "others could look into the data directory (mode {mode:o}): it is 700 now"
        );
        Ok(())
    }

    /// Takes the lock of the one process that writes.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .doing("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(self.0.clone())),
            Err(fs::TryLockError::Error(error)) => Err(error).doing("lock", &path),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(in crate::store) fn catalog(&self) -> PathBuf {
        self.0.join("catalog.db")
    }

    /// The socket over which commands ask the process that writes.
    pub fn control(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// The record of what was done through the console.
    pub fn actions(&self) -> PathBuf {
        self.0.join("actions.jsonl")
    }

    /// The file of the highest ids that were given out.
    pub(in crate::store) fn ids(&self) -> PathBuf {
        self.0.join("ids")
    }

    /// Refused requests.
    pub(in crate::store) fn refused(&self) -> PathBuf {
        self.0.join("refused.db")
    }

    /// The folder of the log: the tile files, the checkpoints and the key.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The folder of the segments.
    pub(in crate::store) fn segments(&self) -> PathBuf {
        self.0.join("segments")
    }

    /// The databases in the folder of the segments, by their names. A companion whose database is
    /// missing counts as one.
    pub(in crate::store) fn databases(&self) -> Result<BTreeSet<String>, StoreError> {
        let folder = self.segments();
        let mut names = BTreeSet::new();
        let files = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
            files => files.doing("list", &folder)?,
        };
        for file in files {
            let name = file.doing("list", &folder)?.file_name().to_string_lossy().into_owned();
            let database = COMPANIONS.iter().find_map(|companion| name.strip_suffix(companion));
            let database = database.unwrap_or(&name);
            if database.ends_with(".db") {
                names.insert(database.to_owned());
            }
        }
        Ok(names)
    }

    /// Whether the catalog is there and is not an empty file.
    pub(in crate::store) fn has_catalog(&self) -> bool {
        let catalog = self.catalog();
        let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        bytes(&catalog) > 0 || (catalog.exists() && bytes(&companion(&catalog, "-wal")) > 0)
    }

    /// A segment's file, by the name that the catalog has for it.
    pub(in crate::store) fn segment(&self, file: &str) -> PathBuf {
        self.segments().join(file)
    }
}

/// Makes a folder that only we may use, unless it is there.
pub(in crate::store) fn create_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).doing("make the directory", path)
}

/// Makes an empty file that only we may read, unless it is there. SQLite gives its companions the
/// mode of the database. The name is on the disk before SQLite makes a companion: one without its
/// database would not be explained after a power loss.
pub(in crate::store) fn create_private(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => path.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).doing("make", path),
    }
}

/// Waits until a file or a folder is on the disk.
pub(in crate::store) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).doing("sync", path)
}

/// What SQLite puts beside a database, as the end of the file's name.
pub(in crate::store) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A companion of a database.
pub(in crate::store) fn companion(database: &Path, companion: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(companion);
    name.into()
}

/// Deletes a database and its companions. A missing file is no error. The caller has
/// checked that nothing is lost (see `segment::contents`).
pub(in crate::store) fn remove_database(path: &Path) -> Result<(), StoreError> {
    // The database goes first: one that is there without its log would be read with rows missing.
    for name in [""].iter().chain(&COMPANIONS) {
        let file = companion(path, name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).doing("remove", &file);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The name of the network file system that `path` is on (magic numbers of statfs(2)).
#[cfg(target_os = "linux")]
fn network_file_system(path: &Path) -> Option<&'static str> {
    const KNOWN: [(u64, &str); 8] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xfe53_4d42, "SMB2"),
        (0xff53_4d42, "CIFS"),
        (0x5346_414f, "AFS"),
        (0x7375_7245, "Coda"),
        (0x00c3_6400, "Ceph"),
        (0x564c, "NCP"),
    ];
    // The type of `f_type` differs by platform; the numbers are of 32 bits.
    let found = rustix::fs::statfs(path).ok()?.f_type as u64 & 0xffff_ffff;
    KNOWN.iter().find(|(magic, _)| *magic == found).map(|(_, name)| *name)
}

#[cfg(not(target_os = "linux"))]
fn network_file_system(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refused(path: &Path, expected: &str) {
        let error = Directory::open(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_trusted_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        refused(&path, "is not there");
        Directory::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let link = temporary.path().join("link");
        symlink(&path, &link).unwrap();
        refused(&link, "is a symbolic link");
        refused(&link.join(""), "is a symbolic link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        refused(&path, "chmod 700");
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        refused(&file, "is not a directory");
    }

    #[test]
    fn a_directory_that_others_may_read_is_closed_to_them() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        for mode in [0o755, 0o750, 0o701, 0o700] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            Directory::create(path).unwrap();
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700, "{mode:o}");
        }
        // Only reading it changes nothing.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        Directory::open(path).unwrap();
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn one_process_writes() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let lock = directory.lock().unwrap();
        assert!(matches!(directory.lock(), Err(StoreError::Locked(_))));
        drop(lock);
        directory.lock().unwrap();
    }
}
