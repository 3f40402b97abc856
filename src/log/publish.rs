//! The thread of `serve` that publishes the log: it writes tiles, entry bundles and checkpoints to a folder
//! or an object store, from where others read them without asking the store.
//!
//! For each checkpoint that is given out, the tiles of its tree come first, and only what is new of them.
//! Then comes `checkpoints/SIZE`, which is created only if there is none: two live copies of a log collide
//! there. `checkpoint` is replaced last. So whatever it covers is there, and a start finds out from it what
//! is there. A partial tile is deleted when the full one and a checkpoint that covers it are there.
//!
//! Nothing waits for this thread. If it finds another log, the signer stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::LogError;
use super::anchors::agrees;
use super::checkpoints::{Checkpoints, verified};
use super::error::Contradiction;
use super::status::LogStatus;
use crate::objects::{Blocking, ObjectError};
use crate::store::{Reader, Tiles};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{Note, VerifierKey};
use crate::tlog::tile::{Kind, TilePath, WIDTH};

/// The name of the newest checkpoint in the place.
pub(super) const NEWEST: &str = "checkpoint";

/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often it is looked for a new checkpoint at least.
const POLL: Duration = Duration::from_secs(1);

/// How many tiles are written at a time.
const AT_A_TIME: usize = 8;

/// The levels of tiles.
const LEVELS: u8 = 8;

/// Publishes a log.
pub(crate) struct Publisher {
    place: Blocking,
    reader: Reader,
    checkpoints: Checkpoints,
    /// Every key that the log has had.
    known: Vec<VerifierKey>,
    /// The origin of the log.
    origin: String,
    /// The note that this process published last.
    published: Option<Vec<u8>>,
    status: Arc<LogStatus>,
    stopping: Arc<AtomicBool>,
}

/// A thread that publishes. Dropping it publishes what was signed meanwhile, if that succeeds at once, and
/// ends the thread.
pub(crate) struct Publishing {
    stopping: Arc<AtomicBool>,
    /// Dropped to end the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    pub(crate) fn new(
        place: Blocking,
        reader: Reader,
        checkpoints: Checkpoints,
        (known, origin): (Vec<VerifierKey>, String),
        status: Arc<LogStatus>,
    ) -> Publisher {
        let stopping = Arc::<AtomicBool>::default();
        status.published(0);
        Publisher {
            place: place.until(Arc::clone(&stopping)),
            reader,
            checkpoints,
            known,
            origin,
            published: None,
            status,
            stopping,
        }
    }

    /// Starts the thread. It looks for a new checkpoint as often as one is signed.
    pub(crate) fn start(self, interval: Duration) -> std::io::Result<Publishing> {
        let (stop, stopped) = mpsc::channel();
        let stopping = Arc::clone(&self.stopping);
        let thread = std::thread::Builder::new().name("log-publisher".into());
        let thread = thread.spawn(move || {
            let _guard = Guard(Arc::clone(&self.status));
            self.run(interval.min(POLL), &stopped);
        })?;
        Ok(Publishing { stopping, stop: Some(stop), thread: Some(thread) })
    }

    fn run(mut self, poll: Duration, stopped: &mpsc::Receiver<()>) {
        let (mut wait, mut pause) = (poll, FIRST_PAUSE);
        loop {
            let is_last = stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
            // What was signed by a log that is not the only one of its origin is not published.
            if self.status.is_stopped() {
                return;
            }
            match self.step() {
                Ok(()) => (wait, pause) = (poll, FIRST_PAUSE),
                Err(LogError::Objects(ObjectError::Stopped)) => return,
                Err(error @ LogError::Contradiction(_)) => return self.status.stop(&error),
                Err(error) => {
                    self.status.publishing_fails(error.to_string());
                    wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Publishes what is given out, if it is new.
    fn step(&mut self) -> Result<(), LogError> {
        let Some(note) = self.checkpoints.given_out()? else { return Ok(()) };
        if self.published.as_ref() == Some(&note) {
            return Ok(());
        }
        let checkpoint = verified(&note, &self.known, self.checkpoints.path())?;
        if checkpoint.origin() != self.origin {
            // The first one of a new origin is not signed yet.
            return Ok(());
        }
        let tiles = self.reader.tiles()?;
        let before = self.before(&tiles)?;
        let size = checkpoint.size();
        if before > size {
            // A restored store has all leaves that were published, and has yet to sign them again.
            return Ok(());
        }
        self.write_tiles(&tiles, before, size)?;
        let note = Bytes::from(note);
        self.write_checkpoint(size, &note)?;
        self.place.replace(NEWEST, &note)?;
        let is_first = self.published.is_none();
        self.published = Some(note.to_vec());
        self.status.published(size);
        self.remove_partial(before, size, is_first);
        Ok(())
    }

    /// How many leaves are published, after a comparison with what is.
    fn before(&self, tiles: &Tiles) -> Result<u64, LogError> {
        let Some(note) = self.place.get(NEWEST)? else { return Ok(0) };
        let place = self.place.url().to_string();
        let checkpoint = Note::parse(&note).map_err(Into::into);
        let checkpoint = checkpoint.and_then(|note| Checkpoint::verify(&note, &self.known));
        let checkpoint =
            checkpoint.map_err(|source| LogError::Foreign { place: place.clone(), source })?;
        if checkpoint.origin() != self.origin {
            let (found, expected) = (checkpoint.origin().to_owned(), self.origin.clone());
            return Err(LogError::OtherPublished { place, found, expected });
        }
        agrees(&place, &checkpoint, tiles)?;
        Ok(checkpoint.size())
    }

    /// Writes the tiles and entry bundles that a tree of `size` has and one of `before` does not.
    fn write_tiles(&self, tiles: &Tiles, before: u64, size: u64) -> Result<(), LogError> {
        let mut paths = kinds().flat_map(|kind| new_tiles(kind, before, size));
        loop {
            let some: Vec<_> = paths.by_ref().take(AT_A_TIME).collect();
            if some.is_empty() {
                return Ok(());
            }
            std::thread::scope(|scope| {
                let writing: Vec<_> = some
                    .iter()
                    .map(|path| scope.spawn(move || self.write_tile(tiles, path)))
                    .collect();
                let joined = writing
                    .into_iter()
                    .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                joined.collect::<Result<(), LogError>>()
            })?;
        }
    }

    fn write_tile(&self, tiles: &Tiles, path: &TilePath) -> Result<(), LogError> {
        let key = path.to_string();
        let Some(bytes) = tiles.file(path)?.map(Bytes::from) else { return Ok(()) };
        match self.place.create(&key, &bytes)? {
            Some(found) if found != bytes => Err(self.collision(key)),
            _ => Ok(()),
        }
    }

    /// Writes a checkpoint under its size. One with the same text is there if only cosignatures are new, or
    /// a run before was interrupted.
    fn write_checkpoint(&self, size: u64, note: &Bytes) -> Result<(), LogError> {
        let key = format!("checkpoints/{size}");
        let text = |note: &[u8]| Note::parse(note).ok().map(|note| note.text().to_owned());
        match self.place.create(&key, note)? {
            Some(found) if text(&found) != text(note) => Err(self.collision(key)),
            _ => Ok(()),
        }
    }

    fn collision(&self, key: String) -> LogError {
        Contradiction::Published { place: self.place.url().to_string(), key }.into()
    }

    /// Deletes the partial tiles of which full ones are there since the size was `before`. The first time in
    /// a process, also those that a run before may have left. What cannot be deleted is left.
    fn remove_partial(&self, before: u64, size: u64, is_first: bool) {
        for kind in kinds() {
            let full = count(kind, size) / u64::from(WIDTH);
            let first = count(kind, before) / u64::from(WIDTH);
            let first = if is_first { first.saturating_sub(1) } else { first };
            // There is at most one partial tile of a kind at a time.
            for index in first..full.min(first + 2) {
                let Some(path) = TilePath::new(kind, index, size) else { continue };
                if let Err(error) = self.remove_partial_of(&path) {
                    tracing::warn!(%error, %path, "partial tiles that were published are left");
                }
            }
        }
    }

    fn remove_partial_of(&self, path: &TilePath) -> Result<(), LogError> {
        for (key, _) in self.place.list(&format!("{path}.p"))? {
            self.place.delete(&key)?;
        }
        Ok(())
    }
}

/// The kinds of tiles, the entry bundles first.
fn kinds() -> impl Iterator<Item = Kind> {
    [Kind::Entries].into_iter().chain((0..LEVELS).map(Kind::Hashes))
}

/// The number of hashes or entries of a kind in a tree of `size`.
fn count(kind: Kind, size: u64) -> u64 {
    match kind {
        Kind::Entries => size,
        Kind::Hashes(level) => size >> (8 * u32::from(level)),
    }
}

/// The tiles of a kind that a tree of `size` has and one of `before` does not.
fn new_tiles(kind: Kind, before: u64, size: u64) -> impl Iterator<Item = TilePath> {
    let (before, now) = (count(kind, before), count(kind, size));
    let width = u64::from(WIDTH);
    let first = if before == now { now.div_ceil(width) } else { before / width };
    (first..now.div_ceil(width)).filter_map(move |index| TilePath::new(kind, index, size))
}

/// Notes that the thread has panicked.
struct Guard(Arc<LogStatus>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.publishing_fails("the thread that publishes has panicked".into());
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic is in the log and in the status.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_in_a_larger_tree() {
        let check = |before, size, expected: &[&str]| {
            let paths = kinds().flat_map(|kind| new_tiles(kind, before, size));
            let paths: Vec<_> = paths.map(|path| path.to_string()).collect();
            assert_eq!(paths, expected, "{before} {size}");
        };
        check(0, 0, &[]);
        check(0, 1, &["tile/entries/000.p/1", "tile/0/000.p/1"]);
        check(1, 1, &[]);
        check(1, 3, &["tile/entries/000.p/3", "tile/0/000.p/3"]);
        check(3, 256, &["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        check(256, 257, &["tile/entries/001.p/1", "tile/0/001.p/1"]);
        check(256, 256, &[]);
        let two = ["000", "001"].map(|index| format!("tile/entries/{index}"));
        let level = ["tile/0/000", "tile/0/001", "tile/1/000.p/2"];
        check(255, 512, &[&two.each_ref().map(String::as_str)[..], &level].concat());
        let last = ["tile/entries/255", "tile/0/255", "tile/1/000", "tile/2/000.p/1"];
        check(65_535, 65_536, &last);
    }
}
