//! Reads the rows of a row group, some at a time.

use std::ops::Range;
use std::sync::Arc;

use super::Opened;
use super::prune::Bounds;
use crate::archive::column::Cursor;
use crate::archive::error::ArchiveError;
use crate::archive::footer::MAX_GROUP;
use crate::archive::layout::Table;
use crate::archive::pages;
use crate::archive::rows::{ColumnOfRows, Rows};
use crate::archive::schema;

/// The rows that are read at once.
const BATCH: usize = 4096;

/// Columns of a row group, at the same row.
pub(super) struct Cursors {
    table: Table,
    /// The columns that have a value, by their places.
    cursors: Vec<(usize, Cursor)>,
}

impl Opened<'_> {
    /// Opens the columns of a row group that have these places, at the first row.
    pub(super) fn cursors(
        &self,
        number: usize,
        columns: &[usize],
    ) -> Result<Cursors, ArchiveError> {
        let group = self.footer.group(number)?;
        let chunk = |place: &usize| {
            let chunk = self.footer.chunk(group, *place)?;
            let (start, length) = pages::range(chunk)?;
            let has_values = !Bounds::of(chunk).all_null;
            has_values.then_some((*place, chunk, start..start.saturating_add(length)))
        };
        let chunks: Vec<_> = columns.iter().filter_map(chunk).collect();
        let ranges: Vec<_> = chunks.iter().map(|(.., range)| range.clone()).collect();
        let read = Arc::new(self.fetcher.ranges(&self.file.key, &ranges)?);
        let cursor =
            |(place, chunk, _)| Ok((place, Cursor::new(&self.footer, group, chunk, &read)?));
        let cursors = chunks.into_iter().map(cursor).collect::<Result<_, ArchiveError>>()?;
        Ok(Cursors { table: self.file.table, cursors })
    }

    /// The rows of a row group with the columns that have these places.
    pub(super) fn batches(
        &self,
        number: usize,
        columns: &[usize],
    ) -> Result<Batches, ArchiveError> {
        let rows = usize::try_from(self.footer.group(number)?.num_rows()).unwrap_or(0);
        Ok(Batches { cursors: self.cursors(number, columns)?, left: 0..rows })
    }
}

impl Cursors {
    /// Leaves rows out.
    pub(super) fn skip(&mut self, rows: usize) -> Result<(), ArchiveError> {
        self.cursors.iter_mut().try_for_each(|(_, cursor)| cursor.skip(rows))
    }

    /// Reads the next rows. The other columns are NULL.
    pub(super) fn read(&mut self, rows: usize) -> Result<Rows, ArchiveError> {
        let mut columns: Vec<Option<ColumnOfRows>> = Vec::new();
        columns.resize_with(schema::columns(self.table).len(), || None);
        let mut left = MAX_GROUP;
        for (place, cursor) in &mut self.cursors {
            if let Some(column) = columns.get_mut(*place) {
                *column = Some(cursor.read(rows, &mut left)?);
            }
        }
        Ok(Rows::read(self.table, columns, rows))
    }
}

/// All rows of a row group, some at a time, each time with the number of the first.
pub(super) struct Batches {
    cursors: Cursors,
    left: Range<usize>,
}

impl Iterator for Batches {
    type Item = Result<(usize, Rows), ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (first, count) = (self.left.start, self.left.len().min(BATCH));
        self.left.start += count;
        (count > 0).then(|| Ok((first, self.cursors.read(count)?)))
    }
}
