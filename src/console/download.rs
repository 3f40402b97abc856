//! Downloads a file of the data directory. Only a few pieces of it are in memory at a time.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;

/// A client that takes nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

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
    let disposition = format!("attachment; filename=\"{name}\"");
    let disposition =
        HeaderValue::from_str(&disposition).map_err(|error| Problem::internal(&error))?;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_DISPOSITION, disposition);
    Ok(answer)
}

/// Sends `left` bytes piece by piece, until all are sent or the client disconnects.
async fn send(mut file: File, mut left: u64, pieces: mpsc::Sender<io::Result<Bytes>>) {
    while left > 0 {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::new();
            let done = (&mut file).take(PIECE.min(left)).read_to_end(&mut piece);
            (file, done.map(|_| Bytes::from(piece)))
        });
        let Ok((same, piece)) = read.await else { return };
        file = same;
        let read = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        // Somebody may have cut the file meanwhile. Then the response breaks off.
        let piece = match read {
            0 => piece.and(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => piece,
        };
        left = left.saturating_sub(read);
        let is_over = piece.is_err();
        if !matches!(timeout(SEND_TIMEOUT, pieces.send(piece)).await, Ok(Ok(()))) || is_over {
            return;
        }
    }
}
