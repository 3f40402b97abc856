//! Reads a column of a row group, value by value, with rows left out.
//!
//! The places, types and sizes that a footer states are checked before the crate `parquet` uses them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Type as Physical;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::fetch::Chunks;
use super::prune::Bounds;
use crate::archive::decode::guarded;
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::pages::{self, MAX_COLUMN, MAX_ROWS, MAX_VALUES};
use crate::archive::rows::Cell;
use crate::archive::schema::{self, Kind};

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedCell {
    Integer(i64),
    Boolean(bool),
    /// Text or bytes.
    Bytes(Bytes),
}

impl OwnedCell {
    pub(super) fn as_cell(&self) -> Cell<'_> {
        match self {
            OwnedCell::Integer(number) => Cell::Integer(*number),
            OwnedCell::Boolean(boolean) => Cell::Boolean(*boolean),
            OwnedCell::Bytes(bytes) => Cell::Bytes(bytes),
        }
    }
}

/// Where the columns of a table are in a file, which may lack some.
pub(super) struct Places {
    key: String,
    table: Table,
    /// The places in the file, in the order of the schema.
    of: Vec<Option<usize>>,
}

impl Places {
    /// Finds the columns, and checks their types.
    pub(super) fn new(
        key: &str,
        table: Table,
        footer: &ParquetMetaData,
    ) -> Result<Places, ArchiveError> {
        let file = footer.file_metadata().schema_descr();
        let mut of = Vec::new();
        for column in schema::columns(table) {
            let found = file
                .columns()
                .iter()
                .position(|one| one.path().parts().len() == 1 && one.name() == column.name);
            let is_right = |at: usize| {
                let one = file.column(at);
                one.physical_type() == physical(column.kind)
                    && one.max_rep_level() == 0
                    && one.max_def_level() <= 1
            };
            if found.is_some_and(|at| !is_right(at)) {
                let why = format!("the column {:?} has another type", column.name);
                return Err(ArchiveError::damaged(key, why));
            }
            of.push(found);
        }
        for group in footer.row_groups() {
            check(key, group, file.num_columns())?;
        }
        Ok(Places { key: key.to_owned(), table, of })
    }

    /// The part of a row group that has the column with this place in the schema. `None`: the file does
    /// not have the column, or has no value in it.
    fn filled<'a>(
        &self,
        group: &'a RowGroupMetaData,
        place: usize,
    ) -> Option<&'a ColumnChunkMetaData> {
        self.chunk(group, place).filter(|chunk| !Bounds::of(chunk).all_null)
    }

    /// The part of a row group that has the column with this place in the schema.
    pub(super) fn chunk<'a>(
        &self,
        group: &'a RowGroupMetaData,
        place: usize,
    ) -> Option<&'a ColumnChunkMetaData> {
        group.columns().get((*self.of.get(place)?)?)
    }

    /// Where the values of a column are in the file, if it has any.
    pub(super) fn range(&self, group: &RowGroupMetaData, place: usize) -> Option<Range<u64>> {
        let (start, length) = self.filled(group, place)?.byte_range();
        Some(start..start.saturating_add(length))
    }

    /// A cursor over the values of a column.
    pub(super) fn cursor(
        &self,
        group: &RowGroupMetaData,
        place: usize,
        chunks: &Arc<Chunks>,
    ) -> Result<Cursor, ArchiveError> {
        let Some(chunk) = self.filled(group, place) else {
            return Ok(Cursor { key: self.key.clone(), values: Values::Lacking });
        };
        let column = schema::columns(self.table).get(place);
        let kind = column.map_or(Kind::Binary, |column| column.kind);
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let range = pages::range(chunk);
        let bytes = range.and_then(|(start, length)| chunks.slice(start, length));
        if !bytes.is_some_and(|bytes| pages::are_sound(&bytes, chunk, group.num_rows())) {
            return Err(ArchiveError::damaged(&self.key, "the pages of a column claim too much"));
        }
        let values = guarded(&self.key, || {
            let pages = SerializedPageReader::new(Arc::clone(chunks), chunk, rows, None)?;
            let (about, pages) = (chunk.column_descr_ptr(), Box::new(pages));
            Ok(match kind {
                Kind::Time | Kind::Integer => Values::Integers(ColumnReaderImpl::new(about, pages)),
                Kind::Boolean => Values::Booleans(ColumnReaderImpl::new(about, pages)),
                Kind::Text | Kind::Binary => Values::Bytes(ColumnReaderImpl::new(about, pages)),
            })
        })?;
        Ok(Cursor { key: self.key.clone(), values })
    }
}

fn physical(kind: Kind) -> Physical {
    match kind {
        Kind::Time | Kind::Integer => Physical::INT64,
        Kind::Boolean => Physical::BOOLEAN,
        Kind::Text | Kind::Binary => Physical::BYTE_ARRAY,
    }
}

/// Checks the numbers that a footer has of a row group.
fn check(key: &str, group: &RowGroupMetaData, columns: usize) -> Result<(), ArchiveError> {
    let is_sound = |chunk: &ColumnChunkMetaData| {
        chunk.compressed_size() >= 0
            && (0..=MAX_COLUMN).contains(&chunk.uncompressed_size())
            && chunk.data_page_offset() >= 0
            && chunk.dictionary_page_offset().is_none_or(|at| at >= 0)
    };
    let are_sound = (0..=MAX_ROWS).contains(&group.num_rows())
        && group.columns().len() == columns
        && group.columns().iter().all(is_sound);
    match are_sound {
        true => Ok(()),
        false => Err(ArchiveError::damaged(key, "a row group has impossible numbers")),
    }
}

/// A cursor over the values of a column in a row group.
pub(super) struct Cursor {
    key: String,
    values: Values,
}

enum Values {
    Integers(ColumnReaderImpl<Int64Type>),
    Booleans(ColumnReaderImpl<BoolType>),
    Bytes(ColumnReaderImpl<ByteArrayType>),
    /// Every value is NULL.
    Lacking,
}

impl Cursor {
    /// Leaves rows out.
    pub(super) fn skip(&mut self, rows: usize) -> Result<(), ArchiveError> {
        if rows == 0 {
            return Ok(());
        }
        let Cursor { key, values } = self;
        let skipped = guarded(key, || match values {
            Values::Integers(reader) => reader.skip_records(rows),
            Values::Booleans(reader) => reader.skip_records(rows),
            Values::Bytes(reader) => reader.skip_records(rows),
            Values::Lacking => Ok(rows),
        })?;
        self.all(skipped, rows)
    }

    /// Reads the values of the next rows.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Option<OwnedCell>>, ArchiveError> {
        let Cursor { key, values } = self;
        let read = guarded(key, || match values {
            Values::Integers(reader) => read(reader, rows, |_| 8, OwnedCell::Integer),
            Values::Booleans(reader) => read(reader, rows, |_| 1, OwnedCell::Boolean),
            Values::Bytes(reader) => read(reader, rows, ByteArray::len, |value| {
                // A copy, because the value holds the page that it is in.
                OwnedCell::Bytes(Bytes::copy_from_slice(value.data()))
            }),
            Values::Lacking => Ok(vec![None; rows]),
        })?;
        self.all(read.len(), rows).map(|()| read)
    }

    fn all(&self, read: usize, rows: usize) -> Result<(), ArchiveError> {
        match read == rows {
            true => Ok(()),
            false => Err(ArchiveError::damaged(&self.key, "a column has too few values")),
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    size: impl Fn(&T::T) -> usize,
    cell: impl Fn(T::T) -> OwnedCell,
) -> Result<Vec<Option<OwnedCell>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (read, _, _) = reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    if values.iter().map(size).sum::<usize>() > MAX_VALUES {
        return Err(ParquetError::General("its values are larger than Vidimus writes".to_owned()));
    }
    let mut values = values.into_iter();
    if levels.is_empty() {
        // The column may not be NULL.
        return Ok(values.map(|value| Some(cell(value))).collect());
    }
    let of_level = |level: &i16| (*level > 0).then(|| values.next().map(&cell)).flatten();
    Ok(levels.iter().take(read).map(of_level).collect())
}
