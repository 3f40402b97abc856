//! The lines of a sealed segment, in compressed blocks.
//!
//! A block has the lines of consecutive ids, each with a line feed at its end, in one Zstandard frame
//! (RFC 8878) with a checksum. A statement over `raw`, the table of lines that other segments have, gets
//! it as a common table expression here.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use crate::store::schema::Columns;
use crate::store::segment::text::Search;

/// The maximum number of lines in a block. A larger block is smaller for each line, but one line costs
/// more to read.
const LINES: u64 = 256;

/// A block ends when its lines have this many bytes.
const BYTES: usize = 1 << 20;

/// The maximum size of a decompressed block, in bytes: [`BYTES`] and one more line. The receiver can be
/// told to parse lines of up to 16 MiB.
const MAX_BYTES: usize = (17 << 20) + 1;

/// The number of blocks that a thread keeps. Neighbours in time are in the blocks of the deliveries that
/// came at the same time.
const MOST: usize = 4;

/// The SQL expression for the line of `{id}`.
macro_rules! line_of {
    ($id:literal) => {
        concat!(
            "coalesce(cached_line(",
            $id,
            "), (SELECT read_line(",
            $id,
            ", first_id, lines) FROM blocks WHERE first_id <= ",
            $id,
            " ORDER BY first_id DESC LIMIT 1), no_line(",
            $id,
            "))"
        )
    };
}

/// The SQL expression for the line of an entry.
pub(in crate::store) const LINE: &str = line_of!("entries.id");

/// The beginning of a statement in which `raw` has the columns of the table in other segments.
const WITH_RAW: &str = concat!(
    "WITH raw (id, line) AS NOT MATERIALIZED (SELECT packed.id, ",
    line_of!("packed.id"),
    " FROM packed) "
);

/// A statement that selects from `raw`, for a segment with these columns.
pub(in crate::store) fn with_raw(columns: Columns, sql: &str) -> String {
    if columns.are_packed() { format!("{WITH_RAW}{sql}") } else { sql.to_owned() }
}

/// Writes the lines of a segment, in the order of their ids.
pub(in crate::store) struct BlockWriter<'a> {
    to: &'a Connection,
    compressor: Compressor<'static>,
    lines: Vec<u8>,
    /// The first id of the block, and the next one.
    first_id: u64,
    next_id: u64,
}

impl BlockWriter<'_> {
    pub(in crate::store) fn new(
        to: &Connection,
        first_id: u64,
    ) -> rusqlite::Result<BlockWriter<'_>> {
        let new = || -> io::Result<Compressor<'static>> {
            let mut compressor = Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
            compressor.set_parameter(CParameter::ChecksumFlag(true))?;
            Ok(compressor)
        };
        let compressor = new().map_err(failure)?;
        Ok(BlockWriter { to, compressor, lines: Vec::new(), first_id, next_id: first_id })
    }

    /// Adds the line of the next id.
    pub(in crate::store) fn add(&mut self, line: &[u8]) -> rusqlite::Result<()> {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.next_id += 1;
        let is_full = self.next_id - self.first_id == LINES || self.lines.len() >= BYTES;
        if is_full { self.end_block() } else { Ok(()) }
    }

    /// Writes the last block.
    pub(in crate::store) fn finish(mut self) -> rusqlite::Result<()> {
        if self.lines.is_empty() { Ok(()) } else { self.end_block() }
    }

    fn end_block(&mut self) -> rusqlite::Result<()> {
        let block = self.compressor.compress(&self.lines).map_err(failure)?;
        self.to
            .prepare_cached("INSERT INTO blocks (first_id, last_id, lines) VALUES (?1, ?2, ?3)")?
            .execute((self.first_id, self.next_id - 1, block))?;
        self.lines.clear();
        self.first_id = self.next_id;
        Ok(())
    }
}

/// Adds the functions that read blocks to a connection:
/// - `cached_line(id)` is the line, or NULL if its block is not kept;
/// - `read_line(id, first_id, lines)` takes it from its block, which is kept then;
/// - `no_line(id)` fails, for no block has the line;
/// - `may_contain(first_id, lines, words)` is false if no line of the block has the words.
pub(in crate::store) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    connection.create_scalar_function("cached_line", 1, flags, move |context| {
        let id = context.get(0)?;
        Ok(KEPT.with_borrow_mut(|kept| kept.line(number, id).map(<[u8]>::to_vec)))
    })?;
    connection.create_scalar_function("read_line", 3, flags, move |context| {
        let (id, first_id): (u64, u64) = (context.get(0)?, context.get(1)?);
        let missing = || failure(format!("the block of line {first_id} has no line {id}"));
        let block = context.get_raw(2).as_bytes()?;
        KEPT.with_borrow_mut(|kept| {
            kept.read((number, first_id), block)?;
            kept.line(number, id).map(<[u8]>::to_vec).ok_or_else(missing)
        })
    })?;
    connection.create_scalar_function(
        "no_line",
        1,
        flags,
        |context| -> rusqlite::Result<bool> {
            Err(failure(format!("no block has the line {}", context.get::<u64>(0)?)))
        },
    )?;
    connection.create_scalar_function("may_contain", 3, flags, move |context| {
        let search = context.get_or_create_aux(2, |words| Search::new(words.as_str()?))?;
        let (first_id, block) = (context.get(0)?, context.get_raw(1).as_bytes()?);
        KEPT.with_borrow_mut(|kept| {
            kept.read((number, first_id), block)?;
            Ok(kept.blocks.last().is_none_or(|block| search.may_be_in(&block.lines)))
        })
    })
}

/// The blocks that a thread read last, the newest at the end.
struct Kept {
    blocks: Vec<Block>,
    /// It takes a fifth of the time of a search to make one for each block.
    decompressor: Option<Decompressor<'static>>,
}

thread_local! {
    static KEPT: RefCell<Kept> = const {
        RefCell::new(Kept { blocks: Vec::new(), decompressor: None })
    };
}

struct Block {
    /// The number of the connection, and the id of the first line.
    place: (u64, u64),
    /// The decompressed lines.
    lines: Vec<u8>,
    /// The end of each line, before its line feed. Empty until a line is taken.
    ends: Vec<usize>,
}

impl Kept {
    /// The line of a connection, if its block is kept.
    fn line(&mut self, connection: u64, id: u64) -> Option<&[u8]> {
        let blocks = self.blocks.iter_mut().rev();
        blocks.filter(|block| block.place.0 == connection).find_map(|block| block.line(id))
    }

    /// Decompresses a block. It becomes the newest.
    fn read(&mut self, place: (u64, u64), block: &[u8]) -> rusqlite::Result<()> {
        let at = self.blocks.iter().position(|one| one.place == place);
        if let Some(at) = at {
            let block = self.blocks.remove(at);
            self.blocks.push(block);
            return Ok(());
        }
        let oldest = (self.blocks.len() >= MOST).then(|| self.blocks.remove(0));
        let is_usual = |lines: &Vec<u8>| lines.capacity() <= 2 * BYTES;
        let mut lines = oldest.map(|block| block.lines).filter(is_usual).unwrap_or_default();
        let damaged = |why| failure(format!("the block of line {} is damaged: {why}", place.1));
        decompress(&mut self.decompressor, block, &mut lines).map_err(damaged)?;
        self.blocks.push(Block { place, lines, ends: Vec::new() });
        Ok(())
    }
}

impl Block {
    fn line(&mut self, id: u64) -> Option<&[u8]> {
        let at = usize::try_from(id.checked_sub(self.place.1)?).ok()?;
        if at as u64 >= LINES {
            return None;
        }
        if self.ends.is_empty() {
            let is_end = |(at, byte): (usize, &u8)| (*byte == b'\n').then_some(at);
            self.ends = self.lines.iter().enumerate().filter_map(is_end).collect();
        }
        let start = at.checked_sub(1).map_or(Some(0), |before| Some(self.ends.get(before)? + 1))?;
        self.lines.get(start..*self.ends.get(at)?)
    }
}

/// Decompresses a block into `lines`.
fn decompress(
    decompressor: &mut Option<Decompressor<'static>>,
    block: &[u8],
    lines: &mut Vec<u8>,
) -> Result<(), Cow<'static, str>> {
    let size = get_frame_content_size(block).ok().flatten().ok_or("it is no Zstandard frame")?;
    let size = usize::try_from(size).ok().filter(|size| *size <= MAX_BYTES);
    let size = size.ok_or("it is larger than a block can be")?;
    lines.clear();
    lines.reserve(size);
    let mut run = || {
        let one = match decompressor {
            Some(one) => one,
            None => decompressor.insert(Decompressor::new()?),
        };
        one.decompress_to_buffer(block, lines).map(drop)
    };
    run().map_err(|error: io::Error| error.to_string().into())
}

fn failure(why: impl ToString) -> rusqlite::Error {
    rusqlite::Error::UserFunctionError(why.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(lines: &[Vec<u8>]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE blocks (first_id INTEGER PRIMARY KEY, last_id, lines);
                 CREATE TABLE packed (id INTEGER PRIMARY KEY);
                 PRAGMA trusted_schema = OFF",
            )
            .unwrap();
        let mut writer = BlockWriter::new(&connection, 7).unwrap();
        for (id, line) in (7..).zip(lines) {
            writer.add(line).unwrap();
            connection.execute("INSERT INTO packed VALUES (?1)", [id as i64]).unwrap();
        }
        writer.finish().unwrap();
        register(&connection).unwrap();
        connection
    }

    fn line(connection: &Connection, id: u64) -> rusqlite::Result<Vec<u8>> {
        let sql = with_raw(Columns::PACKED, "SELECT line FROM raw WHERE id = ?1");
        connection.query_row(&sql, [id], |row| row.get(0))
    }

    #[test]
    fn every_line_is_read_back_in_any_order() {
        let (long, longest) = (vec![b'x'; BYTES], vec![b'y'; 16 << 20]);
        let mut lines: Vec<Vec<u8>> = (0..1000).map(|n| format!("line {n}").into_bytes()).collect();
        lines.extend([
            Vec::new(),
            vec![0, 255, b'\r'],
            long.clone(),
            long,
            longest,
            b"last".to_vec(),
        ]);
        let connection = segment(&lines);
        let order =
            (0..lines.len()).chain((0..lines.len()).rev()).chain((0..lines.len()).step_by(97));
        for at in order {
            assert_eq!(line(&connection, at as u64 + 7).unwrap(), lines[at], "{at}");
        }
        let blocks: Vec<(u64, u64)> = connection
            .prepare("SELECT first_id, last_id FROM blocks ORDER BY first_id")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        // Three full blocks, then up to the first long line, then each long line, then the rest.
        let long = [(1010, 1010), (1011, 1011), (1012, 1012)];
        assert_eq!(blocks[2..], [&[(519, 774), (775, 1009)], &long[..]].concat());
    }

    #[test]
    fn a_damaged_block_is_an_error_that_names_it() {
        let connection = segment(&(0..9).map(|n| vec![n; 9]).collect::<Vec<_>>());
        let block: Vec<u8> =
            connection.query_row("SELECT lines FROM blocks", [], |row| row.get(0)).unwrap();
        let damaged = |block: &[u8]| {
            connection.execute("UPDATE blocks SET lines = ?1", [block]).unwrap();
            line(&connection, 8).unwrap_err().to_string()
        };
        let (mut whole, mut found) = (Vec::new(), Vec::new());
        decompress(&mut None, &block, &mut whole).unwrap();
        for at in 0..block.len() {
            let mut block = block.clone();
            block[at] ^= 1;
            let same = decompress(&mut None, &block, &mut found).is_ok_and(|()| found == whole);
            // The fifth byte has a bit that means nothing.
            assert!(same || !damaged(&block).is_empty(), "byte {at}");
        }
        assert!(damaged(b"").contains("it is no Zstandard frame"));
        let large = zstd::bulk::compress(&vec![0; MAX_BYTES + 1], 1).unwrap();
        assert!(damaged(&large).contains("it is larger than a block can be"));
        let short = zstd::bulk::compress(b"one line\n", 1).unwrap();
        assert!(damaged(&short).contains("the block of line 7 has no line 8"));
        connection.execute("DELETE FROM blocks", []).unwrap();
        assert_eq!(line(&connection, 8).unwrap_err().to_string(), "no block has the line 8");
    }
}
