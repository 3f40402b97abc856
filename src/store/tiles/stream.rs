//! A stream: bytes that are only added to, in files of one size.
//!
//! The files of a stream are numbered from 0, with at least four digits. Each has [`FILE`] bytes, and the
//! last one has the rest. So a full file never changes, and `cat` over all of them is the stream.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::store::directory::{create_folder, sync};
use crate::store::error::{SqliteContext, StoreError};

/// The bytes of a file.
pub(super) const FILE: u64 = if cfg!(test) { 4 << 10 } else { 32 << 20 };

/// Bytes are written when there are this many.
const BUFFER: usize = 1 << 20;

/// The name of the file with this number.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:04}")
}

/// A stream, to be read.
pub(super) struct Stream {
    folder: PathBuf,
}

impl Stream {
    pub(super) fn new(folder: PathBuf) -> Stream {
        Stream { folder }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// The number of bytes that are there, up to the first file that is missing or not full.
    pub(super) fn length(&self) -> Result<u64, StoreError> {
        let mut length: u64 = 0;
        for path in (0..).map(|number| self.path(number)) {
            let bytes = match fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                found => found.doing("look at", &path)?.len(),
            };
            length = length.saturating_add(bytes);
            if bytes != FILE {
                break;
            }
        }
        Ok(length)
    }

    /// Reads `length` bytes from the byte `start`. The caller limits `length`.
    ///
    /// # Errors
    /// If there are fewer.
    pub(super) fn read(&self, start: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let (mut rest, mut at) = (bytes.as_mut_slice(), start);
        while !rest.is_empty() {
            let here = room(at, rest.len());
            let (part, later) = rest.split_at_mut(here);
            let path = self.path(at / FILE);
            File::open(&path)
                .and_then(|file| file.read_exact_at(part, at % FILE))
                .doing("read", &path)?;
            at += here as u64;
            rest = later;
        }
        Ok(bytes)
    }
}

/// How many of `length` bytes from the byte `at` on are in one file.
fn room(at: u64, length: usize) -> usize {
    usize::try_from(FILE - at % FILE).unwrap_or(usize::MAX).min(length)
}

/// A stream, to be added to.
pub(super) struct Appender {
    stream: Stream,
    /// The number of bytes that are on the disk.
    synced: u64,
    /// The number of bytes that are written.
    written: u64,
    pending: Vec<u8>,
    /// The files that were written to since the last sync.
    files: BTreeMap<u64, File>,
}

impl Appender {
    /// Goes on after the byte `end`. What is beyond it is replaced.
    pub(super) fn new(stream: Stream, end: u64) -> Appender {
        Appender { stream, synced: end, written: end, pending: Vec::new(), files: BTreeMap::new() }
    }

    /// The number of bytes with those that are not written yet.
    pub(super) fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Where bytes are added.
    pub(super) fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Writes what was added, if it is much.
    pub(super) fn write_if_full(&mut self) -> Result<(), StoreError> {
        if self.pending.len() < BUFFER { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        if self.written == 0 && !self.pending.is_empty() {
            create_folder(&self.stream.folder)?;
        }
        let mut rest = self.pending.as_slice();
        while !rest.is_empty() {
            let (part, later) = rest.split_at(room(self.written, rest.len()));
            let number = self.written / FILE;
            let path = self.stream.path(number);
            let file = match self.files.entry(number) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(absent) => {
                    let mut options = OpenOptions::new();
                    options.write(true).create(true).truncate(false).mode(0o600);
                    absent.insert(options.open(&path).doing("open", &path)?)
                }
            };
            file.write_all_at(part, self.written % FILE).doing("write", &path)?;
            self.written += part.len() as u64;
            rest = later;
        }
        self.pending.clear();
        Ok(())
    }

    /// Waits until all that was added is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.write()?;
        while let Some((number, file)) = self.files.pop_first() {
            file.sync_data().doing("sync", &self.stream.path(number))?;
        }
        // A file whose first byte is new may have been made for it, now or by a process that crashed.
        if self.synced.div_ceil(FILE) < self.written.div_ceil(FILE) {
            let folders = self.stream.folder.ancestors();
            // The folder itself; and for the first file the folders of a level and of the log too.
            let count = if self.synced == 0 { 3 } else { 1 };
            folders.take(count).try_for_each(sync)?;
        }
        self.synced = self.written;
        Ok(())
    }
}
