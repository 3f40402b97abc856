//! Which columns the table `entries` has in each version of the schema.
//!
//! A field that became a column later stands among the extensions in older segments. So a query for
//! it is asked there, and the statement that reads an entry gets NULL for the column.

use std::ops::Bound;

use crate::search::{Field, Filter, Operand, Test};

/// The columns of a version: all that there are but some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Columns {
    lacking: &'static [&'static str],
    /// Whether `entries` is a view of a packed segment, which has numbers of words too.
    packed: bool,
}

impl Columns {
    /// Those of every version, each once.
    pub(in crate::store) const ALL: [Columns; 3] =
        [Columns::NEWEST, Columns::PACKED, Columns::FIRST];

    /// Those of entries that are not packed, in the newest version.
    pub(in crate::store) const NEWEST: Columns = Columns { lacking: &[], packed: false };

    /// Those of a packed segment.
    pub(in crate::store) const PACKED: Columns = Columns { lacking: &[], packed: true };

    /// Those of version 1 of a segment.
    const FIRST: Columns =
        Columns { lacking: &["signed", "line_bytes", "line_sha256"], packed: false };

    /// Those of a version of the segment's schema.
    pub(in crate::store) fn of_segment(version: usize) -> Columns {
        match version {
            0 | 1 => Columns::FIRST,
            3 | 5 | 7 => Columns::PACKED,
            _ => Columns::NEWEST,
        }
    }

    /// Those that the catalog has for late verdicts in a version of the catalog's schema.
    pub(in crate::store) fn of_catalog(version: usize) -> Columns {
        if version < 6 { Columns::FIRST } else { Columns::NEWEST }
    }

    /// Those of the newest version without some.
    #[cfg(test)]
    pub(in crate::store) fn without(lacking: &'static [&'static str]) -> Columns {
        Columns { lacking, packed: false }
    }

    /// Whether the segment is packed.
    pub(in crate::store) fn are_packed(self) -> bool {
        self.packed
    }

    /// Whether there is a column of this name.
    pub(in crate::store) fn has(self, name: &str) -> bool {
        !self.lacking.contains(&name)
    }

    /// A column as the expression that reads it: itself, or NULL where it is lacking.
    pub(in crate::store) fn expression(self, name: &str) -> String {
        if self.has(name) { name.to_owned() } else { format!("NULL AS {name}") }
    }

    /// Where a field is found in this version: in its column, else among the extensions.
    pub(in crate::store) fn field(self, field: &Field) -> Field {
        match field {
            Field::Known(name, _) if !self.has(name) => Field::Extension((*name).to_owned()),
            field => field.clone(),
        }
    }

    /// The same filter, for this version.
    pub(in crate::store) fn filter(self, filter: &Filter) -> Filter {
        if self.lacking.is_empty() {
            return filter.clone();
        }
        let all = |parts: &[Filter]| parts.iter().map(|part| self.filter(part)).collect();
        match filter {
            Filter::All | Filter::Text(_) => filter.clone(),
            Filter::Not(inner) => Filter::Not(Box::new(self.filter(inner))),
            Filter::And(parts) => Filter::And(all(parts)),
            Filter::Or(parts) => Filter::Or(all(parts)),
            Filter::Field(field, test) => match self.field(field) {
                found if found == *field => filter.clone(),
                extension => Filter::Field(extension, as_text(test)),
            },
        }
    }
}

/// A test as it is asked of an extension, which holds text: a boolean is its word there.
fn as_text(test: &Test) -> Test {
    let operand = |operand: &Operand| match operand {
        Operand::Boolean(boolean) => Operand::Text(boolean.to_string()),
        operand => operand.clone(),
    };
    let bound = |bound: &Bound<Operand>| match bound {
        Bound::Included(one) => Bound::Included(operand(one)),
        Bound::Excluded(one) => Bound::Excluded(operand(one)),
        Bound::Unbounded => Bound::Unbounded,
    };
    match test {
        Test::Equals(one) => Test::Equals(operand(one)),
        Test::Range { lower, upper } => Test::Range { lower: bound(lower), upper: bound(upper) },
        test => test.clone(),
    }
}
