//! How many entries there are: over time, and by the values of a field.

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
use crate::store::{Counts, Wanted};

/// Entries over time.
#[derive(Serialize)]
pub struct HistogramAnswer {
    /// How many entries were counted.
    entries: u64,
    /// Whether that is all that match; else they are the newest 50,000.
    complete: bool,
    /// How wide a bucket is, in milliseconds.
    width_ms: i64,
    /// Over the whole range, oldest first, those without an entry too.
    buckets: Vec<Bucket>,
}

#[derive(Serialize)]
struct Bucket {
    start: Millis,
    entries: u64,
    verdicts: BTreeMap<String, u64>,
}

/// Entries by the values of a field.
#[derive(Serialize)]
pub struct FacetsAnswer {
    field: String,
    entries: u64,
    complete: bool,
    /// The commonest first.
    values: Vec<ValueCount>,
    /// Entries with a value that is not listed.
    other: u64,
    /// Entries without one.
    missing: u64,
}

#[derive(Serialize)]
struct ValueCount {
    value: String,
    entries: u64,
}

/// `GET /api/v1/histogram?q=&since=&until=&buckets=`
pub async fn histogram(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<HistogramAnswer>, Problem> {
    let (filter, range, buckets) = (params.filter()?, params.range()?, params.buckets(60)?);
    let counts = console
        .read(move |reader| {
            let now = now().get();
            reader.counts(&Wanted { filter: &filter, range, now, buckets, fields: &[], values: 0 })
        })
        .await?;
    let Counts { entries, complete, width, buckets, .. } = counts;
    let bucket = |(start, verdicts): (i64, BTreeMap<String, u64>)| Bucket {
        start: Millis::saturating(start),
        entries: verdicts.values().sum(),
        verdicts,
    };
    let buckets = buckets.into_iter().map(bucket).collect();
    Ok(Json(HistogramAnswer { entries, complete, width_ms: width, buckets }))
}

/// `GET /api/v1/facets?q=&since=&until=&field=&limit=`
pub async fn facets(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<FacetsAnswer>, Problem> {
    let (filter, range, field) = (params.filter()?, params.range()?, params.field()?);
    let values = params.limit(10, MAX_LIMIT)?;
    let counts = console
        .read(move |reader| {
            let (fields, now) = (&[field], now().get());
            reader.counts(&Wanted { filter: &filter, range, now, buckets: 0, fields, values })
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
