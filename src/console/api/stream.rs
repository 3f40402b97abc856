//! New entries as server-sent events (HTML Living Standard, section 9.2).
//!
//! All streams together take at most a tenth of one core. One stream polls the store at a time, and
//! after a poll no stream polls for nine times as long as the poll took. A stream that falls far
//! behind, because entries come too fast or because its client reads slowly, skips to the newest
//! entries and says so in an event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use hyper::HeaderMap;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::console::Console;
use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::entry::Record;
use crate::search::Filter;
use crate::store::{Event, Position, Reader, StoreError};

/// The time between polls.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A stream that is more entries behind than this skips.
const MAX_LAG: u64 = 5000;

/// The number of newest entries that a skip leaves to send.
const KEPT_AFTER_SKIP: u64 = 200;

/// The number of events that wait for a slow client.
const QUEUE: usize = 64;

/// A client that takes nothing for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// `GET /api/v1/stream?q=&since=&until=`
///
/// # Events
/// `entry`: a new entry. `changed`: an entry whose verdict has changed. `skipped`: entries that
/// were skipped or no longer exist, `{"from":id,"to":id}`.
pub(super) async fn stream(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    params: Params,
) -> Result<impl IntoResponse, Problem> {
    let filter = params.range()?.and(&params.filter()?);
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let position = match last.filter(|last| !last.is_empty()) {
        Some(last) => read_position(last).ok_or_else(|| {
            Problem::bad_request("Last-Event-ID is not one that an event of this stream had")
        })?,
        None => {
            let newest = filter.clone();
            console.read(move |reader| reader.newest(&newest, 0)).await?
        }
    };
    let (events, to_send) = mpsc::channel(QUEUE);
    tokio::spawn(follow(console, filter, position, events));
    Ok(Sse::new(ReceiverStream::new(to_send)).keep_alive(KeepAlive::default()))
}

/// Follows the store until the client disconnects or the server shuts down.
async fn follow(
    console: Arc<Console>,
    filter: Filter,
    mut position: Position,
    events: mpsc::Sender<Result<SseEvent, Infallible>>,
) {
    let mut shutdown = console.shutdown.clone();
    // The comment makes proxies and browsers see an open stream before the first entry.
    let mut to_send = vec![SseEvent::default().comment("listening")];
    loop {
        for event in to_send.drain(..) {
            match timeout(SEND_TIMEOUT, events.send(Ok(event))).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
        let Ok(permit) = Arc::clone(&console.streaming).acquire_owned().await else { return };
        let (reader, filter) = (Arc::clone(&console.reader), filter.clone());
        let started = Instant::now();
        let polled = tokio::task::spawn_blocking(move || poll(&reader, &filter, position)).await;
        let took = started.elapsed();
        let more = match polled {
            Ok(Ok(seen)) => {
                position = seen.position;
                to_send = seen.events;
                seen.more
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a stream cannot read the store");
                false
            }
            Err(_) => return,
        };
        let rest = took * 9;
        tokio::spawn(async move {
            sleep(rest).await;
            drop(permit);
        });
        if more {
            continue;
        }
        tokio::select! {
            () = sleep(POLL_INTERVAL) => {}
            () = events.closed() => return,
            _ = shutdown.begun() => return,
        }
    }
}

/// The result of a poll.
struct Polled {
    events: Vec<SseEvent>,
    position: Position,
    more: bool,
}

/// Reads the events after `at`. The id of an event is the position to resume from after it.
fn poll(reader: &Reader, filter: &Filter, mut at: Position) -> Result<Polled, StoreError> {
    let mut events = Vec::new();
    let newest = reader.newest(&Filter::All, 0)?.next_id;
    if newest.saturating_sub(at.next_id) > MAX_LAG {
        let from = at.next_id;
        at.next_id = newest - KEPT_AFTER_SKIP;
        events.push(skipped(from, at.next_id - 1, at));
    }
    let mut follow = reader.follow(filter, at);
    let news = follow.poll()?;
    let end = follow.position();
    let count = news.events.len();
    // New entries come first, by rising id, then changed entries.
    for (number, event) in (1..).zip(news.events) {
        let sent = match event {
            Event::New(record) => {
                at.next_id = record.id().unwrap_or_default().saturating_add(1);
                entry("entry", &record, if number == count { end } else { at })
            }
            Event::Changed(record) => {
                at.next_id = end.next_id;
                entry("changed", &record, if number == count { end } else { at })
            }
            Event::Missed { from, to } => {
                at.next_id = to.saturating_add(1);
                Some(skipped(from, to, at))
            }
        };
        events.extend(sent);
    }
    Ok(Polled { events, position: end, more: news.more })
}

fn entry(kind: &str, record: &Record, next: Position) -> Option<SseEvent> {
    // A line break would end the event. JSON on one line has none.
    let data = serde_json::to_string(record).ok()?;
    Some(SseEvent::default().event(kind).data(data).id(write_position(next)))
}

fn skipped(from: u64, to: u64, next: Position) -> SseEvent {
    let data = json!({ "from": from, "to": to }).to_string();
    SseEvent::default().event("skipped").data(data).id(write_position(next))
}

fn write_position(position: Position) -> String {
    format!("{}.{}", position.next_id, position.change)
}

fn read_position(text: &str) -> Option<Position> {
    let (next_id, change) = text.split_once('.')?;
    Some(Position { next_id: next_id.parse().ok()?, change: change.parse().ok()? })
}
