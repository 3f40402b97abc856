//! The transparency log as tlog-tiles wants it served (<https://c2sp.org/tlog-tiles>): the newest
//! checkpoint, hashes and entries in tiles.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Uri;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::Console;
use super::problem::Problem;
use crate::tlog::tile::TilePath;

/// `GET /log/checkpoint`
///
/// # Errors
/// 404 as long as there is none.
pub(super) async fn checkpoint(State(console): State<Arc<Console>>) -> Result<Response, Problem> {
    let checkpoints = console.checkpoints.clone();
    let read = move || {
        let note = checkpoints.given_out();
        note.map_err(|error| Problem::failed("the checkpoint cannot be read", &error))
    };
    let missing = || Problem::not_found("the log has no checkpoint yet");
    let note = console.blocking(read).await?.ok_or_else(missing)?;
    Ok(answer(note, "text/plain; charset=utf-8", "no-cache"))
}

/// `GET /log/tile/…`
///
/// # Errors
/// 404 if the log has no such tile. A partial tile is gone when the full one is there.
pub(super) async fn tile(
    State(console): State<Arc<Console>>,
    address: Uri,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("the log has no such tile");
    // The path as it was sent: an encoded one is not one of a tile.
    let path = address.path().strip_prefix("/log/").and_then(|path| path.parse().ok());
    let path: TilePath = path.ok_or_else(missing)?;
    let read = console.read(move |reader| reader.tiles()?.file(&path));
    let bytes = read.await?.ok_or_else(missing)?;
    // Shared caches must not give tiles to who has no token.
    let caching = match console.guard.asks_for_token() {
        true => "private, max-age=31536000, immutable",
        false => "public, max-age=31536000, immutable",
    };
    Ok(answer(bytes, "application/octet-stream", caching))
}

fn answer(body: Vec<u8>, media_type: &'static str, caching: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    (headers, body).into_response()
}
