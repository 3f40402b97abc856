//! Newer versions of entries, which are in files of their own.
//!
//! A version has all columns but the line. The version with the highest number of its change counts.

use std::collections::BTreeMap;

use super::column::OwnedCell;
use super::row::{Batch, place};
use super::{Archive, DataFile};
use crate::archive::entry::Cells;
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;

/// The newest versions of some entries, by their ids: the values of the columns that were read.
pub(super) type Late = BTreeMap<i64, Vec<Option<OwnedCell>>>;

/// The rows that are read at once.
const BATCH: usize = 4096;

impl Archive {
    /// The newest versions of the entries of a file. `columns` are the places of the columns to read;
    /// `id` and `change` must be among them. `is_wanted` says for which ids. A segment has at most
    /// 50,000 entries, so as many versions are held at most.
    pub(super) fn late(
        &self,
        file: &DataFile,
        columns: &[usize],
        is_wanted: impl Fn(i64) -> bool,
    ) -> Result<Late, ArchiveError> {
        let mut late = Late::new();
        let (first, last) = file.ids;
        for (_, versions) in self.files(Table::Verdicts, (first, last)) {
            let opened = self.read(versions)?;
            for number in 0..opened.groups() {
                let (least, greatest) = opened.integers(number, "id")?;
                if greatest < first || last < least {
                    continue;
                }
                let rows = usize::try_from(opened.group(number)?.num_rows()).unwrap_or(0);
                let mut cursors = opened.cursors(number, columns)?;
                for start in (0..rows).step_by(BATCH) {
                    let count = BATCH.min(rows - start);
                    let mut batch = Batch::new();
                    for (place, cursor) in &mut cursors {
                        batch.set(*place, cursor.read(count)?);
                    }
                    for at in 0..count {
                        let row = batch.row(at);
                        let Some(id) = row.integer("id") else { continue };
                        let is_newer = late.get(&id).is_none_or(|known| {
                            known.as_slice().integer("change") < row.integer("change")
                        });
                        if (first..=last).contains(&id) && is_wanted(id) && is_newer {
                            late.insert(id, row.cells());
                        }
                    }
                }
            }
        }
        Ok(late)
    }

    /// The files with newer versions of entries of this file.
    pub(super) fn versions(&self, file: &DataFile) -> impl Iterator<Item = &DataFile> {
        self.files(Table::Verdicts, file.ids).map(|(_, file)| file)
    }
}

/// The newer version of an entry, with the line of the entry.
pub(super) fn over(
    entry: Vec<Option<OwnedCell>>,
    late: Option<&Vec<Option<OwnedCell>>>,
) -> Vec<Option<OwnedCell>> {
    let Some(late) = late.filter(|late| is_over(entry.as_slice(), late)) else { return entry };
    let kept = ["line", "line_bytes", "line_sha256", "stored_at"].map(place);
    let mut newer = late.clone();
    for (at, (new, old)) in newer.iter_mut().zip(entry).enumerate() {
        if kept.contains(&at) {
            *new = old;
        }
    }
    newer
}

/// Whether a version is newer than the entry.
pub(super) fn is_over(entry: &[Option<OwnedCell>], late: &[Option<OwnedCell>]) -> bool {
    entry.integer("change") < late.integer("change")
}
