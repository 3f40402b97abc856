//! A data directory that is being made: it gets its name when it is complete.
//!
//! It is made beside that name, with the ending `.restoring`. If its maker fails, it is removed: whatever
//! it is made from has all that is in it.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use crate::store::directory::{Directory, sync};
use crate::store::error::{SqliteContext, StoreError};

/// A data directory that is being made.
#[derive(Debug)]
pub(in crate::store) struct Unfinished {
    directory: Directory,
    path: PathBuf,
    to: PathBuf,
}

impl Unfinished {
    /// Begins a data directory that will be `to`, which must not be there, or be empty.
    pub(in crate::store) fn begin(to: &Path) -> Result<Unfinished, StoreError> {
        if fs::read_dir(to).is_ok_and(|mut files| files.next().is_some()) {
            let what = "is not empty; expected a directory that is not there yet, or is empty";
            return Err(refuse(to, what.into()));
        }
        let mut path = to.as_os_str().to_owned();
        path.push(".restoring");
        let path = PathBuf::from(path);
        if path.exists() {
            let what = "is left of a restoration that did not end; remove it first";
            return Err(refuse(&path, what.into()));
        }
        Ok(Unfinished { directory: Directory::create(&path)?, path, to: to.to_owned() })
    }

    /// The directory, under the name that it has until it is complete.
    pub(in crate::store) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Removes it because of `why`. Returns `why`, or an error with its text if it cannot be removed.
    pub(in crate::store) fn give_up<E: From<StoreError> + Display>(self, why: E) -> E {
        match fs::remove_dir_all(&self.path) {
            Ok(()) => why,
            Err(error) => refuse(&self.path, format!("cannot be removed: {error}; {why}")).into(),
        }
    }

    /// Gives it its name. Everything in it must be on the disk.
    pub(in crate::store) fn finish(self) -> Result<(), StoreError> {
        if self.to.exists() {
            fs::remove_dir(&self.to).doing("replace the empty directory", &self.to)?;
        }
        fs::rename(&self.path, &self.to).doing("rename", &self.path)?;
        let above = self.to.parent().filter(|above| !above.as_os_str().is_empty());
        sync(above.unwrap_or(Path::new(".")))
    }
}

/// An error of a directory.
pub(in crate::store) fn refuse(path: &Path, what: String) -> StoreError {
    StoreError::Directory { path: path.to_owned(), what }
}
