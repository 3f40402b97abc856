//! Lines that are longer than the receiver parses. They are in pieces, in files of their own.

use super::{Archive, Opened};
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::schema::places;

impl Archive {
    /// A piece of the line of an entry, numbered from 0. `None` after the last one.
    pub(crate) fn line_piece(&self, id: u64, number: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let (Ok(id), Ok(number)) = (i64::try_from(id), i64::try_from(number)) else {
            return Ok(None);
        };
        for file in self.files(Table::Pieces, (id, id)) {
            let opened = self.read(file)?;
            for group in 0..opened.footer.groups() {
                if let Some(row) = opened.row_of_piece(group, id, number)? {
                    let mut cursors = opened.cursors(group, &places(Table::Pieces, &["bytes"]))?;
                    cursors.skip(row)?;
                    let rows = cursors.read(1)?;
                    return Ok(Some(rows.get(0, "bytes").bytes().unwrap_or_default().to_vec()));
                }
            }
        }
        Ok(None)
    }
}

impl Opened<'_> {
    /// The row of a row group that has this piece of an entry's line.
    fn row_of_piece(
        &self,
        group: usize,
        id: i64,
        number: i64,
    ) -> Result<Option<usize>, ArchiveError> {
        let (least, greatest) = self.integers(group, "entry")?;
        if id < least || greatest < id {
            return Ok(None);
        }
        for batch in self.batches(group, &places(Table::Pieces, &["entry", "number"]))? {
            let (first, rows) = batch?;
            let is_it = |row: &usize| {
                let get = |column| rows.get(*row, column).integer();
                get("entry") == Some(id) && get("number") == Some(number)
            };
            if let Some(row) = (0..rows.len()).find(is_it) {
                return Ok(Some(first + row));
            }
        }
        Ok(None)
    }
}
