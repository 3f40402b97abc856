//! Makes a backup: puts the files of a snapshot that are not there yet, and then the manifest.

use bytes::Bytes;

use super::manifest::{self, File, Manifest};
use super::{BackupError, part_key, parts};
use crate::clock::now;
use crate::objects::Blocking;
use crate::store::backup::Copied;
use crate::store::snapshot::{Snapshot, SnapshotFile};
use crate::store::{Reader, StoreError};

/// How often a snapshot is made because a sealed segment went while the last one was uploaded.
const ATTEMPTS: usize = 20;

/// How many numbers are tried. Each is that of another backup which was made at the same time.
const NUMBERS: u64 = 100;

/// The result of a backup.
#[derive(Debug)]
pub(crate) struct Uploaded {
    /// The number of the backup.
    pub(crate) number: u64,
    /// What was copied.
    pub(crate) copied: Copied,
}

/// Makes a backup of a store, which may be in use.
///
/// # Errors
/// [`BackupError::OtherStore`] if the place has backups of another store. If it fails, the earlier backups
/// are as they were.
pub(crate) fn backup(reader: &Reader, objects: &Blocking) -> Result<Uploaded, BackupError> {
    let newest = manifest::newest(objects)?;
    let earlier = newest.map(|number| Manifest::read(objects, number)).transpose()?.flatten();
    let (found, expected) = (earlier.and_then(|earlier| earlier.store), reader.store_id()?);
    if let (Some(found), Some(expected)) = (found, expected)
        && found != expected
    {
        let url = objects.url().to_string();
        return Err(BackupError::OtherStore { url, found, expected });
    }
    for _ in 0..ATTEMPTS {
        let mut snapshot = reader.snapshot_files()?;
        let Some(files) = upload(&mut snapshot, objects)? else { continue };
        let manifest = Manifest::new(snapshot.store.take(), now().get(), files);
        let number = number(manifest, newest, objects)?;
        return Ok(Uploaded { number, copied: std::mem::take(&mut snapshot.counted) });
    }
    Err(BackupError::Hurried)
}

/// Puts all files of a snapshot. `None` if a sealed segment went meanwhile.
fn upload(snapshot: &mut Snapshot, objects: &Blocking) -> Result<Option<Vec<File>>, BackupError> {
    let mut files = Vec::with_capacity(snapshot.files.len());
    for file in &snapshot.files {
        match upload_file(file, objects, &mut snapshot.counted) {
            Ok(uploaded) => files.push(uploaded),
            Err(BackupError::Store(StoreError::Io { .. })) if !file.is_there() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(files))
}

/// Puts the parts of a file that are not there.
fn upload_file(
    file: &SnapshotFile,
    objects: &Blocking,
    copied: &mut Copied,
) -> Result<File, BackupError> {
    let name = file.name.clone();
    if let Some((bytes, sha256)) = &file.sealed
        && missing(*bytes, sha256, objects)?.is_empty()
    {
        copied.kept += 1;
        return Ok(File { name, bytes: *bytes, sha256: sha256.clone() });
    }
    let (bytes, sha256) = file.hash()?;
    if let Some(sealed) = &file.sealed
        && (sealed.0, &sealed.1) != (bytes, &sha256)
    {
        copied.damaged.push(name.trim_start_matches("segments/").to_owned());
    }
    for (part, start, length) in missing(bytes, &sha256, objects)? {
        let body = Bytes::from(file.read(start, length)?);
        if body.len() as u64 != length {
            return Err(BackupError::Changed { name });
        }
        put(&part_key(&sha256, part), &body, objects)?;
        copied.bytes += length;
    }
    Ok(File { name, bytes, sha256 })
}

/// The parts of a file that are not there.
fn missing(
    bytes: u64,
    sha256: &str,
    objects: &Blocking,
) -> Result<Vec<(u64, u64, u64)>, BackupError> {
    let mut missing = Vec::new();
    for (part, start, length) in parts(bytes) {
        let key = part_key(sha256, part);
        match objects.size(&key)? {
            None => missing.push((part, start, length)),
            Some(found) if found == length => {}
            Some(found) => {
                let what = format!("it has {found} bytes, expected {length}");
                return Err(BackupError::Damaged { key, what });
            }
        }
    }
    Ok(missing)
}

/// Creates an object, and reads it back.
fn put(key: &str, body: &Bytes, objects: &Blocking) -> Result<(), BackupError> {
    let found = match objects.create(key, body)? {
        Some(found) => Some(found),
        None => objects.get(key)?,
    };
    let key = key.to_owned();
    match found {
        Some(found) if found == *body => Ok(()),
        Some(_) => {
            let what = "it does not have the bytes that were put".to_owned();
            Err(BackupError::Damaged { key, what })
        }
        None => Err(BackupError::Missing { key }),
    }
}

/// Creates the manifest under the first free number after the newest. Returns the number.
fn number(
    mut manifest: Manifest,
    newest: Option<u64>,
    objects: &Blocking,
) -> Result<u64, BackupError> {
    let first = newest.map_or(Some(0), |newest| newest.checked_add(1));
    let numbers = first.into_iter().flat_map(|first| first..first.saturating_add(NUMBERS));
    for number in numbers {
        manifest.number = number;
        let body = manifest.to_body()?;
        match objects.create(&manifest::key(number), &body)? {
            Some(other) if other != body => {}
            _ => return Ok(number),
        }
    }
    let url = objects.url().to_string();
    Err(BackupError::NoNumber { url, last: newest.unwrap_or(0) })
}
