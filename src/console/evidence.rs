//! Downloads evidence bundles as zips. The entries are searched, looked up in the log and read a
//! slice at a time, each in a read of its own. So a large bundle needs no long read, and a slow client
//! delays no other request.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
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
use crate::entry::Record;
use crate::evidence::MAX_ENTRIES;
use crate::evidence::name::Name;
use crate::evidence::prove::{Evidence, EvidenceError};
use crate::evidence::write::{Sink, ZipSink};

/// The maximum number of entries that are searched at once.
const SLICE: usize = 1000;

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
    let (filter, range) = (Arc::new(params.filter()?), params.range()?);
    let (mut ids, mut cursor) = (BTreeSet::new(), None);
    loop {
        let filter = Arc::clone(&filter);
        let page = console.read(move |reader| reader.page(&filter, range, SLICE, cursor)).await?;
        ids.extend(page.records.iter().filter_map(Record::id));
        if ids.len() > MAX_ENTRIES {
            return Err(problem(EvidenceError::TooMany));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if ids.is_empty() {
        return Err(Problem::not_found("no entry matches"));
    }
    let time: String = now().to_string().chars().take(19).filter(|c| !"-:".contains(*c)).collect();
    download(console, ids, &format!("vidimus-{time}Z-evidence.zip")).await
}

/// A bundle that is being sent.
struct Sending {
    evidence: Evidence,
    zip: Download,
    /// What is to be sent.
    buffer: Buffer,
}

/// A zip in memory.
struct Download(ZipSink<Buffer>);

impl Sink for Download {
    /// A piece of a long line would be held until all of it is read.
    fn takes_long_lines(&self) -> bool {
        false
    }

    fn add(&mut self, name: Name, contents: &mut dyn Read) -> io::Result<()> {
        self.0.add(name, contents)
    }
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
    let (at, log) = (now(), console.signed_log.clone());
    let begun = console.read(move |reader| Ok(Evidence::new(reader, &log, ids, at)));
    let evidence = begun.await?.map_err(problem)?;
    let size = evidence.log_size();
    let buffer = Buffer::default();
    let zip = Download(ZipSink::new(buffer.clone(), at));
    let mut sending = Sending { evidence, zip, buffer };
    // What cannot be proved is told with a status.
    let (first, sending) = loop {
        match sending.next(&console).await?.map_err(problem)? {
            (piece, Some(left)) if piece.is_empty() => sending = left,
            next => break next,
        }
    };
    let log = console.signed_log.clone();
    let note = move || {
        if let Err(error) = log.note_bundled(size) {
            tracing::warn!(%error, "the checkpoint of a bundle cannot be noted, so it may be dropped");
        }
        Ok(())
    };
    console.blocking(note).await?;
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
            Ok(zip.0.finish().map(|_| (buffer.take(), None)).map_err(EvidenceError::Write))
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
        EvidenceError::NoCheckpoint
        | EvidenceError::NoLeaf(_)
        | EvidenceError::NotSigned { .. }
        | EvidenceError::TooLong(_) => Problem::conflict(error.to_string()),
        EvidenceError::TooMany => Problem::bad_request(error.to_string()),
        EvidenceError::Store(error) => error.into(),
        error => Problem::failed("the evidence cannot be put together", &error),
    }
}
