//! Downloads evidence bundles as zips, a slice at a time. Each slice is a read of its own, so a
//! slow client delays no other request.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Console;
use super::download::attachment;
use super::params::Params;
use super::problem::Problem;
use super::raw::{BrokenOff, Pieces, break_off, send_piece};
use crate::clock::now;
use crate::evidence::prove::{Evidence, EvidenceError, matching};
use crate::evidence::write::ZipSink;

/// `GET /entries/{id}/evidence.zip` and `GET /api/v1/entries/{id}/evidence`
///
/// # Errors
/// When the entry cannot be proved. If it cannot be read to its end, the response breaks off.
pub(super) async fn of_entry(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let missing = || Problem::not_found("there is no entry with this id");
    let id: u64 = id.parse().map_err(|_| missing())?;
    download(console, BTreeSet::from([id]), &format!("entry-{id}-evidence.zip")).await
}

/// `GET /api/v1/evidence?q=&since=&until=`
///
/// # Errors
/// As of [`of_entry`], or if no entry matches.
pub(super) async fn of_query(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Response, Problem> {
    let (filter, range) = (params.filter()?, params.range()?);
    let ids = console.read(move |reader| Ok(matching(reader, &filter, range)));
    let ids = ids.await?.map_err(problem)?;
    if ids.is_empty() {
        return Err(Problem::not_found("no entry matches"));
    }
    let time: String = now().to_string().chars().take(19).filter(|c| !"-:".contains(*c)).collect();
    download(console, ids, &format!("vidimus-{time}Z-evidence.zip")).await
}

/// A bundle that is being sent.
struct Sending {
    evidence: Evidence,
    zip: ZipSink<Buffer>,
    /// What is to be sent.
    buffer: Buffer,
}

/// What was written and is not sent yet.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers with the bundle of entries. Browsers save it as `name`.
async fn download(
    console: Arc<Console>,
    ids: BTreeSet<u64>,
    name: &str,
) -> Result<Response, Problem> {
    let checkpoints = console.checkpoints.clone();
    let checkpoint = console.blocking(move || {
        let note = checkpoints.given_out();
        note.map_err(|error| Problem::failed("the checkpoint cannot be read", &error))
    });
    let missing = || Problem::conflict("the log has no checkpoint yet: try again in some seconds");
    let checkpoint = checkpoint.await?.ok_or_else(missing)?;
    let at = now();
    let found = console.read(move |reader| Ok(Evidence::new(reader, &checkpoint, ids, at)));
    let evidence = found.await?.map_err(problem)?;
    if let Some(id) = evidence.long_line() {
        return Err(Problem::conflict(format!(
            "the line of entry {id} is too long to be put into a bundle here: `vidimus prove` does it"
        )));
    }
    let buffer = Buffer::default();
    let sending = Sending { evidence, zip: ZipSink::new(buffer.clone(), at), buffer };
    // What cannot be read at once is told with a status.
    let (first, sending) = sending.next(&console).await?.map_err(problem)?;
    // One piece waits while the next is read.
    let (pieces, to_send) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = pieces.closed() => {}
            _ = send(console, first, sending, &pieces) => {}
        }
    });
    let mut answer = Response::new(Body::from_stream(ReceiverStream::new(to_send)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(CONTENT_DISPOSITION, attachment(name)?);
    Ok(answer)
}

impl Sending {
    /// Reads the next slice: what to send, and what is left, if anything is.
    async fn next(
        mut self,
        console: &Console,
    ) -> Result<Result<(Vec<u8>, Option<Sending>), EvidenceError>, Problem> {
        let next = console.read(move |reader| {
            let more = match self.evidence.write_some(reader, &mut self.zip) {
                Ok(more) => more,
                Err(error) => return Ok(Err(error)),
            };
            if more {
                return Ok(Ok((self.buffer.take(), Some(self))));
            }
            let Sending { zip, buffer, .. } = self;
            Ok(zip.finish().map(|_| (buffer.take(), None)).map_err(EvidenceError::Write))
        });
        next.await
    }
}

/// Sends a slice and those after it.
async fn send(
    console: Arc<Console>,
    mut piece: Vec<u8>,
    mut sending: Option<Sending>,
    pieces: &Pieces,
) -> Result<(), BrokenOff> {
    loop {
        if !piece.is_empty() {
            send_piece(piece, pieces).await?;
        }
        let Some(left) = sending else { return Ok(()) };
        (piece, sending) = match left.next(&console).await {
            Ok(Ok(next)) => next,
            Ok(Err(error)) => {
                tracing::error!(%error, "an evidence bundle cannot be completed");
                return Err(break_off(pieces).await);
            }
            Err(_) => return Err(break_off(pieces).await),
        };
    }
}

fn problem(error: EvidenceError) -> Problem {
    match error {
        EvidenceError::NoEntry(_) => Problem::not_found(error.to_string()),
        EvidenceError::NoLeaf(_) | EvidenceError::NotSigned { .. } => {
            Problem::conflict(error.to_string())
        }
        EvidenceError::TooMany => Problem::bad_request(error.to_string()),
        EvidenceError::Store(error) => error.into(),
        error => Problem::failed("the evidence cannot be put together", &error),
    }
}
