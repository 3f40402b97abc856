//! Late verdicts: when a key arrives, entries that it may make valid are checked again.
//!
//! Those are the `no_key` ones, and the `invalid` ones whose signature is well formed. A verdict that
//! changes gets a rising change number, and what the entry is now goes to the catalog, which is laid
//! over on reading. The live segment is closed before, so its entries are never changed beside the
//! writer.

mod older_rules;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::catalog::{AWAITING_KEY, Catalog, Segment, State};
use super::directory::Directory;
use super::error::SqliteContext;
use super::older::Older;
use super::row::Stored;
use super::schema::SEGMENT;
use super::spellings::{self, Segments};
use super::sqlite::{self, Access, Database};
use super::{StoreError, seal};
use crate::entry::{Malformed, Millis};
use crate::ingest::{Examined, Expected};
use crate::signature::{KeySet, Verdict, VerdictName};

/// What entries are checked again with.
pub trait Judge: Send + Sync {
    /// The keys that may verify what `input` received at `received_at`.
    fn keys(&self, input: &str, received_at: Millis) -> Arc<KeySet>;
    /// Whose entries belong to `input`.
    fn expected(&self, input: &str) -> Arc<Expected>;
    /// The longest line that is parsed, in bytes.
    fn max_line(&self) -> usize;
}

/// An entry as it is recorded.
struct Recorded {
    id: u64,
    received_at: Millis,
    delivery: u64,
    input: String,
    verdict: String,
    line: Vec<u8>,
}

/// Entries in one transaction of the catalog: so many, or so many bytes of lines.
const SLICE: usize = 500;
const SLICE_BYTES: usize = 4 << 20;

/// Checks again what a new key may make valid, in every segment that takes no more appends, and
/// says how many verdicts changed. A sealed segment of which more than a tenth has changed is written
/// anew. It ends early when the store is `stopping`, and is begun again when the store is opened.
pub(super) fn recheck(
    directory: &Directory,
    catalog: &mut Catalog,
    judge: &dyn Judge,
    stopping: &AtomicBool,
) -> Result<u64, StoreError> {
    let (mut changed, by_older_rules) = (0, older_rules::segments(catalog)?);
    let segments = catalog.segments()?;
    let mut older = Older::new(directory.clone(), segments.clone());
    for segment in segments {
        let Some(closed) = &segment.closed else { continue };
        let is_older = by_older_rules.contains(&segment.first_id);
        if (closed.awaiting_key == 0 && !is_older) || stopping.load(Ordering::Relaxed) {
            continue;
        }
        let connection = open(directory, &segment)?;
        if is_older {
            let last = closed.last_id;
            let ids = segment.first_id..=last;
            changed +=
                older_rules::recheck(catalog, &mut older, ids, &connection, judge, stopping)?;
        }
        changed += recheck_segment(catalog, &mut older, &connection, judge, stopping)?;
        let laid_over = count_overlay(catalog, segment.first_id, closed.last_id)?;
        let entries = closed.last_id + 1 - segment.first_id;
        if segment.state == State::Sealed && laid_over * 10 > entries {
            seal::seal(directory, catalog, &segment)?;
            older.set(catalog.segments()?);
        }
    }
    Ok(changed)
}

/// Whether the live segment was written under earlier rules. It has to be closed before its entries
/// are checked again.
pub(super) fn live_is_older(catalog: &Catalog) -> Result<bool, StoreError> {
    let older = older_rules::segments(catalog)?;
    Ok(catalog.segments()?.iter().any(|one| one.closed.is_none() && older.contains(&one.first_id)))
}

fn open(directory: &Directory, segment: &Segment) -> Result<Database, StoreError> {
    let access = if segment.state == State::Sealed { Access::Immutable } else { Access::Shared };
    sqlite::open_read_only(&directory.segment(&segment.file), &SEGMENT, access)
}

fn recheck_segment(
    catalog: &Catalog,
    older: &mut Older,
    connection: &Connection,
    judge: &dyn Judge,
    stopping: &AtomicBool,
) -> Result<u64, StoreError> {
    let (mut after, mut changed) = (0, 0);
    loop {
        let slice = awaiting(connection, after).doing("read a segment", &catalog.path)?;
        let Some(last) = slice.last() else { return Ok(changed) };
        if stopping.load(Ordering::Relaxed) {
            return Ok(changed);
        }
        after = last.id;
        changed += recheck_slice(catalog, older, slice, judge)?;
    }
}

/// The next entries after the id `after` that await a key, as the segment has them.
fn awaiting(connection: &Connection, after: u64) -> rusqlite::Result<Vec<Recorded>> {
    let sql = format!(
        "SELECT id, received_at, delivery, input, verdict,
                (SELECT line FROM raw WHERE raw.id = entries.id)
         FROM entries WHERE id > ?1 AND {AWAITING_KEY} ORDER BY id LIMIT {SLICE}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([after])?;
    let (mut slice, mut bytes) = (Vec::new(), 0);
    while bytes < SLICE_BYTES
        && let Some(row) = rows.next()?
    {
        let recorded = recorded(row)?;
        bytes += recorded.line.len();
        slice.push(recorded);
    }
    Ok(slice)
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    Ok(Recorded {
        id: row.get(0)?,
        received_at: Millis::saturating(row.get(1)?),
        delivery: row.get(2)?,
        input: row.get(3)?,
        verdict: row.get(4)?,
        line: row.get(5)?,
    })
}

fn recheck_slice(
    catalog: &Catalog,
    older: &mut Older,
    slice: Vec<Recorded>,
    judge: &dyn Judge,
) -> Result<u64, StoreError> {
    let mut changed = Vec::new();
    for mut entry in slice {
        // It may have changed before.
        let later = current(&catalog.connection, entry.id);
        if let Some(verdict) = later.doing("read a late verdict", &catalog.path)? {
            entry.verdict = verdict;
        }
        let shown = spellings::shown(&catalog.connection, entry.id);
        if shown.doing("read the spellings", &catalog.path)?.is_some() {
            continue;
        }
        let keys = judge.keys(&entry.input, entry.received_at);
        let examined = Examined::line(&entry.line, &keys, judge.max_line());
        let verdict = examined.verdict();
        // A key says more, the want of one never less: what was found once is not taken back because
        // the program was started with other keys.
        let learned = match verdict {
            Verdict::Valid(_) => true,
            Verdict::Invalid(_) => entry.verdict == VerdictName::NoKey.as_str(),
            Verdict::Malformed(Malformed::OtherFormat) => true,
            Verdict::Unsigned | Verdict::NoKey | Verdict::Malformed(_) => false,
        };
        if learned && entry.verdict != verdict.name().as_str() {
            changed.push((entry, examined));
        }
    }
    let count = changed.len() as u64;
    if count > 0 {
        lay_over(catalog, older, changed, judge)?;
    }
    Ok(count)
}

/// The verdict that an entry got later.
fn current(connection: &Connection, id: u64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT verdict FROM entries WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}

fn lay_over(
    catalog: &Catalog,
    older: &mut Older,
    changed: Vec<(Recorded, Examined)>,
    judge: &dyn Judge,
) -> Result<(), StoreError> {
    let Catalog { connection, path } = catalog;
    let what = "enter late verdicts";
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    let transaction = transaction.doing(what, path)?;
    let mut segments = Segments { older, live: None };
    for (recorded, examined) in changed {
        let expected = judge.expected(&recorded.input);
        let entry = examined.read(Bytes::from(recorded.line), &expected, recorded.received_at);
        let stored = Stored {
            id: recorded.id,
            received_at: recorded.received_at,
            delivery: recorded.delivery,
            input: &recorded.input,
            delivery_count: 1,
        };
        spellings::put(catalog, &mut segments, entry, &stored)?;
    }
    transaction.commit().doing(what, path)
}

fn count_overlay(catalog: &Catalog, first: u64, last: u64) -> Result<u64, StoreError> {
    catalog
        .connection
        .query_row(
            "SELECT count(*) FROM entries WHERE id BETWEEN ?1 AND ?2",
            (first, last),
            |row| row.get(0),
        )
        .doing("count late verdicts", &catalog.path)
}
