//! Writes the rows of a table to as many files as they need: one for each day, cut at a size.
//!
//! What cuts a file depends only on the bytes as received, so that the same segment makes the same
//! files again.

use super::encode::Encoder;
use super::error::ArchiveError;
use super::layout::{self, Day, Table};
use super::manifest::File;
use super::place::Place;
use super::rows::Cell;

/// The bytes as received at which a file ends, and its rows.
const BYTES: u64 = if cfg!(test) { 3000 } else { 32 << 20 };
const ROWS: u64 = 500_000;

/// What the name of a file is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// The segment with this first id.
    Segment(u64),
    /// The delta with this number.
    Delta(u64),
}

/// Writes the files of a table.
pub(super) struct Parts<'a> {
    place: &'a Place,
    store: &'a str,
    table: Table,
    home: Home,
    /// The number of the last change of a verdict before the rows were read.
    change: u64,
    day: Day,
    part: u32,
    encoder: Option<Encoder>,
    files: Vec<File>,
}

impl<'a> Parts<'a> {
    /// No files yet.
    pub(super) fn new(
        place: &'a Place,
        store: &'a str,
        table: Table,
        home: Home,
        change: u64,
    ) -> Parts<'a> {
        let day = Day::of(0);
        Parts { place, store, table, home, change, day, part: 0, encoder: None, files: Vec::new() }
    }

    /// Adds a row. Rows of one day follow one another.
    pub(super) fn push(&mut self, day: Day, row: &[Cell<'_>]) -> Result<(), ArchiveError> {
        if day != self.day {
            self.write()?;
            (self.day, self.part) = (day, 0);
        }
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.table, self.store, self.change)?),
        };
        encoder.push(row)?;
        if encoder.bytes() >= BYTES || encoder.len() >= ROWS {
            self.write()?;
        }
        Ok(())
    }

    /// The files, and the number of the last change of a verdict that all of them have.
    pub(super) fn finish(mut self) -> Result<(Vec<File>, u64), ArchiveError> {
        self.write()?;
        Ok((self.files, self.change))
    }

    /// Writes the file that was begun.
    fn write(&mut self) -> Result<(), ArchiveError> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let (store, table, day, part) = (self.store, self.table, self.day, self.part);
        let name = |generation| match self.home {
            Home::Segment(first_id) => {
                layout::of_segment(store, table, day, first_id, generation, part)
            }
            Home::Delta(delta) => layout::of_delta(store, table, delta, generation, part),
        };
        let segment = match self.home {
            Home::Segment(first_id) => Some(first_id),
            Home::Delta(_) => None,
        };
        let encoded = encoder.finish()?;
        let written = self.place.write(table, segment, &encoded, self.change, name)?;
        self.files.push(written.file);
        self.change = self.change.min(written.change);
        self.part += 1;
        Ok(())
    }
}
