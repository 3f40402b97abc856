//! The entries of a file that match: the columns that the filter needs are read, and the line only
//! of an entry for which the rest does not decide.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::RowGroupMetaData;

use super::Opened;
use super::column::{Cursor, OwnedCell};
use super::late::{Late, is_over};
use super::prune::{Bounds, excludes, is_absent};
use super::row::{Batch, Search, column, place};
use crate::archive::decode::guarded;
use crate::archive::entry::Cells;
use crate::archive::error::ArchiveError;
use crate::archive::schema::{self, BLOOM};
use crate::search::{Field, Operand, Part, Test};

/// The rows that are read at once.
const BATCH: usize = 4096;

/// The largest Bloom filter that is read, in bytes.
const MAX_BLOOM: u64 = 32 << 20;

/// An entry that matches.
pub(super) struct Match {
    pub(super) id: i64,
    pub(super) time: i64,
    pub(super) group: usize,
    pub(super) row: usize,
}

/// The entries of a row group that have a newer version, by their rows: the id, and the version.
type Versions<'l> = BTreeMap<usize, (i64, &'l [Option<OwnedCell>])>;

impl Opened<'_> {
    /// Whether a row group has no entry that matches as it was archived.
    pub(super) fn excludes(&self, number: usize, search: &Search) -> Result<bool, ArchiveError> {
        let group = self.group(number)?;
        let known = |field: &Field| {
            let place = schema::place(self.file.table, column(field))?;
            self.places.chunk(group, place).map(Bounds::of)
        };
        if excludes(search.filter(), &known, &|_, _| false) {
            return Ok(true);
        }
        let blooms = self.blooms(group, search)?;
        if blooms.is_empty() {
            return Ok(false);
        }
        let absent = |field: &Field, text: &str| {
            blooms.get(field.name()).is_some_and(|filter| is_absent(filter, text))
        };
        Ok(excludes(search.filter(), &known, &absent))
    }

    /// The Bloom filters of the fields that must have one value.
    fn blooms(
        &self,
        group: &RowGroupMetaData,
        search: &Search,
    ) -> Result<HashMap<&'static str, Sbbf>, ArchiveError> {
        let mut names = BTreeSet::new();
        search.filter().parts(&mut |part| {
            if let Part::Field(field, Test::Equals(Operand::Text(_))) = part {
                names.extend(BLOOM.into_iter().find(|name| *name == field.name()));
            }
        });
        let mut blooms = HashMap::new();
        for name in names {
            let place = schema::place(self.file.table, name);
            let chunk = place.and_then(|place| self.places.chunk(group, place));
            let at = chunk.and_then(|chunk| {
                let start = u64::try_from(chunk.bloom_filter_offset()?).ok()?;
                Some((start, u64::try_from(chunk.bloom_filter_length()?).ok()?))
            });
            // Without its length it would take two more requests.
            let Some((start, length)) = at.filter(|(_, length)| *length <= MAX_BLOOM) else {
                continue;
            };
            let range = start..start.saturating_add(length);
            let chunks = self.fetcher.ranges(&self.file.key, std::slice::from_ref(&range))?;
            let bytes = chunks.slice(start, length).unwrap_or_default();
            let filter = guarded(&self.file.key, || Sbbf::from_bytes(&bytes))?;
            // One without blocks would say that nothing is there.
            if filter.num_blocks() > 0 {
                blooms.insert(name, filter);
            }
        }
        Ok(blooms)
    }

    /// Calls `found` with each entry of a row group that matches. Entries with newer versions, whose
    /// ids are `late`, are left out.
    pub(super) fn matches(
        &self,
        number: usize,
        search: &Search,
        late: &BTreeSet<i64>,
        found: &mut impl FnMut(Match),
    ) -> Result<(), ArchiveError> {
        let rows = usize::try_from(self.group(number)?.num_rows()).unwrap_or(0);
        let mut cursors = self.cursors(number, &search.columns())?;
        let mut lines = Lines { opened: self, number, cursor: None };
        for start in (0..rows).step_by(BATCH) {
            let count = BATCH.min(rows - start);
            let mut batch = Batch::new();
            for (place, cursor) in &mut cursors {
                batch.set(*place, cursor.read(count)?);
            }
            for at in 0..count {
                let row = batch.row(at);
                let Some(id) = row.integer("id") else { continue };
                if row.integer("hidden_by").is_some() || late.contains(&id) {
                    continue;
                }
                let is_match = match search.matches(&row, None) {
                    Some(known) => known,
                    None => {
                        let line = lines.line(start + at)?;
                        search.matches(&row, Some(&line)) == Some(true)
                    }
                };
                if is_match {
                    let time = row.integer("time").unwrap_or(0);
                    found(Match { id, time, group: number, row: start + at });
                }
            }
        }
        Ok(())
    }

    /// Calls `found` with each newer version that matches and is not hidden. Returns the ids of the
    /// entries of this file that have a newer version.
    pub(super) fn late_matches(
        &self,
        search: &Search,
        late: &Late,
        found: &mut impl FnMut(Match),
    ) -> Result<BTreeSet<i64>, ArchiveError> {
        let mut ids = BTreeSet::new();
        if late.is_empty() {
            return Ok(ids);
        }
        for number in 0..self.groups() {
            let rows = self.rows_of(number, late)?;
            let mut lines = Lines { opened: self, number, cursor: None };
            for (row, (id, version)) in rows {
                if !ids.insert(id) || version.integer("hidden_by").is_some() {
                    continue;
                }
                let is_match = match search.matches(version, None) {
                    Some(known) => known,
                    None => search.matches(version, Some(&lines.line(row)?)) == Some(true),
                };
                if is_match {
                    let time = version.integer("time").unwrap_or(0);
                    found(Match { id, time, group: number, row });
                }
            }
        }
        Ok(ids)
    }

    /// The rows of a row group that have a newer version, with their ids and versions.
    fn rows_of<'l>(&self, number: usize, late: &'l Late) -> Result<Versions<'l>, ArchiveError> {
        let mut found = Versions::new();
        let (least, greatest) = self.integers(number, "id")?;
        if least > greatest || late.range(least..=greatest).next().is_none() {
            return Ok(found);
        }
        let rows = usize::try_from(self.group(number)?.num_rows()).unwrap_or(0);
        let mut cursors = self.cursors(number, &[place("id"), place("change")])?;
        for start in (0..rows).step_by(BATCH) {
            let count = BATCH.min(rows - start);
            let mut batch = Batch::new();
            for (place, cursor) in &mut cursors {
                batch.set(*place, cursor.read(count)?);
            }
            for at in 0..count {
                let row = batch.row(at);
                let Some((id, version)) = row.integer("id").and_then(|id| late.get_key_value(&id))
                else {
                    continue;
                };
                if is_over(&row.cells(), version) {
                    found.insert(start + at, (*id, version.as_slice()));
                }
            }
        }
        Ok(found)
    }
}

/// The lines of a row group, in the order of the rows. They are read when the first is asked for.
struct Lines<'a> {
    opened: &'a Opened<'a>,
    number: usize,
    /// With the number of the next row.
    cursor: Option<(Cursor, usize)>,
}

impl Lines<'_> {
    fn line(&mut self, row: usize) -> Result<bytes::Bytes, ArchiveError> {
        let (mut cursor, next) = match self.cursor.take() {
            Some(cursor) => cursor,
            None => match self.opened.cursors(self.number, &[place("line")])?.pop() {
                Some((_, cursor)) => (cursor, 0),
                None => return Ok(bytes::Bytes::new()),
            },
        };
        cursor.skip(row.saturating_sub(next))?;
        let line = match cursor.read(1)?.pop().flatten() {
            Some(OwnedCell::Bytes(line)) => line,
            _ => bytes::Bytes::new(),
        };
        self.cursor = Some((cursor, row + 1));
        Ok(line)
    }
}
