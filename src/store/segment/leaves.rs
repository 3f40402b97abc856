//! The leaves of a segment in the log: the column `leaf` of its entries, and their records and salts.
//!
//! An unsealed segment has the records of its leaves until the files of the log have them. A sealed one
//! keeps the salts alone, and the records only of leaves that the files lacked when it was written.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use rusqlite::{Connection, OptionalExtension};

use crate::entry::Millis;
use crate::store::error::StoreError;
use crate::store::schema::SEGMENT_WITH_LEAVES;
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids, as_integer};
use crate::store::sqlite::Database;
use crate::store::tiles::{RecordBytes, Tiles};
use crate::tlog::leaf::{Leaf, Salt};
use crate::tlog::tile;

/// The most leaves of a row. It bounds the memory of a delivery with many entries.
pub(in crate::store) const MOST: u64 = 512;

/// In SQL, whether a row of `leaves` is of the entries of a delivery: the kind of a leaf is the second byte
/// of its record, after the two bytes of the length and the version.
const IS_OF_ENTRIES: &str = "substr(records, 4, 1) = x'02'";

/// The bytes of records that are read at a time.
pub(in crate::store) const SLICE: usize = 4 << 20;

/// The most salts of a row of a sealed segment.
const MOST_SALTS: usize = 2048;

/// A row of the table `leaves`: leaves that follow one another.
#[derive(Debug, Default)]
pub(in crate::store) struct LeafRow {
    first: u64,
    count: u64,
    records: Vec<u8>,
    salts: Vec<u8>,
    record: Vec<u8>,
}

impl LeafRow {
    /// Empties the row. The next leaf that is added is its first.
    pub(in crate::store) fn begin(&mut self, first: u64) {
        self.first = first;
        self.count = 0;
        self.records.clear();
        self.salts.clear();
    }

    /// Adds a leaf, with its salt if it is of an entry.
    ///
    /// # Errors
    /// [`StoreError::Log`] if its record is too long.
    pub(in crate::store) fn add(
        &mut self,
        leaf: &Leaf,
        stored_at: Millis,
        salt: Option<&Salt>,
    ) -> Result<(), StoreError> {
        self.record.clear();
        leaf.write(stored_at, &mut self.record);
        tile::push_entry(&mut self.records, &self.record)?;
        self.salts.extend_from_slice(salt.map_or(&[][..], |salt| &salt[..]));
        self.count += 1;
        Ok(())
    }

    /// The number of leaves in it.
    pub(in crate::store) fn count(&self) -> u64 {
        self.count
    }

    /// Inserts the row, unless it is empty.
    pub(in crate::store) fn insert(&self, segment: &Connection) -> rusqlite::Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        segment
            .prepare_cached(
                "INSERT INTO leaves (first, count, records, salts) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((self.first, self.count, &self.records, &self.salts))
            .map(drop)
    }
}

/// Leaves of entries from before the log began. Their ids follow one another too, in one segment.
#[derive(Debug)]
pub(in crate::store) struct Backfill {
    /// The first id. The others follow it.
    pub(in crate::store) first_id: u64,
    /// The leaf of the first.
    pub(in crate::store) first_leaf: u64,
    /// The salt of each.
    pub(in crate::store) salts: Vec<Salt>,
}

impl Backfill {
    /// The leaf and the salt of an entry, if it is one of these.
    pub(in crate::store) fn of(&self, id: u64) -> Option<(u64, Salt)> {
        let at = id.checked_sub(self.first_id)?;
        let salt = self.salts.get(usize::try_from(at).ok()?)?;
        Some((self.first_leaf + at, *salt))
    }
}

/// The records of leaves that follow one another.
#[derive(Debug)]
pub(in crate::store) struct Records {
    /// The first leaf.
    pub(in crate::store) first: u64,
    /// The number of leaves.
    pub(in crate::store) count: u16,
    /// Their records as in an entry bundle.
    pub(in crate::store) bundle: Vec<u8>,
}

/// Deletes the rows of these leaves that are not of new entries, except the last row of all.
pub(in crate::store) fn delete(segment: &Connection, leaves: &Range<u64>) -> rusqlite::Result<()> {
    let sql = format!(
        "DELETE FROM leaves WHERE first >= ?1 AND first + count <= ?2
             AND first < (SELECT max(first) FROM leaves) AND NOT {IS_OF_ENTRIES}"
    );
    segment.execute(&sql, (leaves.start, leaves.end)).map(drop)
}

/// The leaf from which on the leaves of a segment are. `None` if it has none.
pub(in crate::store) fn first(segment: &Database) -> rusqlite::Result<Option<u64>> {
    match segment.version() < SEGMENT_WITH_LEAVES {
        true => Ok(None),
        false => segment.query_row("SELECT first_leaf FROM segment", [], |row| row.get(0)),
    }
}

/// The leaf after those of a segment; 0 if it has none.
pub(in crate::store) fn next(segment: &Database) -> rusqlite::Result<u64> {
    if segment.version() < SEGMENT_WITH_LEAVES {
        return Ok(0);
    }
    let sql = match segment.columns().are_packed() {
        true => "SELECT coalesce(max(next_leaf), 0) FROM segment",
        false => {
            "SELECT max(coalesce((SELECT max(first_leaf) FROM segment), 0), coalesce(
                 (SELECT first + count FROM leaves ORDER BY first DESC LIMIT 1), 0))"
        }
    };
    segment.query_row(sql, [], |row| row.get(0))
}

/// The records from the leaf `from` on that a segment has, in order, until they have this many bytes.
/// The first may begin before `from`.
pub(in crate::store) fn records(
    segment: &Database,
    from: u64,
    bytes: usize,
) -> rusqlite::Result<Vec<Records>> {
    if segment.version() < SEGMENT_WITH_LEAVES {
        return Ok(Vec::new());
    }
    let mut select = segment.prepare_cached(
        "SELECT first, count, records FROM leaves
         WHERE first >= coalesce((SELECT max(first) FROM leaves WHERE first <= ?1), 0)
             AND first + count > ?1
         ORDER BY first",
    )?;
    let (mut rows, mut found, mut read) = (select.query([as_integer(from)])?, Vec::new(), 0);
    while read < bytes
        && let Some(row) = rows.next()?
    {
        let records = Records { first: row.get(0)?, count: row.get(1)?, bundle: row.get(2)? };
        read += records.bundle.len();
        found.push(records);
    }
    Ok(found)
}

/// The leaf of an entry, and its salt. `None` if the entry is not there or has no leaf.
pub(in crate::store) fn of(segment: &Database, id: u64) -> rusqlite::Result<Option<(u64, Salt)>> {
    if segment.version() < SEGMENT_WITH_LEAVES {
        return Ok(None);
    }
    let (leaf, salts) = match segment.columns().are_packed() {
        true => (
            "SELECT leaf + id + (SELECT first_leaf - first_id FROM segment) FROM packed
             WHERE id = ?1",
            "salts",
        ),
        false => ("SELECT leaf FROM entries WHERE id = ?1", "leaves"),
    };
    let leaf: Option<Option<u64>> =
        segment.prepare_cached(leaf)?.query_row([as_integer(id)], |row| row.get(0)).optional()?;
    let Some(leaf) = leaf.flatten() else { return Ok(None) };
    let salt = format!(
        "SELECT substr(salts, (?1 - first) * 16 + 1, 16) FROM {salts} WHERE first <= ?1
         ORDER BY first DESC LIMIT 1"
    );
    segment.prepare_cached(&salt)?.query_row([leaf], |row| Ok(Some((leaf, row.get(0)?))))
}

/// The leaf and the salt of each of these entries that has them.
pub(in crate::store) fn of_entries(
    segment: &Database,
    ids: &Ids<'_>,
) -> rusqlite::Result<HashMap<u64, (u64, Salt)>> {
    let mut leaves: Vec<(u64, u64)> = Vec::new();
    if segment.version() < SEGMENT_WITH_LEAVES {
        return Ok(HashMap::new());
    }
    segment.each(&Sql::from("id, leaf"), &Sql::from("leaf IS NOT NULL"), ids, |row| {
        leaves.push((row.get(0)?, row.get(1)?));
        Ok(())
    })?;
    let range = leaves.iter().map(|(_, leaf)| *leaf);
    let Some((least, greatest)) = range.clone().min().zip(range.max()) else {
        return Ok(HashMap::new());
    };
    let salts = Salts::of_leaves(segment, &(least..=greatest))?;
    let with_salt = |(id, leaf): (u64, u64)| Some((id, (leaf, salts.of(leaf)?)));
    Ok(leaves.into_iter().filter_map(with_salt).collect())
}

/// Entries with ids and leaves that both follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first_id: u64,
    last_id: u64,
    first_leaf: u64,
}

/// The leaves of the entries of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct EntryLeaves(Vec<Run>);

impl EntryLeaves {
    /// Reads them.
    pub(in crate::store) fn read(segment: &Database) -> rusqlite::Result<EntryLeaves> {
        let mut runs: Vec<Run> = Vec::new();
        if segment.version() < SEGMENT_WITH_LEAVES {
            return Ok(EntryLeaves(runs));
        }
        let mut select =
            segment.prepare("SELECT id, leaf FROM entries WHERE leaf IS NOT NULL ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (id, leaf): (u64, u64) = (row.get(0)?, row.get(1)?);
            match runs.last_mut() {
                Some(run)
                    if run.last_id + 1 == id && run.first_leaf + (id - run.first_id) == leaf =>
                {
                    run.last_id = id;
                }
                _ => runs.push(Run { first_id: id, last_id: id, first_leaf: leaf }),
            }
        }
        Ok(EntryLeaves(runs))
    }

    /// Adds those that entries got after they were stored.
    pub(in crate::store) fn with(mut self, backfills: &[Backfill]) -> EntryLeaves {
        self.0.extend(backfills.iter().map(|one| Run {
            first_id: one.first_id,
            last_id: one.first_id + (one.salts.len() as u64).saturating_sub(1),
            first_leaf: one.first_leaf,
        }));
        self.0.sort_unstable_by_key(|run| run.first_id);
        self
    }

    /// The leaf of an entry.
    pub(in crate::store) fn of(&self, id: u64) -> Option<u64> {
        let at = self.0.partition_point(|run| run.last_id < id);
        let run = self.0.get(at).filter(|run| run.first_id <= id)?;
        Some(run.first_leaf + (id - run.first_id))
    }

    /// Whether each entry that has a leaf in `part` has the same one here.
    fn has_all(&self, part: &EntryLeaves) -> bool {
        part.0.iter().all(|run| (run.first_id..=run.last_id).all(|id| self.of(id) == part.of(id)))
    }
}

/// The salts of leaves that follow one another: the first leaf, and 16 bytes for each.
#[derive(Default)]
pub(in crate::store) struct Salts(Vec<(u64, Vec<u8>)>);

impl Salts {
    fn read(segment: &Database) -> rusqlite::Result<Salts> {
        Salts::of_leaves(segment, &(0..=u64::MAX))
    }

    /// Reads the salts of these leaves, and of some around them.
    pub(in crate::store) fn of_leaves(
        segment: &Database,
        leaves: &RangeInclusive<u64>,
    ) -> rusqlite::Result<Salts> {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        if segment.version() < SEGMENT_WITH_LEAVES {
            return Ok(Salts(all));
        }
        // An unsealed segment may also have salts of earlier entries, which the catalog has too.
        let (table, condition) = match segment.columns().are_packed() {
            true => ("salts", "1"),
            false => ("leaves", IS_OF_ENTRIES),
        };
        let sql = format!(
            "SELECT first, salts FROM {table}
             WHERE {condition} AND first <= ?2
                 AND first >= coalesce((SELECT max(first) FROM {table} WHERE first <= ?1), 0)
             ORDER BY first"
        );
        let mut select = segment.prepare_cached(&sql)?;
        let mut rows = select.query([as_integer(*leaves.start()), as_integer(*leaves.end())])?;
        while let Some(row) = rows.next()? {
            all.push((row.get(0)?, row.get(1)?));
        }
        Ok(Salts::joined(all))
    }

    /// Joins those that follow one another. They are in order.
    fn joined(parts: Vec<(u64, Vec<u8>)>) -> Salts {
        let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
        for (first, salts) in parts {
            match all.last_mut() {
                Some((start, before)) if *start + before.len() as u64 / 16 == first => {
                    before.extend(salts);
                }
                _ => all.push((first, salts)),
            }
        }
        Salts(all)
    }

    /// Adds those of entries that got their leaves after they were stored.
    fn with(mut self, backfills: &[Backfill]) -> Salts {
        let salts = |one: &Backfill| (one.first_leaf, one.salts.as_flattened().to_vec());
        self.0.extend(backfills.iter().map(salts));
        self.0.sort_unstable_by_key(|(first, _)| *first);
        Salts::joined(self.0)
    }

    /// The salt of a leaf.
    pub(in crate::store) fn of(&self, leaf: u64) -> Option<Salt> {
        self.from(leaf)?.first_chunk().copied()
    }

    /// The salts from that of a leaf on, of leaves that follow one another.
    fn from(&self, leaf: u64) -> Option<&[u8]> {
        let at = self.0.partition_point(|(start, _)| *start <= leaf);
        let (start, salts) = self.0.get(at.checked_sub(1)?)?;
        salts.get(usize::try_from(leaf - start).ok()?.checked_mul(16)?..)
    }

    /// Whether each leaf that has a salt in `part` has the same one here.
    fn has_all(&self, part: &Salts) -> bool {
        let has = |(first, wanted): &(u64, Vec<u8>)| {
            self.from(*first).is_some_and(|salts| salts.starts_with(wanted))
        };
        part.0.iter().all(has)
    }
}

/// Whether `whole` has the leaf and the salt of each entry of `part`, with those of `backfills`.
pub(in crate::store) fn has_all(
    whole: &Database,
    part: &Database,
    backfills: &[Backfill],
) -> rusqlite::Result<bool> {
    let leaves = EntryLeaves::read(whole)?.with(backfills);
    Ok(leaves.has_all(&EntryLeaves::read(part)?)
        && Salts::read(whole)?.with(backfills).has_all(&Salts::read(part)?))
}

/// Copies to a packed file what it keeps of the leaves of `from`: the salts, the leaf after them, and the
/// records that the files of the log do not have. Without `tiles` it keeps all that there are. The leaves of
/// `backfills` are added.
pub(in crate::store) fn copy(
    from: &Database,
    to: &Connection,
    tiles: Option<&Tiles>,
    backfills: &[Backfill],
) -> rusqlite::Result<()> {
    let earliest = backfills.iter().map(|one| one.first_leaf).min();
    to.execute(
        "UPDATE segment SET next_leaf = ?1, first_leaf = coalesce(first_leaf, ?2)",
        (next(from)?, earliest),
    )?;
    let mut insert = to.prepare("INSERT INTO salts (first, count, salts) VALUES (?1, ?2, ?3)")?;
    for (first, salts) in Salts::read(from)?.with(backfills).0 {
        for (first, salts) in (first..).step_by(MOST_SALTS).zip(salts.chunks(MOST_SALTS * 16)) {
            insert.execute((first, salts.len() / 16, salts))?;
        }
    }
    let mut insert =
        to.prepare("INSERT INTO leaves (first, count, records) VALUES (?1, ?2, ?3)")?;
    let (mut written, mut leaf) = (tiles.map(RecordBytes::new), 0);
    loop {
        let slice = records(from, leaf, SLICE)?;
        for Records { first, count, bundle } in &slice {
            // What cannot be compared is kept.
            let same = written.as_mut().map(|written| written.are(*first, *count, bundle));
            if !same.is_some_and(|same| same.unwrap_or(false)) {
                insert.execute((first, count, bundle))?;
            }
        }
        match slice.last() {
            Some(last) => leaf = last.first + u64::from(last.count),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_compared_one_by_one() {
        let runs = |runs: &[(u64, u64, u64)]| {
            EntryLeaves(
                runs.iter()
                    .map(|(first_id, last_id, first_leaf)| Run {
                        first_id: *first_id,
                        last_id: *last_id,
                        first_leaf: *first_leaf,
                    })
                    .collect(),
            )
        };
        let whole = runs(&[(1, 10, 5), (11, 11, 20), (14, 20, 30)]);
        let of: Vec<_> = [0, 1, 10, 11, 12, 14, 20, 21].map(|id| whole.of(id)).into();
        assert_eq!(of, [None, Some(5), Some(14), Some(20), None, Some(30), Some(36), None]);
        for (part, expected) in [
            (runs(&[]), true),
            (runs(&[(2, 5, 6), (11, 11, 20)]), true),
            (runs(&[(2, 5, 7)]), false),
            (runs(&[(10, 11, 14)]), false),
            (runs(&[(20, 21, 36)]), false),
        ] {
            assert_eq!(whole.has_all(&part), expected, "{part:?}");
        }
        let salts = Salts(vec![(3, vec![7; 64]), (9, (0..32).collect())]);
        for (part, expected) in [
            (vec![], true),
            (vec![(4, vec![7; 48])], true),
            (vec![(4, vec![7; 64])], false),
            (vec![(10, (16..32).collect())], true),
            (vec![(9, (16..32).collect())], false),
            (vec![(2, vec![7; 16])], false),
            (vec![(11, vec![0; 16])], false),
        ] {
            let story = format!("{part:?}");
            assert_eq!(salts.has_all(&Salts(part)), expected, "{story}");
        }
    }
}
