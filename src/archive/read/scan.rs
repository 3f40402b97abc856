//! All entries that match, in their order.
//!
//! Files are not in the order of time, and none is read twice if that can be helped. So the positions
//! of the next entries are found for a window of many entries. The files are read in the order of
//! what may come first in them, until none of the rest can have an entry of the window. Then the
//! records of the window are read in slices.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::group::Match;
use super::prune::{Bounds, excludes};
use super::row::{Search, column};
use super::{Archive, DataFile};
use crate::archive::error::ArchiveError;
use crate::archive::layout::Table;
use crate::archive::schema;
use crate::entry::Record;
use crate::search::{Field, Filter};

/// The most positions of a window.
const WINDOW: usize = if cfg!(test) { 50 } else { 65_536 };

/// The order of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By time, then by id, the newest first, as `query` prints them.
    Newest,
    /// By id, as `export` writes them.
    Stored,
}

/// The place of an entry in the order. The first entry has the smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(i64, i64);

impl Order {
    fn rank(self, time: i64, id: i64) -> Rank {
        match self {
            // The complement reverses the order, and has no overflow.
            Order::Newest => Rank(!time, !id),
            Order::Stored => Rank(id, 0),
        }
    }

    /// The first and the last place that entries within these bounds may have.
    fn bounds(self, time: (i64, i64), ids: (i64, i64)) -> (Rank, Rank) {
        match self {
            Order::Newest => (self.rank(time.1, ids.1), self.rank(time.0, ids.0)),
            Order::Stored => (self.rank(0, ids.0), self.rank(0, ids.1)),
        }
    }
}

/// The position of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rank: Rank,
    pub(super) id: i64,
    /// The number of the file among those of entries.
    pub(super) file: usize,
    pub(super) group: usize,
    pub(super) row: usize,
}

impl Ord for Found {
    fn cmp(&self, other: &Found) -> Ordering {
        let key = |one: &Found| (one.rank, one.file, one.group, one.row);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Found) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The first of the entries that come after a place.
struct Window {
    after: Option<Rank>,
    most: usize,
    best: BinaryHeap<Found>,
}

impl Window {
    /// Whether entries between these places may belong to the window.
    fn takes(&self, (first, last): (Rank, Rank)) -> bool {
        self.after.is_none_or(|after| last > after)
            && (self.best.len() < self.most
                || self.best.peek().is_some_and(|worst| first < worst.rank))
    }

    fn add(&mut self, found: Found) {
        if !self.takes((found.rank, found.rank)) {
            return;
        }
        self.best.push(found);
        if self.best.len() > self.most {
            self.best.pop();
        }
    }
}

/// All entries that match, a slice at a time.
pub(crate) struct Scan<'a> {
    archive: &'a Archive,
    search: Search,
    order: Order,
    /// The places of the columns that records are made of.
    columns: Vec<usize>,
    /// The numbers of the files to read, with the places that they may have, in the order of these.
    files: Vec<((Rank, Rank), usize)>,
    /// The most positions that are found at a time.
    window: usize,
    /// The place of the last position that was found.
    after: Option<Rank>,
    waiting: VecDeque<Found>,
    ended: bool,
}

impl Archive {
    /// All entries that match, in an order. The caller expects to read about `most`.
    pub(crate) fn scan(
        &self,
        filter: &Filter,
        order: Order,
        most: usize,
    ) -> Result<Scan<'_>, ArchiveError> {
        let search = Search::new(filter.clone())?;
        let all = self.all(Table::Entries).iter().enumerate();
        let mut files: Vec<_> = all
            .filter(|(_, file)| !self.excludes(file, &search))
            .map(|(number, file)| (order.bounds(self.time(file), file.ids), number))
            .collect();
        files.sort_unstable();
        Ok(Scan {
            archive: self,
            search,
            order,
            columns: (0..schema::columns(Table::Entries).len()).collect(),
            files,
            window: WINDOW.min(most.max(1)),
            after: None,
            waiting: VecDeque::new(),
            ended: false,
        })
    }

    /// The times that entries of a file may have, with their newer versions.
    fn time(&self, file: &DataFile) -> (i64, i64) {
        let versions = self.versions(file).map(|file| file.time);
        versions.fold(file.time, |(least, greatest), (first, last)| {
            (least.min(first), greatest.max(last))
        })
    }

    /// Whether a file has no entry that matches, by what the manifest says.
    fn excludes(&self, file: &DataFile, search: &Search) -> bool {
        let known = |field: &Field| match column(field) {
            "time" => Some(Bounds::integers(self.time(file))),
            "id" => Some(Bounds::integers(file.ids)),
            _ => None,
        };
        excludes(search.filter(), &known, &|_, _| false)
    }
}

impl Scan<'_> {
    /// Reads only the ids and the lines. The rest of a record is not set, and the verdict is
    /// `malformed`.
    pub(crate) fn only_lines(mut self) -> Self {
        let names = ["id", "change", "line", "line_bytes", "line_sha256"];
        self.columns = schema::places(Table::Entries, &names);
        self
    }

    /// At most `most` further entries; fewer if lines are long. Empty at the end.
    pub(crate) fn next_slice(&mut self, most: usize) -> Result<Vec<Record>, ArchiveError> {
        if self.waiting.is_empty() && !self.ended {
            let found = self.find(self.window)?;
            self.ended = found.is_empty();
            self.after = found.last().map(|found| found.rank);
            self.waiting.extend(found);
        }
        let found = self.waiting.make_contiguous();
        let records = self.archive.records(found.get(..most).unwrap_or(found), &self.columns)?;
        self.waiting.drain(..records.len().min(self.waiting.len()));
        Ok(records)
    }

    /// The positions of the next entries, at most `most`.
    fn find(&self, most: usize) -> Result<Vec<Found>, ArchiveError> {
        let mut window = Window { after: self.after, most, best: BinaryHeap::new() };
        for (bounds, number) in &self.files {
            if window.takes(*bounds) {
                self.find_in(*number, &mut window)?;
            }
        }
        Ok(window.best.into_sorted_vec())
    }

    fn find_in(&self, number: usize, window: &mut Window) -> Result<(), ArchiveError> {
        let Some(file) = self.archive.all(Table::Entries).get(number) else { return Ok(()) };
        let opened = self.archive.read(file)?;
        let late = self.archive.late(file, &self.search.columns(), |_| true)?;
        let add = |window: &mut Window, found: Match| {
            window.add(Found {
                rank: self.order.rank(found.time, found.id),
                id: found.id,
                file: number,
                group: found.group,
                row: found.row,
            });
        };
        let late = opened.late_matches(&self.search, &late, &mut |found| add(window, found))?;
        for group in 0..opened.footer.groups() {
            let (time, ids) = (opened.integers(group, "time")?, opened.integers(group, "id")?);
            if window.takes(self.order.bounds(time, ids))
                && !opened.excludes(group, &self.search)?
            {
                opened.matches(group, &self.search, &late, &mut |found| add(window, found))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_has_no_overflow() {
        let places = [(i64::MIN, 1), (-1, 1), (0, 1), (0, 2), (i64::MAX, 1)];
        let newest: Vec<_> = places.map(|(time, id)| Order::Newest.rank(time, id)).into();
        assert!(newest.is_sorted_by(|one, next| one > next));
        assert!(Order::Stored.rank(9, 1) < Order::Stored.rank(1, 2));
        let (first, last) = Order::Newest.bounds((5, 7), (1, 9));
        assert!(first <= Order::Newest.rank(7, 9) && Order::Newest.rank(5, 1) <= last);
    }

    #[test]
    fn a_window_keeps_the_first_after_a_place() {
        let found = |id| Found { rank: Rank(id, 0), id, file: 0, group: 0, row: 0 };
        let mut window = Window { after: Some(Rank(2, 0)), most: 2, best: BinaryHeap::new() };
        for id in [9, 1, 5, 2, 3, 7] {
            window.add(found(id));
        }
        assert!(window.takes((Rank(4, 0), Rank(9, 0))));
        assert!(!window.takes((Rank(5, 0), Rank(9, 0))));
        assert!(!window.takes((Rank(0, 0), Rank(2, 0))));
        let kept: Vec<_> = window.best.into_sorted_vec().iter().map(|one| one.id).collect();
        assert_eq!(kept, [3, 5]);
    }
}
