//! EntriesAnswer: a page of them, and one.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;

use super::Json;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::entry::Record;

/// A page of entries, newest first.
#[derive(Serialize)]
pub struct EntriesAnswer {
    entries: Vec<Record>,
    /// Where the next page begins; `null` if this is the last.
    next: Option<String>,
}

/// `GET /api/v1/entries?q=&since=&until=&limit=&cursor=`
pub async fn page(
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
pub async fn one(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Json<Record>, Problem> {
    let missing = || Problem::not_found("there is no entry with this id");
    let number = id.parse().map_err(|_| missing())?;
    let found = console.read(move |reader| reader.entry(number)).await?;
    found.map(Json).ok_or_else(missing)
}
