//! Connects the archive with the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::archive::archiver::status::ArchiveStatus;
use crate::archive::archiver::{ArchivedSegment, Archiver, Archiving, Writing};
use crate::archive::error::ArchiveError;
use crate::archive::place::Place;
use crate::config::Config;
use crate::store::{Archived, Directory, Reader, Store, StoreError};

/// The archive of a store that is open, ready to be written.
pub(super) struct Archive {
    place: Place,
    id: String,
    reader: Reader,
    side: StoreSide,
    status: Arc<ArchiveStatus>,
}

impl Archive {
    /// Opens the archive, if there is one. Nothing is sent yet.
    pub(super) fn open(
        config: &Config,
        directory: &Directory,
        store: &Arc<Store>,
    ) -> Result<Option<Archive>, ArchiveError> {
        let Some(url) = &config.archive.url else { return Ok(None) };
        let side = StoreSide {
            store: Arc::clone(store),
            reader: Reader::open_to_follow(directory)?,
            segment_age: config.store.segment_age.min(config.archive.max_delay),
        };
        Ok(Some(Archive {
            place: Place::open(url, Handle::current())?,
            id: store.id()?,
            reader: Reader::open_to_follow(directory)?,
            side,
            status: Arc::default(),
        }))
    }

    /// How the archiver stands.
    pub(super) fn status(&self) -> &Arc<ArchiveStatus> {
        &self.status
    }

    /// Starts the thread. If it cannot, the status says so.
    pub(super) fn start(self) -> Option<Archiving> {
        let status = Arc::clone(&self.status);
        let side = Box::new(self.side);
        let started = Archiver::start(self.reader, self.place, self.id, side, self.status);
        started.inspect_err(|error| status.stop(format!("cannot start its thread: {error}"))).ok()
    }
}

struct StoreSide {
    store: Arc<Store>,
    reader: Reader,
    segment_age: Duration,
}

impl Writing for StoreSide {
    fn close_old(&self) -> Result<(), StoreError> {
        self.store.close_if_older(self.segment_age)
    }

    fn recorded(&self) -> Result<BTreeSet<u64>, StoreError> {
        let all = self.reader.archived()?.into_iter();
        Ok(all.filter(|one| one.read_back_at.is_some()).map(|one| one.first_id).collect())
    }

    fn add(&self, archived: &ArchivedSegment) -> Result<(), StoreError> {
        let ArchivedSegment { segment, change, delta, read_back_at } = archived;
        self.store.record_archived(&Archived {
            first_id: segment.first_id,
            last_id: segment.last_id,
            file: segment.file.clone(),
            sha256: segment.sha256.clone(),
            change: *change,
            manifest: *delta,
            archived_at: *read_back_at,
            read_back_at: Some(*read_back_at),
        })
    }

    fn changes(&self, change: u64) -> Result<(), StoreError> {
        self.store.record_archived_changes(change)
    }
}
