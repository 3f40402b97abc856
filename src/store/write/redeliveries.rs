//! Redeliveries: entries of a delivery that are in the store already.
//!
//! Each redelivery is counted. An entry shows the best of its deliveries, so a better delivery
//! changes it. Its bytes and its first receipt stay. Redeliveries are collected while deliveries
//! are stored, and written to the catalog before the responses.

use std::collections::HashMap;

use rusqlite::Row;

use crate::entry::{Millis, VerdictName, Warning};
use crate::ingest::Entry;
use crate::store::catalog::Catalog;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::row::{self, EntryMetadata};
use crate::store::sqlite::Database;
use crate::store::write::live::NextIds;
use crate::store::write::spellings::{self, NewSpelling, Segments};

/// The maximum number of improvements in memory. Then they are written to the catalog.
const HELD: usize = 500;

/// The quality of a delivery of an entry. The best is the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    NotValid,
    /// Valid, but of an organization or portal that the input does not expect.
    Foreign,
    Valid,
}

impl Quality {
    fn new(verdict: VerdictName, warnings: &[Warning]) -> Quality {
        match verdict {
            VerdictName::Valid if warnings.iter().any(is_foreign) => Quality::Foreign,
            VerdictName::Valid => Quality::Valid,
            _ => Quality::NotValid,
        }
    }

    /// Reads a verdict and its warnings.
    fn read(row: &Row<'_>) -> rusqlite::Result<Quality> {
        let (verdict, warnings) = (row::verdict(row.get_ref(0)?)?, row.get_ref(1)?);
        Ok(Quality::new(verdict, &row::warnings(warnings)?))
    }
}

fn is_foreign(warning: &Warning) -> bool {
    matches!(warning, Warning::ForeignOrg | Warning::ForeignPortal)
}

/// An entry as its segment has it.
struct Original {
    quality: Quality,
    received_at: Millis,
    delivery: u64,
    time: Millis,
}

/// A delivery that is better than what the entry `id` shows.
struct Improvement {
    id: u64,
    input: String,
    /// The new version of the entry. `None` if only its warnings and its input change.
    entry: Option<(Box<Entry>, Original)>,
}

/// A delivery of the existing entry `id` to `input`.
pub(in crate::store) struct Redelivery<'a> {
    pub(in crate::store) id: u64,
    /// Whether its line is the stored one.
    pub(in crate::store) same_line: bool,
    pub(in crate::store) entry: Entry,
    pub(in crate::store) input: &'a str,
}

/// The redeliveries of a group of deliveries.
#[derive(Default)]
pub(in crate::store) struct Redeliveries {
    /// Redelivered entries of older segments.
    older: Vec<u64>,
    spellings: Vec<NewSpelling>,
    /// Improvements of committed entries.
    improvements: Vec<Improvement>,
    /// Improvements of entries of the open transaction.
    improvements_of_new: Vec<Improvement>,
    /// The qualities after both.
    qualities: HashMap<u64, Quality>,
}

/// The state before a delivery, to return to.
pub(in crate::store) struct Savepoint {
    older: usize,
    spellings: usize,
}

impl Redeliveries {
    pub(in crate::store) fn savepoint(&self) -> Savepoint {
        Savepoint { older: self.older.len(), spellings: self.spellings.len() }
    }

    /// Removes the redeliveries of a delivery that was not stored. Improvements of committed
    /// entries stay, because their lines were verified.
    pub(in crate::store) fn return_to(&mut self, savepoint: &Savepoint, mark: NextIds) {
        self.older.truncate(savepoint.older);
        self.spellings.truncate(savepoint.spellings);
        self.improvements_of_new.retain(|one| mark.had(one.id));
        self.qualities.retain(|id, _| mark.had(*id));
    }

    /// Counts a redelivery of an entry of an older segment.
    pub(in crate::store) fn count_older(&mut self, id: u64) {
        self.older.push(id);
    }

    pub(in crate::store) fn note_spelling(&mut self, spelling: NewSpelling) {
        self.spellings.push(spelling);
    }

    /// Notes a redelivery if it is better than what the entry shows. `begun` are the next ids
    /// before the open transaction.
    pub(in crate::store) fn note_improvement(
        &mut self,
        catalog: &Catalog,
        segments: &mut Segments<'_>,
        Redelivery { id, same_line, entry, input }: Redelivery<'_>,
        begun: NextIds,
    ) -> Result<(), StoreError> {
        let quality = Quality::new(entry.verdict.name(), &entry.warnings);
        if quality == Quality::NotValid
            || self.qualities.get(&id).is_some_and(|shown| quality <= *shown)
        {
            return Ok(());
        }
        let what = "read an entry that came again";
        let changed = changed(catalog, id).doing(what, catalog.path())?;
        if changed.is_some_and(|shown| quality <= shown) {
            return Ok(());
        }
        let mut read = || original(segments.with(id)?, id).doing(what, catalog.path());
        let original = match read() {
            Ok(original) => original,
            // It must not keep the delivery from being stored.
            Err(error) => {
                tracing::warn!(%error, id, "an entry that came again cannot be read");
                return Ok(());
            }
        };
        let shown = changed.unwrap_or(original.quality);
        if quality <= shown {
            return Ok(());
        }
        self.qualities.insert(id, quality);
        let entry = (same_line && shown == Quality::NotValid).then(|| (Box::new(entry), original));
        let improvement = Improvement { id, input: input.to_owned(), entry };
        if !begun.had(id) {
            self.improvements_of_new.push(improvement);
            return Ok(());
        }
        self.improvements.push(improvement);
        if self.improvements.len() < HELD {
            return Ok(());
        }
        let held = std::mem::take(&mut self.improvements);
        catalog.transaction(ENTER, |catalog| improve(catalog, segments, held))
    }

    /// Writes everything to the catalog. Must be called after the commit and before the responses.
    pub(in crate::store) fn enter(
        self,
        catalog: &Catalog,
        segments: &mut Segments<'_>,
    ) -> Result<(), StoreError> {
        let Redeliveries { older, spellings, mut improvements, improvements_of_new, .. } = self;
        improvements.extend(improvements_of_new);
        if older.is_empty() && spellings.is_empty() && improvements.is_empty() {
            return Ok(());
        }
        catalog.transaction(ENTER, |catalog| {
            let counted = catalog.overlay().count_redeliveries(&older);
            counted.doing("count deliveries", catalog.path())?;
            improve(catalog, segments, improvements)?;
            let mut spellings = spellings.iter();
            spellings.try_for_each(|spelling| spellings::count(catalog, segments, spelling))
        })
    }
}

const ENTER: &str = "enter what came again";

fn improve(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    improvements: Vec<Improvement>,
) -> Result<(), StoreError> {
    for Improvement { id, input, entry } in improvements {
        match entry {
            Some((mut entry, original)) => {
                entry.time = original.time;
                let stored = EntryMetadata {
                    id,
                    received_at: original.received_at,
                    delivery: original.delivery,
                    input: &input,
                    delivery_count: 1,
                };
                spellings::put(catalog, segments, *entry, &stored)?;
            }
            None => spellings::amend(catalog, segments, id, Some(&input), |warnings| {
                warnings.retain(|warning| !is_foreign(warning));
            })?,
        }
    }
    Ok(())
}

/// The quality of the entry `id` in the overlay, if it is changed.
fn changed(catalog: &Catalog, id: u64) -> rusqlite::Result<Option<Quality>> {
    let outcome = catalog.overlay().outcome(id)?;
    Ok(outcome.map(|outcome| Quality::new(outcome.verdict, &outcome.warnings)))
}

fn original(segment: &Database, id: u64) -> rusqlite::Result<Original> {
    segment
        .prepare_cached(
            "SELECT verdict, warnings, received_at, delivery, time FROM entries WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Original {
                quality: Quality::read(row)?,
                received_at: Millis::saturating(row.get(2)?),
                delivery: row.get(3)?,
                time: Millis::saturating(row.get(4)?),
            })
        })
}
