//! The footer of a file: its columns and row groups, and where they are in the file.
//!
//! The file may be anybody's. The places, types and sizes that a footer states are checked before the crate
//! `parquet` uses them. A column that has another type than the schema is an error. A column that the file lacks is NULL.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{
    ColumnChunkMetaData, FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};

use super::error::ArchiveError;
use super::layout::Table;
use super::pages::{MAX_COLUMN, MAX_ROWS};
use super::schema::{self, Kind};

/// The largest footer, in bytes.
const MAX_FOOTER: u64 = 16 << 20;

/// The most bytes of the values that are read together. A value of a dictionary may be there often, so this
/// does not follow from the size of the pages.
pub(super) const MAX_GROUP: usize = if cfg!(test) { 4 << 20 } else { 512 << 20 };

/// The footer of a file of a table.
pub(super) struct Footer {
    key: String,
    metadata: ParquetMetaData,
    /// The places of the columns in the file, in the order of the schema.
    places: Vec<Option<usize>>,
}

impl Footer {
    /// The bytes of the footer of a file that has `size` bytes and ends with `tail`.
    pub(super) fn length(key: &str, tail: &[u8], size: u64) -> Result<u64, ArchiveError> {
        let damaged = |what: String| ArchiveError::damaged(key, what);
        let last = tail.len().checked_sub(FOOTER_SIZE).and_then(|at| tail.get(at..));
        let last = FooterTail::try_from(last.unwrap_or_default());
        let last = last.map_err(|error| damaged(error.to_string()))?;
        let length = last.metadata_length() as u64;
        let whole = length.saturating_add(FOOTER_SIZE as u64);
        match last.is_encrypted_footer() || length > MAX_FOOTER || whole > size {
            true => Err(damaged(format!("its footer has {length} bytes, or is encrypted"))),
            false => Ok(whole),
        }
    }

    /// Reads the footer of a file that has `size` bytes and ends with `tail`, in which the footer is.
    pub(super) fn read(
        key: &str,
        table: Table,
        tail: &[u8],
        size: u64,
    ) -> Result<Footer, ArchiveError> {
        let damaged = |what: &str| ArchiveError::damaged(key, what);
        let length = usize::try_from(Footer::length(key, tail, size)?).unwrap_or(usize::MAX);
        let end = tail.len().saturating_sub(FOOTER_SIZE);
        let bytes = tail.len().checked_sub(length).and_then(|start| tail.get(start..end));
        let bytes = bytes.ok_or_else(|| damaged("it is too short"))?;
        let metadata = guarded(key, || ParquetMetaDataReader::decode_metadata(bytes))?;
        if !metadata.row_groups().iter().all(is_sound) {
            return Err(damaged("its footer has impossible numbers"));
        }
        let places = places(key, table, &metadata)?;
        Ok(Footer { key: key.to_owned(), metadata, places })
    }

    /// The name of the file, for errors.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// About as many bytes as it takes in memory.
    pub(super) fn size(&self) -> usize {
        self.metadata.memory_size()
    }

    /// The number of row groups.
    pub(super) fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// A row group, by its number.
    pub(super) fn group(&self, number: usize) -> Result<&RowGroupMetaData, ArchiveError> {
        let group = self.metadata.row_groups().get(number);
        group.ok_or_else(|| ArchiveError::damaged(&self.key, "a row group is missing"))
    }

    /// The number of rows of the file.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.metadata.file_metadata().num_rows()).unwrap_or(0)
    }

    /// A value of the key-value metadata.
    pub(super) fn fact(&self, key: &str) -> Option<&str> {
        let facts = self.metadata.file_metadata().key_value_metadata()?;
        facts.iter().find(|fact| fact.key == key)?.value.as_deref()
    }

    /// The part of a row group that has the column with this place in the schema. `None`: the file lacks
    /// the column.
    pub(super) fn chunk<'a>(
        &self,
        group: &'a RowGroupMetaData,
        place: usize,
    ) -> Option<&'a ColumnChunkMetaData> {
        group.columns().get((*self.places.get(place)?)?)
    }
}

/// Lets the crate `parquet` read a part of a file. It may panic when the file is damaged.
pub(super) fn guarded<T>(
    key: &str,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, ArchiveError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| ArchiveError::damaged(key, error.to_string())),
        Err(_) => Err(ArchiveError::damaged(key, "it cannot be decoded")),
    }
}

/// Whether a row group has no impossible numbers.
fn is_sound(group: &RowGroupMetaData) -> bool {
    let is_sound = |chunk: &ColumnChunkMetaData| {
        chunk.compressed_size() >= 0
            && (0..=MAX_COLUMN).contains(&chunk.uncompressed_size())
            && chunk.data_page_offset() >= 0
            && chunk.dictionary_page_offset().is_none_or(|at| at >= 0)
    };
    (0..=MAX_ROWS).contains(&group.num_rows()) && group.columns().iter().all(is_sound)
}

/// Finds the columns of a table, and compares their types.
fn places(
    key: &str,
    table: Table,
    metadata: &ParquetMetaData,
) -> Result<Vec<Option<usize>>, ArchiveError> {
    let found = metadata.file_metadata().schema_descr().columns();
    let place = |column: &schema::Column| {
        let expected = match column.kind {
            Kind::Time | Kind::Integer => Physical::INT64,
            Kind::Boolean => Physical::BOOLEAN,
            Kind::Text | Kind::Binary => Physical::BYTE_ARRAY,
        };
        let Some(place) = found.iter().position(|one| one.name() == column.name) else {
            return Ok(None);
        };
        let is_right = found.get(place).is_some_and(|one| {
            one.physical_type() == expected && one.max_def_level() == 1 && one.max_rep_level() == 0
        });
        match is_right {
            true => Ok(Some(place)),
            false => {
                let what = format!("the column {:?} is not an optional {expected}", column.name);
                Err(ArchiveError::damaged(key, what))
            }
        }
    };
    schema::columns(table).iter().map(place).collect()
}
