//! The transparency log as tlog-tiles wants it served (<https://c2sp.org/tlog-tiles>): the newest
//! checkpoint, hashes and entries in tiles.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Uri;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use super::problem::Problem;
use super::read_pool::{READ_TIMEOUT, ReadPool};
use super::{missing, wrong_method};
use crate::log::checkpoints::Checkpoints;
use crate::store::Reader;
use crate::tlog::tile::TilePath;

/// The number of concurrent reads of tiles, so that readers of the log do not slow the console.
const READS: usize = 2;

/// What is served of the log.
pub(super) struct LogPages {
    checkpoints: Checkpoints,
    pool: ReadPool,
    /// Whether shared caches may keep tiles: not those that are only for who has the token.
    is_public: bool,
}

impl LogPages {
    pub(super) fn new(reader: Arc<Reader>, checkpoints: Checkpoints, is_public: bool) -> LogPages {
        LogPages { checkpoints, pool: ReadPool::new(reader, READS, READ_TIMEOUT), is_public }
    }

    /// The routes of the log.
    pub(super) fn router<S>(self) -> Router<S> {
        Router::new()
            .route("/log/checkpoint", get(checkpoint))
            .route("/log/tile/{*path}", get(tile))
            .with_state(Arc::new(self))
    }

    /// The routes of an address that has the log alone.
    pub(super) fn router_alone(self) -> Router {
        self.router().fallback(missing).method_not_allowed_fallback(wrong_method)
    }
}

/// `GET /log/checkpoint`
///
/// # Errors
/// 404 as long as there is none.
async fn checkpoint(State(log): State<Arc<LogPages>>) -> Result<Response, Problem> {
    let checkpoints = log.checkpoints.clone();
    let read = tokio::task::spawn_blocking(move || checkpoints.given_out()).await;
    let note = read
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::failed("the checkpoint cannot be read", &error))?;
    let note = note.ok_or_else(|| Problem::not_found("the log has no checkpoint yet"))?;
    Ok(answer(note, "text/plain; charset=utf-8", "no-cache"))
}

/// `GET /log/tile/…`
///
/// # Errors
/// 404 if the log has no such tile. A partial tile is gone when the full one is there.
async fn tile(State(log): State<Arc<LogPages>>, address: Uri) -> Result<Response, Problem> {
    let missing = || Problem::not_found("the log has no such tile");
    // The path as it was sent: an encoded one is not one of a tile.
    let path = address.path().strip_prefix("/log/").and_then(|path| path.parse().ok());
    let path: TilePath = path.ok_or_else(missing)?;
    let read = log.pool.run(move |reader| reader.tiles()?.file(&path));
    let bytes = read.await?.ok_or_else(missing)?;
    let caching = match log.is_public {
        true => "public, max-age=31536000, immutable",
        false => "private, max-age=31536000, immutable",
    };
    Ok(answer(bytes, "application/octet-stream", caching))
}

fn answer(body: Vec<u8>, media_type: &'static str, caching: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static(caching)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body).into_response()
}
