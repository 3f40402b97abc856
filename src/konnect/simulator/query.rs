//! The query of a list: the page, the filters, and what is wrong with them.

use hyper::Uri;
use serde_json::json;

use super::destinations::NameFilter;
use super::response::ApiError;
use super::slice::{Position, Slice, cursor, number};
use crate::konnect::api::page::{encoded, parameters};
use crate::konnect::api::{CursorPage, InvalidParameter, Time};

/// The parameters of a list.
#[derive(Debug)]
pub(super) struct Query {
    path: String,
    parameters: Vec<(String, String)>,
    wrong: Vec<InvalidParameter>,
}

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageOf {
    /// Where it is.
    pub(super) position: Position,
    /// How many items it has at most.
    pub(super) size: usize,
}

impl Query {
    /// Reads the query of a URI. An empty parameter is as good as none.
    pub(super) fn of(uri: &Uri) -> Query {
        let query = uri.query().unwrap_or_default();
        let known: Vec<_> = parameters(query).collect();
        let mut wrong = Vec::new();
        if known.len() < query.split('&').filter(|pair| !pair.is_empty()).count() {
            // A cursor that is left out would give the first page again.
            wrong.push(parameter("query", "invalid", "must be percent-encoded UTF-8"));
        }
        let parameters = known.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Query { path: uri.path().to_owned(), parameters, wrong }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| value.as_str())
    }

    /// The page that is asked for, of `default` items, and of `most` at most. More than that is
    /// wrong where the documents have a maximum.
    pub(super) fn page(&mut self, default: usize, most: usize, is_documented: bool) -> PageOf {
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
            match self.value(name).map(number) {
                None => {}
                Some(Some(number)) => position = of(number),
                Some(None) => self.wrong.push(parameter(name, "invalid", "is no cursor")),
            }
        }
        PageOf { position, size }
    }

    /// The filter for names: `filter[name]`, `filter[name][eq]`, `filter[name][contains]`.
    pub(super) fn names(&self) -> NameFilter {
        let value = |name| self.value(name).map(str::to_owned);
        NameFilter {
            equals: value("filter[name][eq]").or_else(|| value("filter[name]")),
            contains: value("filter[name][contains]"),
        }
    }

    /// An instant.
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

    /// Sets a parameter for the pages beside this one, so that they are of the same list.
    pub(super) fn fix(&mut self, name: &str, value: &str) {
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    /// Nothing was wrong, or all that was.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid {
            detail: "Invalid query parameters",
            parameters: self.wrong.clone(),
        })
    }

    /// Where the pages beside a page are.
    pub(super) fn beside<T>(&self, page: PageOf, slice: &Slice<T>) -> CursorPage {
        let uri = |name: &str, of: u64| {
            let kept = self.parameters.iter().filter(|(name, _)| !name.starts_with("page["));
            let kept = kept.map(|(name, value)| (name.as_str(), value.clone()));
            let own = [(name, cursor(of)), ("page[size]", page.size.to_string())];
            let query: Vec<_> = own
                .into_iter()
                .chain(kept)
                .map(|(name, value)| format!("{}={}", encoded(name), encoded(&value)))
                .collect();
            format!("{}?{}", self.path, query.join("&"))
        };
        CursorPage {
            next: slice.next.map(|number| uri("page[after]", number)),
            previous: slice.previous.map(|number| uri("page[before]", number)),
            size: page.size as u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/v3/audit-logs?{text}").parse().unwrap())
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
        check("page[after]=x", 20, Position::Start, Some("invalid"));
        for encoded in ["page[after]=%ff", "page[after]=%G0", "%ff=1", "page[after]=%"] {
            check(encoded, 20, Position::Start, Some("invalid"));
        }
        check("&&", 20, Position::Start, None);
    }

    #[test]
    fn the_pages_beside_have_the_same_filters() {
        let mut query = query("filter[type]=authentication&page[size]=3&page[after]=x");
        query.fix("filter[ts][lte]", "2023-03-21T09:29:14Z");
        let page = PageOf { position: Position::Start, size: 3 };
        let slice = Slice { items: vec![()], next: Some(9), previous: None };
        let beside = query.beside(page, &slice);
        assert_eq!(beside.after(), Some(cursor(9)));
        let next = beside.next.unwrap();
        let again = Query::of(&next.parse().unwrap());
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
}
