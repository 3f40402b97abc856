//! Checks entries again that earlier versions accepted by weaker rules.
//!
//! Earlier versions parsed a line as CEF if it was not JSON, even if it was signed as another
//! format, and they accepted weak keys. The catalog lists the segments that were written then. Each
//! is checked once. Most entries are accepted without a verification, and the others are verified
//! again.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Judge, Recorded, SLICE, SLICE_BYTES, enter, late_verdict};
use crate::ingest::CheckedLine;
use crate::signature::{Key, Verdict, is_of_one_format};
use crate::store::catalog::Catalog;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids};
use crate::store::sqlite::Database;
use crate::store::write::duplicates::OlderSegments;

/// Checks these entries again, all of a segment, and returns the number of changed verdicts.
pub(super) fn recheck(
    catalog: &Catalog,
    older: &mut OlderSegments,
    ids: RangeInclusive<u64>,
    segment: &Database,
    judge: &dyn Judge,
    stopping: &AtomicBool,
) -> Result<u64, StoreError> {
    let (first, last) = ids.into_inner();
    let (mut next, mut changed) = (first, 0);
    while next <= last {
        if stopping.load(Ordering::Relaxed) {
            return Ok(changed);
        }
        let ids = next..=last.min(next.saturating_add(SLICE as u64 - 1));
        let stored = judged(segment, ids.clone()).doing("read", segment.path())?;
        // Late verdicts may also be wrong.
        let late = judged(&catalog.overlay(), ids);
        let late = late.doing("read late verdicts", catalog.path())?;
        // Both continue after the smaller end.
        let end = stored.end.min(late.end);
        let mut wrong = Vec::new();
        for (entry, public) in stored.entries {
            if entry.id <= end && late_verdict(catalog, entry.id)?.is_none() {
                wrong.extend(doubted(entry, public, judge));
            }
        }
        for (entry, public) in late.entries {
            if entry.id <= end {
                wrong.extend(doubted(entry, public, judge));
            }
        }
        changed += wrong.len() as u64;
        if !wrong.is_empty() {
            enter(catalog, older, wrong, judge)?;
        }
        next = end.saturating_add(1);
    }
    catalog.note_checked_again(first)?;
    Ok(changed)
}

/// Entries up to the id `end`, with the public keys that verified them.
struct Judged {
    entries: Vec<(Recorded, Option<[u8; 32]>)>,
    end: u64,
}

/// Reads the first of these entries, as many as fit in memory.
fn judged(from: &impl Entries, ids: RangeInclusive<u64>) -> rusqlite::Result<Judged> {
    let lengths = from.lengths(&Ids::Range(ids.clone()))?;
    let (first, mut end) = ids.clone().into_inner();
    let mut bytes = 0;
    for id in ids {
        bytes += lengths.get(&id).copied().unwrap_or(0);
        if bytes >= SLICE_BYTES as u64 {
            end = id;
            break;
        }
    }
    let mut values = Sql::from(&Recorded::values(from.columns()));
    values.push(", (SELECT public FROM keys WHERE keys.id = entries.key)");
    let mut entries = Vec::new();
    from.each(&values, &Sql::from("verdict <> 'malformed'"), &Ids::Range(first..=end), |row| {
        entries.push((Recorded::read(row)?, row.get(7)?));
        Ok(())
    })?;
    Ok(Judged { entries, end })
}

/// The new check of an entry, if its verdict is doubtful.
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
    // The current limit of the line length is no reason to revoke a verdict.
    let examined = CheckedLine::new(&entry.line, &keys, usize::MAX);
    let malformed = matches!(examined.verdict(), Verdict::Malformed(_));
    // Missing keys are no reason either.
    (has_bad_key || malformed).then_some((entry, examined))
}
