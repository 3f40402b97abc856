//! Downloads all entries that match, newest first, a slice at a time: as received, as JSON lines, or as
//! CSV. Each slice is a read of its own, so a slow client delays no other request.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::clock::now;
use crate::console::Console;
use crate::console::download::attachment;
use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::console::raw::{BrokenOff, Pieces, break_off, send_line, send_piece};
use crate::entry::Record;
use crate::record_csv::Columns;
use crate::sanitise::escape_json;
use crate::search::Filter;
use crate::store::{PageCursor, TimeRange};

/// The maximum number of entries that are read at once.
const SLICE: usize = 1000;

/// The largest limit.
const MAX_LIMIT: usize = 1_000_000_000;

/// The format of an export.
#[derive(Clone, Debug)]
enum ExportFormat {
    Raw,
    Jsonl,
    Csv(Columns),
}

/// An export that was begun.
struct Export {
    console: Arc<Console>,
    filter: Arc<Filter>,
    range: TimeRange,
    format: Arc<ExportFormat>,
    /// The number of entries that may follow.
    left: usize,
}

/// A part of an export.
struct Slice {
    parts: Vec<Part>,
    entries: usize,
    /// Where the next slice starts. `None` after the last.
    next: Option<PageCursor>,
}

/// A piece of text, or the entry whose whole line comes here.
enum Part {
    Text(Vec<u8>),
    LongLine(u64),
}

/// `GET /api/v1/export?q=&since=&until=&format=&columns=&limit=`
///
/// # Errors
/// When the first entries cannot be read. If others cannot be read, the response breaks off.
pub(super) async fn export(
    State(console): State<Arc<Console>>,
    params: Params,
) -> Result<Response, Problem> {
    let (filter, range, format) = (params.filter()?, params.range()?, format(&params)?);
    let left = params.limit(usize::MAX, MAX_LIMIT)?;
    let (media, extension) = match format {
        ExportFormat::Raw => ("application/octet-stream", "log"),
        ExportFormat::Jsonl => ("application/jsonl", "jsonl"),
        ExportFormat::Csv(_) => ("text/csv; charset=utf-8; header=present", "csv"),
    };
    let (filter, format) = (Arc::new(filter), Arc::new(format));
    let mut export = Export { console, filter, range, format, left };
    let first = export.slice(None).await?;
    // One piece waits while the next is read.
    let (pieces, to_send) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = pieces.closed() => {}
            _ = export.send(first, &pieces) => {}
        }
    });
    let mut answer = Response::new(Body::from_stream(ReceiverStream::new(to_send)));
    let time: String = now().to_string().chars().take(19).filter(|c| !"-:".contains(*c)).collect();
    let name = attachment(&format!("vidimus-{time}Z.{extension}"))?;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CONTENT_DISPOSITION, name);
    Ok(answer)
}

fn format(params: &Params) -> Result<ExportFormat, Problem> {
    let said = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (format, columns) = (said(&params.format), said(&params.columns));
    match (format.as_deref().unwrap_or("jsonl"), columns) {
        ("csv", None) => Ok(ExportFormat::Csv(Columns::all())),
        ("csv", Some(names)) => Columns::named(&names)
            .map(ExportFormat::Csv)
            .map_err(|error| Problem::parameter("columns", error)),
        ("raw" | "jsonl", Some(_)) => {
            Err(Problem::parameter("columns", "only an export with format=csv has columns"))
        }
        ("raw", None) => Ok(ExportFormat::Raw),
        ("jsonl", None) => Ok(ExportFormat::Jsonl),
        (other, _) => {
            let other: String = other.chars().take(40).collect();
            let why = format!("found {other:?}, expected raw, jsonl or csv");
            Err(Problem::parameter("format", why))
        }
    }
}

impl Export {
    /// Reads a slice, the first or the one at the cursor.
    async fn slice(&self, cursor: Option<PageCursor>) -> Result<Slice, Problem> {
        let (filter, range) = (Arc::clone(&self.filter), self.range);
        let (format, limit) = (Arc::clone(&self.format), self.left.min(SLICE));
        let read = self.console.read(move |reader| {
            let page = reader.page(&filter, range, limit, cursor)?;
            let parts = format.parts(&page.records, cursor.is_none());
            Ok(parts.map(|parts| Slice { parts, entries: page.records.len(), next: page.next }))
        });
        read.await?.map_err(|error| Problem::internal(&error))
    }

    /// Sends this slice and those after it.
    async fn send(&mut self, mut slice: Slice, pieces: &Pieces) -> Result<(), BrokenOff> {
        loop {
            for part in slice.parts {
                match part {
                    Part::Text(text) if text.is_empty() => {}
                    Part::Text(text) => send_piece(text, pieces).await?,
                    Part::LongLine(id) => self.send_long_line(id, pieces).await?,
                }
            }
            self.left = self.left.saturating_sub(slice.entries);
            let Some(cursor) = slice.next.filter(|_| self.left > 0) else { return Ok(()) };
            slice = match self.slice(Some(cursor)).await {
                Ok(slice) => slice,
                Err(_) => return Err(break_off(pieces).await),
            };
        }
    }

    /// Sends the line of an entry that is too long to be read at once.
    async fn send_long_line(&self, id: u64, pieces: &Pieces) -> Result<(), BrokenOff> {
        match self.console.read(move |reader| reader.line_length(id)).await {
            Ok(Some(length)) => send_line(&self.console, id, length, pieces).await,
            // Retention has deleted the entry, or the error is in the log.
            Ok(None) | Err(_) => Err(break_off(pieces).await),
        }
    }
}

impl ExportFormat {
    /// The records, after the beginning of the file if they are the first.
    fn parts(&self, records: &[Record], are_first: bool) -> Result<Vec<Part>, csv::Error> {
        let (mut parts, mut text) = (Vec::new(), Vec::new());
        match self {
            ExportFormat::Csv(columns) => {
                if are_first {
                    text.extend(columns.header()?);
                }
                text.extend(columns.rows(records)?);
            }
            ExportFormat::Jsonl => {
                for record in records {
                    let json = serde_json::to_string(record).map_err(std::io::Error::from)?;
                    text.extend_from_slice(escape_json(&json).as_bytes());
                    text.push(b'\n');
                }
            }
            ExportFormat::Raw => {
                for record in records {
                    match record.id().filter(|_| record.whole.is_some()) {
                        Some(id) => {
                            let before = Part::Text(std::mem::take(&mut text));
                            parts.extend([before, Part::LongLine(id)]);
                        }
                        None => text.extend_from_slice(&record.raw),
                    }
                    text.push(b'\n');
                }
            }
        }
        parts.push(Part::Text(text));
        Ok(parts)
    }
}
