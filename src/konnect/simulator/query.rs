//! The query of a list: page, filters, and the errors in them.
//!
//! A cursor is the number of an item, so it stays valid when items come and go. A cursor is opaque to
//! clients: one that is base64url JSON and names no place here gives an empty page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Uri;
use serde_json::{Map, Value, json};

use super::destinations::NameFilter;
use super::response::ErrorResponse;
use crate::konnect::api::page::{encoded, parameters};
use crate::konnect::api::{CursorPage, InvalidParameter, Time};

/// The parameters of a list.
#[derive(Debug)]
pub(super) struct ListQuery {
    path: String,
    parameters: Vec<(String, String)>,
    wrong: Vec<InvalidParameter>,
}

/// A requested page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) position: Position,
    /// The maximum number of items.
    pub(super) size: usize,
}

impl ListQuery {
    /// Parses the query of a URI. Empty parameters are ignored.
    pub(super) fn of(uri: &Uri) -> ListQuery {
        let query = uri.query().unwrap_or_default();
        let known: Vec<_> = parameters(query).collect();
        let mut wrong = Vec::new();
        if known.len() < query.split('&').filter(|pair| !pair.is_empty()).count() {
            // Ignoring a cursor would return the first page again.
            wrong.push(parameter("query", "invalid", "must be percent-encoded UTF-8"));
        }
        let parameters = known.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        ListQuery { path: uri.path().to_owned(), parameters, wrong }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// The requested page of `default` items, and `most` at most. More is an error if the maximum is
    /// documented.
    pub(super) fn page(&mut self, default: usize, most: usize, is_documented: bool) -> PageRequest {
        const SIZE: &str = "page[size]";
        let size = match self.value(SIZE).map(str::parse::<u64>) {
            None => default,
            Some(Ok(0)) => {
                let wrong = parameter(SIZE, "min", "must be at least 1");
                self.wrong.push(InvalidParameter { minimum: Some(1), ..wrong });
                default
            }
            Some(Ok(size)) if size > most as u64 && is_documented => {
                let wrong = parameter(SIZE, "max", &format!("must be at most {most}"));
                self.wrong.push(InvalidParameter { maximum: Some(most as i64), ..wrong });
                default
            }
            Some(Ok(size)) => usize::try_from(size).unwrap_or(most).min(most),
            Some(Err(_)) => {
                self.wrong.push(parameter(SIZE, "is_integer", "must be an integer"));
                default
            }
        };
        let mut position = Position::Start;
        for (name, of) in [
            ("page[before]", Position::Before as fn(u64) -> Position),
            ("page[after]", Position::After),
        ] {
            match self.value(name).map(Cursor::read) {
                None => {}
                Some(Some(Cursor::Number(number))) => position = of(number),
                Some(Some(Cursor::Elsewhere)) => position = Position::Nowhere,
                Some(None) => {
                    position = Position::Nowhere;
                    self.wrong.push(parameter(name, "invalid", "is no cursor"));
                }
            }
        }
        PageRequest { position, size }
    }

    /// A whole number that is at least 1.
    pub(super) fn whole_number(&mut self, name: &str) -> Option<usize> {
        let number = self.value(name)?.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.wrong.push(parameter(name, "is_integer", "must be an integer of at least 1"));
        }
        number
    }

    /// The filter for names: `filter[name]`, `filter[name][eq]`, `filter[name][contains]`.
    pub(super) fn names(&self) -> NameFilter {
        let value = |name| self.value(name).map(str::to_owned);
        NameFilter {
            equals: value("filter[name][eq]").or_else(|| value("filter[name]")),
            contains: value("filter[name][contains]"),
        }
    }

    pub(super) fn time(&mut self, name: &str) -> Option<Time> {
        let time = self.value(name)?.parse();
        if time.is_err() {
            self.wrong.push(parameter(name, "is_date_time", "must be a date-time in RFC 3339"));
        }
        time.ok()
    }

    /// One of `choices`.
    pub(super) fn choice(&mut self, name: &str, choices: &[&str]) -> Option<String> {
        let value = self.value(name)?.to_owned();
        if choices.contains(&value.as_str()) {
            return Some(value);
        }
        let wrong = parameter(name, "enum", &format!("must be one of {}", choices.join(", ")));
        let choices = Some(choices.iter().map(|choice| json!(choice)).collect());
        self.wrong.push(InvalidParameter { choices, ..wrong });
        None
    }

    /// Sets a parameter in the URIs of the other pages, so that they belong to the same list.
    pub(super) fn fix(&mut self, name: &str, value: &str) {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    /// Fails with all errors, if there are any.
    pub(super) fn check(&self) -> Result<(), ErrorResponse> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(ErrorResponse::Invalid {
            detail: "Invalid query parameters",
            parameters: self.wrong.clone(),
        })
    }

    /// The URIs of the next and previous page.
    pub(super) fn beside<T>(&self, request: PageRequest, page: &Page<T>) -> CursorPage {
        let uri = |name: &str, of: u64| {
            let kept = self.parameters.iter().filter(|(name, _)| !name.starts_with("page["));
            let kept = kept.map(|(name, value)| (name.as_str(), value.clone()));
            let own = [(name, cursor(of)), ("page[size]", request.size.to_string())];
            let query: Vec<_> = own
                .into_iter()
                .chain(kept)
                .map(|(name, value)| format!("{}={}", encoded(name), encoded(&value)))
                .collect();
            format!("{}?{}", self.path, query.join("&"))
        };
        CursorPage {
            next: page.next.map(|number| uri("page[after]", number)),
            previous: page.previous.map(|number| uri("page[before]", number)),
            size: request.size as u64,
            ..CursorPage::default()
        }
    }
}

fn parameter(field: &str, rule: &str, reason: &str) -> InvalidParameter {
    InvalidParameter {
        field: field.to_owned(),
        reason: reason.to_owned(),
        rule: Some(rule.to_owned()),
        source: Some("query".to_owned()),
        ..InvalidParameter::default()
    }
}

/// The start or the end of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At the start of the list.
    Start,
    /// After the item with this number.
    After(u64),
    /// Before the item with this number.
    Before(u64),
    /// Outside the list.
    Nowhere,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// The number of the last item, if more follow.
    pub(super) next: Option<u64>,
    /// The number of the first item, if there are more before it.
    pub(super) previous: Option<u64>,
}

/// A page of at most `size` items. `after` returns the items that come after the one with this number
/// in the list, or all of them, and `before` those that come before it, nearest first.
pub(super) fn page_of<T, A, B>(
    position: Position,
    size: usize,
    after: impl Fn(Option<u64>) -> A,
    before: impl Fn(u64) -> B,
) -> Page<T>
where
    A: Iterator<Item = (u64, T)>,
    B: Iterator<Item = (u64, T)>,
{
    let page: Vec<(u64, T)> = match position {
        Position::Start => after(None).take(size).collect(),
        Position::After(number) => after(Some(number)).take(size).collect(),
        Position::Before(number) => {
            let mut page: Vec<_> = before(number).take(size).collect();
            page.reverse();
            page
        }
        Position::Nowhere => Vec::new(),
    };
    let last = page.last().map(|(number, _)| *number);
    let first = page.first().map(|(number, _)| *number);
    Page {
        next: last.filter(|number| after(Some(*number)).next().is_some()),
        previous: first.filter(|number| before(*number).next().is_some()),
        items: page.into_iter().map(|(_, item)| item).collect(),
    }
}

/// An opaque cursor.
pub(super) fn cursor(number: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{{\"after\":{number}}}"))
}

/// What a cursor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// The number of an item.
    Number(u64),
    /// A place that is not in the list.
    Elsewhere,
}

impl Cursor {
    /// Reads a cursor; `None` if it is not a JSON object in base64url.
    fn read(text: &str) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        let object: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let number = object.get("after").and_then(Value::as_u64);
        Some(number.filter(|_| object.len() == 1).map_or(Cursor::Elsewhere, Cursor::Number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> ListQuery {
        ListQuery::of(&format!("/v3/audit-logs?{text}").parse().unwrap())
    }

    fn check(text: &str, size: usize, position: Position, wrong: Option<&str>) {
        let mut query = query(text);
        let page = query.page(20, 1000, true);
        let rule = query.wrong.first().and_then(|one| one.rule.as_deref());
        assert_eq!((page.size, page.position, rule), (size, position, wrong), "{text}");
        assert_eq!(query.check().is_err(), wrong.is_some());
    }

    #[test]
    fn pages() {
        check("", 20, Position::Start, None);
        check("page[size]=", 20, Position::Start, None);
        check("page%5Bsize%5D=1000", 1000, Position::Start, None);
        check("page[size]=1001", 20, Position::Start, Some("max"));
        check("page[size]=0", 20, Position::Start, Some("min"));
        check("page[size]=-1", 20, Position::Start, Some("is_integer"));
        check(&format!("page[after]={}", cursor(7)), 20, Position::After(7), None);
        check(&format!("page[before]={}", cursor(7)), 20, Position::Before(7), None);
        check("page[after]=x", 20, Position::Nowhere, Some("invalid"));
        let example = "ewogICJpZCI6ICJoZWxsbyB3b3JsZCIKfQ";
        check(&format!("page[after]={example}"), 20, Position::Nowhere, None);
        for encoded in ["page[after]=%ff", "page[after]=%G0", "%ff=1", "page[after]=%"] {
            check(encoded, 20, Position::Start, Some("invalid"));
        }
        check("&&", 20, Position::Start, None);
    }

    #[test]
    fn the_pages_beside_have_the_same_filters() {
        let mut query = query("filter[type]=authentication&page[size]=3&page[after]=x");
        query.fix("filter[ts][lte]", "2023-03-21T09:29:14Z");
        let request = PageRequest { position: Position::Start, size: 3 };
        let page = Page { items: vec![()], next: Some(9), previous: None };
        let beside = query.beside(request, &page);
        assert_eq!(beside.after(), Some(cursor(9)));
        let next = beside.next.unwrap();
        let again = ListQuery::of(&next.parse().unwrap());
        assert_eq!(again.value("filter[type]"), Some("authentication"));
        assert_eq!(again.value("filter[ts][lte]"), Some("2023-03-21T09:29:14Z"));
        assert_eq!(again.value("page[size]"), Some("3"));
        assert_eq!(beside.previous, None);
    }

    #[test]
    fn filters() {
        assert_eq!(query("filter[name]=a").names().equals.as_deref(), Some("a"));
        assert_eq!(query("filter[name][eq]=a").names().equals.as_deref(), Some("a"));
        assert_eq!(query("filter[name][contains]=a").names().contains.as_deref(), Some("a"));
        let mut wrong = query("filter[type]=access&filter[ts][gte]=yesterday");
        assert_eq!(wrong.choice("filter[type]", &["authentication"]), None);
        assert_eq!(wrong.time("filter[ts][gte]"), None);
        assert_eq!(wrong.wrong.len(), 2);
    }

    fn check_page(position: Position, expected: (&[u64], Option<u64>, Option<u64>)) {
        // Numbers may be missing.
        const LIST: [u64; 6] = [1, 2, 5, 6, 8, 9];
        let after = |number: Option<u64>| {
            let follows = move |one: &u64| number.is_none_or(|number| *one > number);
            LIST.into_iter().filter(follows).map(|one| (one, one))
        };
        let before =
            |number| LIST.into_iter().rev().filter(move |one| *one < number).map(|one| (one, one));
        let (items, next, previous) = expected;
        let expected = Page { items: items.to_vec(), next, previous };
        assert_eq!(page_of(position, 2, after, before), expected, "{position:?}");
    }

    #[test]
    fn pages_and_those_beside_them() {
        check_page(Position::Start, (&[1, 2], Some(2), None));
        check_page(Position::After(2), (&[5, 6], Some(6), Some(5)));
        check_page(Position::After(3), (&[5, 6], Some(6), Some(5)));
        check_page(Position::After(6), (&[8, 9], None, Some(8)));
        check_page(Position::After(9), (&[], None, None));
        check_page(Position::Before(8), (&[5, 6], Some(6), Some(5)));
        check_page(Position::Before(5), (&[1, 2], Some(2), None));
        check_page(Position::Before(0), (&[], None, None));
        check_page(Position::Nowhere, (&[], None, None));
    }

    #[test]
    fn cursors_are_read_again() {
        for one in [0, 7, u64::MAX] {
            assert_eq!(Cursor::read(&cursor(one)), Some(Cursor::Number(one)));
        }
        // The example in the documents has another member.
        for elsewhere in ["ewogICJpZCI6ICJoZWxsbyB3b3JsZCIKfQ", "e30"] {
            assert_eq!(Cursor::read(elsewhere), Some(Cursor::Elsewhere), "{elsewhere}");
        }
        for bad in ["", "x", "7", "Nw", "W10"] {
            assert_eq!(Cursor::read(bad), None, "{bad}");
        }
    }
}
