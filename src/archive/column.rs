//! Reads a column of a row group, some rows at a time, with rows left out.

use std::sync::Arc;

use parquet::basic::Type as Physical;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use super::error::ArchiveError;
use super::footer::{Footer, guarded};
use super::pages;
use super::rows::{ColumnOfRows, Values};

/// The values that are read together.
const TOGETHER: usize = 4096;

/// A cursor over the values of a column in a row group.
pub(super) struct Cursor {
    /// The name of the file, for errors.
    key: String,
    reader: Reader,
}

enum Reader {
    Integers(ColumnReaderImpl<Int64Type>),
    Booleans(ColumnReaderImpl<BoolType>),
    Bytes(ColumnReaderImpl<ByteArrayType>),
}

impl Cursor {
    /// Begins with the first row, once the headers of all pages were checked. `file` has at least the
    /// pages of the column.
    pub(super) fn new<R: ChunkReader + 'static>(
        footer: &Footer,
        group: &RowGroupMetaData,
        chunk: &ColumnChunkMetaData,
        file: &Arc<R>,
    ) -> Result<Cursor, ArchiveError> {
        let key = footer.key();
        let (start, length) = pages::range(chunk).unwrap_or_default();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = guarded(key, || file.get_bytes(start, length))?;
        if !pages::are_sound(&bytes, chunk, group.num_rows()) {
            let name = chunk.column_path().string();
            return Err(ArchiveError::damaged(
                key,
                format!("the pages of {name:?} claim too much"),
            ));
        }
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let reader = guarded(key, || {
            let pages = SerializedPageReader::new(Arc::clone(file), chunk, rows, None)?;
            let (column, pages) = (chunk.column_descr_ptr(), Box::new(pages));
            Ok(match chunk.column_type() {
                Physical::INT64 => Reader::Integers(ColumnReaderImpl::new(column, pages)),
                Physical::BOOLEAN => Reader::Booleans(ColumnReaderImpl::new(column, pages)),
                _ => Reader::Bytes(ColumnReaderImpl::new(column, pages)),
            })
        })?;
        Ok(Cursor { key: key.to_owned(), reader })
    }

    /// Leaves rows out.
    pub(super) fn skip(&mut self, rows: usize) -> Result<(), ArchiveError> {
        if rows == 0 {
            return Ok(());
        }
        let Cursor { key, reader } = self;
        let skipped = guarded(key, || match reader {
            Reader::Integers(reader) => reader.skip_records(rows),
            Reader::Booleans(reader) => reader.skip_records(rows),
            Reader::Bytes(reader) => reader.skip_records(rows),
        })?;
        self.all(skipped, rows)
    }

    /// Reads the values of the next rows. `left` is how many bytes they may have, and then how many are
    /// left: a value that a dictionary has once may be in every row.
    pub(super) fn read(
        &mut self,
        rows: usize,
        left: &mut usize,
    ) -> Result<ColumnOfRows, ArchiveError> {
        let mut take = |bytes: usize| {
            let after = left.checked_sub(bytes);
            let why = "its values are larger than Vidimus writes";
            *left = after.ok_or_else(|| ParquetError::General(why.to_owned()))?;
            Ok::<(), ParquetError>(())
        };
        let Cursor { key, reader } = self;
        let column = guarded(key, || match reader {
            Reader::Integers(reader) => {
                let mut all = Vec::new();
                let levels = typed(reader, rows, |some| {
                    take(size_of_val(some.as_slice()))?;
                    all.append(some);
                    Ok(())
                })?;
                Ok(ColumnOfRows::new(levels, Values::Integers(all)))
            }
            Reader::Booleans(reader) => {
                let mut all = Vec::new();
                let levels = typed(reader, rows, |some| {
                    take(some.len())?;
                    all.append(some);
                    Ok(())
                })?;
                Ok(ColumnOfRows::new(levels, Values::Booleans(all)))
            }
            Reader::Bytes(reader) => {
                let (mut bytes, mut ends) = (Vec::new(), Vec::new());
                let levels = typed(reader, rows, |some| {
                    // A copy, because a value holds the page that it is in.
                    for one in some.drain(..) {
                        take(one.len() + size_of::<usize>())?;
                        bytes.extend_from_slice(ByteArray::data(&one));
                        ends.push(bytes.len());
                    }
                    Ok(())
                })?;
                Ok(ColumnOfRows::new(levels, Values::Bytes(bytes, ends)))
            }
        })?;
        self.all(column.levels.len(), rows).map(|()| column)
    }

    fn all(&self, read: usize, rows: usize) -> Result<(), ArchiveError> {
        match read == rows {
            true => Ok(()),
            false => Err(ArchiveError::damaged(&self.key, "a column has too few rows")),
        }
    }
}

/// Reads the values of a column, a few at a time, and hands them to `each`, which takes them out. Returns
/// the levels.
fn typed<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    mut each: impl FnMut(&mut Vec<T::T>) -> Result<(), ParquetError>,
) -> Result<Vec<i16>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    while levels.len() < rows {
        let wanted = (rows - levels.len()).min(TOGETHER);
        let (read, _, _) = reader.read_records(wanted, Some(&mut levels), None, &mut values)?;
        if read == 0 {
            break;
        }
        each(&mut values)?;
    }
    Ok(levels)
}
