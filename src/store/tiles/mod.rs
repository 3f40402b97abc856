//! The files of the log: the tiles and entry bundles of C2SP tlog-tiles, and how many leaves they have.
//!
//! Each level of tiles, and the entry bundles, are a stream: bytes that are only added to, in files of
//! 32 MiB ([`stream`]). The tile with the index `n` has the bytes from 8192 `n` on in the stream of its
//! level, and a partial tile is where that stream ends. So writing a million leaves takes a few synced
//! files and not thousands, and a partial tile of any width can be read at any time.
//!
//! What the streams hold up to the extent in the file `size` is on the disk and never changes. What is
//! beyond it counts for nothing: it is written again. Here nothing is known of segments:
//! `maintain::tiles` derives the files from the leaves that were committed there.

mod lengths;
mod records;
mod stream;
mod writer;

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use self::lengths::StreamLength;
pub(in crate::store) use self::records::RecordBytes;
pub(in crate::store) use self::writer::TileWriter;

use self::stream::{FILE, Stream};
use crate::private_file;
use crate::store::directory::{Directory, create_folder, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::tlog::leaf::Leaf;
use crate::tlog::tile::{self, Kind, TileError, TilePath, WIDTH};
use crate::tlog::tree::{Hash, HashReader, root_of};

/// The bytes of a hash.
const HASH: u64 = 32;

/// The bytes of an offset in the stream of offsets.
const OFFSET: u64 = 8;

/// The number of levels of tiles.
const LEVELS: u8 = 8;

/// Leaves in a full tile and in a full entry bundle.
const FULL: u64 = WIDTH as u64;

/// How far the streams are written and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// The number of leaves.
    leaves: u64,
    /// The length of the stream of records, in bytes.
    bytes: u64,
    /// The root of the tree of these leaves.
    root: Hash,
}

/// The files of the log, up to a number of leaves.
#[derive(Clone, Debug)]
pub struct Tiles {
    folder: PathBuf,
    extent: Extent,
}

/// A file of a stream.
#[derive(Clone, Debug)]
pub(in crate::store) struct StreamFile {
    /// Its name in the data directory.
    pub(in crate::store) name: String,
    /// The number of bytes of it that count.
    pub(in crate::store) bytes: u64,
    /// Whether it never changes again.
    pub(in crate::store) is_full: bool,
}

/// Makes the folder of the log, if it is not there.
pub(in crate::store) fn create(directory: &Directory) -> Result<(), StoreError> {
    create_folder(&directory.log())?;
    sync(directory.path())
}

/// The number of leaves that were given out: those in the files, or those of the newest checkpoint if these
/// are more. A file that cannot be read is logged and counts as none.
pub(in crate::store) fn published(directory: &Directory) -> u64 {
    let written = Tiles::open(directory).map(|tiles| tiles.size());
    let signed = checkpoint_size(directory);
    [written, signed].into_iter().fold(0, |most, size| match size {
        Ok(size) => most.max(size),
        Err(error) => {
            tracing::error!(%error, "the log may have leaves that are not known");
            most
        }
    })
}

/// The highest id that these leaves name, as far as the files have them; 0 if they name none.
pub(in crate::store) fn last_id(
    directory: &Directory,
    leaves: Range<u64>,
) -> Result<u64, StoreError> {
    let (tiles, mut last) = (Tiles::open(directory)?, 0);
    let end = leaves.end.min(tiles.size());
    for index in leaves.start / FULL..end.div_ceil(FULL) {
        let Some(path) = TilePath::new(Kind::Entries, index, tiles.size()) else { break };
        let bundle = tiles.read(path)?;
        for record in tile::entries(&bundle, path.width())? {
            if let Ok((Leaf::Entry(entry), _)) = Leaf::parse(record) {
                last = last.max(entry.id);
            }
        }
    }
    Ok(last)
}

/// The number of leaves of the newest checkpoint; 0 if there is none. Its signatures are not verified.
fn checkpoint_size(directory: &Directory) -> Result<u64, StoreError> {
    let path = directory.log().join("checkpoint");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        text => text.doing("read", &path)?,
    };
    // C2SP tlog-checkpoint, "Note text": the second line is the size.
    let size = text.lines().nth(1).and_then(|line| line.parse().ok());
    size.ok_or_else(|| StoreError::DamagedLog { path, what: "it has no size of a tree".into() })
}

impl Tiles {
    /// Opens the files as they are now.
    ///
    /// # Errors
    /// [`StoreError::DamagedLog`] if the file `size` is not as it was written.
    pub(in crate::store) fn open(directory: &Directory) -> Result<Tiles, StoreError> {
        let folder = directory.log();
        let path = folder.join("size");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let extent = Extent { leaves: 0, bytes: 0, root: root_of([]) };
                return Ok(Tiles { folder, extent });
            }
            text => text.doing("read", &path)?,
        };
        match Extent::parse(&text) {
            Some(extent) => Ok(Tiles { folder, extent }),
            None => {
                let what = "expected a number of leaves, a number of bytes and a root".into();
                Err(StoreError::DamagedLog { path, what })
            }
        }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.extent.leaves
    }

    /// The root of the tree, as it was recorded when its last leaf was written.
    pub fn root(&self) -> Hash {
        self.extent.root
    }

    /// The bytes of a tile or an entry bundle. `None` if the tree does not have it, or not yet in this
    /// width. A partial one can still be had when it is full.
    pub fn file(&self, path: &TilePath) -> Result<Option<Vec<u8>>, StoreError> {
        let there = TilePath::new(path.kind(), path.index(), self.size());
        match there.filter(|there| path.width() <= there.width()) {
            Some(_) => self.read(*path).map(Some),
            None => Ok(None),
        }
    }

    /// The record of a leaf.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`] if there is no such leaf in the files.
    pub fn record(&self, leaf: u64) -> Result<Vec<u8>, StoreError> {
        let no_such = || StoreError::NoSuch { what: "leaf", id: leaf };
        if leaf >= self.size() {
            return Err(no_such());
        }
        let path = TilePath::new(Kind::Entries, leaf / FULL, self.size()).ok_or_else(no_such)?;
        let bundle = self.read(path)?;
        let records = tile::entries(&bundle, path.width())?;
        let record = usize::try_from(leaf % FULL).ok().and_then(|at| records.get(at));
        record.map(|record| record.to_vec()).ok_or_else(no_such)
    }

    /// The bytes of a tile or an entry bundle that is there.
    fn read(&self, path: TilePath) -> Result<Vec<u8>, StoreError> {
        match path.kind() {
            Kind::Hashes(level) => {
                let start = path.index() * FULL * HASH;
                self.hashes(level).read(start, u64::from(path.width()) * HASH)
            }
            Kind::Entries => self.bundle(path.index(), path.width()),
        }
    }

    /// The first `width` entries of a bundle.
    fn bundle(&self, index: u64, width: u16) -> Result<Vec<u8>, StoreError> {
        let start = self.offset(index)?;
        let end = match (index + 1) * FULL < self.size() {
            true => self.offset(index + 1)?,
            false => self.extent.bytes,
        };
        let most = FULL * (2 + u64::from(u16::MAX));
        let length = end.checked_sub(start).filter(|length| *length <= most);
        let length = length.ok_or_else(|| StoreError::DamagedLog {
            path: self.folder.join("offsets"),
            what: format!("the bundle {index} goes from {start} to {end}"),
        })?;
        let mut bundle = self.records().read(start, length)?;
        let there = (self.size() - index * FULL).min(FULL);
        if u64::from(width) < there {
            let whole = tile::entries(&bundle, u16::try_from(there).unwrap_or(WIDTH))?;
            let cut = whole.iter().take(width.into()).map(|record| 2 + record.len()).sum();
            bundle.truncate(cut);
        }
        Ok(bundle)
    }

    /// Where a bundle begins in the stream of records.
    fn offset(&self, index: u64) -> Result<u64, StoreError> {
        let bytes = self.offsets().read(index * OFFSET, OFFSET)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)))
    }

    fn records(&self) -> Stream {
        Stream::new(self.folder.join("records"))
    }

    fn offsets(&self) -> Stream {
        Stream::new(self.folder.join("offsets"))
    }

    fn hashes(&self, level: u8) -> Stream {
        Stream::new(self.folder.join("hashes").join(level.to_string()))
    }

    /// The files that there are, if none is missing.
    pub(in crate::store) fn files(&self) -> Vec<StreamFile> {
        let Extent { leaves, bytes, .. } = self.extent;
        let mut streams = vec![
            ("records".to_owned(), bytes),
            ("offsets".to_owned(), leaves.div_ceil(FULL) * OFFSET),
        ];
        let hashes = |level: u8| (leaves >> (8 * u32::from(level))) * HASH;
        streams.extend((0..LEVELS).map(|level| (format!("hashes/{level}"), hashes(level))));
        let files = streams.into_iter().flat_map(|(stream, bytes)| {
            (0..bytes.div_ceil(FILE)).map(move |number| {
                let length = (bytes - number * FILE).min(FILE);
                let name = format!("log/{stream}/{}", stream::file_name(number));
                StreamFile { name, bytes: length, is_full: length == FILE }
            })
        });
        files.collect()
    }

    fn of_tile(&self, error: TileError<StoreError>) -> StoreError {
        match error {
            TileError::Read(error) => error,
            other => {
                let what = other.to_string();
                StoreError::DamagedLog { path: self.folder.clone(), what }
            }
        }
    }

    /// Compares the lengths of the files with what they should have.
    pub(in crate::store) fn check_files(&self, directory: &Directory) -> Result<(), StoreError> {
        for file in self.files() {
            let path = directory.path().join(&file.name);
            let found = fs::metadata(&path).map_or(0, |found| found.len());
            if found < file.bytes {
                let what = format!("it has {found} bytes, expected {}", file.bytes);
                return Err(StoreError::DamagedLog { path, what });
            }
        }
        Ok(())
    }

    /// Makes these files those of the log in another directory, which has as many bytes of them.
    pub(in crate::store) fn record_in(&self, directory: &Directory) -> Result<(), StoreError> {
        self.extent.record(&directory.log())
    }
}

impl Extent {
    fn parse(text: &str) -> Option<Extent> {
        let [leaves, bytes, root] = text.lines().collect::<Vec<_>>().try_into().ok()?;
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        let (leaves, bytes) = (leaves.parse().ok()?, bytes.parse().ok()?);
        let extent = Extent { leaves, bytes, root: Hash(root) };
        (extent.to_string() == text).then_some(extent)
    }

    /// Replaces the file `size`. What it says must be on the disk.
    fn record(self, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join("size");
        private_file::write(&path, self.to_string()).doing("write", &path)
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.leaves, self.bytes, self.root)
    }
}

impl HashReader for Tiles {
    type Error = StoreError;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, StoreError> {
        let tiles = tile::Tiles { read: |path| self.read(path), size: self.size() };
        tiles.hash(level, index).map_err(|error| self.of_tile(error))
    }
}

/// Whether a file of the log may have this name in its folder.
pub(in crate::store) fn is_file_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
    match name.split('/').collect::<Vec<_>>()[..] {
        ["size"] => true,
        ["records" | "offsets", number] => is_number(number),
        ["hashes", level, number] => {
            is_number(number) && level.parse::<u8>().is_ok_and(|one| one.to_string() == level)
        }
        _ => false,
    }
}

/// Waits until the names of all files of the log are on the disk.
pub(in crate::store) fn sync_folders(directory: &Directory) -> Result<(), StoreError> {
    let mut folders = vec![directory.log()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        sync(&folder)?;
        for file in fs::read_dir(&folder).doing("list", &folder)? {
            folders.push(file.doing("list", &folder)?.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
