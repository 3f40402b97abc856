//! Counts of entries: over time, and by the values of a field.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Json;
use crate::clock::now;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::entry::Millis;
use crate::store::counts::NEWEST;
use crate::store::{CountRequest, Counts, Stack};

/// The maximum number of matches that are counted one by one if values are only asked for by their
/// beginning. They are asked for while somebody types.
const NEWEST_TO_COMPLETE: usize = 10_000;

#[derive(Serialize)]
pub(super) struct HistogramAnswer {
    /// The number of entries that were counted.
    entries: u64,
    /// Whether all matches were counted. If not, only the newest 50,000 were.
    complete: bool,
    /// The width of a bucket in milliseconds.
    width_ms: i64,
    /// The buckets of the whole range, oldest first. Empty buckets are included.
    buckets: Vec<Bucket>,
}

#[derive(Serialize)]
struct Bucket {
    start: Millis,
    entries: u64,
    #[serde(flatten)]
    stack: Stacked,
    not_valid: u64,
}

/// The counts of a bucket: a member with the name of what they are split by.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Stacked {
    Verdicts(BTreeMap<String, u64>),
    Counts(BTreeMap<String, u64>),
}

#[derive(Serialize)]
pub(super) struct FacetsAnswer {
    field: String,
    entries: u64,
    complete: bool,
    /// The most common values first.
    values: Vec<ValueCount>,
    /// Entries with a value that is not listed.
    other: u64,
    /// Entries without the field.
    missing: u64,
}

#[derive(Serialize)]
struct ValueCount {
    value: String,
    entries: u64,
}

/// `GET /api/v1/histogram?q=&since=&until=&buckets=&by=`
pub(super) async fn histogram(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<HistogramAnswer>, Problem> {
    let (filter, range, by) = (params.filter()?, params.range()?, params.by()?);
    let buckets = params.buckets(60)?;
    let counts = console
        .read(move |reader| {
            let wanted = CountRequest::of(&filter, range, now().get());
            reader.counts(&CountRequest { buckets, by, ..wanted })
        })
        .await?;
    let Counts { entries, complete, width, buckets, not_valid, .. } = counts;
    let bucket = |((start, words), not_valid): ((i64, BTreeMap<String, u64>), u64)| Bucket {
        start: Millis::saturating(start),
        entries: words.values().sum(),
        stack: match by {
            Stack::Verdict => Stacked::Verdicts(words),
            Stack::Kind | Stack::Status | Stack::Input => Stacked::Counts(words),
        },
        not_valid,
    };
    let buckets = buckets.into_iter().zip(not_valid).map(bucket).collect();
    Ok(Json(HistogramAnswer { entries, complete, width_ms: width, buckets }))
}

/// `GET /api/v1/facets?q=&since=&until=&field=&prefix=&limit=`
pub(super) async fn facets(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<FacetsAnswer>, Problem> {
    let (filter, range, field) = (params.filter()?, params.range()?, params.field()?);
    let values = params.limit(10, MAX_LIMIT)?;
    let counts = console
        .read(move |reader| {
            let (fields, prefix) = (&[field], params.prefix.as_deref());
            let newest = if prefix.is_some() { NEWEST_TO_COMPLETE } else { NEWEST };
            let prefix = prefix.unwrap_or_default();
            let wanted = CountRequest::of(&filter, range, now().get());
            reader.counts(&CountRequest { fields, values, prefix, newest, ..wanted })
        })
        .await?;
    let (entries, complete) = (counts.entries, counts.complete);
    let one = counts.fields.into_iter().next();
    let one = one.ok_or_else(|| Problem::not_found("nothing was counted"))?;
    let facet = |(value, entries)| ValueCount { value, entries };
    Ok(Json(FacetsAnswer {
        field: one.field.name().to_owned(),
        entries,
        complete,
        values: one.values.into_iter().map(facet).collect(),
        other: one.other,
        missing: one.missing,
    }))
}
