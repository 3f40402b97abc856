//! Entries that earlier versions took for what they are not.
//!
//! Earlier rules took a line for CEF where it could not be read as JSON, whatever it was signed as, and
//! they took weak keys. The catalog names the segments that were written then. Each is looked at once: most of its
//! entries are found good without a verification, and the others are checked again.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::{Judge, Recorded, SLICE, SLICE_BYTES, current, lay_over, recorded};
use crate::ingest::CheckedLine;
use crate::signature::{Key, Verdict, is_of_one_format};
use crate::store::StoreError;
use crate::store::catalog::Catalog;
use crate::store::error::SqliteContext;
use crate::store::older::Older;

/// The segments that were written under earlier rules, by their first ids.
pub(super) fn segments(catalog: &Catalog) -> Result<BTreeSet<u64>, StoreError> {
    let read = || {
        catalog
            .connection
            .prepare("SELECT first_id FROM older_rules")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<BTreeSet<u64>>>()
    };
    read().doing("list the segments to check again", &catalog.path)
}

/// Checks the entries of a segment again, and says how many verdicts changed.
pub(super) fn recheck(
    catalog: &Catalog,
    older: &mut Older,
    ids: RangeInclusive<u64>,
    connection: &Connection,
    judge: &dyn Judge,
    stopping: &AtomicBool,
) -> Result<u64, StoreError> {
    let (first, last) = ids.into_inner();
    let (mut after, mut changed) = (first.saturating_sub(1), 0);
    while after < last {
        if stopping.load(Ordering::Relaxed) {
            return Ok(changed);
        }
        // What stands in the catalog got its verdict after it was stored.
        let stored = judged(connection, after, last).doing("read", &catalog.path)?;
        let later = judged(&catalog.connection, after, last).doing("read", &catalog.path)?;
        // One of the two may have been cut short: they go on together.
        let end = stored.end.min(later.end);
        let mut wrong = Vec::new();
        for (entry, public) in stored.entries {
            let is_laid_over = current(&catalog.connection, entry.id)
                .doing("read a late verdict", &catalog.path)?
                .is_some();
            if entry.id <= end && !is_laid_over {
                wrong.extend(doubted(entry, public, judge));
            }
        }
        for (entry, public) in later.entries {
            if entry.id <= end {
                wrong.extend(doubted(entry, public, judge));
            }
        }
        changed += wrong.len() as u64;
        if !wrong.is_empty() {
            lay_over(catalog, older, wrong, judge)?;
        }
        after = end;
    }
    catalog
        .connection
        .execute("DELETE FROM older_rules WHERE first_id = ?1", [first])
        .doing("note what was checked again", &catalog.path)?;
    Ok(changed)
}

/// Entries with the public keys that verified them, up to the id `end`.
struct Judged {
    entries: Vec<(Recorded, Option<[u8; 32]>)>,
    end: u64,
}

fn judged(connection: &Connection, after: u64, last: u64) -> rusqlite::Result<Judged> {
    let mut statement = connection.prepare_cached(
        "SELECT id, received_at, delivery, input, verdict, reason,
                (SELECT line FROM raw WHERE raw.id = entries.id),
                (SELECT public FROM keys WHERE keys.id = entries.key)
         FROM entries WHERE id > ?1 AND id <= ?2 AND verdict <> 'malformed' ORDER BY id",
    )?;
    let mut rows = statement.query([after, last])?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let entry = recorded(row)?;
        let (id, public) = (entry.id, row.get(7)?);
        bytes += entry.line.len();
        entries.push((entry, public));
        if entries.len() >= SLICE || bytes >= SLICE_BYTES {
            return Ok(Judged { entries, end: id });
        }
    }
    Ok(Judged { entries, end: last })
}

/// The entry as it is now, if it is not what it was taken for.
fn doubted(
    entry: Recorded,
    public: Option<[u8; 32]>,
    judge: &dyn Judge,
) -> Option<(Recorded, CheckedLine)> {
    let has_bad_key = public.is_some_and(|public| Key::new(None, public).weakness().is_some());
    if !has_bad_key && is_of_one_format(&entry.line) {
        return None;
    }
    let keys = judge.keys(&entry.input, entry.received_at);
    // How long a line may be now is no reason to take back what was found.
    let examined = CheckedLine::new(&entry.line, &keys, usize::MAX);
    let malformed = matches!(examined.verdict(), Verdict::Malformed(_));
    // Keys that are not at hand are no reason either.
    (has_bad_key || malformed).then_some((entry, examined))
}
