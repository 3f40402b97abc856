//! The files of a consistent snapshot, for a backup in object storage, and a data directory that is made
//! of such files again.
//!
//! What changes while the store is in use is copied to the folder `backing-up` in the data directory:
//! the catalog, unsealed segments, the small files, and the last files of the log. Sealed segments and full
//! files of the log never change, so they are read where they are. Nothing here knows where the files go. The names of files that come from outside are
//! checked: only those of a backup are written, and only inside the new directory.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::catalog::Catalog;
use crate::store::directory::{Directory, Lock, create_folder, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::backup::{Copied, OTHERS, last_id, refuse_damaged, segments};
use crate::store::maintain::backup_log;
use crate::store::maintain::unfinished::{Unfinished, refuse};
use crate::store::read::Reader;
use crate::store::segment::{contents, file_name};
use crate::store::tiles::{self, Tiles};

/// The folder of the copies, in the data directory: it must be on a disk that may be written to.
const FOLDER: &str = "backing-up";

/// The folder of the dead letters.
const DEAD_LETTERS: &str = "dead-letters";

/// The files of a consistent snapshot. The copies among them are removed when it is dropped.
#[derive(Debug)]
pub struct Snapshot {
    /// The id of the store; `None` if its catalog is of an earlier version.
    pub store: Option<String>,
    /// All files. Those that are read where they are come first.
    pub files: Vec<SnapshotFile>,
    /// The number of segments and of entries in them.
    pub counted: Copied,
    copies: Directory,
    _lock: Lock,
}

/// A file of a snapshot.
#[derive(Debug)]
pub struct SnapshotFile {
    /// Its name in the data directory, such as `segments/0000000000000001.db`.
    pub name: String,
    /// The recorded size in bytes and SHA-256 in hexadecimal, if it is a sealed segment.
    pub sealed: Option<(u64, String)>,
    path: PathBuf,
}

impl Reader {
    /// Makes a snapshot.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another snapshot is being used.
    pub fn snapshot_files(&self) -> Result<Snapshot, StoreError> {
        let path = self.directory().path().join(FOLDER);
        create_folder(&path)?;
        let copies = Directory::open(&path)?;
        let lock = copies.lock()?;
        clear(self, &copies)?;
        // From here on the folder has only what this snapshot copies, and is removed with it.
        let mut snapshot = Snapshot {
            store: None,
            files: Vec::new(),
            counted: Copied::default(),
            copies,
            _lock: lock,
        };
        snapshot.store = self.store_id()?;
        snapshot.fill(self)?;
        Ok(snapshot)
    }
}

/// Removes what an interrupted backup left, if the store has every entry of it.
fn clear(reader: &Reader, copies: &Directory) -> Result<(), StoreError> {
    let segments = Catalog::open_read_only(reader.directory())?.segments()?;
    for file in copies.databases()? {
        let copy = copies.segment(&file);
        let first_id = file_name::first_id(&file);
        let original = segments.iter().find(|segment| Some(segment.first_id) == first_id);
        let has_all = match original {
            Some(one) => contents::has_all(&reader.directory().segment(&one.file), &copy)?,
            None => false,
        };
        if !has_all {
            let what = format!(
                "has {file} of a backup that did not end, and the store lacks entries of it; \
                 keep the file if they matter, and remove the directory"
            );
            return Err(refuse(copies.path(), what));
        }
    }
    let folder = copies.path();
    for file in fs::read_dir(folder).doing("list", folder)? {
        let path = file.doing("list", folder)?.path();
        let removed = match (path.is_dir(), path.ends_with("lock")) {
            (true, _) => fs::remove_dir_all(&path),
            (false, true) => Ok(()),
            (false, false) => fs::remove_file(&path),
        };
        removed.doing("remove", &path)?;
    }
    Ok(())
}

impl Snapshot {
    fn fill(&mut self, reader: &Reader) -> Result<(), StoreError> {
        let copies = self.copies.clone();
        let (segments, counted, unnamed) =
            reader.copy_to(&copies, |segment| segment.sealed.is_none())?;
        self.counted = counted;
        let (mut sealed, mut open) = (Vec::new(), vec!["catalog.db".to_owned()]);
        for segment in segments {
            let name = format!("segments/{}", segment.file);
            if segment.sealed.is_none() {
                open.push(name);
                continue;
            }
            self.counted.count(&segment, segment.closed.as_ref().map(|closed| closed.last_id));
            let path = reader.directory().segment(&segment.file);
            sealed.push(SnapshotFile { name, sealed: segment.sealed, path });
        }
        let others = OTHERS.iter().chain(&["refused.db"]).filter(|name| **name != DEAD_LETTERS);
        open.extend(others.map(|name| (*name).to_owned()));
        let letters = backup_log::names(&copies.path().join(DEAD_LETTERS))?;
        open.extend(letters.into_iter().map(|name| format!("{DEAD_LETTERS}/{name}")));
        let tiles = backup_log::copy_tiles(reader.directory(), &copies, false);
        if let Some(tiles) = self.counted.without_damage(tiles)? {
            let (full, rest): (Vec<_>, Vec<_>) =
                tiles.files().into_iter().partition(|file| file.is_full);
            sealed.extend(full.into_iter().map(|file| SnapshotFile {
                path: reader.directory().path().join(&file.name),
                name: file.name,
                sealed: None,
            }));
            open.extend(rest.into_iter().map(|file| file.name));
            open.push("log/size".to_owned());
        }
        unnamed.name()?;
        open.extend(backup_log::FILES.iter().map(|name| format!("log/{name}")));
        for folder in backup_log::FOLDERS {
            let names = backup_log::names(&copies.log().join(folder))?;
            open.extend(names.into_iter().map(|name| format!("log/{folder}/{name}")));
        }
        let copied = open.into_iter().map(|name| SnapshotFile {
            path: copies.path().join(&name),
            name,
            sealed: None,
        });
        self.files = sealed;
        self.files.extend(copied.filter(|file| file.path.is_file()));
        Ok(())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(self.copies.path()) {
            let folder = self.copies.path().display();
            tracing::warn!(%folder, %error, "the copies of a backup cannot be removed");
        }
    }
}

impl SnapshotFile {
    /// Its size in bytes and its SHA-256 in hexadecimal, as it is.
    pub fn hash(&self) -> Result<(u64, String), StoreError> {
        contents::hash(&self.path)
    }

    /// Whether it is still there. A sealed segment goes if it is sealed again or retention deletes it.
    pub fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Reads `length` bytes from the byte `start`, or fewer if it ends there.
    pub fn read(&self, start: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let run = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let read: std::io::Result<Vec<u8>> = run();
        read.doing("read", &self.path)
    }
}

/// A data directory that is being made of the files of a backup.
#[derive(Debug)]
pub struct Restoring<'a>(&'a Directory);

/// A file of it.
#[derive(Debug)]
pub struct NewFile(File, PathBuf);

impl Restoring<'_> {
    /// Creates the file of this name.
    ///
    /// # Errors
    /// If a backup has no such file, or the file is there.
    pub fn create(&self, name: &str) -> Result<NewFile, StoreError> {
        let path = self.0.path().join(name);
        if !is_of_a_backup(name) {
            return Err(refuse(self.0.path(), format!("cannot have the file {name:?}")));
        }
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(NewFile(file.doing("make", &path)?, path))
    }
}

impl NewFile {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.write_all(bytes).doing("write", &self.1)
    }

    /// Waits until the file is on the disk.
    pub fn finish(self) -> Result<(), StoreError> {
        self.0.sync_all().doing("sync", &self.1)
    }
}

/// Makes the data directory `to`, which must not be there, or be empty, of the files that `fill` creates.
/// `from` is where they come from.
///
/// # Errors
/// [`StoreError::Directory`] if a segment is missing or damaged, and those of `fill`. Then there is no `to`.
pub fn restore_files<E: From<StoreError> + Display>(
    from: &Path,
    to: &Path,
    fill: impl FnOnce(&Restoring<'_>) -> Result<(), E>,
) -> Result<Copied, E> {
    let unfinished = Unfinished::begin(to)?;
    let directory = unfinished.directory();
    match fill(&Restoring(directory)).and_then(|()| Ok(check(from, directory)?)) {
        Ok(copied) => Ok(unfinished.finish().map(|()| copied)?),
        Err(why) => Err(unfinished.give_up(why)),
    }
}

/// Compares the segments of a new data directory with its catalog.
fn check(from: &Path, to: &Directory) -> Result<Copied, StoreError> {
    if !to.has_catalog() {
        return Err(refuse(from, "lacks the catalog".into()));
    }
    let (mut copied, mut found) = (Copied::default(), to.databases()?);
    for segment in segments(&to.catalog())? {
        let path = to.segment(&segment.file);
        if !found.remove(&segment.file) {
            return Err(refuse(from, "lacks a segment that its catalog names".into()));
        }
        let last = match (&segment.sealed, &segment.closed) {
            (Some(sealed), closed) => {
                if contents::hash(&path)? != *sealed {
                    copied.damaged.push(segment.file.clone());
                }
                closed.as_ref().map(|closed| closed.last_id)
            }
            (None, _) => last_id(&path)?,
        };
        copied.count(&segment, last);
    }
    copied.without_damage(Tiles::open(to).and_then(|tiles| tiles.check_files(to)))?;
    refuse_damaged(from, &copied)?;
    if !found.is_empty() {
        return Err(refuse(from, "has a segment that its catalog does not name".into()));
    }
    let letters = to.path().join(DEAD_LETTERS);
    if letters.exists() {
        sync(&letters)?;
    }
    tiles::sync_folders(to)?;
    sync(&to.segments())?;
    sync(to.path())?;
    Ok(copied)
}

/// Whether a file of this name may be in a backup.
fn is_of_a_backup(name: &str) -> bool {
    let plain =
        |file: &str| !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\0']);
    match name.split_once('/') {
        Some(("segments", file)) => plain(file) && file.ends_with(".db"),
        Some(("log", file)) => backup_log::is_file_name(file),
        Some((folder, file)) => folder == DEAD_LETTERS && plain(file),
        None => {
            let others = OTHERS.iter().filter(|other| **other != DEAD_LETTERS);
            others.chain(&["catalog.db", "refused.db"]).any(|other| *other == name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside() {
        for good in [
            "catalog.db",
            "refused.db",
            "tls.pem",
            "actions.jsonl",
            "segments/0000000000000001.db",
            "dead-letters/siem.jsonl",
            "log/size",
            "log/key",
            "log/origin",
            "log/checkpoint",
            "log/checkpoints/2026-01-02",
            "log/timestamps/70.tsr",
            "log/key.previous",
            "log/vkeys",
            "log/start",
            "log/bundled",
            "log/records/0000",
            "log/offsets/12345",
            "log/hashes/0/0017",
        ] {
            assert!(is_of_a_backup(good), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../catalog.db",
            "segments",
            "segments/",
            "segments/..",
            "segments/../../x.db",
            "segments/a/b.db",
            "segments/0000000000000001.db-wal",
            "dead-letters",
            "dead-letters/../x",
            "ids",
            "lock",
            "catalog.db-wal",
            "other/x",
            "log",
            "log/",
            "log/other",
            "log/size.tmp",
            "log/checkpoints/2026-01-02.part",
            "log/checkpoints/2026-01-02/x",
            "log/checkpoints/..",
            "log/timestamps/x.tsr",
            "log/timestamps/70",
            "log/records",
            "log/records/",
            "log/records/../x",
            "log/hashes/0",
            "log/hashes/00/0000",
            "log/hashes/../../x",
            "log/hashes/0/x",
        ] {
            assert!(!is_of_a_backup(bad), "{bad}");
        }
    }
}
