//! Reads the records of entries whose positions were found.

use std::collections::BTreeSet;

use super::Archive;
use super::late;
use super::row::{OwnedCell, Row, owned};
use super::scan::Found;
use crate::archive::entry::record;
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::entry::Record;

/// The most records that are read at once.
const MOST: usize = 8192;

/// The bytes of values that are held at once. A single entry may have more.
const BUDGET: usize = if cfg!(test) { 4000 } else { 64 << 20 };

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
                Some(rows) => return Ok(rows.iter().map(record).collect()),
                None => count = (count / 2).max(1),
            }
        }
    }

    /// The values of these entries. `None`: they are too large to be held at once.
    fn rows(&self, found: &[Found], columns: &[usize]) -> Result<Option<Vec<Row>>, ArchiveError> {
        let mut budget = if found.len() > 1 { BUDGET } else { usize::MAX };
        let mut rows = Vec::with_capacity(found.len());
        // Each file, and each row group, is read once and from its beginning.
        let mut places: Vec<(usize, &Found)> = found.iter().enumerate().collect();
        places.sort_unstable_by_key(|(_, one)| (one.file, one.group, one.row));
        for of_file in places.chunk_by(|(_, one), (_, next)| one.file == next.file) {
            let file = of_file.first().and_then(|(_, one)| self.all(Table::Entries).get(one.file));
            let Some(file) = file else { continue };
            let opened = self.read(file)?;
            let ids: BTreeSet<i64> = of_file.iter().map(|(_, one)| one.id).collect();
            let late = self.late(file, columns, |id| ids.contains(&id))?;
            for of_group in of_file.chunk_by(|(_, one), (_, next)| one.group == next.group) {
                let Some((_, first)) = of_group.first() else { continue };
                let mut cursors = opened.cursors(first.group, columns)?;
                let mut next = 0;
                for (at, one) in of_group {
                    cursors.skip(one.row.saturating_sub(next))?;
                    next = one.row + 1;
                    let row = late::over(owned(&cursors.read(1)?, 0), late.get(&one.id));
                    let Some(left) = budget.checked_sub(size(&row)) else { return Ok(None) };
                    budget = left;
                    rows.push((*at, row));
                }
            }
        }
        rows.sort_unstable_by_key(|(at, _)| *at);
        Ok(Some(rows.into_iter().map(|(_, row)| row).collect()))
    }
}

fn size(row: &Row) -> usize {
    let bytes = row.iter().flatten().map(|cell| match cell {
        OwnedCell::Bytes(bytes) => bytes.len(),
        OwnedCell::Integer(_) | OwnedCell::Boolean(_) => 8,
    });
    bytes.sum::<usize>() + size_of::<Option<OwnedCell>>() * row.len()
}
