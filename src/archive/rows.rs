//! Rows of a table in memory, column by column, as Parquet takes and gives them.
//!
//! The bytes of a column are in one buffer, so that many short texts take little more memory than
//! they have bytes.

use super::layout::Table;
use super::schema::{self, Kind};

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// None.
    Null,
    /// An integer, or a time in milliseconds since the epoch.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A text or bytes.
    Bytes(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// A text.
    pub(crate) fn text(text: &'a str) -> Cell<'a> {
        Cell::Bytes(text.as_bytes())
    }

    /// An id or a count. SQLite has none above the largest signed integer.
    pub(crate) fn number(number: u64) -> Cell<'a> {
        Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// The bytes that it takes before it is compressed.
    pub(crate) fn size(self) -> usize {
        match self {
            Cell::Null => 0,
            Cell::Integer(_) => 8,
            Cell::Boolean(_) => 1,
            Cell::Bytes(bytes) => 4 + bytes.len(),
        }
    }

    /// The integer, if it is one.
    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Cell::Integer(integer) => Some(integer),
            _ => None,
        }
    }

    /// The integer, if it is one that is not negative.
    pub(crate) fn unsigned(self) -> Option<u64> {
        self.integer().and_then(|integer| u64::try_from(integer).ok())
    }

    /// The bytes, if it has some.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Cell::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn as_text(self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
}

impl<'a, T> From<Option<T>> for Cell<'a>
where
    Cell<'a>: From<T>,
{
    fn from(value: Option<T>) -> Cell<'a> {
        value.map_or(Cell::Null, Cell::from)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Cell<'a> {
        Cell::text(text)
    }
}

impl<'a> From<&'a String> for Cell<'a> {
    fn from(text: &'a String) -> Cell<'a> {
        Cell::text(text)
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Cell<'a> {
        Cell::Bytes(bytes)
    }
}

impl From<crate::entry::Millis> for Cell<'_> {
    fn from(time: crate::entry::Millis) -> Self {
        Cell::Integer(time.get())
    }
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Cell::number(number)
    }
}

/// The values of a column.
#[derive(Debug)]
pub(crate) enum Values {
    Integers(Vec<i64>),
    Booleans(Vec<bool>),
    /// All bytes, and the end of each value.
    Bytes(Vec<u8>, Vec<usize>),
}

impl Values {
    fn new(kind: Kind) -> Values {
        match kind {
            Kind::Time | Kind::Integer => Values::Integers(Vec::new()),
            Kind::Boolean => Values::Booleans(Vec::new()),
            Kind::Text | Kind::Binary => Values::Bytes(Vec::new(), Vec::new()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Values::Integers(all) => all.len(),
            Values::Booleans(all) => all.len(),
            Values::Bytes(_, ends) => ends.len(),
        }
    }

    fn get(&self, at: usize) -> Cell<'_> {
        let found = match self {
            Values::Integers(all) => all.get(at).map(|one| Cell::Integer(*one)),
            Values::Booleans(all) => all.get(at).map(|one| Cell::Boolean(*one)),
            Values::Bytes(bytes, ends) => {
                let start = at.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied());
                let range = start.zip(ends.get(at).copied());
                range.and_then(|(start, end)| bytes.get(start..end)).map(Cell::Bytes)
            }
        };
        found.unwrap_or(Cell::Null)
    }
}

/// A column of [`Rows`].
#[derive(Debug)]
pub(crate) struct ColumnOfRows {
    /// The definition level of each row: 1 if there is a value, 0 if not.
    pub(crate) levels: Vec<i16>,
    /// The values that there are.
    pub(crate) values: Values,
    /// The place of the value of each row among the values.
    places: Vec<u32>,
}

impl ColumnOfRows {
    /// A column of values that are there or not.
    pub(crate) fn new(levels: Vec<i16>, values: Values) -> ColumnOfRows {
        let mut next = 0;
        let places = levels.iter().map(|level| match level {
            0 => u32::MAX,
            _ => {
                next += 1;
                next - 1
            }
        });
        let places = places.collect();
        ColumnOfRows { levels, values, places }
    }

    fn push(&mut self, cell: Cell<'_>) {
        let place = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let is_there = match (&mut self.values, cell) {
            (Values::Integers(all), Cell::Integer(integer)) => {
                all.push(integer);
                true
            }
            (Values::Booleans(all), Cell::Boolean(boolean)) => {
                all.push(boolean);
                true
            }
            (Values::Bytes(all, ends), Cell::Bytes(bytes)) => {
                all.extend_from_slice(bytes);
                ends.push(all.len());
                true
            }
            _ => false,
        };
        self.levels.push(i16::from(is_there));
        self.places.push(if is_there { place } else { u32::MAX });
    }

    fn get(&self, row: usize) -> Cell<'_> {
        match self.places.get(row) {
            None | Some(&u32::MAX) => Cell::Null,
            Some(place) => self.values.get(*place as usize),
        }
    }
}

/// Rows of a table.
#[derive(Debug)]
pub(crate) struct Rows {
    table: Table,
    /// `None`: the column was not read, or the file lacks it.
    columns: Vec<Option<ColumnOfRows>>,
    len: usize,
    bytes: usize,
}

impl Rows {
    /// No rows.
    pub(crate) fn new(table: Table) -> Rows {
        let empty = |kind| ColumnOfRows::new(Vec::new(), Values::new(kind));
        let columns =
            schema::columns(table).iter().map(|column| Some(empty(column.kind))).collect();
        Rows { table, columns, len: 0, bytes: 0 }
    }

    /// Rows that were read. `columns` are those of the table in their order.
    pub(crate) fn read(table: Table, columns: Vec<Option<ColumnOfRows>>, len: usize) -> Rows {
        Rows { table, columns, len, bytes: 0 }
    }

    /// Adds a row. A value that does not have the type of its column is left out.
    pub(crate) fn push(&mut self, row: &[Cell<'_>]) {
        for (at, column) in self.columns.iter_mut().enumerate() {
            let cell = row.get(at).copied().unwrap_or(Cell::Null);
            self.bytes += cell.size();
            if let Some(column) = column {
                column.push(cell);
            }
        }
        self.len += 1;
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of the values that were added.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The columns, in the order of the table.
    pub(crate) fn columns(&self) -> &[Option<ColumnOfRows>] {
        &self.columns
    }

    /// The value of a column in a row. NULL if there is no such column or row.
    pub(crate) fn get(&self, row: usize, column: &str) -> Cell<'_> {
        let place = schema::place(self.table, column);
        let column = place.and_then(|at| self.columns.get(at)).and_then(Option::as_ref);
        column.map_or(Cell::Null, |column| column.get(row))
    }

    /// The values of a row, in the order of the table.
    pub(crate) fn cells(&self, row: usize) -> impl Iterator<Item = Cell<'_>> {
        self.columns.iter().map(move |column| match column {
            Some(column) => column.get(row),
            None => Cell::Null,
        })
    }
}
