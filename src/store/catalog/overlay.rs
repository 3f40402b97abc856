//! The overlay: what was learned of entries after they were stored.
//!
//! It is in the catalog, in tables of its own and in tables like those of a segment. Whenever an
//! entry is read, the overlay replaces what the segment says.
//!
//! - An entry is **changed** if the overlay has a newer version of it: its verdict changed, or a
//!   later delivery of it was better.
//! - An entry is **hidden** if another entry is shown instead: both turned out to have the same
//!   signed identity, or a delivery brought an entry that a source had pulled.
//! - An entry is **overlaid** if it is changed or hidden. Then the segment's version is not shown.
//!
//! Changes are numbered in order, so that those who read the entry before can be notified. The
//! overlay also counts the deliveries of entries whose segment is closed, and the spellings: other
//! lines with the signed identity of an entry. When a segment is rewritten, the overlay of its
//! entries is merged into the new file.
//!
//! Only this file uses the tables `changes`, `spellings`, `redeliveries`, `entries`, `raw`,
//! `extensions` and `keys` of the catalog.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;

use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior, params_from_iter};

use crate::clock::now;
use crate::entry::{Record, VerdictName, Warning};
use crate::ingest::{Entry, Fingerprint};
use crate::store::schema::{CATALOG_WITH_SPELLINGS, Columns};
use crate::store::segment::condition::Sql;
use crate::store::segment::identity::Identity;
use crate::store::segment::packed::Packer;
use crate::store::segment::row::{self, Entries, EntryMetadata, Ids, VerifyingKey};
use crate::store::sqlite::{self, Database, MAX_ID};

/// The maximum number of spellings kept per entry. Others are only counted, together.
pub(in crate::store) const MAX_SPELLINGS: u64 = 16;

/// The overlay of a catalog.
#[derive(Clone, Copy)]
pub(in crate::store) struct Overlay<'a>(&'a Database);

/// A change of an entry.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Change {
    pub(in crate::store) number: u64,
    pub(in crate::store) entry: u64,
}

/// The outcome of the check of an entry that is changed.
pub(in crate::store) struct Outcome {
    pub(in crate::store) verdict: VerdictName,
    pub(in crate::store) reason: Option<String>,
    pub(in crate::store) warnings: Vec<Warning>,
}

/// Another line with the signed identity of an entry.
pub(in crate::store) struct Spelling {
    /// The fingerprint of the line; empty for all those after the first [`MAX_SPELLINGS`].
    pub(in crate::store) fingerprint: Vec<u8>,
    /// The delivery that it first came in. The segment of that delivery has the line.
    pub(in crate::store) delivery: u64,
    /// The number of its deliveries.
    pub(in crate::store) count: u64,
    /// The entry that it was stored as, if there is one. It is hidden.
    pub(in crate::store) hidden: Option<u64>,
}

/// The part of the overlay that was merged into a new file of a segment. It is deleted once the
/// catalog lists the file.
pub(in crate::store) struct Merged {
    ids: RangeInclusive<u64>,
    redeliveries: BTreeMap<u64, u64>,
    /// The number of the last change. There may be further changes while the file is written.
    change: u64,
}

impl Entries for Overlay<'_> {
    fn columns(&self) -> Columns {
        self.0.columns()
    }

    fn each(
        &self,
        values: &Sql,
        condition: &Sql,
        ids: &Ids<'_>,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        self.0.each(values, condition, ids, row)
    }

    fn lengths(&self, ids: &Ids<'_>) -> rusqlite::Result<HashMap<u64, u64>> {
        self.0.lengths(ids)
    }

    fn records_with<T>(
        &self,
        values: &str,
        condition: &Sql,
        ids: &Ids<'_>,
        more: impl FnMut(&Record, &Row<'_>, usize) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<(Record, T)>> {
        self.0.records_with(values, condition, ids, more)
    }

    fn each_extension(
        &self,
        ids: &Ids<'_>,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        self.0.each_extension(ids, row)
    }

    fn keys(&self) -> rusqlite::Result<Vec<VerifyingKey>> {
        self.0.keys()
    }
}

/// Reading.
impl<'a> Overlay<'a> {
    pub(super) fn new(catalog: &'a Database) -> Overlay<'a> {
        Overlay(catalog)
    }

    pub(super) fn database(&self) -> &'a Database {
        self.0
    }

    /// The overlaid entries among `ids`, in order of id.
    pub(in crate::store) fn overlaid(&self, ids: &Ids<'_>) -> rusqlite::Result<Vec<u64>> {
        let mut sql = Sql::default();
        ids.among("id", sql.push("SELECT id FROM entries WHERE "));
        if self.has_spellings() {
            ids.among("hidden", sql.push(" UNION SELECT hidden FROM spellings WHERE "));
        }
        sql.push(" ORDER BY 1");
        let mut statement = self.0.prepare_cached(&sql.text)?;
        statement.query_map(params_from_iter(&sql.parameters), |row| row.get(0))?.collect()
    }

    /// The hidden entries among `ids`, each with the entry that is shown instead.
    pub(in crate::store) fn hidden(&self, ids: &Ids<'_>) -> rusqlite::Result<HashMap<u64, u64>> {
        if !self.has_spellings() {
            return Ok(HashMap::new());
        }
        let mut sql = Sql::default();
        ids.among("hidden", sql.push("SELECT hidden, entry FROM spellings WHERE "));
        let mut statement = self.0.prepare_cached(&sql.text)?;
        statement
            .query_map(params_from_iter(&sql.parameters), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// The number of changed entries among `ids`.
    pub(in crate::store) fn count_changed(
        &self,
        ids: &RangeInclusive<u64>,
    ) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM entries WHERE id BETWEEN ?1 AND ?2";
        self.0.prepare_cached(sql)?.query_row((ids.start(), ids.end()), |row| row.get(0))
    }

    /// The smallest and the largest time of the changed entries among `ids`, in milliseconds since
    /// the epoch.
    pub(in crate::store) fn times(
        &self,
        ids: &RangeInclusive<u64>,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let sql = "SELECT min(time), max(time) FROM entries WHERE id BETWEEN ?1 AND ?2";
        let times: (Option<i64>, Option<i64>) = self
            .0
            .prepare_cached(sql)?
            .query_row((ids.start(), ids.end()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(times.0.zip(times.1))
    }

    /// At most `limit` changes with numbers above `after`, in order.
    pub(in crate::store) fn changes(
        &self,
        after: u64,
        limit: u64,
    ) -> rusqlite::Result<Vec<Change>> {
        let sql = "SELECT change, entry FROM changes WHERE change > ?1 ORDER BY change LIMIT ?2";
        let change = |row: &Row<'_>| Ok(Change { number: row.get(0)?, entry: row.get(1)? });
        self.0.prepare_cached(sql)?.query_map((after, limit), change)?.collect()
    }

    /// The number of the last change of each entry among `ids` that ever changed, also of those whose
    /// newer versions are in their segments by now.
    pub(in crate::store) fn last_changes(
        &self,
        ids: &RangeInclusive<u64>,
    ) -> rusqlite::Result<HashMap<u64, u64>> {
        let sql = "SELECT entry, max(change) FROM changes WHERE entry BETWEEN ?1 AND ?2
                   GROUP BY entry";
        self.0
            .prepare_cached(sql)?
            .query_map((ids.start(), ids.end()), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// The number of the last change, 0 if there is none.
    pub(in crate::store) fn last_change(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT coalesce(max(change), 0) FROM changes";
        self.0.prepare_cached(sql)?.query_row([], |row| row.get(0))
    }

    /// The number of deliveries of each entry after its segment was closed. Entries without are
    /// missing.
    pub(in crate::store) fn redeliveries(
        &self,
        ids: &Ids<'_>,
    ) -> rusqlite::Result<HashMap<u64, u64>> {
        let mut sql = Sql::default();
        ids.among("entry", sql.push("SELECT entry, count FROM redeliveries WHERE "));
        let mut statement = self.0.prepare_cached(&sql.text)?;
        statement
            .query_map(params_from_iter(&sql.parameters), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// The spellings of an entry, in order of their first delivery. Those that are only counted are
    /// last.
    pub(in crate::store) fn spellings(&self, entry: u64) -> rusqlite::Result<Vec<Spelling>> {
        if !self.has_spellings() {
            return Ok(Vec::new());
        }
        let sql = "SELECT fingerprint, delivery, count, hidden FROM spellings WHERE entry = ?1
                   ORDER BY fingerprint = x'', delivery";
        let spelling = |row: &Row<'_>| {
            let (fingerprint, delivery) = (row.get(0)?, row.get(1)?);
            Ok(Spelling { fingerprint, delivery, count: row.get(2)?, hidden: row.get(3)? })
        };
        self.0.prepare_cached(sql)?.query_map([entry], spelling)?.collect()
    }

    /// The number of spellings of an entry that first came before a delivery, and whether `line` is
    /// one of them.
    pub(in crate::store) fn spellings_before(
        &self,
        delivery: u64,
        entry: u64,
        line: Fingerprint,
    ) -> rusqlite::Result<(u64, bool)> {
        let sql = "SELECT count(*), coalesce(max(fingerprint = ?2), 0) FROM spellings
                   WHERE entry = ?1 AND delivery < ?3 AND fingerprint <> x''";
        self.0
            .prepare_cached(sql)?
            .query_row((entry, line.0.as_slice(), delivery), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The entry that is shown instead of the entry `id`, if that is hidden.
    pub(in crate::store) fn shown_instead_of(&self, id: u64) -> rusqlite::Result<Option<u64>> {
        let sql = "SELECT entry FROM spellings WHERE hidden = ?1";
        self.0.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
    }

    /// The changed entry with this signed identity and time.
    pub(in crate::store) fn find_signed(
        &self,
        identity: Fingerprint,
        event_time: i64,
    ) -> rusqlite::Result<Option<u64>> {
        Identity::Signed(identity).find(self.0, event_time)
    }

    /// The outcome of the entry `id`, if it is changed.
    pub(in crate::store) fn outcome(&self, id: u64) -> rusqlite::Result<Option<Outcome>> {
        let sql = "SELECT verdict, reason, warnings FROM entries WHERE id = ?1";
        let outcome = |row: &Row<'_>| {
            let (verdict, warnings) =
                (row::verdict(row.get_ref(0)?)?, row::warnings(row.get_ref(2)?)?);
            Ok(Outcome { verdict, reason: row.get(1)?, warnings })
        };
        self.0.prepare_cached(sql)?.query_row([id], outcome).optional()
    }

    /// At most `most` names of the extensions of changed entries.
    pub(in crate::store) fn extension_names(&self, most: usize) -> rusqlite::Result<Vec<String>> {
        row::extension_names(self.0, 0, most)
    }

    /// Whether a changed entry has the extension `name`.
    pub(in crate::store) fn has_extension(&self, name: &str) -> rusqlite::Result<bool> {
        row::has_extension(self.0, name)
    }

    fn has_spellings(&self) -> bool {
        self.0.version() >= CATALOG_WITH_SPELLINGS
    }
}

/// The number of entries that are merged at once.
const MERGED_AT_ONCE: usize = 1000;

/// Merging.
impl Overlay<'_> {
    /// Packs the entries of a segment, each as it is shown now. Reads one snapshot of the catalog.
    pub(in crate::store) fn pack(
        &self,
        segment: &Database,
        ids: RangeInclusive<u64>,
        packer: &mut Packer<'_>,
    ) -> rusqlite::Result<Merged> {
        let _snapshot = Transaction::new_unchecked(self.0, TransactionBehavior::Deferred)?;
        let hidden: HashSet<u64> = self
            .0
            .prepare("SELECT hidden FROM spellings WHERE hidden BETWEEN ?1 AND ?2")?
            .query_map((ids.start(), ids.end()), |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let redeliveries: BTreeMap<u64, u64> =
            self.redeliveries(&Ids::Range(ids.clone()))?.into_iter().collect();
        for first in ids.clone().step_by(MERGED_AT_ONCE) {
            let last = first.saturating_add(MERGED_AT_ONCE as u64 - 1).min(*ids.end());
            let slice = Ids::Range(first..=last);
            let changed: BTreeSet<u64> = self.changed(&slice)?;
            // Deliveries are counted in the segment.
            let mut counts = HashMap::new();
            packer.add(segment, &slice, |entry| {
                entry.delivery_count += redeliveries.get(&entry.id).copied().unwrap_or(0);
                // The signed identity of a hidden entry belongs to the entry that is shown instead.
                entry.is_shown = !hidden.contains(&entry.id);
                if changed.contains(&entry.id) {
                    counts.insert(entry.id, entry.delivery_count);
                    return false;
                }
                true
            })?;
            if !changed.is_empty() {
                packer.add(self, &slice, |entry| {
                    entry.is_shown = !hidden.contains(&entry.id);
                    match counts.get(&entry.id) {
                        Some(count) => entry.delivery_count = *count,
                        // The segment does not have it.
                        None => return false,
                    }
                    true
                })?;
            }
            packer.check()?;
        }
        Ok(Merged { ids, redeliveries, change: self.last_change()? })
    }

    fn changed<T: FromIterator<u64>>(&self, ids: &Ids<'_>) -> rusqlite::Result<T> {
        let mut sql = Sql::default();
        ids.among("id", sql.push("SELECT id FROM entries WHERE "));
        let mut statement = self.0.prepare_cached(&sql.text)?;
        statement.query_map(params_from_iter(&sql.parameters), |row| row.get(0))?.collect()
    }
}

/// Writing. The caller starts the transaction.
impl Overlay<'_> {
    /// Adds a newer version of an entry.
    pub(in crate::store) fn put(
        &self,
        entry: &Entry,
        stored: &EntryMetadata<'_>,
    ) -> rusqlite::Result<()> {
        self.forget_changed(&(stored.id..=stored.id), MAX_ID)?;
        row::insert(self.0, entry, stored)?;
        self.note_change(stored.id)
    }

    /// Copies the entry `id` from its segment, so that it can be amended.
    pub(in crate::store) fn copy_from(
        &self,
        segment: &Database,
        id: u64,
        line: &[u8],
    ) -> rusqlite::Result<()> {
        row::copy(segment, self.0, id)?;
        let sql = "INSERT INTO raw (id, line) VALUES (?1, ?2)";
        self.0.prepare_cached(sql)?.execute((id, line)).map(drop)
    }

    /// Changes the warnings of an entry that is in the overlay, and its input if there is a new one.
    pub(in crate::store) fn amend(
        &self,
        id: u64,
        input: Option<&str>,
        amend: impl FnOnce(&mut Vec<Warning>),
    ) -> rusqlite::Result<()> {
        let recorded: Option<String> = self
            .0
            .prepare_cached("SELECT warnings FROM entries WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let recorded = recorded.as_deref().unwrap_or_default();
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            recorded.split_whitespace().partition(|word| word.parse::<Warning>().is_ok());
        let mut warnings = known.into_iter().filter_map(|word| word.parse().ok()).collect();
        amend(&mut warnings);
        // Words that no version wrote stay, for `store check` to report.
        let words: Vec<&str> = warnings.iter().map(|one| one.as_str()).chain(unknown).collect();
        let words = (!words.is_empty()).then(|| words.join(" "));
        self.0
            .prepare_cached(
                "UPDATE entries SET warnings = ?2, input = coalesce(?3, input) WHERE id = ?1",
            )?
            .execute((id, words, input))?;
        self.note_change(id)
    }

    /// Hides the entry `id`, whose line has this fingerprint. `shown` is shown instead.
    pub(in crate::store) fn hide(
        &self,
        id: u64,
        shown: u64,
        fingerprint: &[u8],
        delivery: u64,
    ) -> rusqlite::Result<()> {
        self.forget_changed(&(id..=id), MAX_ID)?;
        self.0
            .prepare_cached("UPDATE OR REPLACE spellings SET entry = ?2 WHERE entry = ?1")?
            .execute((id, shown))?;
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO spellings (entry, fingerprint, delivery, count, hidden)
                 VALUES (?1, ?2, ?3, 1, ?4)",
            )?
            .execute((shown, fingerprint, delivery, id))?;
        // The archive learns of it. It is no news for followers, which only see what is shown.
        self.note_change(id)
    }

    /// Counts a spelling of an entry. Returns whether it is the first that is not a hidden entry.
    pub(in crate::store) fn count_spelling(
        &self,
        entry: u64,
        line: Fingerprint,
        delivery: u64,
    ) -> rusqlite::Result<bool> {
        let fingerprint = line.0.as_slice();
        let (kept, known, is_first): (u64, bool, bool) = self
            .0
            .prepare_cached(
                "SELECT count(*), coalesce(max(fingerprint = ?2), 0),
                        count(*) FILTER (WHERE hidden IS NULL) = 0
                 FROM spellings WHERE entry = ?1",
            )?
            .query_row((entry, fingerprint), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let listed = if known || kept < MAX_SPELLINGS { fingerprint } else { &[] };
        self.0
            .prepare_cached(
                "INSERT INTO spellings (entry, fingerprint, delivery, count) VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT (entry, fingerprint) DO UPDATE SET count = count + 1",
            )?
            .execute((entry, listed, delivery))?;
        Ok(is_first)
    }

    /// Counts one more delivery of each of these entries, whose segments are closed.
    pub(in crate::store) fn count_redeliveries(&self, entries: &[u64]) -> rusqlite::Result<()> {
        let mut count = self.0.prepare_cached(
            "INSERT INTO redeliveries (entry, count) VALUES (?1, 1)
             ON CONFLICT (entry) DO UPDATE SET count = count + 1",
        )?;
        entries.iter().try_for_each(|entry| count.execute([entry]).map(drop))
    }

    /// The number of the last change of one of these entries. 0 if there was none.
    pub(in crate::store) fn last_change_of(
        &self,
        ids: &RangeInclusive<u64>,
    ) -> rusqlite::Result<u64> {
        let sql = "SELECT coalesce(max(change), 0) FROM changes WHERE entry BETWEEN ?1 AND ?2";
        self.0.prepare_cached(sql)?.query_row((ids.start(), ids.end()), |row| row.get(0))
    }

    /// Deletes what was merged, and keeps what was learned since.
    pub(in crate::store) fn forget_merged(&self, merged: &Merged) -> rusqlite::Result<()> {
        self.forget_changed(&merged.ids, merged.change)?;
        self.forget_backfills(&merged.ids)?;
        let less = "UPDATE redeliveries SET count = count - ?2 WHERE entry = ?1";
        for (entry, count) in &merged.redeliveries {
            self.0.prepare_cached(less)?.execute((entry, count))?;
        }
        self.0.execute("DELETE FROM redeliveries WHERE count <= 0", []).map(drop)
    }

    /// Deletes the overlay of entries that no longer exist.
    pub(in crate::store) fn forget(&self, ids: &RangeInclusive<u64>) -> rusqlite::Result<()> {
        self.forget_changed(ids, MAX_ID)?;
        self.forget_backfills(ids)?;
        for sql in [
            "DELETE FROM spellings WHERE entry BETWEEN ?1 AND ?2 OR hidden BETWEEN ?1 AND ?2",
            "DELETE FROM changes WHERE entry BETWEEN ?1 AND ?2",
            "DELETE FROM redeliveries WHERE entry BETWEEN ?1 AND ?2",
        ] {
            self.0.execute(sql, (ids.start(), ids.end()))?;
        }
        Ok(())
    }

    /// Deletes the newer versions of these entries, except those that changed after the change with
    /// this number.
    fn forget_changed(&self, ids: &RangeInclusive<u64>, change: u64) -> rusqlite::Result<()> {
        for (table, id) in [("entries", "id"), ("raw", "id"), ("extensions", "entry")] {
            let sql = format!(
                "DELETE FROM {table} WHERE {id} BETWEEN ?1 AND ?2
                     AND {id} NOT IN (SELECT entry FROM changes WHERE change > ?3)"
            );
            self.0.prepare_cached(&sql)?.execute((ids.start(), ids.end(), change))?;
        }
        Ok(())
    }

    /// Gives later changes numbers above this one.
    pub(in crate::store) fn number_after(&self, change: u64) -> rusqlite::Result<()> {
        sqlite::number_after(self.0, "changes", change)
    }

    /// Numbers a change of the entry `id`.
    pub(in crate::store) fn note_change(&self, id: u64) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("INSERT INTO changes (entry, changed_at) VALUES (?1, ?2)")?
            .execute((id, now().get()))
            .map(drop)
    }
}
