//! Entries: a page of them, and one.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;

use super::Json;
use crate::console::Console;
use crate::console::ask::{Ask, MAX_LIMIT};
use crate::console::problem::Problem;
use crate::entry::Record;

/// A page of entries, newest first.
#[derive(Serialize)]
pub struct Entries {
    entries: Vec<Record>,
    /// Where the next page begins; `null` if this is the last.
    next: Option<String>,
}

/// `GET /api/v1/entries?q=&since=&until=&limit=&cursor=`
pub async fn page(State(console): State<Arc<Console>>, ask: Ask) -> Result<Json<Entries>, Problem> {
    let (filter, range, cursor) = (ask.filter()?, ask.range()?, ask.cursor()?);
    let limit = ask.limit(50, MAX_LIMIT)?;
    let page = console.read(move |reader| reader.page(&filter, range, limit, cursor)).await?;
    Ok(Json(Entries { entries: page.records, next: page.next.map(|cursor| cursor.to_string()) }))
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
