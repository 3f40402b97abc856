//! Finds entries in an archive, for `query`, `export` and `verify`. The format is defined in
//! docs/archive.md.
//!
//! - `fetch`: reads ranges of bytes. `batch`: the rows of a row group, some at a time. `row`: an entry,
//!   for a filter.
//! - `prune`: leaves out files and row groups.
//! - `late`: newer versions of entries. `group`: the entries of a row group that match.
//! - `scan`: all entries that match, in their order, a window at a time. `records`: reads them.
//! - `lines`: lines that are longer than the receiver parses.
//!
//! Nothing is written. Whoever may write to the place may write anything there, so numbers are
//! checked and sizes have limits. Memory is bounded: a row group as it is compressed, a window of
//! positions, and a slice of records.

mod batch;
mod fetch;
mod group;
mod late;
mod lines;
mod prune;
mod records;
mod row;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use tokio::runtime::Handle;

use self::fetch::Fetcher;
pub(crate) use self::scan::{Order, Scan};
use super::error::ArchiveError;
use super::footer::Footer;
use super::layout::Table;
use super::manifest::File;
use super::place::Place;
use super::schema;
use crate::objects::{Bucket, BucketUrl};

/// A file of the archive.
#[derive(Clone, Debug)]
struct DataFile {
    table: Table,
    /// The name of the object.
    key: String,
    /// The size in bytes.
    size: u64,
    /// The ids that it may have: the smallest and the largest.
    ids: (i64, i64),
    /// The times that it may have.
    time: (i64, i64),
}

impl DataFile {
    /// The file as the manifest lists it. `None` if it is of a table that a later version added.
    fn new(file: &File) -> Option<DataFile> {
        let all = (i64::MIN, i64::MAX);
        Some(DataFile {
            table: file.table()?,
            key: file.key.clone(),
            size: file.bytes,
            ids: file.min_id.zip(file.max_id).unwrap_or(all),
            time: file.min_time.zip(file.max_time).unwrap_or(all),
        })
    }
}

/// The archive of a store, for reading.
pub(crate) struct Archive {
    fetcher: Fetcher,
    files: BTreeMap<Table, Vec<DataFile>>,
}

impl Archive {
    /// Opens the archive of a store: that with the id `store`, or the only one. `runtime` has threads
    /// of its own.
    ///
    /// # Errors
    /// [`ArchiveError::WhichStore`] if there is none, or if there are several and none was named.
    pub(crate) fn open(
        url: &BucketUrl,
        store: Option<&str>,
        runtime: Handle,
    ) -> Result<Archive, ArchiveError> {
        let place = Place::open(url, runtime.clone())?;
        let store = place.choose(store)?;
        let mut files: BTreeMap<Table, Vec<DataFile>> = BTreeMap::new();
        for file in place.manifest(&store)?.files.iter().filter_map(DataFile::new) {
            files.entry(file.table).or_default().push(file);
        }
        Ok(Archive { fetcher: Fetcher::new(Bucket::open(url)?, runtime), files })
    }

    /// The files of a table.
    fn all(&self, table: Table) -> &[DataFile] {
        self.files.get(&table).map_or(&[], Vec::as_slice)
    }

    /// The files of a table that may have ids in a range.
    fn files(&self, table: Table, (first, last): (i64, i64)) -> impl Iterator<Item = &DataFile> {
        self.all(table).iter().filter(move |file| {
            let (least, greatest) = file.ids;
            least <= last && first <= greatest
        })
    }

    /// Reads the footer of a file.
    fn read<'a>(&'a self, file: &'a DataFile) -> Result<Opened<'a>, ArchiveError> {
        let footer = self.fetcher.footer(&file.key, file.table, file.size)?;
        Ok(Opened { fetcher: &self.fetcher, file, footer })
    }
}

/// A file whose footer was read.
struct Opened<'a> {
    fetcher: &'a Fetcher,
    file: &'a DataFile,
    footer: Arc<Footer>,
}

impl Opened<'_> {
    /// The part of a row group that has a column. `None`: the file does not have it.
    fn chunk(
        &self,
        number: usize,
        column: &str,
    ) -> Result<Option<&ColumnChunkMetaData>, ArchiveError> {
        let group = self.footer.group(number)?;
        let place = schema::place(self.file.table, column);
        Ok(place.and_then(|place| self.footer.chunk(group, place)))
    }

    /// The bounds that a row group has of the values of a column; all integers if it has none.
    fn integers(&self, number: usize, column: &str) -> Result<(i64, i64), ArchiveError> {
        let (least, greatest) = match self.chunk(number, column)?.map(|chunk| chunk.statistics()) {
            Some(Some(Statistics::Int64(of))) => (of.min_opt(), of.max_opt()),
            _ => (None, None),
        };
        Ok((*least.unwrap_or(&i64::MIN), *greatest.unwrap_or(&i64::MAX)))
    }
}
