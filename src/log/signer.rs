//! The thread of `serve` that signs checkpoints.
//!
//! It writes the tiles of all committed leaves, computes the root from them, and signs it: when the
//! log has grown, at most once in an interval, and once at the end. It delays nothing, because
//! whoever sends entries does not wait for it. Before it signs, it computes the root of the newest
//! checkpoint from the tiles again, and before it signs for the first time, it compares the tree with the
//! anchors. If the tree contradicts what was signed, it stops for good: two checkpoints that contradict
//! each other prove that a log lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::LogError;
use super::anchors::{Anchor, agrees_with};
use super::checkpoints::{Checkpoints, check_tree, verified};
use super::key::Keys;
use super::party::Newest;
use super::status::LogStatus;
use crate::clock::{now, since_boot};
use crate::store::{Reader, Store, StoreError, Tiles};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::Note;
use crate::tlog::tree::{self, Hash};

/// How often checkpoints that need not be kept are removed.
const THIN_INTERVAL: Duration = Duration::from_secs(3600);

/// The shortest and the longest pause after a failure, so that an anchor is not asked all the time.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Signs the checkpoints of a store.
pub(crate) struct Signer {
    store: Arc<Store>,
    reader: Reader,
    keys: Keys,
    checkpoints: Checkpoints,
    /// What the tree is still to be compared with. `None`: nothing, it was compared.
    anchors: Option<Vec<Anchor>>,
    /// The newest checkpoint. `None`: it is not read yet.
    newest: Option<Checkpoint>,
    /// When checkpoints were last removed, since boot.
    thinned: Option<Duration>,
    status: Arc<LogStatus>,
    stopping: Arc<AtomicBool>,
    /// Is given the newest checkpoint.
    given_out: watch::Sender<Option<Arc<Note>>>,
}

/// A thread that signs. Dropping it signs what was committed meanwhile, and ends the thread.
pub(crate) struct Signing {
    stopping: Arc<AtomicBool>,
    /// Dropped to end the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signer {
    pub(crate) fn new(
        store: Arc<Store>,
        reader: Reader,
        keys: Keys,
        checkpoints: Checkpoints,
        anchors: Vec<Anchor>,
        status: Arc<LogStatus>,
    ) -> Signer {
        let stopping = Arc::<AtomicBool>::default();
        let until = |anchor: Anchor| anchor.until(&stopping);
        Signer {
            store,
            reader,
            keys,
            checkpoints,
            anchors: Some(anchors.into_iter().map(until).collect()),
            newest: None,
            thinned: None,
            status,
            stopping,
            given_out: watch::Sender::new(None),
        }
    }

    /// The newest checkpoint, as it is signed.
    pub(crate) fn given_out(&self) -> Newest {
        self.given_out.subscribe()
    }

    /// Starts the thread.
    pub(crate) fn start(self, interval: Duration) -> std::io::Result<Signing> {
        let (stop, stopped) = mpsc::channel();
        let stopping = Arc::clone(&self.stopping);
        let thread = std::thread::Builder::new().name("log-signer".into());
        let thread = thread.spawn(move || {
            let _guard = Guard(Arc::clone(&self.status));
            self.run(interval, &stopped);
        })?;
        Ok(Signing { stopping, stop: Some(stop), thread: Some(thread) })
    }

    /// Signs until it is told to stop.
    fn run(mut self, interval: Duration, stopped: &mpsc::Receiver<()>) {
        let mut pause = Duration::ZERO;
        loop {
            let is_last = stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            // Another thread may have found another log.
            if self.status.is_stopped() {
                return;
            }
            // An anchor that does not answer must not hold up the end of the process.
            if is_last && self.anchors.as_ref().is_some_and(|anchors| !anchors.is_empty()) {
                return;
            }
            pause = match self.step() {
                Ok(()) => interval,
                Err(error) if is_final(&error) => return self.status.stop(&error),
                Err(error) => {
                    self.status.fails(error.to_string());
                    interval.clamp(RETRY.0, RETRY.1)
                }
            };
            if is_last {
                return;
            }
        }
    }

    /// Signs a checkpoint of all that is committed, if there is anything new.
    pub(crate) fn step(&mut self) -> Result<(), LogError> {
        self.store.write_tiles()?;
        let tiles = self.reader.tiles()?;
        let size = tiles.size();
        if self.newest.is_none() {
            self.newest = self.take_up()?;
        }
        let signed = self.newest.as_ref().map_or(0, Checkpoint::size);
        self.status.found(size, signed);
        if let Some(newest) = &self.newest {
            check_tree(newest, &tiles)?;
        }
        self.compare(&tiles)?;
        if signed < size {
            self.newest = Some(self.sign(size, tree::root(&tiles, size)?)?);
        }
        self.status.signed(size);
        let awake = since_boot();
        if self.thinned.is_none_or(|thinned| awake.saturating_sub(thinned) >= THIN_INTERVAL) {
            self.thinned = Some(awake);
            if let Err(error) = self.checkpoints.thin(now()) {
                tracing::warn!(%error, "checkpoints that need not be kept are not removed");
            }
        }
        Ok(())
    }

    /// Reads the newest checkpoint, and gives it out if that was interrupted.
    fn take_up(&self) -> Result<Option<Checkpoint>, LogError> {
        let Some(kept) = self.checkpoints.take_up()? else { return Ok(None) };
        let checkpoint = verified(&kept.note, &self.keys.held(), &kept.path)?;
        // After a fork the newest is of another origin, which others know as another log.
        if checkpoint.origin() == self.keys.verifier().name() {
            let note = Note::parse(&kept.note).map_err(LogError::Sign)?;
            self.given_out.send_replace(Some(Arc::new(note)));
        }
        Ok(Some(checkpoint))
    }

    /// Compares the tree with each anchor, once.
    fn compare(&mut self, tiles: &Tiles) -> Result<(), LogError> {
        let Some(anchors) = &self.anchors else { return Ok(()) };
        let (known, origin) = (self.keys.known(), self.keys.verifier().name());
        let (has_signed, newest) = (self.newest.is_some(), self.given_out.borrow().clone());
        let mut compared = 0;
        for anchor in anchors {
            let is_compared = match anchor {
                Anchor::Witness { witness, runtime } => match &newest {
                    Some(newest) => agrees_with(witness, runtime, newest)?,
                    None => false,
                },
                anchor => {
                    anchor.compare(tiles, &known, origin, has_signed)?;
                    true
                }
            };
            compared += usize::from(is_compared);
        }
        self.status.compared(compared);
        if anchors.is_empty() {
            tracing::warn!(
                "the log has no anchor, so nobody notices if this is a copy or an old state of it: set \
                 log.anchor, log.publish or a witness"
            );
        }
        self.anchors = None;
        Ok(())
    }

    /// Signs a checkpoint, keeps it, and gives it out.
    fn sign(&self, size: u64, root: Hash) -> Result<Checkpoint, LogError> {
        let checkpoint = Checkpoint::new(self.keys.verifier().name(), size, root);
        let checkpoint = checkpoint.map_err(LogError::Sign)?;
        let note = self.keys.sign(&checkpoint, now()).map_err(LogError::Sign)?;
        self.checkpoints.put(size, note.to_string().as_bytes())?;
        self.given_out.send_replace(Some(Arc::new(note)));
        Ok(checkpoint)
    }
}

/// Whether an error stays until a person acts.
fn is_final(error: &LogError) -> bool {
    use StoreError::{DamagedLog, LeavesMissing};
    matches!(
        error,
        LogError::Contradiction(_)
            | LogError::Checkpoint { .. }
            | LogError::Damaged { .. }
            | LogError::Format { .. }
            | LogError::Store(DamagedLog { .. } | LeavesMissing { .. })
    )
}

/// Notes that the thread has panicked.
struct Guard(Arc<LogStatus>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(&"the thread that signs has panicked");
        }
    }
}

impl Drop for Signing {
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
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::log::error::Contradiction;
    use crate::store::{Directory, Options};
    use crate::tlog::leaf::Leaf;
    use crate::tlog::note::SigningKey;

    fn signer_with(directory: &Directory, store: &Arc<Store>, anchors: Vec<Anchor>) -> Signer {
        let keys = Keys::of(SigningKey::from_seed("example.com/log", &[1; 32]).unwrap());
        let checkpoints = Checkpoints::new(&directory.log());
        let reader = Reader::open(directory).unwrap();
        Signer::new(Arc::clone(store), reader, keys, checkpoints, anchors, Arc::default())
    }

    fn signer(directory: &Directory, store: &Arc<Store>) -> Signer {
        signer_with(directory, store, Vec::new())
    }

    fn edit(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_is_signed_never_contradicts_what_was() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let mut one = signer(&directory, &store);
        let checkpoints = Checkpoints::new(&directory.log());
        let sizes =
            || checkpoints.each().unwrap().map(|kept| kept.unwrap().size).collect::<Vec<_>>();
        one.step().unwrap();
        one.step().unwrap();
        assert_eq!(sizes(), [1]);
        for _ in 0..4 {
            store.append_leaf(Leaf::Gap { first_id: 1, last_id: 2 }).unwrap();
        }
        one.step().unwrap();
        assert_eq!((sizes(), one.status.standing().signed), (vec![1, 5], 5));
        // Another process goes on.
        signer(&directory, &store).step().unwrap();
        assert_eq!(sizes(), [1, 5]);

        store.append_leaf(Leaf::Gap { first_id: 1, last_id: 2 }).unwrap();
        let hashes = directory.log().join("hashes/0/0000");
        edit(&hashes, 64);
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Store(StoreError::DamagedLog { .. })), "{error}");
        assert!(is_final(&error));
        edit(&hashes, 64);
        let newest = checkpoints.given_out().unwrap().unwrap();
        // A checkpoint over other leaves comes back, and one that was signed later.
        let other = Checkpoint::new("example.com/log", 6, Hash([1; 32])).unwrap();
        let other = one.keys.sign(&other, now()).unwrap().to_string();
        fs::write(checkpoints.path(), other).unwrap();
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Contradiction(Contradiction::Root { .. })), "{error}");
        let later = Checkpoint::new("example.com/log", 9, Hash([1; 32])).unwrap();
        let later = one.keys.sign(&later, now()).unwrap().to_string();
        fs::write(checkpoints.path(), later).unwrap();
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Contradiction(Contradiction::Shrunk { .. })), "{error}");
        fs::write(checkpoints.path(), newest).unwrap();
        edit(&directory.log().join("checkpoint"), 3);
        let error = signer(&directory, &store).step().unwrap_err();
        let is_other = matches!(error, LogError::Contradiction(Contradiction::SignedTwice { .. }));
        assert!(is_other, "{error}");
        // So it is if the files of the days are gone.
        fs::remove_dir_all(directory.log().join("checkpoints")).unwrap();
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Checkpoint { .. }), "{error}");
    }

    #[test]
    fn the_tree_is_compared_with_each_anchor_before_the_first_signature() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let at = temporary.path().join("anchor");
        let anchored = || signer_with(&directory, &store, vec![Anchor::File(at.clone())]);
        let add = || store.append_leaf(Leaf::Gap { first_id: 1, last_id: 2 }).unwrap();
        let key = |name: &str, seed| SigningKey::from_seed(name, &[seed; 32]).unwrap();
        let write = |key: &SigningKey, size, root| {
            let checkpoint = Checkpoint::new(key.verifier().name(), size, root).unwrap();
            fs::write(&at, checkpoint.sign(key).unwrap().to_string()).unwrap();
        };
        let root =
            |size| tree::root(&Reader::open(&directory).unwrap().tiles().unwrap(), size).unwrap();
        let refused = |expected: &str, is_stop: bool| {
            let newest = Checkpoints::new(&directory.log()).given_out().unwrap();
            let error = anchored().step().unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.to_string().contains(&*at.to_string_lossy()), "{error}");
            assert_eq!(is_final(&error), is_stop, "{error}");
            assert_eq!(Checkpoints::new(&directory.log()).given_out().unwrap(), newest);
        };
        let log = key("example.com/log", 1);
        // A log that has signed nothing cannot have an anchor yet.
        anchored().step().unwrap();
        add();
        refused("is not there", false);
        fs::write(&at, "no note").unwrap();
        refused("expected text, an empty line", false);
        fs::write(&at, vec![b'x'; 2 << 20]).unwrap();
        refused("at most 1048576 bytes", false);
        write(&key("example.com/other", 1), 1, root(1));
        refused("\"example.com/other\", expected [\"example.com/log\"]", false);
        write(&key("example.com/log", 2), 1, root(1));
        refused("expected one of a known key", false);
        write(&log, 1, Hash([1; 32]));
        refused("went on in different ways", true);
        write(&log, 3, root(1));
        refused("has a checkpoint of 3 leaves, and this log has 2", true);
        write(&log, 1, root(1));
        let mut signer = anchored();
        signer.step().unwrap();
        assert_eq!((signer.status.standing().signed, signer.status.standing().anchors), (2, 1));
        // It is compared at the start alone.
        fs::remove_file(&at).unwrap();
        add();
        signer.step().unwrap();
        assert_eq!(signer.status.standing().signed, 3);
    }
}
