//! Restores a backup: reads the files that its manifest names, and compares each with its SHA-256.

use std::path::Path;

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use super::manifest::{self, File, Manifest};
use super::{BackupError, part_key, parts};
use crate::objects::Blocking;
use crate::store::backup::Copied;
use crate::store::snapshot::{Restoring, restore_files};

/// Restores the backup `number`, or else the newest, as the data directory `to`, which must not be there,
/// or be empty.
///
/// # Errors
/// If an object is missing or damaged. Then there is no `to`.
pub(crate) fn restore(
    objects: &Blocking,
    number: Option<u64>,
    to: &Path,
) -> Result<Copied, BackupError> {
    let url = objects.url().to_string();
    let wanted = match number {
        Some(number) => Some(number),
        None => manifest::newest(objects)?,
    };
    let found = wanted.map(|number| Manifest::read(objects, number)).transpose()?.flatten();
    let manifest =
        found.ok_or_else(|| BackupError::NoBackup { url: url.clone(), number: wanted })?;
    let mut copied = restore_files(Path::new(&url), to, |restoring| {
        manifest.files.iter().try_for_each(|file| download(file, objects, restoring))
    })?;
    copied.bytes = manifest.files.iter().map(|file| file.bytes).sum();
    Ok(copied)
}

/// Reads a file, a part at a time.
fn download(file: &File, objects: &Blocking, restoring: &Restoring<'_>) -> Result<(), BackupError> {
    let mut target = restoring.create(&file.name)?;
    let mut context = Context::new(&SHA256);
    for (part, _, length) in parts(file.bytes) {
        let key = part_key(&file.sha256, part);
        let Some(body) = objects.get(&key)? else { return Err(BackupError::Missing { key }) };
        if body.len() as u64 != length {
            let what = format!("it has {} bytes, expected {length}", body.len());
            return Err(BackupError::Damaged { key, what });
        }
        context.update(&body);
        target.write(&body)?;
    }
    if HEXLOWER.encode(context.finish().as_ref()) != file.sha256 {
        let what = "its SHA-256 differs from that in the manifest".to_owned();
        return Err(BackupError::Damaged { key: file.name.clone(), what });
    }
    target.finish()?;
    Ok(())
}
