//! The tasks: a command does them itself, or `serve` does them for it, and both say the same.

use std::time::Instant;

use bytes::Bytes;

use super::{Done, Task};
use crate::clock::now;
use crate::ingest::Batch;
use crate::keys::KeyRing;
use crate::receiver::Caps;
use crate::receiver::deliver::Deliverer;
use crate::receiver::encoding::{Layers, decode};
use crate::store::{Appended, Delivery, Judge, Quarantined, Store, StoreError};

/// Does a task in a `serve` that runs, with what it takes deliveries with.
pub fn by(deliverer: &Deliverer, task: Task) -> Result<Done, StoreError> {
    let Deliverer { store, ring, caps, .. } = deliverer;
    match task {
        Task::Seal {} => seal(store),
        Task::Retry { ids } => retry(store, ring, caps, ids),
        Task::Drop { ids } => drop_bodies(store, &ids),
    }
}

/// Closes the live segment, and seals all that is closed.
pub fn seal(store: &Store) -> Result<Done, StoreError> {
    store.seal()?;
    Ok(Done { told: vec!["sealed".into()], bad_news: false })
}

/// Decodes and stores bodies once more, or all that are there. One leaves the quarantine when its
/// entries are stored; that another cannot be stored is bad news.
pub fn retry(
    store: &Store,
    ring: &KeyRing,
    caps: &Caps,
    ids: Vec<u64>,
) -> Result<Done, StoreError> {
    let ids = if ids.is_empty() { store.quarantined_ids()? } else { ids };
    let mut done = Done::default();
    for id in ids {
        let (what, body) = store.quarantined(id)?;
        match store_again(store, ring, caps, &what, body) {
            Ok(Appended { received, stored, duplicates, .. }) => {
                store.release(id)?;
                done.told.push(format!(
                    "{id}: {received} received, {stored} stored, {duplicates} duplicates"
                ));
            }
            Err(why) => {
                done.told.push(format!("{id}: stays in quarantine: {why}"));
                done.bad_news = true;
            }
        }
    }
    Ok(done)
}

fn store_again(
    store: &Store,
    ring: &KeyRing,
    caps: &Caps,
    what: &Quarantined,
    body: Vec<u8>,
) -> Result<Appended, String> {
    let layers = Layers::of(what.content_encoding.as_deref()).map_err(|e| e.to_string())?;
    let bytes = body.len() as u64;
    let decoded = decode(&body, layers, caps.max_decoded, |_| Ok(())).map_err(|e| e.to_string())?;
    let body = Bytes::from(decoded.unwrap_or(body));
    let keys = ring.keys(&what.input, what.received_at);
    let decoded_bytes = body.len() as u64;
    let batch = Batch::new(body, &keys, caps.lines).map_err(|e| e.to_string())?;
    let delivery = Delivery {
        received_at: what.received_at,
        started: Instant::now(),
        input: what.input.clone(),
        peer: what.peer.clone(),
        bytes,
        decoded_bytes,
    };
    store.append(delivery, &batch, &ring.expected(&what.input)).map_err(|e| e.to_string())
}

/// Removes bodies from quarantine for good. That one is not there is bad news.
pub fn drop_bodies(store: &Store, ids: &[u64]) -> Result<Done, StoreError> {
    let mut done = Done::default();
    for id in ids {
        match store.drop_quarantined(*id, now())? {
            Some(body) => {
                tracing::warn!(id, sha256 = body.sha256, "a body in quarantine was dropped");
                done.told.push(format!("{id}: dropped"));
            }
            None => {
                done.told.push(format!("{id}: is not in quarantine"));
                done.bad_news = true;
            }
        }
    }
    Ok(done)
}
