//! Reads a bundle that somebody else may have made: a folder or a zip.
//!
//! Nothing is extracted, and nothing outside the bundle is read: only files with the names of a
//! bundle are opened, and a link or another special file is an error. Other files are named. A
//! folder and a zip are judged in the same way.

mod folder;
mod zip;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::MAX_ENTRIES;
use super::name::{Name, Part};
use folder::Folder;
use zip::Zip;

/// The most files of a bundle, with the folders that a zip may list.
const MAX_FILES: usize = MAX_ENTRIES * (Part::ALL.len() + 1) + Name::OUTER.len() + 1;

/// The number of unexpected files that are named.
const MOST_NAMED: usize = 20;

/// A bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// A file or a folder.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// It is something else.
    #[error("{} is not a bundle: {why}", path.display())]
    NotABundle {
        /// The path.
        path: PathBuf,
        /// The reason.
        why: &'static str,
    },
    /// It is a bundle that was damaged or tampered with.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The path.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A file of the bundle.
    #[error("cannot read {name} in the bundle: {error}")]
    File {
        /// The file.
        name: Name,
        /// The reason.
        error: io::Error,
    },
}

impl ReadError {
    /// Whether it was read, and is not what it must be.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            ReadError::Io { .. } | ReadError::NotABundle { .. } => false,
            ReadError::Damaged { .. } => true,
            // The system gives its errors a number.
            ReadError::File { error, .. } => error.raw_os_error().is_none(),
        }
    }
}

/// A bundle.
pub(crate) struct Bundle {
    source: Source,
    /// The files, in order.
    names: Vec<Name>,
    unexpected: Unexpected,
}

enum Source {
    Folder(Folder),
    Zip(Zip),
}

/// Files that do not belong into a bundle.
#[derive(Debug, Default)]
pub(crate) struct Unexpected {
    /// The first ones.
    pub(crate) first: Vec<String>,
    /// The number of all.
    pub(crate) count: usize,
}

impl Unexpected {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(name());
        }
    }
}

impl Bundle {
    /// Lists the files of the bundle at `path`.
    pub(crate) fn open(path: &Path) -> Result<Bundle, ReadError> {
        let failed = |error| ReadError::Io { path: path.to_owned(), error };
        let not_a_bundle = |why| Err(ReadError::NotABundle { path: path.to_owned(), why });
        let found = path.metadata().map_err(failed)?;
        let mut unexpected = Unexpected::default();
        let (source, names) = if found.is_dir() {
            let (folder, names) = Folder::open(path, &mut unexpected)?;
            (Source::Folder(folder), names)
        } else if found.is_file() {
            let file = File::open(path).map_err(failed)?;
            if !zip::is_zip(&file, found.len()).map_err(failed)? {
                return not_a_bundle("it is neither a folder nor a zip");
            }
            let (zip, names) = Zip::open(file, path, &mut unexpected)?;
            (Source::Zip(zip), names)
        } else {
            return not_a_bundle("it is neither a folder nor a zip");
        };
        match names.is_empty() {
            true => not_a_bundle("it has no file of a bundle"),
            false => Ok(Bundle { source, names, unexpected }),
        }
    }

    /// The ids of the entries, in order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self
            .names
            .iter()
            .filter_map(|name| match name {
                Name::Entry(id, _) => Some(*id),
                _ => None,
            })
            .collect();
        ids.dedup();
        ids
    }

    /// Files that do not belong into a bundle.
    pub(crate) fn unexpected(&self) -> &Unexpected {
        &self.unexpected
    }

    /// Whether the bundle has the file.
    pub(crate) fn has(&self, name: Name) -> bool {
        self.names.binary_search(&name).is_ok()
    }

    /// Opens a file. `None` if the bundle does not have it. A file that is too long or damaged
    /// gives an error while it is read.
    pub(crate) fn open_file(&self, name: Name) -> Result<Option<Box<dyn Read + '_>>, ReadError> {
        let Ok(at) = self.names.binary_search(&name) else { return Ok(None) };
        let opened: io::Result<Box<dyn Read + '_>> = match &self.source {
            Source::Folder(folder) => folder.open_file(name).map(|file| Box::new(file) as Box<_>),
            Source::Zip(zip) => zip.open_file(at).map(|file| Box::new(file) as Box<_>),
        };
        let file = opened.map_err(|error| ReadError::File { name, error })?;
        Ok(Some(Box::new(Limited { file, left: name.limit() })))
    }

    /// Reads a file. `None` if the bundle does not have it.
    pub(crate) fn read(&self, name: Name) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(mut file) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|error| ReadError::File { name, error })?;
        Ok(Some(bytes))
    }

    /// Reads a file, if the bundle has it, and keeps nothing.
    pub(crate) fn skim(&self, name: Name) -> Result<(), ReadError> {
        let Some(mut file) = self.open_file(name)? else { return Ok(()) };
        let read = io::copy(&mut file, &mut io::sink());
        read.map(drop).map_err(|error| ReadError::File { name, error })
    }
}

/// Fails when more than the limit is read.
struct Limited<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("it is too long"))?;
        Ok(read)
    }
}

fn damaged(path: &Path, why: impl Into<String>) -> ReadError {
    ReadError::Damaged { path: path.to_owned(), why: why.into() }
}

/// Checks that there are not more files than a bundle can have.
fn check_count(path: &Path, count: usize) -> Result<(), ReadError> {
    match count > MAX_FILES {
        true => Err(damaged(path, format!("it has more than {MAX_FILES} files"))),
        false => Ok(()),
    }
}
