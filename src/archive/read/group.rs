//! The entries of a file that match: the columns that the filter needs are read, and the line only
//! of an entry for which the rest does not decide.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parquet::bloom_filter::Sbbf;

use super::Opened;
use super::batch::Cursors;
use super::late::{Late, is_over};
use super::prune::{Bounds, excludes};
use super::row::{Row, Search, column};
use crate::archive::entry::{Cells, RowOf};
use crate::archive::error::ArchiveError;
use crate::archive::footer::guarded;
use crate::archive::layout::Table;
use crate::archive::schema::{BLOOM, places};
use crate::search::{Field, Operand, Part, Test};

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
type Versions<'l> = BTreeMap<usize, (i64, &'l Row)>;

impl Opened<'_> {
    /// Whether a row group has no entry that matches as it was archived.
    pub(super) fn excludes(&self, number: usize, search: &Search) -> Result<bool, ArchiveError> {
        self.footer.group(number)?;
        let known =
            |field: &Field| self.chunk(number, column(field)).ok().flatten().map(Bounds::of);
        if excludes(search.filter(), &known, &|_, _| false) {
            return Ok(true);
        }
        let blooms = self.blooms(number, search)?;
        let absent = |field: &Field, text: &str| {
            blooms.get(field.name()).is_some_and(|filter| !filter.check(text))
        };
        Ok(!blooms.is_empty() && excludes(search.filter(), &known, &absent))
    }

    /// The Bloom filters of the fields that must have one value.
    fn blooms(
        &self,
        number: usize,
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
            let at = self.chunk(number, name)?.and_then(|chunk| {
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
        let mut lines = Lines { opened: self, number, cursors: None };
        for batch in self.batches(number, &search.columns())? {
            let (first, rows) = batch?;
            for at in 0..rows.len() {
                let cells = RowOf(&rows, at);
                let Some(id) = cells.integer("id") else { continue };
                if !late.contains(&id) {
                    lines.try_row(first + at, id, &cells, search, found)?;
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
        for number in 0..self.footer.groups() {
            let mut lines = Lines { opened: self, number, cursors: None };
            for (row, (id, version)) in self.rows_of(number, late)? {
                if ids.insert(id) {
                    lines.try_row(row, id, version, search, found)?;
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
        for batch in self.batches(number, &places(Table::Entries, &["id", "change"]))? {
            let (first, rows) = batch?;
            for at in 0..rows.len() {
                let row = RowOf(&rows, at);
                let version = row.integer("id").and_then(|id| late.get_key_value(&id));
                if let Some((id, version)) = version
                    && is_over(&row, version)
                {
                    found.insert(first + at, (*id, version));
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
    cursors: Option<(Cursors, usize)>,
}

impl Lines<'_> {
    /// Calls `found` if the entry in a row matches with these values and is not hidden. The line is only
    /// read if the values do not decide.
    fn try_row(
        &mut self,
        row: usize,
        id: i64,
        cells: &impl Cells,
        search: &Search,
        found: &mut impl FnMut(Match),
    ) -> Result<(), ArchiveError> {
        if cells.integer("hidden_by").is_some() {
            return Ok(());
        }
        let is_match = match search.matches(cells, None) {
            Some(known) => known,
            None => search.matches(cells, Some(&self.line(row)?)) == Some(true),
        };
        if is_match {
            let time = cells.integer("time").unwrap_or(0);
            found(Match { id, time, group: self.number, row });
        }
        Ok(())
    }

    fn line(&mut self, row: usize) -> Result<Vec<u8>, ArchiveError> {
        let (mut cursors, next) = match self.cursors.take() {
            Some(cursors) => cursors,
            None => (self.opened.cursors(self.number, &places(Table::Entries, &["line"]))?, 0),
        };
        cursors.skip(row.saturating_sub(next))?;
        let line = cursors.read(1)?.get(0, "line").bytes().unwrap_or_default().to_vec();
        self.cursors = Some((cursors, row + 1));
        Ok(line)
    }
}
