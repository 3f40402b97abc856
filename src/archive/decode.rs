//! Reads a Parquet file of a table from memory.
//!
//! The file may be anybody's. What its metadata says is bounded before anything is read by it, and a
//! column that has another type than the schema is an error. A column that the file lacks is NULL.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::basic::Type as Physical;
use parquet::column::reader::{ColumnReader, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::error::ArchiveError;
use super::layout::Table;
use super::pages::{self, MAX_COLUMN, MAX_ROWS};
use super::rows::{ColumnOfRows, Rows, Values};
use super::schema::{self, Kind};

/// The most bytes that a row group may have by its metadata.
const MAX_GROUP_BYTES: i64 = if cfg!(test) { 1 << 22 } else { 2 * MAX_COLUMN };

/// The values that are read together.
const TOGETHER: usize = 4096;

/// Reads a file.
pub(crate) struct Decoder {
    key: String,
    table: Table,
    reader: SerializedFileReader<Bytes>,
    body: Bytes,
}

impl Decoder {
    /// Reads the metadata of a file. `key` names it in errors.
    pub(crate) fn new(key: &str, table: Table, body: Bytes) -> Result<Decoder, ArchiveError> {
        let reader = guarded(key, || SerializedFileReader::new(body.clone()))?;
        Ok(Decoder { key: key.to_owned(), table, reader, body })
    }

    /// The number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.reader.metadata().num_row_groups()
    }

    /// The number of rows by the metadata.
    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// A value of the key-value metadata.
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        let facts = self.reader.metadata().file_metadata().key_value_metadata()?;
        facts.iter().find(|fact| fact.key == key)?.value.as_deref()
    }

    /// Reads a row group. `wanted` are the names of columns; `None` means all.
    pub(crate) fn group(&self, at: usize, wanted: Option<&[&str]>) -> Result<Rows, ArchiveError> {
        let group = guarded(&self.key, || self.reader.get_row_group(at))?;
        let about = group.metadata();
        if !(0..=MAX_ROWS).contains(&about.num_rows())
            || !(0..=MAX_GROUP_BYTES).contains(&about.total_byte_size())
        {
            let what = "a row group has more rows or bytes than Vidimus writes";
            return Err(ArchiveError::damaged(&self.key, what));
        }
        let rows = usize::try_from(about.num_rows()).unwrap_or(0);
        let mut left = MAX_GROUP_BYTES.unsigned_abs();
        let mut columns = Vec::new();
        for column in schema::columns(self.table) {
            let is_wanted = wanted.is_none_or(|wanted| wanted.contains(&column.name));
            let place = is_wanted.then(|| self.place(&*group, column)).transpose()?.flatten();
            columns.push(match place {
                None => None,
                Some(place) => {
                    if !self.has_sound_pages(&*group, place) {
                        let what = format!("the pages of {:?} claim too much", column.name);
                        return Err(ArchiveError::damaged(&self.key, what));
                    }
                    let column = guarded(&self.key, || {
                        read(group.get_column_reader(place)?, rows, &mut left)
                    })?;
                    if column.levels.len() != rows {
                        let what = "a column has too few rows";
                        return Err(ArchiveError::damaged(&self.key, what));
                    }
                    Some(column)
                }
            });
        }
        Ok(Rows::read(self.table, columns, rows))
    }

    /// Whether the pages of a column can be decoded in bounded memory.
    fn has_sound_pages(&self, group: &dyn RowGroupReader, place: usize) -> bool {
        let about = group.metadata().columns().get(place);
        about.is_some_and(|about| {
            let Some((start, length)) = pages::range(about) else { return false };
            let end = start.checked_add(length).and_then(|end| usize::try_from(end).ok());
            let range = usize::try_from(start).ok().zip(end).map(|(start, end)| start..end);
            let bytes = range.and_then(|range| self.body.get(range));
            bytes.is_some_and(|bytes| pages::are_sound(bytes, about, group.metadata().num_rows()))
        })
    }

    /// The place of a column in the file.
    fn place(
        &self,
        group: &dyn RowGroupReader,
        column: &schema::Column,
    ) -> Result<Option<usize>, ArchiveError> {
        let columns = group.metadata().schema_descr().columns();
        let Some(place) = columns.iter().position(|one| one.path().string() == column.name) else {
            return Ok(None);
        };
        let expected = match column.kind {
            Kind::Time | Kind::Integer => Physical::INT64,
            Kind::Boolean => Physical::BOOLEAN,
            Kind::Text | Kind::Binary => Physical::BYTE_ARRAY,
        };
        let found = columns.get(place);
        let is_right = found.is_some_and(|found| {
            found.physical_type() == expected
                && found.max_def_level() == 1
                && found.max_rep_level() == 0
        });
        match is_right {
            true => Ok(Some(place)),
            false => {
                let what = format!("the column {:?} is not an optional {expected}", column.name);
                Err(ArchiveError::damaged(&self.key, what))
            }
        }
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

/// Reads a column. `left` is how many bytes the values of the row group may still have: a value that a
/// dictionary has once may be in every row.
fn read(reader: ColumnReader, rows: usize, left: &mut u64) -> Result<ColumnOfRows, ParquetError> {
    let mut take = |bytes: usize| {
        *left = left.checked_sub(bytes as u64).ok_or_else(|| {
            ParquetError::General("its values are larger than Vidimus writes".into())
        })?;
        Ok::<(), ParquetError>(())
    };
    Ok(match reader {
        ColumnReader::BoolColumnReader(_) => {
            let mut all = Vec::new();
            let levels = typed::<BoolType>(reader, rows, |some| {
                take(some.len())?;
                all.append(some);
                Ok(())
            })?;
            ColumnOfRows::new(levels, Values::Booleans(all))
        }
        ColumnReader::Int64ColumnReader(_) => {
            let mut all = Vec::new();
            let levels = typed::<Int64Type>(reader, rows, |some| {
                take(size_of_val(some.as_slice()))?;
                all.append(some);
                Ok(())
            })?;
            ColumnOfRows::new(levels, Values::Integers(all))
        }
        _ => {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            let levels = typed::<ByteArrayType>(reader, rows, |some| {
                for one in some.drain(..) {
                    take(one.len() + size_of::<usize>())?;
                    bytes.extend_from_slice(ByteArray::data(&one));
                    ends.push(bytes.len());
                }
                Ok(())
            })?;
            ColumnOfRows::new(levels, Values::Bytes(bytes, ends))
        }
    })
}

/// Reads the values of a column, a few at a time, and hands them to `each`, which takes them out.
/// Returns the levels.
fn typed<T: DataType>(
    reader: ColumnReader,
    rows: usize,
    mut each: impl FnMut(&mut Vec<T::T>) -> Result<(), ParquetError>,
) -> Result<Vec<i16>, ParquetError> {
    let mut reader = get_typed_column_reader::<T>(reader);
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use ring::digest;

    use super::*;
    use crate::archive::encode::{Encoded, Encoder};
    use crate::archive::rows::Cell;
    use crate::archive::schema::metadata;

    const STORE: &str = "0123456789abcdef0123456789abcdef";

    /// A file with `count` entries, of which every second has no `status` and no `principal_id`.
    fn file(count: u64) -> Encoded {
        let mut encoder = Encoder::new(Table::Entries, STORE, 3).unwrap();
        for id in 1..=count {
            let line = format!("line {id}\u{0}");
            let principal = format!("principal {}", id % 3);
            let row: Vec<Cell<'_>> = schema::columns(Table::Entries)
                .iter()
                .map(|column| match column.name {
                    "id" => Cell::number(id),
                    "time" | "stored_at" => Cell::Integer(1000 + id as i64),
                    "success" => Cell::Boolean(id % 2 == 0),
                    "line" => Cell::text(&line),
                    "status" if id % 2 == 0 => Cell::Integer(200),
                    "principal_id" if id % 2 == 0 => Cell::text(&principal),
                    _ => Cell::Null,
                })
                .collect();
            encoder.push(&row).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read_over_several_row_groups() {
        let encoded = file(200);
        assert_eq!(
            (encoded.rows, encoded.id, encoded.time),
            (200, Some((1, 200)), Some((1001, 1200)))
        );
        let decoder = Decoder::new("x", Table::Entries, encoded.body).unwrap();
        assert!(decoder.groups() > 1);
        assert_eq!(decoder.rows(), 200);
        assert_eq!(decoder.fact(metadata::STORE), Some(STORE));
        assert_eq!(decoder.fact(metadata::ROWS), Some("200"));
        assert_eq!(decoder.fact(metadata::MAX_ID), Some("200"));
        assert_eq!(decoder.fact(metadata::CHANGE), Some("3"));
        let lines: String = (1..=200).map(|id| format!("line {id}\u{0}\n")).collect();
        let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, lines.as_bytes()).as_ref());
        assert_eq!(decoder.fact(metadata::SHA256), Some(sha256.as_str()));
        let mut id = 0;
        for group in 0..decoder.groups() {
            let rows = decoder.group(group, None).unwrap();
            for row in 0..rows.len() {
                id += 1;
                assert_eq!(rows.get(row, "id"), Cell::number(id));
                let line = format!("line {id}\u{0}");
                assert_eq!(rows.get(row, "line").bytes(), Some(line.as_bytes()));
                assert_eq!(rows.get(row, "success"), Cell::Boolean(id % 2 == 0));
                let status = (id % 2 == 0).then_some(200);
                assert_eq!(rows.get(row, "status").integer(), status);
                let principal = (id % 2 == 0).then(|| format!("principal {}", id % 3));
                assert_eq!(rows.get(row, "principal_id").as_text(), principal.as_deref());
                assert_eq!(rows.get(row, "reason"), Cell::Null);
                assert_eq!(rows.get(row, "unknown"), Cell::Null);
            }
        }
        assert_eq!(id, 200);
    }

    #[test]
    fn columns_that_are_not_wanted_are_not_read() {
        let decoder = Decoder::new("x", Table::Entries, file(3).body).unwrap();
        let rows = decoder.group(0, Some(&["id"])).unwrap();
        assert_eq!((rows.get(1, "id"), rows.get(1, "line")), (Cell::number(2), Cell::Null));
    }

    #[test]
    fn values_that_a_dictionary_repeats_are_counted() {
        // Row groups that the writer would not make: one large value, a thousand times.
        let value = "x".repeat(10_000);
        let types = schema::parquet(Table::Entries).unwrap();
        let make = |rows: usize| {
            let mut writer = parquet::file::writer::SerializedFileWriter::new(
                Vec::new(),
                types.clone(),
                Default::default(),
            )
            .unwrap();
            let mut group = writer.next_row_group().unwrap();
            for column in schema::columns(Table::Entries) {
                let mut one = group.next_column().unwrap().unwrap();
                let levels = vec![i16::from(column.name == "principal_id"); rows];
                match column.kind {
                    Kind::Time | Kind::Integer => {
                        one.typed::<Int64Type>().write_batch(&[], Some(&levels), None).unwrap();
                    }
                    Kind::Boolean => {
                        one.typed::<BoolType>().write_batch(&[], Some(&levels), None).unwrap();
                    }
                    Kind::Text | Kind::Binary => {
                        let is_wanted = column.name == "principal_id";
                        let values =
                            vec![ByteArray::from(value.as_str()); if is_wanted { rows } else { 0 }];
                        one.typed::<ByteArrayType>()
                            .write_batch(&values, Some(&levels), None)
                            .unwrap();
                    }
                }
                one.close().unwrap();
            }
            group.close().unwrap();
            Bytes::from(writer.into_inner().unwrap())
        };
        let read = |rows| Decoder::new("x", Table::Entries, make(rows)).unwrap().group(0, None);
        assert_eq!(read(100).unwrap().len(), 100);
        let error = read(1000).unwrap_err().to_string();
        assert!(error.contains("larger than Vidimus writes"), "{error}");
    }

    #[test]
    fn the_same_rows_make_the_same_file() {
        assert_eq!(file(50).sha256, file(50).sha256);
        assert_ne!(file(50).sha256, file(51).sha256);
    }

    #[test]
    fn only_bytes_have_neither_dictionary_nor_statistics_and_three_fields_a_bloom_filter() {
        let decoder = Decoder::new("x", Table::Entries, file(20).body).unwrap();
        let group = decoder.reader.metadata().row_group(0).clone();
        for column in group.columns() {
            let name = column.column_path().string();
            let has_bloom = column.bloom_filter_offset().is_some();
            assert_eq!(has_bloom, schema::BLOOM.contains(&name.as_str()), "{name}");
            if name == "line" {
                assert!(column.statistics().is_none() && column.dictionary_page_offset().is_none());
            }
            if name == "time" {
                assert!(column.statistics().is_some());
            }
        }
    }

    #[test]
    fn a_page_that_claims_more_than_the_footer_is_refused() {
        let good = file(20).body;
        let decoder = Decoder::new("x", Table::Entries, good.clone()).unwrap();
        decoder.group(0, None).unwrap();
        let (start, _) = decoder.reader.metadata().row_group(0).column(0).byte_range();
        let mut bad = good.to_vec();
        // The type of the page takes two bytes, and then comes the size, whose bits are all set but the
        // lowest, which is the sign.
        let first = start as usize + 3;
        let last = (first..).find(|at| bad[*at] & 0x80 == 0).unwrap();
        bad[first..=last].iter_mut().for_each(|byte| *byte |= 0x7f);
        bad[first] &= 0xfe;
        let decoder = Decoder::new("x", Table::Entries, bad.into()).unwrap();
        let error = decoder.group(0, None).unwrap_err().to_string();
        assert!(error.contains("\"id\" claim too much"), "{error}");
    }

    #[test]
    fn a_file_of_another_kind_or_with_other_types_is_refused() {
        assert!(Decoder::new("x", Table::Entries, Bytes::from_static(b"PAR1PAR1")).is_err());
        assert!(Decoder::new("x", Table::Entries, Bytes::new()).is_err());
        let whole = file(30).body;
        for length in [whole.len() - 1, whole.len() / 2, 8] {
            let part = whole.slice(..length);
            assert!(Decoder::new("x", Table::Entries, part).is_err(), "{length}");
        }
        // `bytes` is BINARY among the pieces, and INT64 among the deliveries.
        let mut encoder = Encoder::new(Table::Pieces, STORE, 0).unwrap();
        encoder.push(&[Cell::number(1), Cell::number(0), Cell::text("x"), Cell::Null]).unwrap();
        let other = encoder.finish().unwrap().body;
        let decoder = Decoder::new("x", Table::Deliveries, other).unwrap();
        let error = decoder.group(0, None).unwrap_err().to_string();
        assert!(error.contains("\"bytes\""), "{error}");
    }
}
