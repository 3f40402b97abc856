//! Reads the records of entries whose positions were found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::column::OwnedCell;
use super::late::{self, Late};
use super::row::Batch;
use super::scan::Found;
use super::{Archive, Opened};
use crate::archive::entry::record;
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::entry::Record;

/// The most records that are read at once.
const MOST: usize = 8192;

/// The bytes of values that are held at once. A single entry may have more.
const BUDGET: usize = if cfg!(test) { 4000 } else { 64 << 20 };

/// The values of an entry.
type Row = Vec<Option<OwnedCell>>;

impl Archive {
    /// The records of the first of these entries, in their order: at least one, if there is one. They
    /// have the values of the columns with these places, among which are `id` and `change`.
    pub(super) fn records(
        &self,
        found: &[Found],
        columns: &[usize],
    ) -> Result<Vec<Record>, ArchiveError> {
        let mut count = found.len().min(MOST);
        loop {
            let some = found.get(..count).unwrap_or(found);
            match self.rows(some, columns)? {
                Some(rows) => return Ok(rows.iter().map(|row| record(row.as_slice())).collect()),
                None => count = (count / 2).max(1),
            }
        }
    }

    /// The values of these entries. `None`: they are too large to be held at once.
    fn rows(&self, found: &[Found], columns: &[usize]) -> Result<Option<Vec<Row>>, ArchiveError> {
        let mut places: BTreeMap<usize, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (at, one) in found.iter().enumerate() {
            places.entry(one.file).or_default().entry(one.group).or_default().push(at);
        }
        let mut budget = if found.len() > 1 { BUDGET } else { usize::MAX };
        let mut rows: HashMap<usize, Row> = HashMap::new();
        for (file, groups) in places {
            let Some(file) = self.all(Table::Entries).get(file) else { continue };
            let opened = self.read(file)?;
            let at_all = groups.values().flatten();
            let ids: BTreeSet<i64> =
                at_all.filter_map(|at| found.get(*at)).map(|one| one.id).collect();
            let late = self.late(file, columns, |id| ids.contains(&id))?;
            for (group, mut all) in groups {
                all.sort_by_key(|at| found.get(*at).map(|one| one.row));
                let read =
                    opened.rows(group, columns, found, &all, &late, &mut budget, &mut rows)?;
                if !read {
                    return Ok(None);
                }
            }
        }
        Ok(Some((0..found.len()).filter_map(|at| rows.remove(&at)).collect()))
    }
}

impl Opened<'_> {
    /// Reads the entries of a row group, whose numbers among `found` are `all`. Returns whether there
    /// was enough left of the budget.
    #[expect(clippy::too_many_arguments, reason = "one loop of `Archive::rows`")]
    fn rows(
        &self,
        group: usize,
        columns: &[usize],
        found: &[Found],
        all: &[usize],
        late: &Late,
        budget: &mut usize,
        rows: &mut HashMap<usize, Row>,
    ) -> Result<bool, ArchiveError> {
        let mut cursors = self.cursors(group, columns)?;
        let mut next = 0;
        for at in all {
            let Some(one) = found.get(*at) else { continue };
            let mut batch = Batch::new();
            for (place, cursor) in &mut cursors {
                cursor.skip(one.row.saturating_sub(next))?;
                batch.set(*place, cursor.read(1)?);
            }
            next = one.row + 1;
            let row = late::over(batch.row(0).cells(), late.get(&one.id));
            let Some(left) = budget.checked_sub(size(&row)) else { return Ok(false) };
            *budget = left;
            rows.insert(*at, row);
        }
        Ok(true)
    }
}

fn size(row: &Row) -> usize {
    let bytes = row.iter().flatten().map(|cell| match cell {
        OwnedCell::Bytes(bytes) => bytes.len(),
        OwnedCell::Integer(_) | OwnedCell::Boolean(_) => 8,
    });
    bytes.sum::<usize>() + std::mem::size_of::<OwnedCell>() * row.len()
}
