//! Reads a Parquet file of a table from memory.

use std::sync::Arc;

use bytes::Bytes;

use super::column::Cursor;
use super::error::ArchiveError;
use super::footer::{Footer, MAX_GROUP};
use super::layout::Table;
use super::rows::Rows;
use super::schema;

/// Reads a file.
pub(crate) struct Decoder {
    table: Table,
    footer: Footer,
    body: Arc<Bytes>,
}

impl Decoder {
    /// Reads the footer of a file. `key` names it in errors.
    pub(crate) fn new(key: &str, table: Table, body: Bytes) -> Result<Decoder, ArchiveError> {
        let footer = Footer::read(key, table, &body, body.len() as u64)?;
        Ok(Decoder { table, footer, body: Arc::new(body) })
    }

    /// The number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.footer.groups()
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> u64 {
        self.footer.rows()
    }

    /// A value of the key-value metadata.
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        self.footer.fact(key)
    }

    /// Reads a row group. `wanted` are the names of columns; `None` means all.
    pub(crate) fn group(&self, at: usize, wanted: Option<&[&str]>) -> Result<Rows, ArchiveError> {
        let group = self.footer.group(at)?;
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        let mut left = MAX_GROUP;
        let columns = schema::columns(self.table).iter().enumerate().map(|(place, column)| {
            let is_wanted = wanted.is_none_or(|wanted| wanted.contains(&column.name));
            let chunk = self.footer.chunk(group, place).filter(|_| is_wanted);
            let read = chunk.map(|chunk| {
                Cursor::new(&self.footer, group, chunk, &self.body)?.read(rows, &mut left)
            });
            read.transpose()
        });
        Ok(Rows::read(self.table, columns.collect::<Result<_, _>>()?, rows))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use data_encoding::HEXLOWER;
    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use ring::digest;

    use super::*;
    use crate::archive::encode::{Encoded, Encoder};
    use crate::archive::rows::Cell;
    use crate::archive::schema::{Kind, metadata};

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

    /// A file of entries as the writer would not make it: one row group, and in these columns the same
    /// value of 10,000 bytes in each row.
    pub(in crate::archive) fn repeated(rows: usize, columns: &[&str]) -> Bytes {
        let value = ByteArray::from("x".repeat(10_000).as_str());
        let types = schema::parquet(Table::Entries).unwrap();
        let mut writer = SerializedFileWriter::new(Vec::new(), types, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for column in schema::columns(Table::Entries) {
            let has_values = columns.contains(&column.name);
            let values = vec![value.clone(); if has_values { rows } else { 0 }];
            let (levels, ids) =
                (vec![i16::from(has_values); rows], Vec::from_iter(1..=rows as i64));
            let mut one = group.next_column().unwrap().unwrap();
            match column.kind {
                _ if column.name == "id" => {
                    let levels = vec![1; rows];
                    one.typed::<Int64Type>().write_batch(&ids, Some(&levels), None).unwrap()
                }
                Kind::Time | Kind::Integer => {
                    one.typed::<Int64Type>().write_batch(&[], Some(&levels), None).unwrap()
                }
                Kind::Boolean => {
                    one.typed::<BoolType>().write_batch(&[], Some(&levels), None).unwrap()
                }
                Kind::Text | Kind::Binary => {
                    one.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap()
                }
            };
            one.close().unwrap();
        }
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn values_that_a_dictionary_repeats_are_counted() {
        let read = |rows, columns: &[&str]| {
            let decoder = Decoder::new("x", Table::Entries, repeated(rows, columns)).unwrap();
            decoder.group(0, None)
        };
        assert_eq!(read(100, &["principal_id"]).unwrap().len(), 100);
        // In one column, and in several together.
        let several = ["principal_id", "src", "name", "org_id", "request"];
        for error in [read(1000, &["principal_id"]), read(100, &several)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("larger than Vidimus writes"), "{error}");
        }
    }

    #[test]
    fn the_same_rows_make_the_same_file() {
        assert_eq!(file(50).sha256, file(50).sha256);
        assert_ne!(file(50).sha256, file(51).sha256);
    }

    #[test]
    fn only_bytes_have_neither_dictionary_nor_statistics_and_three_fields_a_bloom_filter() {
        let decoder = Decoder::new("x", Table::Entries, file(20).body).unwrap();
        let group = decoder.footer.group(0).unwrap();
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
        let (start, _) = decoder.footer.group(0).unwrap().column(0).byte_range();
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
        let error = Decoder::new("x", Table::Deliveries, other).err().unwrap().to_string();
        assert!(error.contains("\"bytes\""), "{error}");
    }
}
