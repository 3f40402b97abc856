//! The footer of a file: its columns and row groups, and where they are in the file.
//!
//! The file may be anybody's. What the crate `parquet` would follow blindly is checked before it decodes
//! the footer: it descends into a nested schema until the stack overflows, and reserves memory for as many
//! children as an element claims. So only fields as Vidimus writes them are let through, and a schema that
//! is a list of columns. Then the numbers are checked: no row group may have more than Vidimus writes, and
//! all of them together no more bytes than the file.
//!
//! A column that has another type than the schema is an error. A column that the file lacks is NULL.

use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::FOOTER_SIZE;
use parquet::file::metadata::{
    ColumnChunkMetaData, FooterTail, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};

use super::error::ArchiveError;
use super::layout::Table;
use super::pages::{self, MAX_COLUMN, MAX_ROWS, STATISTICS};
use super::schema::{self, Kind};
use super::thrift::{BINARY, I16, I32, I64, Input, STRUCT, Shape};

/// The largest footer, in bytes.
const MAX_FOOTER: u64 = 16 << 20;

/// The most columns of a file.
const MAX_COLUMNS: i64 = 1024;

/// The most bytes of a row group, decompressed, and of the values that are read together.
pub(super) const MAX_GROUP: usize = if cfg!(test) { 4 << 20 } else { 512 << 20 };

// The structures of a footer, by their names in
// <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

const INT: Shape = Shape::Plain(I32);
const LONG: Shape = Shape::Plain(I64);
const TEXT: Shape = Shape::Plain(BINARY);
const EMPTY: Shape = Shape::Struct(&[]);

const FILE_META_DATA: Shape = Shape::Struct(&[
    (1, INT),
    (2, Shape::Headed(&ROOT, &COLUMN)),
    (3, LONG),
    (4, Shape::List(&ROW_GROUP)),
    (5, Shape::List(&Shape::Struct(&[(1, TEXT), (2, TEXT)]))),
    (6, TEXT),
    (7, Shape::List(&Shape::Struct(&[(1, EMPTY)]))),
]);

/// The first `SchemaElement`, which has the others as its children.
const ROOT: Shape = Shape::Struct(&[(3, INT), (4, TEXT), (5, Shape::UpTo(MAX_COLUMNS))]);

/// The other `SchemaElement`s.
const COLUMN: Shape = Shape::Struct(&[(1, INT), (3, INT), (4, TEXT), (6, INT), (10, LOGICAL_TYPE)]);

/// Texts, and times.
const LOGICAL_TYPE: Shape = Shape::Struct(&[
    (1, EMPTY),
    (8, Shape::Struct(&[(1, Shape::Boolean), (2, Shape::Struct(&[(1, EMPTY)]))])),
]);

const ROW_GROUP: Shape = Shape::Struct(&[
    (1, Shape::List(&COLUMN_CHUNK)),
    (2, LONG),
    (3, LONG),
    (4, Shape::List(&Shape::Struct(&[(1, INT), (2, Shape::Boolean), (3, Shape::Boolean)]))),
    (5, LONG),
    (6, LONG),
    (7, Shape::Plain(I16)),
]);

const COLUMN_CHUNK: Shape =
    Shape::Struct(&[(2, LONG), (3, COLUMN_META_DATA), (4, LONG), (5, INT), (6, LONG), (7, INT)]);

const COLUMN_META_DATA: Shape = Shape::Struct(&[
    (1, INT),
    (2, Shape::List(&INT)),
    (3, Shape::List(&TEXT)),
    (4, INT),
    (5, LONG),
    (6, LONG),
    (7, LONG),
    (9, LONG),
    (10, LONG),
    (11, LONG),
    (12, STATISTICS),
    (13, Shape::List(&Shape::Struct(&[(1, INT), (2, INT), (3, INT)]))),
    (14, LONG),
    (15, INT),
    (16, Shape::Struct(&[(1, LONG), (2, Shape::List(&LONG)), (3, Shape::List(&LONG))])),
]);

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
        if Input::new(bytes).value(STRUCT, &FILE_META_DATA).is_none() {
            return Err(damaged("its footer is not as Vidimus writes it"));
        }
        let metadata = guarded(key, || ParquetMetaDataReader::decode_metadata(bytes))?;
        if check(&metadata, size).is_none() {
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

/// `None` if a row group is larger than Vidimus writes one, or all together are larger than the file of
/// `size` bytes: otherwise one part of a file could be decoded again and again.
fn check(metadata: &ParquetMetaData, size: u64) -> Option<()> {
    let (mut rows, mut in_file) = (0, 0);
    for group in metadata.row_groups() {
        rows += Some(group.num_rows()).filter(|rows| (1..=MAX_ROWS).contains(rows))?;
        let (mut compressed, mut decompressed) = (0, 0);
        for chunk in group.columns() {
            let (start, length) = pages::range(chunk)?;
            start.checked_add(length).filter(|end| *end <= size)?;
            compressed = length.saturating_add(compressed);
            let most = 0..=MAX_COLUMN;
            decompressed += Some(chunk.uncompressed_size()).filter(|size| most.contains(size))?;
            let bloom = u64::try_from(chunk.bloom_filter_length().unwrap_or(0)).ok()?;
            in_file = length.saturating_add(bloom).saturating_add(in_file);
        }
        let is_small = compressed <= MAX_COLUMN.unsigned_abs()
            && usize::try_from(decompressed).is_ok_and(|size| size <= MAX_GROUP);
        if !is_small || in_file > size {
            return None;
        }
    }
    let is_said = rows <= MAX_ROWS && rows == metadata.file_metadata().num_rows();
    is_said.then_some(())
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use parquet::file::metadata::{ColumnChunkMetaDataBuilder, FileMetaData};

    use super::*;
    use crate::archive::encode::Encoder;
    use crate::archive::rows::Cell;

    /// A file with a hundred rows, all of which have all values.
    fn file(table: Table) -> Bytes {
        let mut encoder = Encoder::new(table, "0123456789abcdef0123456789abcdef", 0).unwrap();
        for id in 1..=100 {
            let value = |column: &schema::Column| match column.kind {
                Kind::Time | Kind::Integer => Cell::number(id),
                Kind::Boolean => Cell::Boolean(true),
                Kind::Text | Kind::Binary => Cell::text("text"),
            };
            let row: Vec<Cell<'_>> = schema::columns(table).iter().map(value).collect();
            encoder.push(&row).unwrap();
        }
        encoder.finish().unwrap().body
    }

    fn read(table: Table, file: &[u8]) -> Result<Footer, ArchiveError> {
        Footer::read("x", table, file, file.len() as u64)
    }

    #[test]
    fn a_footer_that_vidimus_writes_is_read() {
        for table in Table::ALL {
            let footer = read(table, &file(table)).unwrap();
            assert_eq!(footer.rows(), 100);
            assert!(footer.groups() > 1 && footer.group(footer.groups()).is_err());
            let places: Vec<_> = (0..schema::columns(table).len()).map(Some).collect();
            assert_eq!(footer.places, places);
        }
    }

    /// A file with nothing but a footer that has these schema elements.
    fn with_schema(elements: &[&[u8]]) -> Vec<u8> {
        // The version, and a list of structures.
        let mut file = vec![0x15, 2, 0x19, 0xfc];
        let mut count = elements.len();
        while count > 0x7f {
            file.push(count as u8 | 0x80);
            count >>= 7;
        }
        file.push(count as u8);
        file.extend(elements.concat());
        // No rows, and no row groups.
        file.extend([0x16, 0, 0x19, 0x0c, 0]);
        let length = file.len() as u32;
        file.extend(length.to_le_bytes());
        file.extend(b"PAR1");
        file
    }

    #[test]
    fn a_schema_that_is_not_a_list_of_columns_is_refused() {
        // With its number of children as the last value.
        let root = |children: &[u8]| [&[0x48, 1, b'r', 0x15][..], children, &[0]].concat();
        let column: &[u8] = &[0x15, 4, 0x25, 2, 0x18, 1, b'c', 0];
        let good = with_schema(&[&root(&[2]), column]);
        assert_eq!(read(Table::Keys, &good).unwrap().rows(), 0);
        let refused = |elements: &[&[u8]]| {
            let error = read(Table::Keys, &with_schema(elements)).err().unwrap().to_string();
            assert!(error.contains("not as Vidimus writes it"), "{error}");
        };
        // So deep that the crate would overflow the stack.
        let group = root(&[2]);
        refused(&vec![group.as_slice(); 50_000]);
        refused(&[&root(&[2]), &root(&[2]), column]);
        // So many that the crate would reserve 16 GiB.
        refused(&[&root(&[0xfe, 0xff, 0xff, 0xff, 0x0f]), column]);
        refused(&vec![column; 70_000]);
        // A version whose bytes the crate would take for the schema.
        let mut other = good.clone();
        other[0] = 0x18;
        assert!(read(Table::Keys, &other).is_err());
        // Another number of columns than are there.
        assert!(read(Table::Keys, &with_schema(&[&root(&[4]), column])).is_err());
        assert!(read(Table::Keys, &with_schema(&[&root(&[0]), column])).is_err());
    }

    #[test]
    fn a_footer_that_is_cut_or_too_long_is_refused() {
        let good = file(Table::Keys);
        for length in (0..good.len()).step_by(7) {
            assert!(read(Table::Keys, &good[..length]).is_err(), "{length}");
        }
        assert!(read(Table::Keys, &good[good.len() - 100..]).is_err());
        let long = |length: u32| [&[0; 64][..], &length.to_le_bytes(), b"PAR1"].concat();
        assert!(Footer::length("x", &long(64), 72).is_ok());
        assert!(Footer::length("x", &long(65), 72).is_err());
        let most = MAX_FOOTER as u32;
        assert!(Footer::length("x", &long(most), u64::MAX).is_ok());
        assert!(Footer::length("x", &long(most + 1), u64::MAX).is_err());
    }

    #[test]
    fn numbers_that_no_file_has_are_refused() {
        let body = file(Table::Entries);
        let footer = read(Table::Entries, &body).unwrap();
        let (groups, size) = (footer.metadata.row_groups(), body.len() as u64);
        let check = |rows: i64, groups: &[RowGroupMetaData], size: u64| {
            let schema = footer.metadata.file_metadata().schema_descr_ptr();
            let file = FileMetaData::new(2, rows, None, None, schema, None);
            check(&ParquetMetaData::new(file, groups.to_vec()), size).is_some()
        };
        assert!(check(100, groups, size));
        assert!(!check(99, groups, size) && !check(101, groups, size) && !check(-1, groups, size));
        assert!(!check(100, groups, 1000));
        // One part of the file, many times.
        let many = vec![groups[0].clone(); 1000];
        assert!(!check(1000 * groups[0].num_rows(), &many, size));

        let with_rows = |rows: i64| {
            let mut groups = groups.to_vec();
            let all = (100 - groups[0].num_rows()).wrapping_add(rows);
            groups[0] = groups[0].clone().into_builder().set_num_rows(rows).build().unwrap();
            check(all, &groups, size)
        };
        assert!(with_rows(groups[0].num_rows()) && with_rows(groups[0].num_rows() + 1));
        for rows in [0, -1, MAX_ROWS - 10, MAX_ROWS + 1, i64::MAX, i64::MIN] {
            assert!(!with_rows(rows), "{rows}");
        }
        let refused = |change: fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder| {
            let mut groups = groups.to_vec();
            let mut columns = groups[0].columns().to_vec();
            columns[0] = change(columns[0].clone().into_builder()).build().unwrap();
            let changed = groups[0].clone().into_builder().set_column_metadata(columns);
            groups[0] = changed.build().unwrap();
            assert!(!check(100, &groups, size));
        };
        refused(|column| column.set_total_compressed_size(-1));
        refused(|column| column.set_total_compressed_size(i64::MAX));
        refused(|column| column.set_data_page_offset(-1));
        refused(|column| column.set_data_page_offset(i64::MAX));
        refused(|column| column.set_dictionary_page_offset(Some(-1)));
        refused(|column| column.set_total_uncompressed_size(-1));
        refused(|column| column.set_total_uncompressed_size(MAX_COLUMN + 1));
        refused(|column| column.set_total_uncompressed_size(MAX_GROUP as i64));
        refused(|column| column.set_bloom_filter_length(Some(-1)));
        refused(|column| column.set_bloom_filter_length(Some(i32::MAX)));
    }
}
