//! The JSON API, under `/api/v1/`. `docs/openapi.json` is its description.
//!
//! - [`entries`]: a page of entries, and one. [`counts`]: over time and by value.
//! - [`stream`]: entries as they come. [`deliveries`]: how they came, and what did not.
//! - [`verify`]: lines from anywhere, of which nothing is stored.

pub mod counts;
pub mod deliveries;
pub mod entries;
pub mod stream;
pub mod verify;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::problem::Problem;
use super::{Console, raw};

/// `GET /api/openapi.json`: what all of it is, in OpenAPI 3.1.
pub async fn description() -> Response {
    let mut answer = include_str!("../../../docs/openapi.json").into_response();
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// The calls.
pub fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/entries", get(entries::page))
        .route("/entries/{id}", get(entries::one))
        .route("/entries/{id}/raw", get(raw::download))
        .route("/histogram", get(counts::histogram))
        .route("/facets", get(counts::facets))
        .route("/stream", get(stream::stream))
        .route("/deliveries", get(deliveries::deliveries))
        .route("/stats", get(deliveries::stats))
        .route("/verify", post(verify::verify))
}

/// An answer in JSON.
pub struct Json<T>(pub T);

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
