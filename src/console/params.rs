//! The query parameters of requests.

use axum::extract::{FromRequestParts, Query};
use hyper::http::request::Parts;
use serde::Deserialize;

use super::problem::Problem;
use crate::clock::now;
use crate::search::{self, Field, Filter};
use crate::store::{PageCursor, Stack, TimeRange};

/// The maximum number of entries on a page.
pub(super) const MAX_LIMIT: usize = 1000;

/// The maximum number of buckets in a histogram.
pub(super) const MAX_BUCKETS: usize = 500;

/// The parameters of all requests. Each request reads those that it has. An unknown name is
/// refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The query. Without it, all entries match.
    pub(super) q: Option<String>,
    /// The start of the range: RFC 3339, a date, or how long ago.
    pub(super) since: Option<String>,
    /// The end of the range, which is not included.
    pub(super) until: Option<String>,
    /// The maximum number of results.
    pub(super) limit: Option<String>,
    /// The cursor that a page gave as its next.
    pub(super) cursor: Option<String>,
    /// The field to count by.
    pub(super) field: Option<String>,
    /// The beginning of the names or values to list.
    pub(super) prefix: Option<String>,
    /// The number of buckets.
    pub(super) buckets: Option<String>,
    /// The columns of the table or of an export, with commas.
    pub(super) columns: Option<String>,
    /// The mode of the table.
    pub(super) view: Option<String>,
    /// What the histogram is coloured by.
    pub(super) by: Option<String>,
    /// The fields that are counted, with commas.
    pub(super) facets: Option<String>,
    /// The field of which more values are shown.
    pub(super) more: Option<String>,
    /// What became of the requests in the list.
    pub(super) state: Option<String>,
    /// The input of the requests in the list.
    pub(super) input: Option<String>,
    /// Whether the decoded body is wanted.
    pub(super) decoded: Option<String>,
    /// The id of the entry whose row is open.
    pub(super) open: Option<String>,
    /// The format of an export.
    pub(super) format: Option<String>,
}

impl Params {
    pub(super) fn filter(&self) -> Result<Filter, Problem> {
        let query = self.q.as_deref().unwrap_or_default();
        search::parse(query, now().get()).map_err(|error| Problem::query(&error))
    }

    pub(super) fn range(&self) -> Result<TimeRange, Problem> {
        let said = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
        let (since, until) = (said(&self.since), said(&self.until));
        search::time::range(since.as_deref(), until.as_deref(), now().get())
            .map(|(since, until)| TimeRange { since, until })
            .map_err(|(name, error)| Problem::parameter(name, error))
    }

    /// The limit, or `default` without the parameter.
    pub(super) fn limit(&self, default: usize, max: usize) -> Result<usize, Problem> {
        number("limit", &self.limit, default, max)
    }

    pub(super) fn buckets(&self, default: usize) -> Result<usize, Problem> {
        number("buckets", &self.buckets, default, MAX_BUCKETS)
    }

    /// What the counts of a bucket are split by, or the verdict without the parameter.
    pub(super) fn by(&self) -> Result<Stack, Problem> {
        let Some(by) = self.by.as_deref().filter(|by| !by.is_empty()) else {
            return Ok(Stack::default());
        };
        let found = Stack::ALL.into_iter().find(|stack| stack.field().name() == by);
        found.ok_or_else(|| {
            let by: String = by.chars().take(40).collect();
            let expected = "expected verdict, kind, status or input";
            Problem::parameter("by", format!("found {by:?}, {expected}"))
        })
    }

    pub(super) fn cursor(&self) -> Result<Option<PageCursor>, Problem> {
        let cursor = self.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let parsed = cursor.map(str::parse).transpose();
        parsed.map_err(|error| Problem::parameter("cursor", error))
    }

    pub(super) fn field(&self) -> Result<Field, Problem> {
        match self.field.as_deref() {
            None | Some("") => {
                Err(Problem::parameter("field", "it is missing, expected a field's name"))
            }
            Some(name) => Ok(Field::named(name)),
        }
    }
}

fn number(
    name: &'static str,
    text: &Option<String>,
    default: usize,
    max: usize,
) -> Result<usize, Problem> {
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(default) };
    text.parse().ok().filter(|number| (1..=max).contains(number)).ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        Problem::parameter(name, format!("found {text:?}, expected a number from 1 to {max}"))
    })
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        query.map(|Query(params)| params).map_err(|error| Problem::bad_request(error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Problem> {
        let uri = format!("/x?{query}").parse().unwrap();
        Query::try_from_uri(&uri)
            .map(|Query(params)| params)
            .map_err(|e| Problem::bad_request(e.body_text()))
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (query, expected) in [
            ("limit=0", "limit: found \"0\", expected a number from 1 to 1000"),
            ("limit=1001", "limit: found \"1001\""),
            ("limit=x", "limit: found \"x\""),
            ("since=yesterday", "since: found \"yesterday\", expected a time"),
            ("since=1h&until=2h", "until: found \"2h\", expected a time after that of since"),
            ("by=Kind", "by: found \"Kind\", expected verdict, kind, status or input"),
            ("cursor=x", "cursor: the cursor is not one that a page gave as its next"),
            ("q=status:abc", "query, character 8: found \"abc\", expected a whole number"),
        ] {
            let params = params(query).unwrap();
            let problem = [
                params.limit(50, MAX_LIMIT).err(),
                params.range().err(),
                params.by().err(),
                params.cursor().err(),
                params.filter().err(),
            ];
            let problem = problem.into_iter().flatten().next().unwrap();
            assert_eq!(problem.status, 400);
            assert!(problem.detail.contains(expected), "{}", problem.detail);
        }
        assert!(params("limits=1").unwrap_err().detail.contains("limits"));
        assert!(params("").unwrap().field().is_err());
    }

    #[test]
    fn nothing_said_is_everything() {
        let params = params("q=&since=&until=&cursor=&limit=&by=").unwrap();
        assert_eq!(params.filter().unwrap(), Filter::All);
        assert_eq!(params.range().unwrap(), TimeRange::default());
        assert_eq!(params.cursor().unwrap(), None);
        assert_eq!(params.by().unwrap(), Stack::Verdict);
        assert_eq!(params.limit(50, MAX_LIMIT).unwrap(), 50);
    }
}
