//! What deliveries bring again: entries that are there already.
//!
//! Each is counted. An entry shows the best of its deliveries, so one that betters it is laid over it;
//! the bytes and the first receipt stay as they are. It is collected while deliveries are stored,
//! and entered in the catalog before they are answered.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::catalog::Catalog;
use super::error::SqliteContext;
use super::live::Mark;
use super::row::Stored;
use super::spellings::{self, Segments, Spelling};
use super::{StoreError, overlay, redeliveries};
use crate::entry::{Millis, VerdictName, Warning};
use crate::ingest::Entry;

/// So many verdicts are held until they are entered, of entries that are on the disk.
const HELD: usize = 500;

/// How good a delivery of an entry is; the best has the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    NotValid,
    /// Valid, and of somebody whom the input does not expect.
    Foreign,
    Valid,
}

impl Grade {
    /// That of an entry as it came.
    pub(super) fn of(entry: &Entry) -> Grade {
        let is_valid = entry.verdict.name() == VerdictName::Valid;
        Grade::new(is_valid, entry.warnings.iter().map(|one| one.as_str()))
    }

    fn new<'a>(is_valid: bool, mut warnings: impl Iterator<Item = &'a str>) -> Grade {
        match is_valid {
            false => Grade::NotValid,
            true if warnings.any(is_foreign) => Grade::Foreign,
            true => Grade::Valid,
        }
    }

    /// That of a verdict and its warnings.
    fn read(row: &Row<'_>) -> rusqlite::Result<Grade> {
        let is_valid = row.get_ref(0)?.as_str()? == VerdictName::Valid.as_str();
        let warnings = row.get_ref(1)?.as_str_or_null()?.unwrap_or_default();
        Ok(Grade::new(is_valid, warnings.split(' ')))
    }
}

fn is_foreign(warning: &str) -> bool {
    [Warning::ForeignOrg, Warning::ForeignPortal].iter().any(|one| one.as_str() == warning)
}

/// What is known of an entry where it stands first.
struct First {
    grade: Grade,
    received_at: Millis,
    delivery: u64,
    time: Millis,
}

/// A delivery that is better than what the entry `id` shows.
struct Better {
    id: u64,
    input: String,
    /// The entry as it is now; `None` if it was valid before.
    entry: Option<(Box<Entry>, First)>,
}

/// An entry that came to `input`, and is the entry `id`.
pub(super) struct Came<'a> {
    pub(super) id: u64,
    /// Whether it is the line that the entry was stored with.
    pub(super) same_line: bool,
    pub(super) entry: Entry,
    pub(super) input: &'a str,
}

/// What a group of deliveries brings again.
#[derive(Default)]
pub(super) struct Again {
    /// The entries of older segments that came.
    redelivered: Vec<u64>,
    spellings: Vec<Spelling>,
    /// What betters entries that are on the disk.
    better: Vec<Better>,
    /// What betters entries of the transaction that is open.
    better_new: Vec<Better>,
    /// What the entries of both will be.
    grades: HashMap<u64, Grade>,
}

/// How much there was before a delivery, to go back to.
pub(super) struct Before {
    redelivered: usize,
    spellings: usize,
}

impl Again {
    pub(super) fn mark(&self) -> Before {
        Before { redelivered: self.redelivered.len(), spellings: self.spellings.len() }
    }

    /// Forgets what a delivery brought that is not stored. What it betters of entries that are on the
    /// disk stays: its line was verified.
    pub(super) fn return_to(&mut self, before: &Before, mark: Mark) {
        self.redelivered.truncate(before.redelivered);
        self.spellings.truncate(before.spellings);
        self.better_new.retain(|better| mark.had(better.id));
        self.grades.retain(|id, _| mark.had(*id));
    }

    /// An entry of an older segment came.
    pub(super) fn count(&mut self, id: u64) {
        self.redelivered.push(id);
    }

    /// Another line of an entry came.
    pub(super) fn spelled(&mut self, spelling: Spelling) {
        self.spellings.push(spelling);
    }

    /// Notes what came, if that betters the entry. `begun` is where the ids stood before the transaction
    /// that is open.
    pub(super) fn better(
        &mut self,
        catalog: &Catalog,
        segments: &mut Segments<'_>,
        Came { id, same_line, entry, input }: Came<'_>,
        begun: Mark,
    ) -> Result<(), StoreError> {
        let grade = Grade::of(&entry);
        if grade == Grade::NotValid || self.grades.get(&id).is_some_and(|shown| grade <= *shown) {
            return Ok(());
        }
        let what = "read an entry that came again";
        let later = || {
            let sql = "SELECT verdict, warnings FROM entries WHERE id = ?1";
            catalog.connection.prepare_cached(sql)?.query_row([id], Grade::read).optional()
        };
        let later = later().doing(what, &catalog.path)?;
        if later.is_some_and(|shown| grade <= shown) {
            return Ok(());
        }
        let mut first = || first(segments.with(id)?, id).doing(what, &catalog.path);
        let first = match first() {
            Ok(first) => first,
            // It must not keep the delivery from being stored.
            Err(error) => {
                tracing::warn!(%error, id, "an entry that came again cannot be read");
                return Ok(());
            }
        };
        let shown = later.unwrap_or(first.grade);
        if grade <= shown {
            return Ok(());
        }
        self.grades.insert(id, grade);
        let entry = (same_line && shown == Grade::NotValid).then(|| (Box::new(entry), first));
        let better = Better { id, input: input.to_owned(), entry };
        if !begun.had(id) {
            self.better_new.push(better);
            return Ok(());
        }
        self.better.push(better);
        if self.better.len() < HELD {
            return Ok(());
        }
        let held = std::mem::take(&mut self.better);
        enter(catalog, |catalog| lay_over(catalog, segments, held))
    }

    /// Enters all of it. The deliveries are stored, and not answered yet.
    pub(super) fn enter(
        self,
        catalog: &Catalog,
        segments: &mut Segments<'_>,
    ) -> Result<(), StoreError> {
        let Again { redelivered, spellings, mut better, better_new, .. } = self;
        better.extend(better_new);
        if redelivered.is_empty() && spellings.is_empty() && better.is_empty() {
            return Ok(());
        }
        enter(catalog, |catalog| {
            redeliveries::add(catalog, &redelivered)?;
            lay_over(catalog, segments, better)?;
            let mut spellings = spellings.iter();
            spellings.try_for_each(|spelling| spellings::count(catalog, segments, spelling))
        })
    }
}

/// Runs what enters something in the catalog as one transaction.
fn enter(
    catalog: &Catalog,
    run: impl FnOnce(&Catalog) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let what = "enter what came again";
    let transaction =
        Transaction::new_unchecked(&catalog.connection, TransactionBehavior::Immediate);
    let transaction = transaction.doing(what, &catalog.path)?;
    run(catalog)?;
    transaction.commit().doing(what, &catalog.path)
}

fn lay_over(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    better: Vec<Better>,
) -> Result<(), StoreError> {
    for Better { id, input, entry } in better {
        match entry {
            Some((mut entry, first)) => {
                entry.time = first.time;
                let stored = Stored {
                    id,
                    received_at: first.received_at,
                    delivery: first.delivery,
                    input: &input,
                    delivery_count: 1,
                };
                spellings::put(catalog, segments, *entry, &stored)?;
            }
            None => overlay::amend(catalog, segments, id, Some(&input), |warnings| {
                warnings.retain(|warning| !is_foreign(warning));
            })?,
        }
    }
    Ok(())
}

fn first(segment: &Connection, id: u64) -> rusqlite::Result<First> {
    segment
        .prepare_cached(
            "SELECT verdict, warnings, received_at, delivery, time FROM entries WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok(First {
                grade: Grade::read(row)?,
                received_at: Millis::saturating(row.get(2)?),
                delivery: row.get(3)?,
                time: Millis::saturating(row.get(4)?),
            })
        })
}
