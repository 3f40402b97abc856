//! The names of the fields that a query can use.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::Json;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::search::{self, Field};

#[derive(Serialize)]
pub(super) struct FieldsAnswer {
    /// The defined fields, then those of the senders by name.
    fields: Vec<NamedField>,
}

#[derive(Serialize)]
struct NamedField {
    name: String,
    #[serde(rename = "type")]
    holds: &'static str,
}

/// `GET /api/v1/fields?prefix=&limit=`
pub(super) async fn fields(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Json<FieldsAnswer>, Problem> {
    let limit = params.limit(MAX_LIMIT, MAX_LIMIT)?;
    let prefix = params.prefix.unwrap_or_default();
    let defined = Field::names().filter(|name| search::completes(name, &prefix));
    let mut names: Vec<String> = defined.take(limit).map(str::to_owned).collect();
    let most = limit - names.len();
    if most > 0 {
        let more = console.read(move |reader| reader.extension_names_with(&prefix, most)).await?;
        names.extend(more);
    }
    let named = |name: String| NamedField { holds: Field::named(&name).type_name(), name };
    Ok(Json(FieldsAnswer { fields: names.into_iter().map(named).collect() }))
}
