//! The tasks. `serve` performs them for a command, or the command performs them itself.

use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;

use super::{Task, TaskReport};
use crate::clock::now;
use crate::entry::Millis;
use crate::ingest::Batch;
use crate::journal::ObjectId;
use crate::keys::KeyRing;
use crate::log::coverage::Covered;
use crate::random;
use crate::receiver::ReceiverLimits;
use crate::receiver::body::{Codings, decode};
use crate::receiver::deliver::Deliverer;
use crate::receiver::fault::{FaultError, PlannedFault};
use crate::receiver::storing::StoreSink;
use crate::source::journal::skip::{SkipError, Skipper};
use crate::store::{
    Appended, Delivery, Judge, Quarantined, Reconciled, Store, StoreError, StoredBatch,
};

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Fault(#[from] FaultError),
    #[error(transparent)]
    Skip(#[from] SkipError),
    #[error("the running serve has no source of the type journal")]
    NoJournal,
}

/// Performs a task in a running `serve`, when the one before has ended: a body that is retried twice at
/// once would be stored twice. `skipper` skips objects of the journal, if there is a source of that type.
pub(crate) fn perform(
    deliverer: &Deliverer,
    skipper: Option<&Skipper>,
    task: Task,
) -> Result<TaskReport, TaskError> {
    let Deliverer { sink: StoreSink { store, ring, task: turn, .. }, limits, faults, .. } =
        deliverer;
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match task {
        Task::Seal {} => seal(store)?,
        Task::Reseal { after } => {
            TaskReport { resealed: store.reseal_next(after)?, ..TaskReport::default() }
        }
        Task::Retry { ids } => {
            retry(store, ring, limits, ids, |stored| deliverer.observer.stored(stored))?
        }
        Task::Drop { ids } => drop_bodies(store, &ids)?,
        Task::Fault { input, next, fault } => {
            set_fault(&faults.set(input.as_deref(), fault, next)?)
        }
        Task::Faults {} => {
            faults.check_allowed()?;
            TaskReport { faults: faults.list(), ..TaskReport::default() }
        }
        Task::SkipObject { epoch, number } => {
            skipper.ok_or(TaskError::NoJournal)?.skip(ObjectId { epoch, number })?
        }
        Task::RecordReconciled { reconciled } => record_reconciled(store, &reconciled)?,
        Task::ClearFaults { input } => cleared_faults(&faults.clear(input.as_deref())?),
    })
}

fn set_fault(planned: &PlannedFault) -> TaskReport {
    let PlannedFault { input, fault, left, .. } = planned;
    tracing::warn!(input, %fault, next = left, "a command set a fault");
    let next = match left {
        1 => "the next delivery gets".to_owned(),
        left => format!("the next {left} deliveries get"),
    };
    let lines = vec![format!("input {input}: {next} the fault {fault}")];
    TaskReport { lines, ..TaskReport::default() }
}

fn cleared_faults(cleared: &[PlannedFault]) -> TaskReport {
    let line = |PlannedFault { input, fault, left, .. }: &PlannedFault| {
        tracing::warn!(input, %fault, left, "a command cleared a fault");
        format!("input {input}: cleared the fault {fault}, {left} left")
    };
    let mut lines: Vec<_> = cleared.iter().map(line).collect();
    if lines.is_empty() {
        lines.push("no faults".to_owned());
    }
    TaskReport { lines, ..TaskReport::default() }
}

/// Records the result of a comparison with Konnect in the log.
fn record_reconciled(store: &Store, reconciled: &Reconciled) -> Result<TaskReport, StoreError> {
    let leaf = store.record_reconciled(reconciled)?;
    let Reconciled { scope, since, until, missing, fetched, .. } = reconciled;
    let (since, until) = (Millis::saturating(*since), Millis::saturating(*until));
    let covered = Covered::of(scope, *missing, *fetched);
    let lines =
        vec![format!("leaf {leaf} of the log: {scope} is {covered} from {since} to {until}")];
    Ok(TaskReport { lines, ..TaskReport::default() })
}

/// Closes the live segment, and seals all closed segments.
pub(crate) fn seal(store: &Store) -> Result<TaskReport, StoreError> {
    store.seal()?;
    Ok(TaskReport { lines: vec!["sealed".into()], ..TaskReport::default() })
}

/// Decodes and stores bodies in quarantine: those in `ids`, or all of them if `ids` is empty. A body
/// leaves the quarantine when its entries are stored. `observe` is called for each stored body.
pub(crate) fn retry(
    store: &Store,
    ring: &KeyRing,
    limits: &ReceiverLimits,
    ids: Vec<u64>,
    observe: impl Fn(&StoredBatch),
) -> Result<TaskReport, StoreError> {
    let ids = if ids.is_empty() { store.quarantined_ids()? } else { ids };
    let mut report = TaskReport::default();
    for id in ids {
        let (what, body) = store.quarantined(id)?;
        match store_again(store, ring, limits, &what, body) {
            Ok(None) => {
                store.release(id)?;
                report.lines.push(format!("{id}: was stored already"));
            }
            Ok(Some(stored)) => {
                observe(&stored);
                store.release(id)?;
                let Appended { received, stored, duplicates, .. } = stored.appended;
                report.lines.push(format!(
                    "{id}: {received} received, {stored} stored, {duplicates} duplicates"
                ));
            }
            Err(why) => {
                report.lines.push(format!("{id}: stays in quarantine: {why}"));
                report.has_failures = true;
            }
        }
    }
    Ok(report)
}

/// Decodes and stores a body. `None` if it was stored before, and only had to leave the quarantine.
fn store_again(
    store: &Store,
    ring: &KeyRing,
    limits: &ReceiverLimits,
    what: &Quarantined,
    body: Vec<u8>,
) -> Result<Option<StoredBatch>, String> {
    let codings = Codings::of(what.content_encoding.as_deref()).map_err(|e| e.to_string())?;
    let bytes = body.len() as u64;
    let decoded =
        decode(&body, &codings, limits.max_decoded, |_| Ok(())).map_err(|e| e.to_string())?;
    let body = Bytes::from(decoded.unwrap_or(body));
    let keys = ring.keys(&what.input, what.received_at);
    let decoded_bytes = body.len() as u64;
    let seed = random::seed().map_err(|e| e.to_string())?;
    let batch = Batch::new(body, &keys, limits.lines, &seed).map_err(|e| e.to_string())?;
    let delivery = Delivery {
        received_at: what.received_at,
        started: Instant::now(),
        input: what.input.clone(),
        peer: what.peer.clone(),
        bytes,
        decoded_bytes,
        origin: what.origin,
    };
    match store.append(delivery, &batch, &ring.expected(&what.input)) {
        Err(StoreError::AlreadyStored(_)) => Ok(None),
        stored => stored.map(Some).map_err(|error| error.to_string()),
    }
}

/// Deletes bodies from quarantine.
pub(crate) fn drop_bodies(store: &Store, ids: &[u64]) -> Result<TaskReport, StoreError> {
    let mut report = TaskReport::default();
    for id in ids {
        match store.drop_quarantined(*id, now())? {
            Some(body) => {
                tracing::warn!(id, sha256 = body.sha256, "a body was deleted from quarantine");
                report.lines.push(format!("{id}: dropped"));
            }
            None => {
                report.lines.push(format!("{id}: is not in quarantine"));
                report.has_failures = true;
            }
        }
    }
    Ok(report)
}
