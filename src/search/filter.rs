//! The filter that a query is parsed into.
//!
//! A [`Filter`] from [`parse`](super::parse()) needs no checks: operands have the type of the
//! field, and the words of [`Field::Verdict`], `Format`, `Kind` and `Warning` are known. Every
//! combination of a field and a test has a meaning, so every filter can be translated.

use std::ops::Bound;

use crate::entry::fields::{FieldType, KNOWN};

/// Selects entries.
///
/// A filter is either true or false for an entry. A test of a field that the entry lacks is false,
/// and its negation is true (in SQL: `coalesce(…, 0)` under a `NOT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every entry.
    All,
    /// All of these filters, at least two, are true.
    And(Vec<Filter>),
    /// One of these filters, at least two, is true.
    Or(Vec<Filter>),
    /// The filter is false.
    Not(Box<Filter>),
    /// The raw line contains this text, ignoring case. The text is not empty.
    Text(String),
    /// The field passes the test.
    Field(Field, Test),
}

impl Filter {
    /// All of `filters`. Without filters, every entry.
    pub(super) fn all(filters: Vec<Filter>) -> Filter {
        joined(filters, Filter::And, |filter| match filter {
            Filter::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// One of `filters`, which are not empty.
    pub(super) fn any(filters: Vec<Filter>) -> Filter {
        joined(filters, Filter::Or, |filter| match filter {
            Filter::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }
}

/// Joins filters without duplicates, and without nesting a filter in one of the same kind.
fn joined(
    filters: Vec<Filter>,
    join: fn(Vec<Filter>) -> Filter,
    open: fn(Filter) -> Result<Vec<Filter>, Filter>,
) -> Filter {
    let mut flat: Vec<Filter> = Vec::with_capacity(filters.len());
    for filter in filters.into_iter().flat_map(|one| open(one).unwrap_or_else(|one| vec![one])) {
        if !flat.contains(&filter) {
            flat.push(filter);
        }
    }
    match (flat.pop(), flat.is_empty()) {
        (None, _) => Filter::All,
        (Some(only), true) => only,
        (Some(last), false) => {
            flat.push(last);
            join(flat)
        }
    }
}

/// A field that can be tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The id of the entry in the store. Holds integers.
    Id,
    /// The verdict. Holds its words.
    Verdict,
    /// The reason for the verdict. Holds text.
    Reason,
    /// The format of the line. Holds its words.
    Format,
    /// The kind of event. A malformed line has none. Holds its words.
    Kind,
    /// The warnings. A test is true if it is true for one of them. Holds their words.
    Warning,
    /// The key that verifies the entry. Holds text.
    Kid,
    /// The input that received the entry. Holds text.
    Input,
    /// The number of the first delivery that had the entry. Holds integers.
    Delivery,
    /// When the entry was first received. Holds times.
    ReceivedAt,
    /// When the event happened. Holds times.
    Time,
    /// A known field and its type.
    Known(&'static str, FieldType),
    /// An unknown field, by its name. Holds text.
    Extension(String),
}

/// The fields that do not come from the sender, by name.
const SYSTEM: [(&str, Field); 11] = [
    ("id", Field::Id),
    ("verdict", Field::Verdict),
    ("reason", Field::Reason),
    ("format", Field::Format),
    ("kind", Field::Kind),
    ("warning", Field::Warning),
    ("kid", Field::Kid),
    ("input", Field::Input),
    ("delivery", Field::Delivery),
    ("received_at", Field::ReceivedAt),
    ("time", Field::Time),
];

impl Field {
    /// The field of this name: a system field, or else a known field, or else an extension.
    pub fn named(name: &str) -> Field {
        // A record calls the list `warnings`.
        let name = if name == "warnings" { "warning" } else { name };
        let system = SYSTEM.iter().find(|(one, _)| *one == name).map(|(_, field)| field.clone());
        let known = || {
            let (name, held) = KNOWN.iter().find(|(one, _)| *one == name)?;
            Some(Field::Known(name, *held))
        };
        system.or_else(known).unwrap_or_else(|| Field::Extension(name.to_owned()))
    }

    /// The name of the field.
    pub fn name(&self) -> &str {
        match self {
            Field::Known(name, _) => name,
            Field::Extension(name) => name,
            system => SYSTEM.iter().find(|(_, one)| one == system).map_or("", |(name, _)| name),
        }
    }

    /// The names of all fields but extensions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SYSTEM.iter().map(|(name, _)| *name).chain(KNOWN.iter().map(|(name, _)| *name))
    }
}

/// A test of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The entry has the field, even if it is empty.
    Exists,
    /// The value is equal to this.
    Equals(Operand),
    /// The value starts with this text, which is not empty. Only for fields that hold text.
    Prefix(String),
    /// The value is within a range. At least one end is bounded, and two bounds have the same type.
    /// Texts are compared byte by byte. An extension holds text: if the bounds are integers, its
    /// text is read as a decimal integer, and the test is false if it is not one.
    Range {
        /// The lower end.
        lower: Bound<Operand>,
        /// The upper end.
        upper: Bound<Operand>,
    },
}

/// A value that a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// For fields that hold text, digits or words.
    Text(String),
    /// For fields that hold integers or times, and in a range of an extension. A time is in
    /// milliseconds since the Unix epoch.
    Integer(i64),
    /// For fields that hold booleans.
    Boolean(bool),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_field_and_back() {
        for name in Field::names().chain(["cs1", "ext.a[0]", ""]) {
            assert_eq!(Field::named(name).name(), name);
        }
        assert_eq!(Field::named("status"), Field::Known("status", FieldType::Integer));
        assert_eq!(Field::named("Status"), Field::Extension("Status".into()));
    }

    #[test]
    fn no_field_hides_another() {
        let mut names: Vec<_> = Field::names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Field::names().count());
    }

    #[test]
    fn joining_leaves_no_joint_of_one_or_none() {
        let text = |text: &str| Filter::Text(text.into());
        assert_eq!(Filter::all(vec![]), Filter::All);
        assert_eq!(Filter::all(vec![text("a")]), text("a"));
        assert_eq!(
            Filter::all(vec![Filter::all(vec![text("a"), text("b")]), text("c")]),
            Filter::And(vec![text("a"), text("b"), text("c")])
        );
        let either = Filter::any(vec![text("a"), text("b")]);
        assert_eq!(Filter::all(vec![either.clone(), either.clone()]), either);
    }
}
