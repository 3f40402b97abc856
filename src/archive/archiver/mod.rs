//! The thread of `serve` that archives the store: each sealed segment, and what is learned later.
//!
//! It delays nothing: it reads like any reader, and rests as long as it works. What it did is in the
//! manifest, so it can end at any time. A step that was interrupted is done again. [`status`] says how it
//! stands.

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
use crate::entry::Millis;
use crate::store::{Reader, SealedSegment, StoreError};

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A segment that is archived, and whose files were read back.
#[derive(Clone, Debug)]
pub(crate) struct ArchivedSegment {
    pub(crate) segment: SealedSegment,
    /// The number of the last change of a verdict that is in the archive.
    pub(crate) change: u64,
    /// The number of the last delta.
    pub(crate) delta: u64,
    /// When its files were read back.
    pub(crate) read_back_at: Millis,
}

/// Who writes to the store.
pub(crate) trait Writing: Send {
    /// Closes the live segment if it is as old as a segment may be, so that it is archived.
    fn close_old(&self) -> Result<(), StoreError>;
    /// The first ids of the segments that are recorded as archived and read back.
    fn recorded(&self) -> Result<BTreeSet<u64>, StoreError>;
    /// Records a segment. Retention goes by it.
    fn add(&self, archived: &ArchivedSegment) -> Result<(), StoreError>;
    /// Records that the late verdicts of all recorded segments are archived up to this change.
    fn changes(&self, change: u64) -> Result<(), StoreError>;
}

/// Archives a store.
pub(crate) struct Archiver {
    reader: Reader,
    place: Place,
    store: String,
    writing: Box<dyn Writing>,
    pace: Pace,
    /// Read from the archive at first.
    manifest: Option<Manifest>,
    /// The recorded segments, read from the store at first.
    recorded: Option<BTreeSet<u64>>,
    leaving: Leaving,
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
    /// An archiver of the store with this id, which ends when `stopping` is set.
    pub(crate) fn new(
        reader: Reader,
        place: Place,
        store: String,
        writing: Box<dyn Writing>,
        stopping: Arc<AtomicBool>,
        status: Arc<ArchiveStatus>,
    ) -> Archiver {
        Archiver {
            reader,
            place: place.until(Arc::clone(&stopping)),
            store,
            writing,
            pace: Pace::new(stopping),
            manifest: None,
            recorded: None,
            leaving: Leaving::new(),
            status,
            counted: 0,
        }
    }

    /// Starts the thread.
    pub(crate) fn start(
        reader: Reader,
        place: Place,
        store: String,
        writing: Box<dyn Writing>,
        status: Arc<ArchiveStatus>,
    ) -> std::io::Result<Archiving> {
        let stopping = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopping);
        let archiver = Archiver::new(reader, place, store, writing, flag, status);
        let thread = std::thread::Builder::new().name("archive".into());
        let thread = thread.spawn(move || {
            let _guard = Guard(Arc::clone(&archiver.status));
            archiver.run();
        })?;
        Ok(Archiving { stopping, thread: Some(thread) })
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
                Err(error @ ArchiveError::Conflict { .. }) => {
                    self.status.stop(error.to_string());
                    return;
                }
                Err(error) => {
                    self.status.fails(error.to_string());
                    // What is there is read again: another call may have taken effect.
                    self.manifest = None;
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

    /// Archives all that is due now.
    pub(crate) fn step(&mut self) -> Result<(), ArchiveError> {
        let manifest = match &mut self.manifest {
            Some(manifest) => manifest,
            none => {
                let manifest = self.place.manifest(&self.store)?;
                self.place.add_snapshot(&manifest)?;
                self.counted = manifest.files.len();
                none.insert(manifest)
            }
        };
        let recorded = match &mut self.recorded {
            Some(recorded) => recorded,
            none => none.insert(self.writing.recorded()?),
        };
        self.writing.close_old()?;
        let work = Work { reader: &self.reader, place: &self.place, pace: &self.pace };
        let mut failed = Ok(());
        let journal = self.reader.journal()?;
        let all = self.reader.sealed_segments()?;
        // Before the segments: the archive must have all bodies of the journal that came before their
        // deliveries.
        late::quarantine(&work, manifest, &mut self.leaving, now())?;
        for sealed in all {
            let change = match manifest.segments.get(&sealed.first_id) {
                Some(_) if recorded.contains(&sealed.first_id) => continue,
                // A run before ended between the delta and the record. Or this is a copy of the store
                // that wrote the archive, and went on in another way under the same ids.
                Some(archived) => {
                    let is_same = match archived.last_id == sealed.last_id {
                        true => segment::read_back(&work, manifest, &sealed)?,
                        false => Some(false),
                    };
                    match is_same {
                        Some(true) => manifest.progress.change,
                        Some(false) => {
                            let key = format!("segment {}", sealed.first_id);
                            return Err(ArchiveError::Conflict { key });
                        }
                        None => continue,
                    }
                }
                None => match segment::archive(&work, manifest, &sealed, now()) {
                    Ok(Some(change)) => {
                        tracing::info!(segment = sealed.first_id, "archived");
                        change
                    }
                    Ok(None) => continue,
                    // It must not keep others from being archived.
                    Err(error @ (ArchiveError::Store(_) | ArchiveError::Damaged { .. })) => {
                        failed = Err(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let first_id = sealed.first_id;
            self.writing.add(&ArchivedSegment {
                change,
                delta: manifest.next.saturating_sub(1),
                read_back_at: now(),
                segment: sealed,
            })?;
            recorded.insert(first_id);
            count(&self.status, manifest, &mut self.counted);
            self.status.archived();
        }
        let before = manifest.progress.change;
        late::verdicts(&work, manifest, now())?;
        if manifest.progress.change > before {
            self.writing.changes(manifest.progress.change)?;
        }
        late::keys(&work, manifest, now())?;
        journal::archive(&work, manifest, &journal, now())?;
        count(&self.status, manifest, &mut self.counted);
        failed
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
