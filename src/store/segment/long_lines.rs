//! Long lines, in pieces: only one piece of a line is in memory at a time.
//!
//! A line that is too long to be parsed is in the table `pieces`, and its beginning in `raw`. Earlier
//! versions stored the whole line in `raw`. It is read in pieces too.

use ring::digest;
use rusqlite::{Connection, MAIN_DB, OptionalExtension};

use crate::entry::layout::MAX_LINE;
use crate::entry::record::{WholeLine, without_torn_character};
use crate::ingest::sha256;
use crate::store::segment::blocks::with_raw;
use crate::store::sqlite::Database;

/// The length of a piece, in bytes. The last piece may be shorter.
pub(in crate::store) const PIECE: usize = 1 << 20;

/// The SQL expression for the line of an entry. NULL if an earlier version stored a long line in
/// `raw`. Then only its length is read. The limit is [`MAX_LINE`].
pub(in crate::store) const LINE: &str = "(SELECT CASE
         WHEN entries.reason IS 'line_too_long' AND octet_length(line) > 1048576 THEN NULL
         ELSE line END FROM raw WHERE raw.id = entries.id)";

/// The line of the entry `id`, or its beginning and the description of the whole line. `line` is
/// the value of [`LINE`], and `recorded` is from the row.
pub(in crate::store) fn line(
    connection: &Connection,
    id: u64,
    line: Option<&[u8]>,
    recorded: WholeLine,
) -> rusqlite::Result<(Vec<u8>, Option<WholeLine>)> {
    if let Some(line) = line {
        return Ok((line.to_vec(), recorded.bytes.map(|_| recorded)));
    }
    // In a damaged file there may be no line.
    let Some(bytes) = raw_length(connection, id)? else { return Ok((Vec::new(), None)) };
    let first = raw_piece(connection, id, 0)?.unwrap_or_default();
    let whole = WholeLine { bytes: Some(bytes), sha256: None };
    Ok((without_torn_character(&first).to_vec(), Some(whole)))
}

/// Stores a whole line in pieces.
pub(in crate::store) fn insert(segment: &Connection, id: u64, line: &[u8]) -> rusqlite::Result<()> {
    (0..).zip(line.chunks(PIECE)).try_for_each(|(number, piece)| put(segment, id, number, piece))
}

fn put(segment: &Connection, id: u64, number: u64, piece: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO pieces (entry, number, bytes) VALUES (?1, ?2, ?3)";
    segment.prepare_cached(sql)?.execute((id, number, piece)).map(drop)
}

/// The length of the line of the entry `id`, in bytes; `None` if there is none.
pub(in crate::store) fn length(segment: &Database, id: u64) -> rusqlite::Result<Option<u64>> {
    match in_pieces(segment, id)? {
        Some(bytes) => Ok(Some(bytes)),
        None if segment.columns().are_packed() => {
            Ok(packed_line(segment, id)?.map(|line| line.len() as u64))
        }
        None => raw_length(segment, id),
    }
}

/// A piece of the line of the entry `id`, counted from 0; `None` after the last.
pub(in crate::store) fn piece(
    segment: &Database,
    id: u64,
    number: u64,
) -> rusqlite::Result<Option<Vec<u8>>> {
    if in_pieces(segment, id)?.is_none() {
        return match segment.columns().are_packed() {
            true => packed_piece(segment, id, number),
            false => raw_piece(segment, id, number),
        };
    }
    let sql = "SELECT bytes FROM pieces WHERE entry = ?1 AND number = ?2";
    segment.prepare_cached(sql)?.query_row((id, number), |row| row.get(0)).optional()
}

/// The length of a line that is in pieces.
fn in_pieces(segment: &Database, id: u64) -> rusqlite::Result<Option<u64>> {
    if !has_pieces(segment) {
        return Ok(None);
    }
    let sql = "SELECT line_bytes FROM entries WHERE id = ?1";
    segment.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional().map(Option::flatten)
}

/// Whether a segment is of a version that has pieces.
pub(in crate::store) fn has_pieces(segment: &Database) -> bool {
    segment.columns().has("line_bytes")
}

fn raw_length(connection: &Connection, id: u64) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT octet_length(line) FROM raw WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
}

fn raw_piece(connection: &Connection, id: u64, number: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    if raw_length(connection, id)?.is_none() {
        return Ok(None);
    }
    let row = i64::try_from(id).unwrap_or(i64::MAX);
    let blob = connection.blob_open(MAIN_DB, "raw", "line", row, true)?;
    let start = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(PIECE);
    let length = blob.len().saturating_sub(start).min(PIECE);
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    blob.read_at_exact(&mut bytes, start)?;
    Ok(Some(bytes))
}

/// A piece of a line that is in a block.
fn packed_piece(segment: &Database, id: u64, number: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(packed_line(segment, id)?.and_then(|line| {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        line.chunks(PIECE).nth(number).map(<[u8]>::to_vec)
    }))
}

fn packed_line(segment: &Database, id: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = with_raw(segment.columns(), "SELECT line FROM raw WHERE id = ?1");
    segment.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()
}

/// A line that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct LineDigest {
    pub(in crate::store) bytes: u64,
    pub(in crate::store) sha256: [u8; 32],
    /// Whether it starts with the expected bytes.
    pub(in crate::store) begins: bool,
}

/// Reads the line of the entry `id` to its end. It should start with `first`, which is at most one
/// piece.
pub(in crate::store) fn read(
    segment: &Database,
    id: u64,
    first: &[u8],
) -> rusqlite::Result<LineDigest> {
    let mut context = digest::Context::new(&digest::SHA256);
    let (mut bytes, mut begins, mut number) = (0, first.is_empty(), 0);
    while let Some(piece) = piece(segment, id, number)? {
        if number == 0 {
            begins = piece.starts_with(first);
        }
        context.update(&piece);
        bytes += piece.len() as u64;
        number += 1;
    }
    Ok(LineDigest { bytes, sha256: sha256(&context.finish()), begins })
}

/// Whether two segments have the same line for the entry `id`.
pub(in crate::store) fn is_same(
    one: &Database,
    other: &Database,
    id: u64,
) -> rusqlite::Result<bool> {
    let mut number = 0;
    loop {
        let (first, second) = (piece(one, id, number)?, piece(other, id, number)?);
        if first != second {
            return Ok(false);
        }
        if first.is_none() {
            return Ok(true);
        }
        number += 1;
    }
}

/// Splits the long lines that an earlier version stored in `raw` into pieces.
pub(in crate::store) fn cut(segment: &Connection) -> rusqlite::Result<()> {
    let long = "SELECT entries.id, octet_length(line) FROM entries JOIN raw USING (id)
                WHERE reason IS 'line_too_long' AND octet_length(line) > ?1
                ORDER BY entries.id";
    let long: Vec<(u64, u64)> = segment
        .prepare(long)?
        .query_map([MAX_LINE], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, bytes) in long {
        let mut context = digest::Context::new(&digest::SHA256);
        let (mut first, mut number) = (Vec::new(), 0_u64);
        while let Some(piece) = raw_piece(segment, id, number)? {
            context.update(&piece);
            put(segment, id, number, &piece)?;
            if number == 0 {
                first = piece;
            }
            number += 1;
        }
        let sha256 = sha256(&context.finish());
        segment
            .prepare_cached("UPDATE entries SET line_bytes = ?2, line_sha256 = ?3 WHERE id = ?1")?
            .execute((id, bytes, sha256.as_slice()))?;
        segment
            .prepare_cached("UPDATE raw SET line = ?2 WHERE id = ?1")?
            .execute((id, without_torn_character(&first)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::entry::{Millis, Record};
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::schema::Schema;
    use crate::store::segment::row::{self, Entries, EntryMetadata, Ids};
    use crate::store::segment::{SCHEMA, condition, contents};
    use crate::store::sqlite;

    /// Two pieces and a half. A character of two bytes stands across the end of the first.
    fn line() -> Vec<u8> {
        let mut line = b"begin".to_vec();
        line.resize(PIECE - 1, b'x');
        line.extend("ä".bytes());
        line.resize(PIECE * 5 / 2, b'y');
        line.extend(b"end");
        line
    }

    fn segment(path: &Path, line: Vec<u8>) -> Database {
        let segment = sqlite::open(path, &SCHEMA).unwrap();
        condition::register(&segment).unwrap();
        let received_at = Millis::saturating(100);
        let entry = CheckedLine::new(&line, &KeySet::default(), MAX_LINE).read(
            line.into(),
            &ExpectedIds::default(),
            received_at,
        );
        let stored =
            EntryMetadata { id: 7, received_at, delivery: 1, input: "default", delivery_count: 1 };
        assert!(row::insert(&segment, &entry, &stored).unwrap());
        segment
    }

    /// The same as the first version of the program wrote it.
    fn old_segment(path: &Path, line: &[u8]) -> Database {
        const FIRST: Schema =
            Schema { versions: &[(1, include_str!("../schema/segment/0001.sql"))], ..SCHEMA };
        let segment = sqlite::open(path, &FIRST).unwrap();
        condition::register(&segment).unwrap();
        let entry = "INSERT INTO entries (id, received_at, time, event_time, fingerprint, delivery,
                         input, format, verdict, reason, delivery_count)
                     VALUES (7, 100, 100, 0, ?1, 1, 'default', 'unknown', 'malformed',
                         'line_too_long', 1)";
        let sha256 = digest::digest(&digest::SHA256, line);
        segment.execute(entry, [&sha256.as_ref()[..16]]).unwrap();
        segment.execute("INSERT INTO raw VALUES (7, ?1)", [line]).unwrap();
        segment
    }

    fn record(segment: &Database) -> Record {
        segment.records(&condition::Sql::from("1"), &Ids::List(&[7])).unwrap().remove(0)
    }

    fn whole_line(segment: &Database) -> Vec<u8> {
        (0..).map_while(|number| piece(segment, 7, number).unwrap()).flatten().collect()
    }

    /// Whether the words of a query are found in the line.
    fn is_found(segment: &Database, query: &str) -> bool {
        let condition =
            condition::Sql::condition(&crate::search::parse(query, 0).unwrap(), segment.columns());
        let sql = format!("SELECT {} FROM entries", condition.text);
        let parameters = rusqlite::params_from_iter(condition.parameters);
        segment.query_row(&sql, parameters, |row| row.get(0)).unwrap()
    }

    #[test]
    fn the_limit_in_sql_is_that_of_the_receiver() {
        assert!(LINE.contains(&format!("> {MAX_LINE} ")), "{LINE}");
    }

    #[test]
    fn a_long_line_is_kept_in_pieces_beside_its_beginning() {
        let temporary = tempfile::tempdir().unwrap();
        let line = line();
        let segment = segment(&temporary.path().join("x.db"), line.clone());
        let record = record(&segment);
        assert_eq!(record.raw, line[..PIECE - 1]);
        let sha256 = sha256(&digest::digest(&digest::SHA256, &line));
        let bytes = Some(line.len() as u64);
        assert_eq!(record.whole, Some(WholeLine { bytes, sha256: Some(sha256) }));
        assert_eq!(length(&segment, 7).unwrap(), bytes);
        assert!(whole_line(&segment) == line);
        assert_eq!(piece(&segment, 7, 3).unwrap(), None);
        assert_eq!((length(&segment, 8).unwrap(), piece(&segment, 8, 0).unwrap()), (None, None));
        let found = LineDigest { bytes: line.len() as u64, sha256, begins: true };
        assert_eq!(read(&segment, 7, &record.raw).unwrap(), found);
        assert!(!read(&segment, 7, b"other").unwrap().begins);
        assert!(is_found(&segment, "begin") && !is_found(&segment, "end"));
    }

    #[test]
    fn a_long_line_of_an_earlier_version_is_read_in_part_and_cut_when_migrated() {
        let temporary = tempfile::tempdir().unwrap();
        let (line, path) = (line(), temporary.path().join("old.db"));
        let old = old_segment(&path, &line);
        let before = record(&old);
        assert_eq!(before.raw, line[..PIECE - 1]);
        assert_eq!(before.whole, Some(WholeLine { bytes: Some(line.len() as u64), sha256: None }));
        assert!(whole_line(&old) == line);
        // Its length alone is looked at.
        assert!(!is_found(&old, "begin"));
        drop(old);

        let new = segment(&temporary.path().join("new.db"), line.clone());
        let migrated = sqlite::open(&path, &SCHEMA).unwrap();
        condition::register(&migrated).unwrap();
        assert_eq!(record(&migrated).whole, record(&new).whole);
        assert_eq!(record(&migrated).raw, before.raw);
        assert!(whole_line(&migrated) == line);
        assert!(is_found(&migrated, "begin"));
        let pieces = "SELECT count(*) FROM pieces";
        let count = || migrated.query_row(pieces, [], |row| row.get::<_, u64>(0)).unwrap();
        assert_eq!(count(), 3);
        // There is nothing left to cut.
        cut(&migrated).unwrap();
        assert_eq!(count(), 3);
    }

    #[test]
    fn a_copy_has_the_whole_line_or_is_none() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        let line = line();
        drop(old_segment(&path("old.db"), &line));
        drop(segment(&path("new.db"), line.clone()));
        let has_all =
            |whole: &str, part: &str| contents::has_all(&path(whole), &path(part)).unwrap();
        assert!(has_all("new.db", "old.db") && has_all("old.db", "new.db"));
        assert!(contents::is_dense(&path("new.db"), 7, 7).unwrap());
        let change = |sql: &str| {
            Connection::open(path("new.db")).unwrap().execute_batch(sql).unwrap();
        };
        change("UPDATE pieces SET bytes = CAST('other' AS BLOB) WHERE number = 2");
        assert!(!has_all("new.db", "old.db") && !has_all("old.db", "new.db"));
        change("DELETE FROM pieces WHERE number = 2");
        assert!(!has_all("new.db", "old.db"));
        assert!(!contents::is_dense(&path("new.db"), 7, 7).unwrap());
    }
}
