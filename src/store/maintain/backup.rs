//! Backups: copies of a store that is in use, and their restoration.
//!
//! A backup has the layout of a data directory, so every command that reads can use it. A sealed
//! segment never changes, so it is copied only once. The catalog is copied first and then the
//! segments that it lists, so the backup has every entry that the catalog mentions. It gets its name
//! last, so a backup that is interrupted is the one before it. Entries that arrive during the backup may
//! be in it or not. The files of the log are copied as `backup_log` says.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::store::catalog::segments::Segment;
use crate::store::catalog::{self, Catalog};
use crate::store::directory::{Directory, create_folder, remove_database, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::backup_log;
use crate::store::maintain::unfinished::{Unfinished, refuse};
use crate::store::read::Reader;
use crate::store::refused;
use crate::store::schema::Schema;
use crate::store::segment::{self, contents, file_name};
use crate::store::sqlite::{self, Access};

/// The other files in a data directory.
pub(super) const OTHERS: [&str; 5] =
    ["tls.pem", "authorization", "konnect-setup.json", "dead-letters", "actions.jsonl"];

/// How often the catalog is copied again because segments were sealed meanwhile.
const ATTEMPTS: usize = 20;

/// The result of a backup or a restoration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Copied {
    /// The number of segments.
    pub segments: u64,
    /// The number of entries.
    pub entries: u64,
    /// The number of sealed segments that were already copied.
    pub kept: u64,
    /// Bytes of segments that were copied.
    pub bytes: u64,
    /// Sealed segments whose hash is not the recorded one, which were copied as they are, and files of
    /// the log that are not as they were written.
    pub damaged: Vec<String>,
    /// Files of an earlier backup that the catalog no longer lists. They were kept.
    pub left: Vec<String>,
}

impl Copied {
    /// Counts a segment whose last entry has the id `last`.
    pub(super) fn count(&mut self, segment: &Segment, last: Option<u64>) {
        self.segments += 1;
        self.entries += last.map_or(0, |last| (last + 1).saturating_sub(segment.first_id));
    }

    /// Takes what was copied of the log, or notes that a file of it is damaged.
    pub(super) fn without_damage<T>(
        &mut self,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Err(StoreError::DamagedLog { path, .. }) => {
                let names = path.iter().rev().take_while(|name| *name != "log");
                let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                let names = names.into_iter().rev().collect::<Vec<_>>().join("/");
                self.damaged.push(format!("log/{names}"));
                Ok(None)
            }
            result => result.map(Some),
        }
    }
}

impl Reader {
    /// Creates a backup in the folder `to`, or updates the one there.
    ///
    /// # Errors [`StoreError::BadCopy`] if the backup has entries that the store does not have.
    /// Then nothing is replaced.
    pub fn backup(&self, to: &Path) -> Result<Copied, StoreError> {
        let to = Directory::backup(to)?;
        let _lock = to.lock()?;
        let (segments, mut copied, unnamed) = self.copy_to(&to, |_| true)?;
        copied.without_damage(backup_log::copy_tiles(self.directory(), &to, true))?;
        unnamed.name()?;
        copied.left = remove_superseded(&to, &segments)?;
        Ok(copied)
    }

    /// Copies the catalog, the wanted segments of those that it lists, and the other files. Returns all
    /// segments that it lists, and what has no name yet: the catalog and the checkpoints of the log.
    pub(super) fn copy_to(
        &self,
        to: &Directory,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Result<(Vec<Segment>, Copied, backup_log::Unnamed), StoreError> {
        let from = self.directory();
        create_folder(&to.segments())?;
        let mut unnamed = backup_log::copy_others(from, to)?;
        for _ in 0..ATTEMPTS {
            let catalog = part(&to.catalog());
            copy_database(&from.catalog(), &catalog, &catalog::SCHEMA, Access::Shared)?;
            let segments = segments(&catalog)?;
            let wanted = segments.iter().filter(|segment| wanted(segment));
            let Some(copied) = copy_segments(from, to, wanted)? else { continue };
            unnamed.push(catalog, to.catalog());
            if from.refused().exists() {
                let refused = part(&to.refused());
                copy_database(&from.refused(), &refused, &refused::SCHEMA, Access::Shared)?;
                replace(&refused, &to.refused())?;
            }
            for name in OTHERS {
                copy_all(&from.path().join(name), &to.path().join(name))?;
            }
            return Ok((segments, copied, unnamed));
        }
        Err(io::Error::other("segments were sealed faster than they could be copied"))
            .doing("back up", from.path())
    }
}

/// Brings the backup in `from` back as the data directory `to`, which must not be there, or be empty.
///
/// # Errors
/// [`StoreError::Directory`] if a segment of the backup is missing or damaged: then there is no `to`.
pub fn restore(from: &Path, to: &Path) -> Result<Copied, StoreError> {
    let from = Directory::open_to_read(from)?;
    let unfinished = Unfinished::begin(to)?;
    match copy_store(&from, unfinished.directory()) {
        Ok(copied) => unfinished.finish().map(|()| copied),
        Err(error) => Err(unfinished.give_up(error)),
    }
}

/// Copies a backup to a new directory.
fn copy_store(from: &Directory, to: &Directory) -> Result<Copied, StoreError> {
    let segments = Catalog::open_read_only(from)?.segments()?;
    copy_database(&from.catalog(), &to.catalog(), &catalog::SCHEMA, Access::Shared)?;
    let missing = || refuse(from.path(), "lacks a segment that its catalog names".into());
    let mut copied = copy_segments(from, to, segments.iter())?.ok_or_else(missing)?;
    let unnamed = backup_log::copy_others(from, to)?;
    copied.without_damage(backup_log::copy_tiles(from, to, true))?;
    unnamed.name()?;
    refuse_damaged(from.path(), &copied)?;
    for name in OTHERS.iter().chain(&["refused.db"]) {
        copy_all(&from.path().join(name), &to.path().join(name))?;
    }
    Ok(copied)
}

/// # Errors
/// If a segment of the backup `from` is damaged.
pub(super) fn refuse_damaged(from: &Path, copied: &Copied) -> Result<(), StoreError> {
    match copied.damaged.is_empty() {
        true => Ok(()),
        false => {
            let damaged = copied.damaged.join(", ");
            Err(refuse(from, format!("has damaged files: {damaged}")))
        }
    }
}

/// The segments that a copied catalog lists.
pub(super) fn segments(catalog: &Path) -> Result<Vec<Segment>, StoreError> {
    Catalog::open_copy(catalog)?.segments()
}

/// Copies the segments that the backup does not have. `None` if a segment no longer exists.
fn copy_segments<'a>(
    from: &Directory,
    to: &Directory,
    segments: impl Iterator<Item = &'a Segment>,
) -> Result<Option<Copied>, StoreError> {
    let mut copied = Copied::default();
    for segment in segments {
        let (source, target) = (from.segment(&segment.file), to.segment(&segment.file));
        let length = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
        let last = match &segment.sealed {
            Some((bytes, _)) if length(&target) == Some(*bytes) => {
                copied.kept += 1;
                segment.closed.as_ref().map(|closed| closed.last_id)
            }
            Some(sealed) => {
                let new = part(&target);
                match copy_file(&source, &new) {
                    Err(_) if !source.exists() => return Ok(None),
                    done => done?,
                }
                if contents::hash(&new)? != *sealed {
                    copied.damaged.push(segment.file.clone());
                }
                // The backup has a file of this name with another size. It may be from another store.
                if target.exists() && !contents::has_all(&new, &target)? {
                    return Err(StoreError::BadCopy { from: source, to: target });
                }
                copied.bytes += length(&new).unwrap_or(0);
                replace(&new, &target)?;
                segment.closed.as_ref().map(|closed| closed.last_id)
            }
            None => {
                let new = part(&target);
                match copy_database(&source, &new, &segment::SCHEMA, Access::Shared) {
                    Err(_) if !source.exists() => return Ok(None),
                    done => done?,
                }
                // Everything in an earlier backup must still be there.
                if target.exists() && !contents::has_all(&new, &target)? {
                    return Err(StoreError::BadCopy { from: source, to: target });
                }
                copied.bytes += length(&new).unwrap_or(0);
                let last = last_id(&new)?;
                replace(&new, &target)?;
                last
            }
        };
        copied.count(segment, last);
    }
    Ok(Some(copied))
}

/// The highest id in a copied segment; `None` if it is empty.
pub(super) fn last_id(path: &Path) -> Result<Option<u64>, StoreError> {
    contents::open(path)?
        .query_row("SELECT max(id) FROM entries", [], |row| row.get(0))
        .doing("read", path)
}

/// Deletes files of an earlier backup if the catalog lists a newer file with all their entries.
/// Returns the others, which stay.
fn remove_superseded(to: &Directory, segments: &[Segment]) -> Result<Vec<String>, StoreError> {
    let mut left = Vec::new();
    for file in to.databases()? {
        if segments.iter().any(|segment| segment.file == file) {
            continue;
        }
        let newer = segments.iter().find(|one| Some(one.first_id) == file_name::first_id(&file));
        let path = to.segment(&file);
        match newer {
            Some(newer) if contents::has_all(&to.segment(&newer.file), &path)? => {
                remove_database(&path)?;
            }
            _ => left.push(file),
        }
    }
    Ok(left)
}

/// The name of an unfinished copy.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Copies a consistent snapshot of a database that may be in use.
fn copy_database(
    from: &Path,
    to: &Path,
    schema: &Schema,
    access: Access,
) -> Result<(), StoreError> {
    make_empty(to)?;
    sqlite::open_read_only(from, schema, access)?
        .execute("VACUUM INTO ?1", [to.to_string_lossy()])
        .map(drop)
        .doing("copy", from)?;
    sync(to)
}

/// Copies a file, and syncs the copy.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
    let mut target = make_empty(to)?;
    let mut source = File::open(from).doing("open", from)?;
    io::copy(&mut source, &mut target).doing("copy", from)?;
    target.sync_all().doing("sync", to)
}

/// Creates an empty private file, or empties an unfinished one.
pub(super) fn make_empty(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .doing("make", path)
}

/// Renames a finished copy to its name.
pub(super) fn replace(new: &Path, path: &Path) -> Result<(), StoreError> {
    fs::rename(new, path).doing("rename", new)?;
    path.parent().map_or(Ok(()), sync)
}

/// Copies a file or a folder, if it exists.
pub(super) fn copy_all(from: &Path, to: &Path) -> Result<(), StoreError> {
    if from.is_dir() {
        create_folder(to)?;
        for file in fs::read_dir(from).doing("list", from)? {
            let file = file.doing("list", from)?;
            copy_all(&file.path(), &to.join(file.file_name()))?;
        }
        return Ok(());
    }
    match from.exists() {
        true => {
            let new = part(to);
            match copy_file(from, &new) {
                // It went meanwhile.
                Err(_) if !from.exists() => fs::remove_file(&new).doing("remove", &new),
                copied => copied.and_then(|()| replace(&new, to)),
            }
        }
        false => Ok(()),
    }
}
