//! The facets: the most frequent values of fields, each with links that include, exclude or remove
//! it.

use crate::console::pages::link::{Link, Selection};
use crate::console::pages::text::{Cell, SafeText, count};
use crate::search::{self, Field};
use crate::store::FieldCounts;

/// The number of values in a facet, and in one that was asked for more.
pub(super) const VALUES: usize = 8;
pub(super) const MORE: usize = 100;

/// The most frequent values of a field.
pub(in crate::console::pages) struct Facet {
    /// The position on the page, for ids.
    pub(in crate::console::pages) number: usize,
    pub(in crate::console::pages) field: SafeText,
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) values: Vec<FacetValue>,
    pub(in crate::console::pages) other: Option<String>,
    pub(in crate::console::pages) missing: Option<String>,
    /// Shows more values.
    pub(in crate::console::pages) more: Option<Link>,
    /// The page without this facet.
    pub(in crate::console::pages) hide: Link,
    /// Whether only the newest matches were counted.
    pub(in crate::console::pages) is_partial: bool,
}

pub(in crate::console::pages) struct FacetValue {
    pub(in crate::console::pages) value: Cell,
    pub(in crate::console::pages) count: String,
    /// The entries with the value. `None` if a query cannot say so.
    pub(in crate::console::pages) include: Option<Link>,
    /// The entries without it.
    pub(in crate::console::pages) exclude: Option<Link>,
    /// The query without the value, if it selects or excludes it.
    pub(in crate::console::pages) remove: Option<Link>,
    pub(in crate::console::pages) is_excluded: bool,
}

impl Facet {
    /// The facet of a field. `None` if there is nothing to choose: most entries have no warning.
    pub(super) fn new(
        number: usize,
        selection: &Selection,
        counts: &FieldCounts,
        is_partial: bool,
    ) -> Option<Facet> {
        if counts.values.is_empty() && (counts.missing == 0 || counts.field == Field::Warning) {
            return None;
        }
        let field = counts.field.name();
        let (name, none) = match field {
            "kind" => ("Kind", "malformed"),
            "verdict" => ("Verdict", "none"),
            "warning" => ("Warning", "none"),
            "name" => ("Name", "none"),
            "principal_id" => ("Principal", "none"),
            "src" => ("Source", "none"),
            other => (other, "none"),
        };
        let value = |one: &(String, u64)| FacetValue::new(selection, &counts.field, one);
        let some = |number: u64| (number > 0).then(|| count(number));
        let has_more = counts.other > 0 && counts.values.len() < MORE;
        Some(Facet {
            number,
            field: SafeText::new(field),
            name: SafeText::truncated(name, 60),
            values: counts.values.iter().map(value).collect(),
            other: some(counts.other),
            missing: some(counts.missing).map(|number| format!("{none}: {number}")),
            more: has_more.then(|| selection.link("/", ("more", field))),
            hide: selection.with_view(selection.view.with_facet(field, false)).here(),
            is_partial,
        })
    }
}

impl FacetValue {
    fn new(selection: &Selection, field: &Field, (value, number): &(String, u64)) -> FacetValue {
        let term = search::equals(field, value);
        let term = term.as_deref();
        let negated = term.map(|term| format!("NOT {term}"));
        let included = term.and_then(|term| selection.without_term(term));
        let excluded = negated.as_deref().and_then(|term| selection.without_term(term));
        let with = |term: Option<&str>| {
            Some(selection.with_term(term?)?.here()).filter(|_| included.is_none())
        };
        FacetValue {
            value: Cell::short(if value.is_empty() { "(empty)" } else { value }),
            count: count(*number),
            include: with(term),
            exclude: with(negated.as_deref()).filter(|_| excluded.is_none()),
            is_excluded: excluded.is_some(),
            remove: included.or(excluded).map(|selection| selection.here()),
        }
    }
}
