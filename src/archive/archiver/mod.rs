//! The thread of `serve` that archives the store: each sealed segment, and what is learned later.
//!
//! It delays nothing: it reads like any reader, and rests as long as it works. What it did is in the
//! manifest, so it can end at any time. A step that was interrupted is done again. [`recorded`] compares
//! the manifest with what the catalog records, by which retention goes. [`status`] says how it stands.

mod recorded;
pub(crate) mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use self::status::ArchiveStatus;
use super::error::ArchiveError;
use super::journal;
use super::late::{self, Leaving};
use super::manifest::Manifest;
use super::pace::Pace;
use super::place::Place;
use super::segment::{self, Work};
use crate::clock::now;
use crate::store::{Archived, CatalogWatch, Directory, JournalState, Reader, SealedSegment, Store};

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Is told what a store that is rebuilt from the archive would have of the journal. Nothing may be
/// deleted that such a store would have to read.
pub(crate) type Reached = Box<dyn Fn(&JournalState) + Send>;

/// Archives a store.
pub(crate) struct Archiver {
    store: Arc<Store>,
    reader: Reader,
    watch: CatalogWatch,
    place: Place,
    /// The id of the store.
    id: String,
    pace: Pace,
    stopping: Arc<AtomicBool>,
    /// Read from the archive at first.
    manifest: Option<Manifest>,
    /// The segments that are recorded in this archive. Read with the manifest.
    recorded: BTreeSet<u64>,
    /// The version of the catalog of which all is archived.
    done: Option<i64>,
    leaving: Leaving,
    reached: Reached,
    status: Arc<ArchiveStatus>,
    /// How many files of the manifest the status has counted or found.
    counted: usize,
}

/// A thread that archives. Dropping it ends the thread.
pub(crate) struct Archiving {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Archiver {
    /// An archiver of the store in `directory`, which is open as `store`. Nothing is sent yet.
    pub(crate) fn new(
        directory: &Directory,
        store: Arc<Store>,
        place: Place,
        reached: Reached,
    ) -> Result<Archiver, ArchiveError> {
        // Nothing is known to be there until the archive was read.
        reached(&JournalState::default());
        let reader = Reader::open_to_follow(directory)?;
        let stopping = Arc::<AtomicBool>::default();
        Ok(Archiver {
            id: store.id()?,
            store,
            watch: reader.watch()?,
            reader,
            status: Arc::new(ArchiveStatus::new(place.url().to_string())),
            place: place.until(Arc::clone(&stopping)),
            pace: Pace::new(Arc::clone(&stopping)),
            stopping,
            manifest: None,
            recorded: BTreeSet::new(),
            done: None,
            leaving: Leaving::new(),
            reached,
            counted: 0,
        })
    }

    /// How it stands.
    pub(crate) fn status(&self) -> &Arc<ArchiveStatus> {
        &self.status
    }

    /// Starts the thread. If it cannot, the status says so.
    pub(crate) fn start(self) -> Option<Archiving> {
        let (stopping, status) = (Arc::clone(&self.stopping), Arc::clone(&self.status));
        let thread = std::thread::Builder::new().name("archive".into());
        let started = thread.spawn(move || {
            let _guard = Guard(Arc::clone(&self.status));
            self.run();
        });
        match started {
            Ok(thread) => Some(Archiving { stopping, thread: Some(thread) }),
            Err(error) => {
                status.stop(format!("cannot start its thread: {error}"));
                None
            }
        }
    }

    /// Archives until it is told to stop.
    fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let wait = match self.step() {
                Ok(()) => {
                    self.status.works();
                    pause = FIRST_PAUSE;
                    INTERVAL
                }
                Err(ArchiveError::Stopped) => return,
                Err(error @ (ArchiveError::Conflict { .. } | ArchiveError::Lost { .. })) => {
                    self.status.stop(error.to_string());
                    return;
                }
                Err(error) => {
                    self.fail(&error);
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    wait
                }
            };
            if self.pace.pause(wait).is_err() {
                return;
            }
        }
    }

    /// Notes a failure after which the next step is tried.
    fn fail(&mut self, error: &ArchiveError) {
        self.status.fails(error.to_string());
        if !error.is_of_store() {
            // What is there is read again: a call that failed may have taken effect.
            self.manifest = None;
        }
    }

    /// Archives all that is due now. It costs next to nothing if the catalog has not changed: whatever is
    /// to be archived changes it.
    pub(crate) fn step(&mut self) -> Result<(), ArchiveError> {
        self.store.close_old()?;
        // Before anything is read: what changes from here on is for the next step.
        let version = self.watch.version()?;
        if self.manifest.is_some() && self.done == Some(version) {
            return Ok(());
        }
        self.archive()?;
        self.done = Some(version);
        Ok(())
    }

    fn archive(&mut self) -> Result<(), ArchiveError> {
        let manifest = match &mut self.manifest {
            Some(manifest) => manifest,
            none => {
                let manifest = self.place.manifest(&self.id)?;
                let place = self.status.place();
                let compared = recorded::compare(&self.store, &self.reader, place, &manifest);
                self.store.trust_archive(compared.is_ok().then(|| place.to_owned()));
                self.recorded = compared?;
                self.place.add_snapshot(&manifest)?;
                self.counted = manifest.files.len();
                (self.reached)(&manifest.journal());
                none.insert(manifest)
            }
        };
        let work = Work { reader: &self.reader, place: &self.place, pace: &self.pace };
        let mut failed = Ok(());
        let journal = self.reader.journal()?;
        let all = self.reader.sealed_segments()?;
        // Before the segments: the archive must have all bodies of the journal that came before their
        // deliveries.
        late::quarantine(&work, manifest, &mut self.leaving, now())?;
        for sealed in all {
            if self.recorded.contains(&sealed.first_id) {
                continue;
            }
            let change = match archived(&work, manifest, &sealed) {
                Ok(Some(change)) => change,
                Ok(None) => continue,
                // It must not keep others from being archived.
                Err(error)
                    if error.is_of_store() || matches!(error, ArchiveError::Damaged { .. }) =>
                {
                    failed = Err(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.store.record_archived(&Archived {
                first_id: sealed.first_id,
                last_id: sealed.last_id,
                file: sealed.file,
                sha256: sealed.sha256,
                change,
                manifest: manifest.next.saturating_sub(1),
                archived_at: now(),
                place: self.status.place().to_owned(),
            })?;
            self.recorded.insert(sealed.first_id);
            count(&self.status, manifest, &mut self.counted);
            self.status.archived();
        }
        let before = manifest.progress.change;
        late::verdicts(&work, manifest, now())?;
        if manifest.progress.change > before {
            self.store.record_archived_changes(self.status.place(), manifest.progress.change)?;
        }
        late::keys(&work, manifest, now())?;
        if journal::archive(&work, manifest, &journal, now())? {
            (self.reached)(&manifest.journal());
        }
        count(&self.status, manifest, &mut self.counted);
        failed
    }
}

/// Archives a segment, or finds it in the archive with the same entries. Returns the number of the last
/// change of a verdict that the archive has of it; `None` if the segment no longer exists.
fn archived(
    work: &Work<'_>,
    manifest: &mut Manifest,
    sealed: &SealedSegment,
) -> Result<Option<u64>, ArchiveError> {
    let first_id = sealed.first_id;
    let Some(listed) = manifest.segments.get(&first_id) else {
        let change = segment::archive(work, manifest, sealed, now())?;
        if change.is_some() {
            tracing::info!(segment = first_id, "archived");
        }
        return Ok(change);
    };
    // A run before ended between the delta and the record. Or the store was archived elsewhere since. Or
    // this is a copy of the store that wrote the archive, and went on in another way under the same ids.
    let is_same = match listed.last_id == sealed.last_id {
        true => segment::read_back(work, manifest, sealed)?,
        false => Some(false),
    };
    match is_same {
        Some(true) => Ok(Some(manifest.progress.change)),
        Some(false) => Err(ArchiveError::Conflict { key: format!("segment {first_id}") }),
        None => Ok(None),
    }
}

/// Counts the files that were added to the manifest since `counted`.
fn count(status: &ArchiveStatus, manifest: &Manifest, counted: &mut usize) {
    status.added(manifest.files.get(*counted..).unwrap_or_default());
    *counted = manifest.files.len();
}

/// Notes that the thread has panicked.
struct Guard(Arc<ArchiveStatus>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the thread that archives has panicked".into());
        }
    }
}

impl Drop for Archiving {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic is in the log and in the status.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
