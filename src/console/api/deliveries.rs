//! How entries came, and what did not: deliveries, refused requests, quarantine; and the whole.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Json;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::store::{BadCursor, Delivered, Quarantined, Reader, Refused, Stats, StoreError};

/// What came and what did not, newest first.
#[derive(Serialize)]
pub struct DeliveriesAnswer {
    deliveries: Vec<Delivered>,
    /// Where the next page of deliveries begins; `null` if this is the last.
    next: Option<String>,
    /// On the first page alone, as is the quarantine.
    refused: Vec<Refused>,
    quarantine: Vec<Quarantined>,
}

/// `GET /api/v1/deliveries?limit=&cursor=`
pub async fn deliveries(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<DeliveriesAnswer>, Problem> {
    let (limit, before) = (params.limit(50, MAX_LIMIT)?, before(&params)?);
    console.read(move |reader| page(reader, before, limit)).await.map(Json)
}

/// The number of the delivery before which the page begins.
fn before(params: &Params) -> Result<Option<u64>, Problem> {
    let Some(cursor) = params.cursor.as_deref().filter(|cursor| !cursor.is_empty()) else {
        return Ok(None);
    };
    let number = cursor.parse().map_err(|_| Problem::parameter("cursor", BadCursor))?;
    Ok(Some(number))
}

fn page(
    reader: &Reader,
    before: Option<u64>,
    limit: usize,
) -> Result<DeliveriesAnswer, StoreError> {
    // One more shows whether there is a next page.
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
pub async fn stats(State(console): State<Arc<Console>>) -> Result<Json<Stats>, Problem> {
    console.read(|reader| reader.stats(10)).await.map(Json)
}
