//! What is asked of an entry.
//!
//! A [`Filter`] that [`parse`](super::parse()) made needs no check: the operands have the type that
//! the field holds, and the words of a [`Field::Verdict`], `Format`, `Kind` or `Warning` are known
//! ones. Every combination of a field and a test has a meaning, so a translation is total.

use std::ops::Bound;

use crate::entry::fields::{FieldType, KNOWN};

/// Which entries are wanted.
///
/// A filter is true or false of an entry, never unknown: a test of a field that the entry does not
/// have is false, and so its negation is true (in SQL: `coalesce(…, 0)` under a `NOT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every entry.
    All,
    /// All of these are true; there are at least two.
    And(Vec<Filter>),
    /// One of these is true; there are at least two.
    Or(Vec<Filter>),
    /// This is not true.
    Not(Box<Filter>),
    /// The raw line holds this text somewhere, whatever the case of the letters. Never empty.
    Text(String),
    /// The field passes the test.
    Field(Field, Test),
}

impl Filter {
    /// All of `filters`; of none of them, everything.
    pub(super) fn all(filters: Vec<Filter>) -> Filter {
        joined(filters, Filter::And, |filter| match filter {
            Filter::And(inner) => Ok(inner),
            other => Err(other),
        })
    }

    /// One of `filters`, which are not none.
    pub(super) fn any(filters: Vec<Filter>) -> Filter {
        joined(filters, Filter::Or, |filter| match filter {
            Filter::Or(inner) => Ok(inner),
            other => Err(other),
        })
    }
}

/// Joins filters, each once, without nesting one in another of the same sort.
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

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The entry's number in the store. Holds integers.
    Id,
    /// The verdict. Holds its words.
    Verdict,
    /// Why the verdict. Holds text.
    Reason,
    /// The format of the line. Holds its words.
    Format,
    /// The kind of the event; a malformed line has none. Holds its words.
    Kind,
    /// The warnings; a test is true if it is of one of them. Holds their words.
    Warning,
    /// The key that verifies the entry. Holds text.
    Kid,
    /// The input that took it. Holds text.
    Input,
    /// The number of the delivery that it first came in. Holds integers.
    Delivery,
    /// When it was received. Holds times.
    ReceivedAt,
    /// When it happened. Holds times.
    Time,
    /// A normalised field, and what it holds.
    Known(&'static str, FieldType),
    /// A field that is not known, by its own name. Holds text.
    Extension(String),
}

/// The fields that are not the sender's, by name.
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
    /// The field of this name: a system's, else a normalised one, else an extension.
    pub fn named(name: &str) -> Field {
        // The record calls the list of them so.
        let name = if name == "warnings" { "warning" } else { name };
        let system = SYSTEM.iter().find(|(one, _)| *one == name).map(|(_, field)| field.clone());
        let known = || {
            let (name, held) = KNOWN.iter().find(|(one, _)| *one == name)?;
            Some(Field::Known(name, *held))
        };
        system.or_else(known).unwrap_or_else(|| Field::Extension(name.to_owned()))
    }

    /// Its name.
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

/// What is asked of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The entry has it, be it empty.
    Exists,
    /// It is exactly this.
    Equals(Operand),
    /// It begins with exactly this, which is not empty. Only of fields that hold text.
    Prefix(String),
    /// It lies between these, of which at least one is bounded; two have the same type. Texts are
    /// compared byte by byte. An extension holds text: compared with an integer, it is taken for
    /// the decimal integer it spells, and fails the test if it spells none.
    Range {
        /// Where it begins.
        lower: Bound<Operand>,
        /// Where it ends.
        upper: Bound<Operand>,
    },
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// For fields that hold text, digits or words.
    Text(String),
    /// For fields that hold integers, and in a range of an extension; for times, milliseconds
    /// since the Unix epoch.
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
