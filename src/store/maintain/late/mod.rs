//! Late verdicts: when a key arrives, the entries that it may make valid are checked again.
//!
//! These are the `no_key` entries, and the `invalid` entries with a well-formed signature. Invalid
//! entries that were not tried, because many others in their delivery failed, are checked even
//! without a new key. A changed verdict gets a change number, and the new version of the entry goes
//! to the overlay. The live segment is closed first, so that its entries are not changed while the
//! writer uses them. `queue` has what is left to do.

mod older_rules;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rusqlite::Row;

pub(in crate::store) use self::queue::{Progress, RecheckQueue};
use crate::entry::{Malformed, Millis, VerdictName};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::random;
use crate::signature::{KeySet, Reason, Verdict};
use crate::store::catalog::Catalog;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::Columns;
use crate::store::segment::blocks;
use crate::store::segment::row::{self, EntryMetadata};
use crate::store::sqlite::Database;
use crate::store::write::duplicates::OlderSegments;
use crate::store::write::spellings::{self, Segments};

/// The keys and rules for checking entries again.
pub trait Judge: Send + Sync {
    /// The keys that may verify what `input` received at `received_at`.
    fn keys(&self, input: &str, received_at: Millis) -> Arc<KeySet>;
    /// The ids that entries of `input` are expected to have.
    fn expected(&self, input: &str) -> Arc<ExpectedIds>;
    /// The longest line that is parsed, in bytes.
    fn max_line(&self) -> usize;
}

/// A recorded entry.
struct Recorded {
    id: u64,
    received_at: Millis,
    delivery: u64,
    input: String,
    verdict: VerdictName,
    reason: Option<String>,
    line: Vec<u8>,
}

/// The maximum number of entries per transaction, and of bytes of lines.
const SLICE: usize = 500;
const SLICE_BYTES: usize = 4 << 20;

/// The number of entries that are verified together. Forged ones can be slow, and the store may be
/// closing.
const BATCH: usize = 128;

/// Whether the live segment was written under earlier rules. Then it must be closed before its
/// entries are checked again.
pub(in crate::store) fn live_is_older(catalog: &Catalog) -> Result<bool, StoreError> {
    let older = catalog.under_older_rules()?;
    Ok(catalog.segments()?.iter().any(|one| one.closed.is_none() && older.contains(&one.first_id)))
}

impl Recorded {
    /// What [`read`](Recorded::read) takes, in SQL over `entries` with these columns.
    fn values(columns: Columns) -> String {
        let line = match columns.are_packed() {
            true => blocks::LINE,
            false => "(SELECT line FROM raw WHERE raw.id = entries.id)",
        };
        format!("id, received_at, delivery, input, verdict, reason, {line}")
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Recorded> {
        Ok(Recorded {
            id: row.get(0)?,
            received_at: Millis::saturating(row.get(1)?),
            delivery: row.get(2)?,
            input: row.get(3)?,
            verdict: row::verdict(row.get_ref(4)?)?,
            reason: row.get(5)?,
            line: row.get(6)?,
        })
    }
}

/// The next entries of a segment after the id `after` that meet the condition.
fn awaiting(segment: &Database, condition: &str, after: u64) -> rusqlite::Result<Vec<Recorded>> {
    let values = Recorded::values(segment.columns());
    let sql = format!(
        "SELECT {values} FROM entries WHERE id > ?1 AND {condition} ORDER BY id LIMIT {SLICE}"
    );
    let mut statement = segment.prepare_cached(&sql)?;
    let mut rows = statement.query([after])?;
    let (mut slice, mut bytes) = (Vec::new(), 0);
    while bytes < SLICE_BYTES
        && let Some(row) = rows.next()?
    {
        let recorded = Recorded::read(row)?;
        bytes += recorded.line.len();
        slice.push(recorded);
    }
    Ok(slice)
}

/// Checks entries again, and returns the number of changed verdicts. Ends early when the store is
/// `stopping`; the other entries are found again later.
fn recheck_slice(
    catalog: &Catalog,
    older: &mut OlderSegments,
    slice: Vec<Recorded>,
    judge: &dyn Judge,
    stopping: &AtomicBool,
) -> Result<u64, StoreError> {
    let mut slice = slice.into_iter().peekable();
    let mut count = 0;
    while slice.peek().is_some() && !stopping.load(Ordering::Relaxed) {
        count += recheck_batch(catalog, older, slice.by_ref().take(BATCH), judge)?;
    }
    Ok(count)
}

/// Checks some of the entries again.
fn recheck_batch(
    catalog: &Catalog,
    older: &mut OlderSegments,
    batch: impl Iterator<Item = Recorded>,
    judge: &dyn Judge,
) -> Result<u64, StoreError> {
    let mut entries = Vec::new();
    for mut entry in batch {
        // It may have changed before.
        if let Some((verdict, reason)) = late_verdict(catalog, entry.id)? {
            (entry.verdict, entry.reason) = (verdict, reason);
        }
        let shown = catalog.overlay().shown_instead_of(entry.id);
        if shown.doing("read the spellings", catalog.path())?.is_some() {
            continue;
        }
        entries.push(entry);
    }
    let mut changed = Vec::new();
    let checked = check(&entries, judge, judge.max_line())?;
    for (entry, examined) in entries.into_iter().zip(checked) {
        let not_tried = entry.reason.as_deref() == Some(Reason::NotTried.as_str());
        let verdict = examined.verdict();
        // A new key can change a verdict, a missing key cannot: a verdict is not revoked because the
        // program was started with other keys.
        let learned = match verdict {
            Verdict::Valid(_) => true,
            Verdict::Invalid(_) => not_tried || entry.verdict == VerdictName::NoKey,
            Verdict::Malformed(Malformed::OtherFormat) => true,
            Verdict::Unsigned | Verdict::NoKey | Verdict::Malformed(_) => false,
        };
        let is_same =
            entry.verdict == verdict.name() && entry.reason.as_deref() == verdict.reason();
        if learned && !is_same {
            changed.push((entry, examined));
        }
    }
    let count = changed.len() as u64;
    if count > 0 {
        enter(catalog, older, changed, judge)?;
    }
    Ok(count)
}

/// Checks entries in batches, each with the keys for it.
fn check(
    entries: &[Recorded],
    judge: &dyn Judge,
    max_line: usize,
) -> Result<Vec<CheckedLine>, StoreError> {
    // Most entries have the same keys. They are verified together if they have the same set.
    let mut sets: Vec<Arc<KeySet>> = Vec::new();
    let sets_of: Vec<Arc<KeySet>> = entries
        .iter()
        .map(|entry| {
            let keys = judge.keys(&entry.input, entry.received_at);
            let known = sets.iter().find(|set| set.is_like(&keys)).cloned();
            known.unwrap_or_else(|| {
                sets.push(Arc::clone(&keys));
                keys
            })
        })
        .collect();
    let lines: Vec<(&[u8], &KeySet)> =
        entries.iter().zip(&sets_of).map(|(entry, keys)| (&entry.line[..], &**keys)).collect();
    Ok(CheckedLine::each(&lines, max_line, &random::seed()?))
}

/// The verdict that an entry got later, and its reason.
fn late_verdict(
    catalog: &Catalog,
    id: u64,
) -> Result<Option<(VerdictName, Option<String>)>, StoreError> {
    let outcome = catalog.overlay().outcome(id).doing("read a late verdict", catalog.path())?;
    Ok(outcome.map(|outcome| (outcome.verdict, outcome.reason)))
}

/// Writes changed verdicts to the overlay.
fn enter(
    catalog: &Catalog,
    older: &mut OlderSegments,
    changed: Vec<(Recorded, CheckedLine)>,
    judge: &dyn Judge,
) -> Result<(), StoreError> {
    catalog.transaction("enter late verdicts", |catalog| {
        let mut segments = Segments { older, live: None };
        for (recorded, examined) in changed {
            // A delivery may have improved it in the meantime.
            let now = late_verdict(catalog, recorded.id)?;
            if now.is_some_and(|now| now != (recorded.verdict, recorded.reason)) {
                continue;
            }
            let expected = judge.expected(&recorded.input);
            let entry = examined.read(Bytes::from(recorded.line), &expected, recorded.received_at);
            let stored = EntryMetadata {
                id: recorded.id,
                received_at: recorded.received_at,
                delivery: recorded.delivery,
                input: &recorded.input,
                delivery_count: 1,
            };
            spellings::put(catalog, &mut segments, entry, &stored)?;
        }
        Ok(())
    })
}
