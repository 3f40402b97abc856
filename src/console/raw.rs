//! Downloads a line as it was received. Only a few pieces of the line are in memory at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::Console;
use super::download::attachment;
use super::problem::Problem;

/// A client that takes nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// `GET /entries/{id}/raw` and `GET /api/v1/entries/{id}/raw`
///
/// # Errors
/// When there is no entry with this id. A response that breaks off is shorter than its
/// `Content-Length`.
pub(super) async fn download(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no entry with this id");
    let id: u64 = id.parse().map_err(|_| missing())?;
    let length = console.read(move |reader| reader.line_length(id)).await?.ok_or_else(missing)?;
    // One piece waits while the next is read.
    let (pieces, to_send) = mpsc::channel(1);
    tokio::spawn(async move { send_line(&console, id, length, &pieces).await });
    let mut answer = Response::new(Body::from_stream(ReceiverStream::new(to_send)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_DISPOSITION, attachment(&format!("entry-{id}.log"))?);
    Ok(answer)
}

/// The pieces of a response that is sent as it is read. An error breaks the response off.
pub(super) type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// The response cannot be sent to its end. If the client is still there, it was told.
pub(super) struct BrokenOff;

/// Sends the line of an entry piece by piece, until all is sent or the client disconnects.
pub(super) async fn send_line(
    console: &Console,
    id: u64,
    length: u64,
    pieces: &Pieces,
) -> Result<(), BrokenOff> {
    let (mut sent, mut number) = (0, 0);
    while sent < length {
        match console.read(move |reader| reader.line_piece(id, number)).await {
            Ok(Some(piece)) => {
                sent += piece.len() as u64;
                send_piece(piece, pieces).await?;
            }
            // Retention has deleted the entry, or the error is in the log.
            Ok(None) | Err(_) => return Err(break_off(pieces).await),
        }
        number += 1;
    }
    Ok(())
}

/// Sends a piece, unless the client takes nothing for too long.
pub(super) async fn send_piece(piece: Vec<u8>, pieces: &Pieces) -> Result<(), BrokenOff> {
    match timeout(SEND_TIMEOUT, pieces.send(Ok(Bytes::from(piece)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(BrokenOff),
    }
}

/// Breaks the response off.
pub(super) async fn break_off(pieces: &Pieces) -> BrokenOff {
    let error = io::Error::from(io::ErrorKind::UnexpectedEof);
    // The client may be gone.
    let _ = timeout(SEND_TIMEOUT, pieces.send(Err(error))).await;
    BrokenOff
}
