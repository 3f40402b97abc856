//! What deliveries bring again: entries that are there already.
//!
//! Each is counted. An entry shows the best of its deliveries, so one that is better than what it shows
//! changes it; the bytes and the first receipt stay as they are. All of that is collected while
//! deliveries are stored, and entered in the catalog before they are answered.

use std::collections::HashMap;

use rusqlite::Row;

use crate::entry::{Millis, VerdictName, Warning};
use crate::ingest::Entry;
use crate::store::catalog::Catalog;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{self, Entries, EntryMetadata, Ids};
use crate::store::sqlite::Database;
use crate::store::write::live::NextIds;
use crate::store::write::spellings::{self, NewSpelling, Segments};

/// So many verdicts are held until they are entered, of entries that are on the disk.
const HELD: usize = 500;

/// How good a delivery of an entry is; the best has the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    NotValid,
    /// Valid, and of somebody whom the input does not expect.
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

    /// That of a verdict and its warnings.
    fn read(row: &Row<'_>) -> rusqlite::Result<Quality> {
        let (verdict, warnings) = (row::required_word(row.get_ref(0)?)?, row.get_ref(1)?);
        Ok(Quality::new(verdict, &row::warnings(warnings)?))
    }
}

fn is_foreign(warning: &Warning) -> bool {
    matches!(warning, Warning::ForeignOrg | Warning::ForeignPortal)
}

/// What is known of an entry where it stands first.
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
    /// The entry as it is now; `None` if it was valid before.
    entry: Option<(Box<Entry>, Original)>,
}

/// An entry that came to `input`, and is the entry `id`.
pub(in crate::store) struct Redelivery<'a> {
    pub(in crate::store) id: u64,
    /// Whether it is the line that the entry was stored with.
    pub(in crate::store) same_line: bool,
    pub(in crate::store) entry: Entry,
    pub(in crate::store) input: &'a str,
}

/// What a group of deliveries brings again.
#[derive(Default)]
pub(in crate::store) struct Redeliveries {
    /// The entries of older segments that came.
    older: Vec<u64>,
    spellings: Vec<NewSpelling>,
    /// Of entries that are on the disk.
    improvements: Vec<Improvement>,
    /// Of entries of the transaction that is open.
    improvements_of_new: Vec<Improvement>,
    /// How good the entries of both will be.
    qualities: HashMap<u64, Quality>,
}

/// How much there was before a delivery, to go back to.
pub(in crate::store) struct Savepoint {
    older: usize,
    spellings: usize,
}

impl Redeliveries {
    pub(in crate::store) fn savepoint(&self) -> Savepoint {
        Savepoint { older: self.older.len(), spellings: self.spellings.len() }
    }

    /// Forgets what a delivery brought that is not stored. Improvements of entries that are on the
    /// disk stay: their lines were verified.
    pub(in crate::store) fn return_to(&mut self, savepoint: &Savepoint, mark: NextIds) {
        self.older.truncate(savepoint.older);
        self.spellings.truncate(savepoint.spellings);
        self.improvements_of_new.retain(|one| mark.had(one.id));
        self.qualities.retain(|id, _| mark.had(*id));
    }

    /// An entry of an older segment came.
    pub(in crate::store) fn count_older(&mut self, id: u64) {
        self.older.push(id);
    }

    /// Another line of an entry came.
    pub(in crate::store) fn note_spelling(&mut self, spelling: NewSpelling) {
        self.spellings.push(spelling);
    }

    /// Notes what came, if it is better than what the entry shows. `begun` is where the ids stood before the transaction
    /// that is open.
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

    /// Enters all of it. The deliveries are stored, and not answered yet.
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

/// How good the entry `id` is that the overlay shows, if it is changed.
fn changed(catalog: &Catalog, id: u64) -> rusqlite::Result<Option<Quality>> {
    let mut found = None;
    let values = Sql::from("verdict, warnings");
    catalog.overlay().each(&values, &Sql::from("1"), &Ids::List(&[id]), |row| {
        found = Some(Quality::read(row)?);
        Ok(())
    })?;
    Ok(found)
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
