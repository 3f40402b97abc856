//! `vidimus journal skip`: gives up an object that cannot be read, so that its epoch goes on.
//!
//! A copy is kept in `damaged/` of the data directory, and the store records what was skipped. An
//! object that can be read is never skipped.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::digest;
use tokio::runtime::Handle;

use super::Calls;
use super::epoch::GONE;
use super::ingest::Ingester;
use super::status::SourceStatus;
use crate::clock::now;
use crate::control::TaskReport;
use crate::journal::cipher::Cipher;
use crate::journal::object::{self, ContentError, ObjectLimits};
use crate::journal::{Journal, JournalError, ObjectId, Read};
use crate::objects::Objects;
use crate::private_file;
use crate::store::{Directory, EpochCursor, Skip, Store, StoreError};

/// The folder of the copies, in the data directory.
const FOLDER: &str = "damaged";

/// Why an object was not skipped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SkipError {
    #[error(
        "epoch {epoch} is not stopped at object {number}: `vidimus journal status` shows where it is"
    )]
    NotStopped { epoch: u64, number: u64 },
    #[error("epoch {epoch} has ended at object {number}, so there is nothing to skip")]
    Ended { epoch: u64, number: u64 },
    #[error(
        "this store has read epoch {epoch} up to object {read}: start `vidimus serve`, which reads \
         on until it stops at an object, and skip that one"
    )]
    TooFar { epoch: u64, read: u64 },
    #[error("object {number} of epoch {epoch} can be read, so it is not skipped")]
    Readable { epoch: u64, number: u64 },
    #[error("cannot keep a copy in {}: {source}", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Skips objects for the running source.
pub(crate) struct Skipper {
    pub(super) journal: Journal<Calls>,
    pub(super) status: Arc<SourceStatus>,
    pub(super) ingester: Arc<Ingester>,
    pub(super) store: Arc<Store>,
    pub(super) directory: Directory,
    pub(super) runtime: Handle,
}

impl Skipper {
    /// Skips the object at which an epoch is stopped. Must be called on a thread that may block.
    ///
    /// # Errors
    /// [`SkipError`].
    pub(crate) fn skip(&self, id: ObjectId) -> Result<TaskReport, SkipError> {
        let ObjectId { epoch, number } = id;
        if !self.status.is_stopped_at(epoch, number) {
            return Err(SkipError::NotStopped { epoch, number });
        }
        let read = |object: &[u8]| self.ingester.read(id, object);
        let found = self.runtime.block_on(unreadable(&self.journal, id, true, read));
        if let Err(SkipError::Readable { .. }) = &found {
            // It was restored: the epoch goes on with it.
            self.status.look_again(epoch);
        }
        let (object, why) = found?;
        let report = record(&self.store, &self.directory, id, object.as_ref(), why)?;
        self.status.resume(epoch, number);
        Ok(report)
    }
}

/// Skips an object when no source runs on this store.
///
/// # Errors
/// [`SkipError`].
pub(crate) async fn skip_without_source<O: Objects>(
    journal: &Journal<O>,
    (store, directory): (&Store, &Directory),
    (cipher, limits): (Option<&Cipher>, ObjectLimits),
    id: ObjectId,
) -> Result<TaskReport, SkipError> {
    let ObjectId { epoch, number } = id;
    let state = store.journal()?;
    if let Some(end) = state.ends.iter().find(|end| end.epoch == epoch) {
        return Err(SkipError::Ended { epoch, number: end.number });
    }
    let cursor = state.cursors.into_iter().find(|cursor| cursor.epoch == epoch);
    let had_some = cursor.as_ref().is_some_and(|one| one.number == number && !one.skipped);
    let read_below = read_below(journal, cursor, (cipher, limits), epoch).await?;
    if number != read_below {
        return Err(SkipError::TooFar { epoch, read: read_below });
    }
    let read = |object: &[u8]| object::deliveries(id, object, cipher, limits);
    let (object, why) = unreadable(journal, id, had_some, read).await?;
    record(store, directory, id, object.as_ref(), why)
}

/// An object that cannot be read, and why. It is `None` if it is gone: `was_there` is whether it was
/// there before.
async fn unreadable<O: Objects>(
    journal: &Journal<O>,
    ObjectId { epoch, number }: ObjectId,
    was_there: bool,
    read: impl Fn(&[u8]) -> Result<Vec<object::Delivery>, ContentError>,
) -> Result<(Option<Bytes>, String), SkipError> {
    match journal.read(epoch, number).await? {
        Read::Deliveries(object) => match read(&object) {
            Ok(_) => Err(SkipError::Readable { epoch, number }),
            Err(error) => Ok((Some(object), error.to_string())),
        },
        Read::Unknown { object, why } => Ok((Some(object), why)),
        Read::Absent if was_there => Ok((None, GONE.to_owned())),
        Read::Absent => Err(SkipError::NotStopped { epoch, number }),
        Read::Sealed => Err(SkipError::Ended { epoch, number }),
    }
}

/// The number below which the store has everything of an epoch.
async fn read_below<O: Objects>(
    journal: &Journal<O>,
    cursor: Option<EpochCursor>,
    (cipher, limits): (Option<&Cipher>, ObjectLimits),
    epoch: u64,
) -> Result<u64, SkipError> {
    let Some(cursor) = cursor else { return Ok(0) };
    if cursor.skipped {
        return Ok(cursor.number.saturating_add(1));
    }
    let Read::Deliveries(object) = journal.read(epoch, cursor.number).await? else {
        return Ok(cursor.number);
    };
    let id = ObjectId { epoch, number: cursor.number };
    Ok(match object::deliveries(id, &object, cipher, limits) {
        Ok(all) if cursor.positions.len() >= all.len() as u64 => cursor.number.saturating_add(1),
        _ => cursor.number,
    })
}

/// Keeps a copy, and records the skip.
fn record(
    store: &Store,
    directory: &Directory,
    ObjectId { epoch, number }: ObjectId,
    object: Option<&Bytes>,
    reason: String,
) -> Result<TaskReport, SkipError> {
    let file = format!("journal-{epoch}-{number:020}");
    let mut lines = Vec::new();
    if let Some(object) = object {
        let folder = directory.path().join(FOLDER);
        let path = folder.join(&file);
        fs::create_dir_all(&folder)
            .and_then(|()| private_file::write(&path, object))
            .map_err(|source| SkipError::Copy { path: path.clone(), source })?;
        lines.push(format!("kept a copy in {}", path.display()));
    }
    let digest = |object: &Bytes| HEXLOWER.encode(digest::digest(&digest::SHA256, object).as_ref());
    let skip = Skip {
        epoch,
        number,
        skipped_at: now(),
        reason,
        file: object.map(|_| format!("{FOLDER}/{file}")),
        bytes: object.map(|object| object.len() as u64),
        sha256: object.map(digest),
    };
    store.record_skip(&skip)?;
    tracing::warn!(epoch, number, reason = skip.reason, "an object of the journal was skipped");
    lines.push(format!("skipped object {number} of epoch {epoch}: {}", skip.reason));
    Ok(TaskReport { lines, ..TaskReport::default() })
}

#[cfg(test)]
mod tests {
    use super::super::ingest::object_limits;
    use super::*;
    use crate::entry::Millis;
    use crate::objects::testing::Memory;
    use crate::store::{Options, Origin, Quarantined};

    #[tokio::test]
    async fn an_object_that_is_gone_is_skipped_if_the_store_has_some_of_it() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let body = Quarantined {
            id: 0,
            received_at: Millis::saturating(5),
            input: "default".into(),
            peer: "p".into(),
            status: 400,
            reason: "broken".into(),
            content_encoding: None,
            bytes: 0,
            origin: Some(Origin { epoch: 3, number: 7, position: 0 }),
        };
        store.quarantine(&body, b"").unwrap();
        let journal = Journal::new(Arc::new(Memory::default()));
        let skip = async |number| {
            let limits = object_limits(1000, 1000);
            let id = ObjectId { epoch: 3, number };
            skip_without_source(&journal, (&store, &directory), (None, limits), id).await
        };
        assert!(matches!(skip(8).await, Err(SkipError::TooFar { read: 7, .. })));
        let report = skip(7).await.unwrap();
        assert_eq!(report.lines, [format!("skipped object 7 of epoch 3: {GONE}")]);
        // Nothing was there yet.
        assert!(matches!(skip(8).await, Err(SkipError::NotStopped { number: 8, .. })));
    }
}
