//! Lines that are longer than the receiver parses. They are in pieces, in files of their own.

use bytes::Bytes;

use super::Archive;
use super::column::{Cursor, OwnedCell};
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::schema;

/// The rows that are read at once.
const BATCH: usize = 4096;

impl Archive {
    /// A piece of the line of an entry, numbered from 0. `None` after the last one.
    pub(crate) fn line_piece(&self, id: u64, number: u64) -> Result<Option<Bytes>, ArchiveError> {
        let (Ok(id), Ok(number)) = (i64::try_from(id), i64::try_from(number)) else {
            return Ok(None);
        };
        let place = |name| schema::place(Table::Pieces, name).unwrap_or(usize::MAX);
        let (entry, piece, bytes) = (place("entry"), place("number"), place("bytes"));
        for (_, file) in self.files(Table::Pieces, (id, id)) {
            let opened = self.read(file)?;
            for group in 0..opened.groups() {
                let (least, greatest) = opened.integers(group, "entry")?;
                if id < least || greatest < id {
                    continue;
                }
                let rows = usize::try_from(opened.group(group)?.num_rows()).unwrap_or(0);
                let mut keys = opened.cursors(group, &[entry, piece])?;
                let [(_, entries), (_, numbers)] = keys.as_mut_slice() else { continue };
                let Some(row) = row_with(entries, numbers, rows, (id, number))? else { continue };
                let Some((_, mut cursor)) = opened.cursors(group, &[bytes])?.pop() else {
                    continue;
                };
                cursor.skip(row)?;
                if let Some(OwnedCell::Bytes(bytes)) = cursor.read(1)?.pop().flatten() {
                    return Ok(Some(bytes));
                }
            }
        }
        Ok(None)
    }
}

/// The row with this entry and this number of a piece.
fn row_with(
    entries: &mut Cursor,
    numbers: &mut Cursor,
    rows: usize,
    (id, number): (i64, i64),
) -> Result<Option<usize>, ArchiveError> {
    let wanted = (Some(OwnedCell::Integer(id)), Some(OwnedCell::Integer(number)));
    for start in (0..rows).step_by(BATCH) {
        let count = BATCH.min(rows - start);
        let (entries, numbers) = (entries.read(count)?, numbers.read(count)?);
        let found = entries.into_iter().zip(numbers).position(|row| row == wanted);
        if let Some(found) = found {
            return Ok(Some(start + found));
        }
    }
    Ok(None)
}
