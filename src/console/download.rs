//! Downloads a file of the data directory. Only a few pieces of it are in memory at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use axum::body::Body;
use axum::response::Response;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;
use super::raw::{BrokenOff, Pieces, break_off, send_piece};

/// The size of a piece in bytes.
const PIECE: u64 = 256 << 10;

/// Answers with the file at `path`. Browsers save it as `name`. It is sent as long as it is now: what
/// is appended meanwhile is left out.
///
/// # Errors
/// When the file cannot be opened.
pub(super) async fn download(path: PathBuf, name: &str) -> Result<Response, Problem> {
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        io::Result::Ok((file, length))
    });
    let (file, length) = match opened.await.map_err(|error| Problem::internal(&error))? {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Problem::not_found("there is no such file"));
        }
        Err(error) => return Err(Problem::failed("the file cannot be read", &error)),
    };
    let (pieces, to_send) = mpsc::channel(1);
    tokio::spawn(send(file, length, pieces));
    let mut answer = Response::new(Body::from_stream(ReceiverStream::new(to_send)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_DISPOSITION, attachment(name)?);
    Ok(answer)
}

/// `Content-Disposition`: browsers save the answer as `name`.
pub(super) fn attachment(name: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|error| Problem::internal(&error))
}

/// Sends `left` bytes piece by piece, until all are sent or the client disconnects.
async fn send(mut file: File, mut left: u64, pieces: Pieces) -> Result<(), BrokenOff> {
    while left > 0 {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::new();
            let done = (&mut file).take(PIECE.min(left)).read_to_end(&mut piece);
            (file, done.map(|_| piece))
        });
        let Ok((same, piece)) = read.await else { return Err(BrokenOff) };
        file = same;
        match piece {
            Ok(piece) if !piece.is_empty() => {
                left = left.saturating_sub(piece.len() as u64);
                send_piece(piece, &pieces).await?;
            }
            // Somebody may have cut the file meanwhile.
            Ok(_) | Err(_) => return Err(break_off(&pieces).await),
        }
    }
    Ok(())
}
