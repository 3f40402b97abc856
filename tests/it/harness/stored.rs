//! Reads the files of a data directory with SQLite. The server may be running.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

/// An entry with its late verdict and its later deliveries.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) input: String,
    pub(crate) line: Vec<u8>,
    pub(crate) verdict: String,
    pub(crate) reason: Option<String>,
    pub(crate) kid: Option<String>,
    pub(crate) warnings: String,
    pub(crate) event_time: i64,
    pub(crate) delivery_count: u64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { id, verdict, reason, delivery_count, line, .. } = self;
        let line = line.escape_ascii();
        write!(f, "\n{id}: {verdict} {reason:?}, {delivery_count} deliveries: {line:.300}")
    }
}

/// A recorded delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) input: String,
    pub(crate) peer: String,
}

/// A body in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quarantined {
    pub(crate) status: u16,
    pub(crate) content_encoding: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A refused request, or a refused connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) peer: String,
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
    pub(crate) scheme: Option<String>,
}

/// All entries, in order of id.
pub(crate) fn entries(data: &Path) -> Vec<Entry> {
    const SQL: &str = "SELECT id, input, line, verdict, reason,
        (SELECT kid FROM keys WHERE keys.id = entries.key), coalesce(warnings, ''), event_time,
        delivery_count FROM entries JOIN raw USING (id) ORDER BY id";
    retry(|| {
        let mut catalog = open(&data.join("catalog.db"))?;
        // One snapshot of the catalog, so that its tables agree.
        let snapshot = catalog.transaction()?;
        let mut later: BTreeMap<u64, Entry> =
            query(&snapshot, SQL, entry)?.into_iter().map(|entry| (entry.id, entry)).collect();
        let redelivered: BTreeMap<u64, u64> =
            query(&snapshot, "SELECT entry, count FROM redeliveries", |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .into_iter()
            .collect();
        let mut entries = Vec::new();
        for file in segments(&snapshot)? {
            for mut entry in query(&open_segment(&data.join("segments").join(file))?, SQL, entry)? {
                let first = entry.delivery_count;
                if let Some(changed) = later.remove(&entry.id) {
                    entry = changed;
                }
                let after = redelivered.get(&entry.id).copied().unwrap_or_default();
                entry.delivery_count = first + after;
                entries.push(entry);
            }
        }
        Ok(entries)
    })
}

/// All deliveries, oldest first.
pub(crate) fn deliveries(data: &Path) -> Vec<Delivery> {
    const SQL: &str = "SELECT input, peer FROM deliveries ORDER BY id";
    retry(|| {
        let mut deliveries = Vec::new();
        for file in segments(&open(&data.join("catalog.db"))?)? {
            deliveries.extend(query(&open(&data.join("segments").join(file))?, SQL, |row| {
                let (input, peer) = (row.get(0)?, row.get(1)?);
                Ok(Delivery { input, peer })
            })?);
        }
        Ok(deliveries)
    })
}

/// The other lines that are kept for entries, oldest first.
pub(crate) fn spellings(data: &Path) -> Vec<String> {
    retry(|| {
        let mut lines = Vec::new();
        for file in segments(&open(&data.join("catalog.db"))?)? {
            let sql = "SELECT CAST(line AS TEXT) FROM spellings ORDER BY rowid";
            lines.extend(query(&open(&data.join("segments").join(file))?, sql, |row| row.get(0))?);
        }
        Ok(lines)
    })
}

/// The bodies in quarantine, oldest first.
pub(crate) fn quarantined(data: &Path) -> Vec<Quarantined> {
    const SQL: &str = "SELECT status, content_encoding, body FROM quarantine ORDER BY id";
    catalog(data, SQL, |row| {
        Ok(Quarantined { status: row.get(0)?, content_encoding: row.get(1)?, body: row.get(2)? })
    })
}

/// The refused requests, oldest first. The server writes them at intervals and when it stops.
pub(crate) fn refused(data: &Path) -> Vec<Refused> {
    const SQL: &str = "SELECT peer, status, reason, scheme FROM refused ORDER BY id";
    let path = data.join("refused.db");
    if !path.exists() {
        return Vec::new();
    }
    let read = |row: &Row<'_>| {
        let (peer, status) = (row.get(0)?, row.get(1)?);
        Ok(Refused { peer, status, reason: row.get(2)?, scheme: row.get(3)? })
    };
    retry(|| query(&open(&path)?, SQL, read))
}

/// The rows of a statement on the catalog.
pub(crate) fn catalog<T>(
    data: &Path,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T> + Copy,
) -> Vec<T> {
    retry(|| query(&open(&data.join("catalog.db"))?, sql, read))
}

/// Reads again if a read fails: a file disappears when a segment is sealed.
fn retry<T>(read: impl Fn() -> rusqlite::Result<T>) -> T {
    for _ in 0..100 {
        if let Ok(found) = read() {
            return found;
        }
    }
    read().unwrap()
}

fn segments(catalog: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT file FROM segments WHERE state <> 'dropped' ORDER BY first_id";
    query(catalog, sql, |row| row.get(0))
}

fn query<T>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// Opens an existing file.
/// Opens a segment. The lines of a packed one are read from their blocks into a temporary table
/// `raw`, as docs/store.md describes them.
pub(crate) fn open_segment(path: &Path) -> rusqlite::Result<Connection> {
    let segment = open(path)?;
    if segment.table_exists(None, "blocks")? {
        segment.execute_batch("CREATE TEMP TABLE raw (id INTEGER PRIMARY KEY, line BLOB)")?;
        let sql = "SELECT first_id, last_id, lines FROM blocks";
        let block = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        for (first_id, last_id, lines) in query::<(u64, u64, Vec<u8>)>(&segment, sql, block)? {
            let lines = zstd::decode_all(&*lines).expect("a Zstandard frame");
            let lines = lines.strip_suffix(b"\n").expect("a line feed at the end");
            let lines: Vec<_> = lines.split(|byte| *byte == b'\n').collect();
            assert_eq!(lines.len() as u64, last_id - first_id + 1);
            for (id, line) in (first_id..).zip(lines) {
                segment.execute("INSERT INTO temp.raw VALUES (?1, ?2)", (id, line))?;
            }
        }
    }
    Ok(segment)
}

/// The version of the schema of a database.
pub(crate) fn version(path: &Path) -> u64 {
    open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        input: row.get(1)?,
        line: row.get(2)?,
        verdict: row.get(3)?,
        reason: row.get(4)?,
        kid: row.get(5)?,
        warnings: row.get(6)?,
        event_time: row.get(7)?,
        delivery_count: row.get(8)?,
    })
}
