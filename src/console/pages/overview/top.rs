//! The most frequent values of a field, each with its change against the span of time before.

use std::collections::HashMap;

use crate::console::pages::link::{Link, Selection};
use crate::console::pages::text::{Cell, count};
use crate::search;
use crate::store::FieldCounts;

/// The number of values in a table.
pub(super) const MOST: usize = 10;

/// The most frequent values of a field.
pub(in crate::console::pages) struct TopTable {
    pub(in crate::console::pages) id: &'static str,
    pub(in crate::console::pages) title: &'static str,
    /// What the counted entries match. Empty for all.
    pub(in crate::console::pages) query: &'static str,
    pub(in crate::console::pages) rows: Vec<TopRow>,
    /// What the rows leave out.
    pub(in crate::console::pages) rest: String,
}

pub(in crate::console::pages) struct TopRow {
    pub(in crate::console::pages) value: Cell,
    /// The entries with the value. `None` if a query cannot say so.
    pub(in crate::console::pages) link: Option<Link>,
    pub(in crate::console::pages) entries: String,
    pub(in crate::console::pages) change: String,
}

/// What a table is of.
pub(super) struct Top {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) query: &'static str,
}

impl TopTable {
    /// The table of `found`. `before` has the counts of all values in the span before, if there is
    /// one.
    pub(super) fn new(
        top: Top,
        selection: &Selection,
        found: &FieldCounts,
        before: Option<&FieldCounts>,
    ) -> TopTable {
        let before: Option<HashMap<&str, u64>> = before.map(|before| {
            before.values.iter().map(|(value, entries)| (value.as_str(), *entries)).collect()
        });
        let of_query = Selection { query: top.query.to_owned(), ..selection.clone() };
        let row = |(value, entries): &(String, u64)| TopRow {
            value: Cell::short(if value.is_empty() { "(empty)" } else { value }),
            link: search::equals(&found.field, value)
                .and_then(|term| Some(of_query.with_term(&term)?.here())),
            entries: count(*entries),
            change: change(
                *entries,
                before.as_ref().map(|all| all.get(value.as_str()).copied().unwrap_or(0)),
            ),
        };
        let some =
            |number: u64, name: &str| (number > 0).then(|| format!("{name} {}", count(number)));
        let rest = [some(found.other, "others"), some(found.missing, "without")];
        TopTable {
            id: top.id,
            title: top.title,
            query: top.query,
            rows: found.values.iter().take(MOST).map(row).collect(),
            rest: rest.into_iter().flatten().collect::<Vec<_>>().join(", "),
        }
    }
}

/// The change from `before` to `now` in percent. There may be no span before.
fn change(now: u64, before: Option<u64>) -> String {
    let Some(before) = before else { return "–".to_owned() };
    if before == 0 {
        return "new".to_owned();
    }
    let percent = (now as f64 - before as f64) / before as f64 * 100.0;
    let size = count(percent.abs().round() as u64);
    match percent.round() {
        percent if percent > 0.0 => format!("+{size} %"),
        percent if percent < 0.0 => format!("−{size} %"),
        _ => "0 %".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Field;

    fn counts(values: &[(&str, u64)]) -> FieldCounts {
        let values = values.iter().map(|(value, entries)| ((*value).to_owned(), *entries));
        FieldCounts { field: Field::named("name"), values: values.collect(), other: 7, missing: 0 }
    }

    #[test]
    fn a_change_is_in_percent() {
        assert_eq!(change(112, Some(100)), "+12 %");
        assert_eq!(change(92, Some(100)), "−8 %");
        assert_eq!(change(1000, Some(999)), "0 %");
        assert_eq!(change(1_000_000, Some(1)), "+99,999,900 %");
        assert_eq!(change(3, Some(0)), "new");
        assert_eq!(change(3, None), "–");
    }

    #[test]
    fn values_are_compared_and_lead_to_their_entries() {
        let top = || Top { id: "denied", title: "Denied", query: "granted:false" };
        let selection = Selection { since: "1h".into(), ..Selection::default() };
        let found = counts(&[("Authz.a", 3), ("Authz.b", 2), ("", 1)]);
        let before = counts(&[("x", 9), ("Authz.a", 2)]);
        let table = TopTable::new(top(), &selection, &found, Some(&before));
        let shown: Vec<_> =
            table.rows.iter().map(|row| (row.value.text.to_string(), &*row.change)).collect();
        let expected = [("Authz.a", "+50 %"), ("Authz.b", "new"), ("(empty)", "new")];
        assert_eq!(shown, expected.map(|(value, change)| (value.to_owned(), change)));
        assert_eq!(
            table.rows[0].link.as_ref().unwrap().to_string(),
            "/?q=granted%3Afalse%20name%3A%22Authz.a%22&since=1h"
        );
        assert_eq!(table.rest, "others 7");
        let alone = TopTable::new(top(), &selection, &found, None);
        assert!(alone.rows.iter().all(|row| row.change == "–"));
    }
}
