//! How entries came, and what did not: deliveries, refused requests, quarantine; and the whole.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Json;
use crate::console::Console;
use crate::console::ask::{Ask, MAX_LIMIT};
use crate::console::problem::Problem;
use crate::store::{Delivered, Quarantined, Refused, Stats};

/// What came and what did not, newest first.
#[derive(Serialize)]
pub struct Deliveries {
    deliveries: Vec<Delivered>,
    refused: Vec<Refused>,
    quarantine: Vec<Quarantined>,
}

/// `GET /api/v1/deliveries?limit=`
pub async fn deliveries(
    State(console): State<Arc<Console>>,
    ask: Ask,
) -> Result<Json<Deliveries>, Problem> {
    let limit = ask.limit(50, MAX_LIMIT)?;
    let Stats { deliveries, refused, mut quarantine, .. } =
        console.read(move |reader| reader.stats(limit)).await?;
    quarantine.reverse();
    Ok(Json(Deliveries { deliveries, refused, quarantine }))
}

/// `GET /api/v1/stats`
pub async fn stats(State(console): State<Arc<Console>>) -> Result<Json<Stats>, Problem> {
    console.read(|reader| reader.stats(10)).await.map(Json)
}
