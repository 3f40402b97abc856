//! The JSON API under `/api/v1/`. `docs/openapi.json` describes it. [`stream`] has the live
//! entries.

mod counts;
mod export;
mod fields;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::params::{MAX_LIMIT, Params};
use super::problem::Problem;
use super::{Console, evidence, raw};
use crate::clock::now;
use crate::entry::record::Origin;
use crate::entry::{Record, VerdictName, lines};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::random;
use crate::signature::{FailureBudget, KeySet, Seed};
use crate::store::{BadCursor, Quarantined, Reader, Refused, Stats, StoreError, StoredDelivery};

/// `GET /api/openapi.json`: the description of the API in OpenAPI 3.1.
pub(super) async fn description() -> Response {
    let mut answer = include_str!("../../../docs/openapi.json").into_response();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

pub(super) fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/entries", get(entries))
        .route("/entries/{id}", get(entry))
        .route("/entries/{id}/raw", get(raw::download))
        .route("/entries/{id}/evidence", get(evidence::of_entry))
        .route("/evidence", get(evidence::of_query))
        .route("/histogram", get(counts::histogram))
        .route("/facets", get(counts::facets))
        .route("/export", get(export::export))
        .route("/fields", get(fields::fields))
        .route("/stream", get(stream::stream))
        .route("/deliveries", get(deliveries))
        .route("/stats", get(stats))
        .route("/verify", post(verify))
}

/// A response in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(text) => {
                let mut answer = (text + "\n").into_response();
                let json = HeaderValue::from_static("application/json");
                answer.headers_mut().insert(CONTENT_TYPE, json);
                answer
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}

/// A page of entries, newest first.
#[derive(Serialize)]
struct EntriesAnswer {
    entries: Vec<Record>,
    /// The cursor of the next page. `null` on the last page.
    next: Option<String>,
}

/// `GET /api/v1/entries?q=&since=&until=&limit=&cursor=`
async fn entries(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<EntriesAnswer>, Problem> {
    let (filter, range, cursor) = (params.filter()?, params.range()?, params.cursor()?);
    let limit = params.limit(50, MAX_LIMIT)?;
    let page = console.read(move |reader| reader.page(&filter, range, limit, cursor)).await?;
    Ok(Json(EntriesAnswer {
        entries: page.records,
        next: page.next.map(|cursor| cursor.to_string()),
    }))
}

/// `GET /api/v1/entries/{id}`
async fn entry(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Json<Record>, Problem> {
    let missing = || Problem::not_found("there is no entry with this id");
    let number = id.parse().map_err(|_| missing())?;
    let found = console.read(move |reader| reader.entry(number)).await?;
    found.map(Json).ok_or_else(missing)
}

/// Deliveries, refused requests and quarantined bodies, newest first.
#[derive(Serialize)]
struct DeliveriesAnswer {
    deliveries: Vec<StoredDelivery>,
    /// The cursor of the next page of deliveries. `null` on the last page.
    next: Option<String>,
    /// Only on the first page, like the quarantine.
    refused: Vec<Refused>,
    quarantine: Vec<Quarantined>,
}

/// `GET /api/v1/deliveries?limit=&cursor=`
async fn deliveries(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<DeliveriesAnswer>, Problem> {
    let (limit, before) = (params.limit(50, MAX_LIMIT)?, before(&params)?);
    console.read(move |reader| delivery_page(reader, before, limit)).await.map(Json)
}

/// The cursor: deliveries with a lower number than this are on the page.
fn before(params: &Params) -> Result<Option<u64>, Problem> {
    let Some(cursor) = params.cursor.as_deref().filter(|cursor| !cursor.is_empty()) else {
        return Ok(None);
    };
    let number = cursor.parse().map_err(|_| Problem::parameter("cursor", BadCursor))?;
    Ok(Some(number))
}

fn delivery_page(
    reader: &Reader,
    before: Option<u64>,
    limit: usize,
) -> Result<DeliveriesAnswer, StoreError> {
    // One delivery more than asked for shows whether there is a next page.
    let mut deliveries = reader.deliveries(before, limit + 1)?;
    let more = deliveries.len() > limit;
    deliveries.truncate(limit);
    let next = deliveries.last().filter(|_| more).map(|last| last.id.to_string());
    let (mut refused, mut quarantine) = (Vec::new(), Vec::new());
    if before.is_none() {
        refused = reader.refused(limit)?;
        quarantine = reader.quarantine()?;
        quarantine.reverse();
        quarantine.truncate(limit);
    }
    Ok(DeliveriesAnswer { deliveries, next, refused, quarantine })
}

/// `GET /api/v1/stats`
async fn stats(State(console): State<Arc<Console>>) -> Result<Json<Stats>, Problem> {
    console.read(|reader| reader.stats(10)).await.map(Json)
}

/// The maximum number of lines per request: about half a second of one core.
const MAX_LINES: usize = 5000;

#[derive(Serialize)]
struct VerifyAnswer {
    verdicts: BTreeMap<&'static str, u64>,
    entries: Vec<Record>,
}

/// `POST /api/v1/verify`
async fn verify(
    State(console): State<Arc<Console>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<VerifyAnswer>, Problem> {
    let body = body.map_err(|error| Problem::too_large(error.body_text()))?;
    let keys = console.ring.all();
    let records = console.read(move |_| Ok(records(&body, &keys, &random::seed()?))).await?;
    let entries = records?;
    let mut verdicts: BTreeMap<_, _> =
        VerdictName::ALL.iter().map(|name| (name.as_str(), 0)).collect();
    for entry in &entries {
        if let Some(count) = verdicts.get_mut(entry.verdict.as_str()) {
            *count += 1;
        }
    }
    Ok(Json(VerifyAnswer { verdicts, entries }))
}

/// The lines of `text` as records.
///
/// # Errors
/// When there are more than [`MAX_LINES`] lines.
fn records(text: &Bytes, keys: &KeySet, seed: &Seed) -> Result<Vec<Record>, Problem> {
    let now = now();
    let ranges: Vec<_> = lines(text).take(MAX_LINES + 1).collect();
    if ranges.len() > MAX_LINES {
        return Err(Problem::too_large(format!("more than {MAX_LINES} lines")));
    }
    let lines = ranges.iter().map(|range| &text[range.clone()]);
    let checked = CheckedLine::all(lines, keys, usize::MAX, &FailureBudget::unlimited(), seed);
    let records = checked.into_iter().zip(ranges).enumerate().map(|(number, (checked, range))| {
        let entry = checked.read(text.slice(range), &ExpectedIds::default(), now);
        let (time, source) = (entry.own_time(now), format!("line:{}", number + 1));
        entry.into_record(Origin::File { source }, time)
    });
    Ok(records.collect())
}
