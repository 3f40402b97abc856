//! A row that is open: the fields of the entry with links, its line, its verification and what is
//! around it.

use std::sync::Arc;

use super::table::value;
use super::view::Column;
use crate::console::pages::explanation::Explanation;
use crate::console::pages::link::{Link, Selection};
use crate::console::pages::text::SafeText;
use crate::console::pages::timeline::AROUND;
use crate::entry::{Malformed, Millis, Record};
use crate::search::{self, Field};
use crate::signature::{Key, KeySet};

/// The part of a value that is shown, in characters.
const SHOWN: usize = 2000;

pub(in crate::console::pages) struct Detail {
    pub(in crate::console::pages) link: Link,
    pub(in crate::console::pages) api: Link,
    pub(in crate::console::pages) fields: Vec<DetailField>,
    pub(in crate::console::pages) explanation: Explanation,
    pub(in crate::console::pages) context: Vec<(&'static str, Link)>,
    /// Whether the API has the whole line, so that the script can copy it.
    pub(in crate::console::pages) can_be_copied: bool,
}

pub(in crate::console::pages) struct DetailField {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) value: SafeText,
    pub(in crate::console::pages) include: Option<Link>,
    pub(in crate::console::pages) exclude: Option<Link>,
    /// The table with a column of the field, or without it.
    pub(in crate::console::pages) column: Link,
    pub(in crate::console::pages) is_column: bool,
}

/// The fields that the store adds.
const STORED: [&str; 9] = [
    "verdict",
    "reason",
    "warning",
    "kind",
    "format",
    "kid",
    "input",
    "received_at",
    "delivery_count",
];

impl Detail {
    /// The detail of `record`, which `key` verified.
    pub(in crate::console::pages) fn new(
        selection: &Selection,
        record: &Record,
        key: Option<Key>,
        known: KeySet,
    ) -> Detail {
        let id = record.id().unwrap_or_default();
        // The key that verified the entry may be retired by now.
        let keys = key.map_or(known, |key| KeySet::new([Arc::new(key)]));
        let stored = STORED.into_iter().filter_map(|name| Some((name, value(record, name)?)));
        let own = record.fields.iter().map(|(name, value)| (name, value.as_text().into_owned()));
        let fields = stored.chain(own);
        Detail {
            link: selection.to_entry(id),
            api: Link::new(&format!("/api/v1/entries/{id}"), &[]),
            fields: fields.map(|(name, value)| field(selection, name, &value)).collect(),
            explanation: match record.whole {
                Some(_) => Explanation::malformed(&record.raw, Malformed::TooLong),
                None => Explanation::of(&record.raw, &keys),
            },
            context: context(selection, record),
            can_be_copied: record.whole.is_none(),
        }
    }
}

fn field(selection: &Selection, name: &str, value: &str) -> DetailField {
    // The store counts deliveries, and warnings are several.
    let can_be_tested = !matches!(name, "delivery_count" | "warning" | "warnings");
    let term = if can_be_tested { search::equals(&Field::named(name), value) } else { None };
    let here = |term: String| Some(selection.with_term(&term)?.here());
    let columns = selection.view.columns();
    let is_column = columns.iter().any(|column| *column == Column::named(name));
    let view = selection.view.with_column(name, !is_column);
    DetailField {
        name: SafeText::truncated(name, 200),
        value: SafeText::truncated(value, SHOWN),
        exclude: term.as_ref().and_then(|term| here(format!("NOT {term}"))),
        include: term.and_then(here),
        column: selection.with_view(view).here(),
        is_column,
    }
}

/// The entries around this one: of the same trace, principal and source, and of all.
fn context(selection: &Selection, record: &Record) -> Vec<(&'static str, Link)> {
    let Some(time) = record.time else { return Vec::new() };
    let at = |offset| Millis::saturating(time.get().saturating_add(offset)).to_string();
    let (since, until) = (at(-AROUND), at(AROUND));
    let around = |query: String| {
        let selection = Selection { query, ..selection.clone() };
        selection.between(&since, &until).here()
    };
    let same = |(name, field): (&'static str, &'static str)| {
        let value = record.fields.get(field)?.as_text();
        let term = search::equals(&Field::named(field), &value).filter(|_| !value.is_empty())?;
        Some((name, around(term)))
    };
    let fields =
        [("same trace", "trace_id"), ("same principal", "principal_id"), ("same source", "src")];
    let all = ("all entries within 15 min", around(String::new()));
    fields.into_iter().filter_map(same).chain([all]).collect()
}
