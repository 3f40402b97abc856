//! Writes a Parquet file of a table into memory. The format is defined in docs/archive.md.
//!
//! The rows of one row group are held, and the encoded file. The caller bounds the file by
//! [`Encoder::bytes`].

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use ring::digest;

use super::error::ArchiveError;
use super::layout::Table;
use super::rows::{Cell, Rows, Values};
use super::schema::{self, BLOOM, Kind, UNIQUE, metadata};
use crate::ingest::sha256;

/// The most bytes of values in a row group. Only a single row can have more.
const ROW_GROUP: usize = if cfg!(test) { 2000 } else { 64 << 20 };

/// The level of Zstandard: a few more percent at higher levels would cost several times the work.
const LEVEL: i32 = 6;

/// A range of integers or times: the smallest and the largest.
pub(crate) type Range = Option<(i64, i64)>;

/// A file that was written.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// The file.
    pub(crate) body: Bytes,
    /// The SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) rows: u64,
    pub(crate) id: Range,
    pub(crate) time: Range,
    pub(crate) stored_at: Range,
}

/// Writes a file.
pub(crate) struct Encoder {
    table: Table,
    writer: SerializedFileWriter<Vec<u8>>,
    rows: Rows,
    written: u64,
    contents: Option<(usize, digest::Context)>,
    /// The bytes that `contents` has seen.
    bytes: u64,
    ranges: [(Option<usize>, Range); 3],
    facts: Vec<(&'static str, String)>,
}

impl Encoder {
    /// Begins a file. `change` is the number of the last change of a verdict so far.
    pub(crate) fn new(table: Table, store: &str, change: u64) -> Result<Encoder, ArchiveError> {
        let fail = || ArchiveError::parquet("write", table.name());
        let parquet = schema::parquet(table).map_err(fail())?;
        let writer = SerializedFileWriter::new(Vec::new(), parquet, Arc::new(properties(table)?));
        let place = |name: &str| schema::place(table, name);
        let mut facts = vec![
            (metadata::SCHEMA, schema::VERSION.to_string()),
            (metadata::TABLE, table.name().to_owned()),
            (metadata::STORE, store.to_owned()),
        ];
        // The same rows of other tables make the same file, whatever changes meanwhile.
        if table == Table::Entries {
            facts.push((metadata::CHANGE, change.to_string()));
        }
        Ok(Encoder {
            table,
            writer: writer.map_err(fail())?,
            rows: Rows::new(table),
            written: 0,
            contents: schema::bytes_column(table)
                .and_then(place)
                .map(|at| (at, digest::Context::new(&digest::SHA256))),
            bytes: 0,
            ranges: [
                (schema::id_column(table).and_then(place), None),
                (place("time"), None),
                (place("stored_at"), None),
            ],
            facts,
        })
    }

    /// Adds a row: the values in the order of the columns.
    pub(crate) fn push(&mut self, row: &[Cell<'_>]) -> Result<(), ArchiveError> {
        if let Some((at, context)) = &mut self.contents {
            let bytes = row.get(*at).and_then(|cell| cell.bytes()).unwrap_or_default();
            context.update(bytes);
            context.update(b"\n");
            self.bytes += bytes.len() as u64 + 1;
        }
        for (at, range) in &mut self.ranges {
            let value = at.and_then(|at| row.get(at)).and_then(|cell| cell.integer());
            if let Some(value) = value {
                let (least, greatest) = range.unwrap_or((value, value));
                *range = Some((least.min(value), greatest.max(value)));
            }
        }
        let size: usize = row.iter().map(|cell| cell.size()).sum();
        if self.rows.bytes() + size > ROW_GROUP {
            self.write_group()?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// The number of rows so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.rows.len() as u64
    }

    /// The bytes as received in the rows so far. It depends on nothing but the rows, so that the files
    /// of a segment are cut in the same way whenever they are written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> Result<Encoded, ArchiveError> {
        self.write_group()?;
        let rows = self.written;
        let contents =
            self.contents.take().map(|(_, context)| HEXLOWER.encode(context.finish().as_ref()));
        let [(_, id), (_, time), (_, stored_at)] = self.ranges;
        let mut facts = self.facts;
        facts.push((metadata::ROWS, rows.to_string()));
        if let Some((least, greatest)) = id {
            facts.push((metadata::MIN_ID, least.to_string()));
            facts.push((metadata::MAX_ID, greatest.to_string()));
        }
        facts.extend(contents.map(|sha256| (metadata::SHA256, sha256)));
        for (key, value) in facts {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let fail = ArchiveError::parquet("write", self.table.name());
        let body = Bytes::from(self.writer.into_inner().map_err(fail)?);
        let hash = HEXLOWER.encode(&sha256(&digest::digest(&digest::SHA256, &body)));
        Ok(Encoded { body, sha256: hash, rows, id, time, stored_at })
    }

    /// Writes the rows that are held as a row group.
    fn write_group(&mut self) -> Result<(), ArchiveError> {
        let rows = std::mem::replace(&mut self.rows, Rows::new(self.table));
        if rows.len() == 0 {
            return Ok(());
        }
        self.written += rows.len() as u64;
        write(&mut self.writer, &rows).map_err(ArchiveError::parquet("write", self.table.name()))
    }
}

fn write(
    writer: &mut SerializedFileWriter<Vec<u8>>,
    rows: &Rows,
) -> Result<(), parquet::errors::ParquetError> {
    let mut group = writer.next_row_group()?;
    for column in rows.columns() {
        let (Some(mut writer), Some(column)) = (group.next_column()?, column) else { break };
        let levels = Some(column.levels.as_slice());
        match &column.values {
            Values::Integers(all) => {
                writer.typed::<Int64Type>().write_batch(all, levels, None)?;
            }
            Values::Booleans(all) => {
                writer.typed::<BoolType>().write_batch(all, levels, None)?;
            }
            Values::Bytes(bytes, ends) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let all: Vec<ByteArray> = starts
                    .zip(ends)
                    .map(|(start, end)| ByteArray::from(bytes.slice(start..*end)))
                    .collect();
                writer.typed::<ByteArrayType>().write_batch(&all, levels, None)?;
            }
        }
        writer.close()?;
    }
    group.close().map(drop)
}

fn properties(table: Table) -> Result<WriterProperties, ArchiveError> {
    let level = ZstdLevel::try_new(LEVEL).map_err(ArchiveError::parquet("write", table.name()))?;
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("vidimus ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for (at, column) in (0..).zip(schema::columns(table)) {
        let path = || ColumnPath::from(column.name);
        if UNIQUE.contains(&column.name) {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
        // Their pages are compressed alone, and would be small. Long extensions are not for statistics.
        if column.kind == Kind::Binary || column.name == "extensions" {
            properties = properties
                .set_column_statistics_enabled(path(), EnabledStatistics::None)
                .set_column_dictionary_enabled(path(), false);
        }
        if table == Table::Entries {
            if column.name == "time" {
                let by_time =
                    SortingColumn { column_idx: at, descending: false, nulls_first: true };
                properties = properties.set_sorting_columns(Some(vec![by_time]));
            }
            if BLOOM.contains(&column.name) {
                properties = properties
                    .set_column_bloom_filter_enabled(path(), true)
                    .set_column_bloom_filter_max_ndv(path(), 100_000);
            }
        }
    }
    Ok(properties.build())
}
