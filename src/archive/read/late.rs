//! Newer versions of entries, which are in files of their own.
//!
//! A version has all columns but the line. The version with the highest number of its change counts.

use std::collections::BTreeMap;

use super::row::{Row, owned};
use super::{Archive, DataFile};
use crate::archive::entry::{Cells, RowOf};
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::pages::MAX_ROWS;
use crate::archive::schema;

/// The newest versions of some entries, by their ids: the values of the columns that were read.
pub(super) type Late = BTreeMap<i64, Row>;

impl Archive {
    /// The newest versions of the entries of a file. `columns` are the places of the columns to read;
    /// `id` and `change` must be among them. `is_wanted` says for which ids. A file has no more entries
    /// than rows, so as many versions are held at most.
    pub(super) fn late(
        &self,
        file: &DataFile,
        columns: &[usize],
        is_wanted: impl Fn(i64) -> bool,
    ) -> Result<Late, ArchiveError> {
        let mut late = Late::new();
        let (first, last) = file.ids;
        for versions in self.versions(file) {
            let opened = self.read(versions)?;
            for number in 0..opened.footer.groups() {
                let (least, greatest) = opened.integers(number, "id")?;
                if greatest < first || last < least {
                    continue;
                }
                for batch in opened.batches(number, columns)? {
                    let (_, rows) = batch?;
                    for at in 0..rows.len() {
                        let row = RowOf(&rows, at);
                        let Some(id) = row.integer("id") else { continue };
                        let is_newer = late.get(&id).is_none_or(|known| is_over(known, &row));
                        if (first..=last).contains(&id) && is_wanted(id) && is_newer {
                            late.insert(id, owned(&rows, at));
                        }
                    }
                }
                if late.len() as u64 > MAX_ROWS.unsigned_abs() {
                    let what = "it has newer versions of more entries than a file has";
                    return Err(ArchiveError::damaged(&versions.key, what));
                }
            }
        }
        Ok(late)
    }

    /// The files with newer versions of entries of this file.
    pub(super) fn versions(&self, file: &DataFile) -> impl Iterator<Item = &DataFile> {
        self.files(Table::Verdicts, file.ids)
    }
}

/// The newer version of an entry, with the line of the entry.
pub(super) fn over(entry: Row, late: Option<&Row>) -> Row {
    let Some(late) = late.filter(|late| is_over(&entry, *late)) else { return entry };
    let kept = ["line", "line_bytes", "line_sha256", "stored_at"];
    let kept = schema::places(Table::Entries, &kept);
    let mut newer = late.clone();
    for (at, (new, old)) in newer.iter_mut().zip(entry).enumerate() {
        if kept.contains(&at) {
            *new = old;
        }
    }
    newer
}

/// Whether a version is newer than the entry.
pub(super) fn is_over(entry: &impl Cells, late: &impl Cells) -> bool {
    entry.integer("change") < late.integer("change")
}
