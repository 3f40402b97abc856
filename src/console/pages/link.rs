//! Links to pages, with a query and a time range as parameters.

use std::fmt;

use super::explore::view::View;
use crate::clock::now;
use crate::entry::Millis;
use crate::net::percent_encoded;
use crate::search::{self, Field};
use crate::store::TimeRange;

/// The address of a page of the console. Its parameters are percent-encoded (RFC 3986).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link(String);

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Link {
    /// A link to `path`. Parameters that are empty are left out.
    pub(super) fn new(path: &str, parameters: &[(&str, &str)]) -> Link {
        let mut link = path.to_owned();
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            link.push(if link.contains('?') { '&' } else { '?' });
            link.push_str(name);
            link.push('=');
            link.push_str(&percent_encoded(value).to_string());
        }
        Link(link)
    }

    /// The page of the entry `id`.
    pub(super) fn to_entry(id: u64) -> Link {
        Link(format!("/entries/{id}"))
    }

    /// The page of the delivery `id`.
    pub(super) fn to_delivery(id: u64) -> Link {
        Link(format!("/deliveries/{id}"))
    }

    /// The page of a request that the receiver kept.
    pub(super) fn to_request(number: u64) -> Link {
        Link(format!("/deliveries/requests/{number}"))
    }

    /// The page of a body in quarantine.
    pub(super) fn to_quarantined(id: u64) -> Link {
        Link(format!("/deliveries/quarantine/{id}"))
    }

    /// The entries that were first received in the delivery `id`.
    pub(super) fn to_entries_of(id: u64) -> Link {
        Link::new("/", &[("q", &format!("delivery:{id}"))])
    }

    /// The entries whose `field` is exactly `value`, if a query can express that.
    pub(super) fn to_equal(field: &str, value: &str) -> Option<Link> {
        let term = search::equals(&Field::named(field), value)?;
        Some(Link::new("/", &[("q", &term)]))
    }
}

/// The entries that a page selects, as the request gives them, and how it shows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) query: String,
    /// The start of the range, as written.
    pub(super) since: String,
    /// The end of the range, as written. The range does not include it.
    pub(super) until: String,
    pub(super) view: View,
    /// The cursor of the page of entries. Only a row that opens keeps it.
    pub(super) cursor: String,
}

/// A choice that a page offers.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) link: Link,
    /// Whether the page shows this choice.
    pub(super) current: bool,
}

/// The time ranges to choose from: the label and the value of `since`.
const RANGES: [(&str, &str); 6] =
    [("15 min", "15m"), ("1 h", "1h"), ("6 h", "6h"), ("24 h", "24h"), ("7 d", "7d"), ("all", "")];

impl Selection {
    /// The link to the selection at `path`, with one more parameter.
    pub(super) fn link(&self, path: &str, more: (&str, &str)) -> Link {
        let own = [("q", self.query.as_str()), ("since", &self.since), ("until", &self.until)];
        let view = if path == "/" { self.view.parameters().to_vec() } else { Vec::new() };
        Link::new(path, &[&own[..], &view, &[more]].concat())
    }

    /// The page of entries with this selection.
    pub(super) fn here(&self) -> Link {
        self.link("/", ("", ""))
    }

    /// The page of the entry `id`, which can go back to this selection.
    pub(super) fn to_entry(&self, id: u64) -> Link {
        self.link(&format!("/entries/{id}"), ("", ""))
    }

    /// The same page with the row of the entry `id` open, or with none.
    pub(super) fn opened(&self, id: Option<u64>) -> Link {
        let cursor = ("cursor", self.cursor.as_str());
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        Link::new(&self.here().to_string(), &[cursor, ("open", &id)])
    }

    /// The same query with another range.
    pub(super) fn between(&self, since: &str, until: &str) -> Selection {
        Selection { since: since.to_owned(), until: until.to_owned(), ..self.clone() }
    }

    /// The same entries, shown in another way.
    pub(super) fn with_view(&self, view: View) -> Selection {
        Selection { view, ..self.clone() }
    }

    /// The selected entries that match `term` too.
    pub(super) fn with_term(&self, term: &str) -> Option<Selection> {
        let query = search::narrowed(&self.query, term, now().get())?;
        Some(Selection { query, ..self.clone() })
    }

    /// The selection without `term`, if the query has it.
    pub(super) fn without_term(&self, term: &str) -> Option<Selection> {
        let query = search::without(&self.query, term, now().get())?;
        Some(Selection { query, ..self.clone() })
    }

    /// A link to the same query in a range that is four times as wide as `range`, if `range` has an
    /// end.
    pub(super) fn wider(&self, path: &str, range: TimeRange, now: i64) -> Option<Link> {
        let until = range.until?;
        let Some(since) = range.since else {
            return Some(self.between("", "").link(path, ("", "")));
        };
        let more = until.saturating_sub(since).saturating_mul(3) / 2;
        let (since, until) = (since.saturating_sub(more), until.saturating_add(more));
        let text = |time| Millis::saturating(time).to_string();
        let until = if until < now { text(until) } else { String::new() };
        Some(self.between(&text(since), &until).link(path, ("", "")))
    }

    /// What the histogram can be coloured by.
    pub(super) fn colours(&self) -> Vec<Choice> {
        let colour = |name: &'static str| Choice {
            name,
            link: self.with_view(View { by: name.to_owned(), ..self.view.clone() }).here(),
            current: self.view.by == name || self.view.by.is_empty() && name == "verdict",
        };
        ["verdict", "kind", "status", "input"].into_iter().map(colour).collect()
    }

    /// The downloads of all that is selected.
    pub(super) fn exports(&self) -> [(&'static str, Link); 4] {
        let columns = self.view.export_columns();
        let export = |format| self.link("/api/v1/export", ("format", format));
        let csv = Link::new(&export("csv").to_string(), &[("columns", &columns)]);
        let evidence = self.link("/api/v1/evidence", ("", ""));
        [
            ("Raw lines", export("raw")),
            ("JSON lines", export("jsonl")),
            ("CSV", csv),
            ("Evidence", evidence),
        ]
    }

    /// The names of the columns, with commas.
    pub(super) fn column_names(&self) -> String {
        let columns = View { mode: Default::default(), ..self.view.clone() }.columns();
        columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(",")
    }

    /// The page with the default columns.
    pub(super) fn without_columns(&self) -> Link {
        self.with_view(View { columns: String::new(), ..self.view.clone() }).here()
    }

    /// The parameters of the page but for `name`, for a form that sets that one.
    pub(super) fn parameters_without(&self, name: &str) -> Vec<(&'static str, &str)> {
        let own = [("q", self.query.as_str()), ("since", &self.since), ("until", &self.until)];
        let all = own.into_iter().chain(self.view.parameters());
        all.filter(|(one, value)| *one != name && !value.is_empty()).collect()
    }

    /// The time ranges to choose from at `path`.
    pub(super) fn choices(&self, path: &str) -> Vec<Choice> {
        let choice = |(name, since): (&'static str, &str)| Choice {
            name,
            link: self.between(since, "").link(path, ("", "")),
            current: self.since == since && self.until.is_empty(),
        };
        RANGES.into_iter().map(choice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded() {
        let selection = Selection { query: "a:\"b&c\" é".into(), ..Selection::default() };
        assert_eq!(
            selection.between("6h", "").link("/", ("cursor", "x")).to_string(),
            "/?q=a%3A%22b%26c%22%20%C3%A9&since=6h&cursor=x"
        );
        assert_eq!(Selection::default().link("/", ("", "")).to_string(), "/");
    }

    #[test]
    fn a_range_with_an_end_is_widened_up_to_now() {
        let wider = |since, until, now| {
            let range = TimeRange { since, until };
            Selection::default().wider("/", range, now).map(|link| link.to_string())
        };
        let second = |n| format!("1970-01-01T00%3A00%3A{n:02}.000Z");
        assert_eq!(
            wider(Some(20_000), Some(22_000), 60_000),
            Some(format!("/?since={}&until={}", second(17), second(25)))
        );
        let to_now = Some(format!("/?since={}", second(17)));
        assert_eq!(wider(Some(20_000), Some(22_000), 24_000), to_now);
        assert_eq!(wider(Some(20_000), None, 60_000), None);
        assert_eq!(wider(None, Some(20_000), 60_000), Some("/".to_owned()));
    }

    #[test]
    fn a_selection_is_narrowed() {
        let selection = Selection { query: "a OR b".into(), ..Selection::default() };
        let narrowed = selection.with_term("src:\"1.2.3.4\"").unwrap();
        assert_eq!(narrowed.query, "(a OR b) src:\"1.2.3.4\"");
        assert!(Link::to_equal("severity", "High").is_none());
    }
}
