//! The thread of `serve` that signs checkpoints.
//!
//! It writes the tiles of all committed leaves, computes the root from them, and signs it: when the
//! log has grown, at most once in an interval, and once at the end. It delays nothing, because
//! whoever sends entries does not wait for it. Before it signs, it computes the root of the newest
//! checkpoint from the tiles again. If the tree contradicts what was signed, it stops for good: two
//! checkpoints that contradict each other prove that a log lies.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::LogError;
use super::checkpoints::{Checkpoints, check_tree};
use super::status::LogStatus;
use crate::clock::{now, since_boot};
use crate::store::{Reader, Store, StoreError};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::SigningKey;
use crate::tlog::tree::{self, Hash};

/// How often checkpoints that need not be kept are removed.
const THIN_INTERVAL: Duration = Duration::from_secs(3600);

/// Signs the checkpoints of a store.
pub(crate) struct Signer {
    store: Arc<Store>,
    reader: Reader,
    key: SigningKey,
    checkpoints: Checkpoints,
    /// The newest checkpoint. `None`: it is not read yet.
    newest: Option<Checkpoint>,
    /// When checkpoints were last removed, since boot.
    thinned: Option<Duration>,
    status: Arc<LogStatus>,
}

/// A thread that signs. Dropping it signs what was committed meanwhile, and ends the thread.
pub(crate) struct Signing {
    /// Dropped to end the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signer {
    pub(crate) fn new(
        store: Arc<Store>,
        reader: Reader,
        key: SigningKey,
        checkpoints: Checkpoints,
        status: Arc<LogStatus>,
    ) -> Signer {
        Signer { store, reader, key, checkpoints, newest: None, thinned: None, status }
    }

    /// Starts the thread.
    pub(crate) fn start(self, interval: Duration) -> std::io::Result<Signing> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("log-signer".into());
        let thread = thread.spawn(move || {
            let _guard = Guard(Arc::clone(&self.status));
            self.run(interval, &stopped);
        })?;
        Ok(Signing { stop: Some(stop), thread: Some(thread) })
    }

    /// Signs until it is told to stop.
    fn run(mut self, interval: Duration, stopped: &mpsc::Receiver<()>) {
        let mut pause = Duration::ZERO;
        loop {
            let is_last = stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            pause = interval;
            match self.step() {
                Ok(()) => {}
                Err(error) if is_final(&error) => return self.status.stop(error.to_string()),
                Err(error) => self.status.fails(error.to_string()),
            }
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
        if signed < size {
            self.newest = Some(self.sign(size, tree::root(&tiles, size)?)?);
        }
        self.status.signed(size);
        let awake = since_boot();
        if self.thinned.is_none_or(|thinned| awake.saturating_sub(thinned) >= THIN_INTERVAL) {
            self.checkpoints.thin(now())?;
            self.thinned = Some(awake);
        }
        Ok(())
    }

    /// Reads the newest checkpoint, and gives it out if that was interrupted.
    fn take_up(&self) -> Result<Option<Checkpoint>, LogError> {
        let Some((checkpoint, note)) = self.checkpoints.newest(self.key.verifier())? else {
            return Ok(None);
        };
        self.checkpoints.put(checkpoint.size(), &note)?;
        Ok(Some(checkpoint))
    }

    /// Signs a checkpoint, keeps it, and gives it out.
    fn sign(&self, size: u64, root: Hash) -> Result<Checkpoint, LogError> {
        let checkpoint = Checkpoint::new(self.key.verifier().name(), size, root);
        let checkpoint = checkpoint.map_err(LogError::Sign)?;
        let note = checkpoint.sign(&self.key).map_err(LogError::Sign)?;
        self.checkpoints.put(size, note.to_string().as_bytes())?;
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
            | LogError::Store(DamagedLog { .. } | LeavesMissing { .. })
    )
}

/// Notes that the thread has panicked.
struct Guard(Arc<LogStatus>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the thread that signs has panicked".into());
        }
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
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

    fn signer(directory: &Directory, store: &Arc<Store>) -> Signer {
        let key = SigningKey::from_seed("example.com/log", &[1; 32]).unwrap();
        let checkpoints = Checkpoints::new(&directory.log());
        let reader = Reader::open(directory).unwrap();
        Signer::new(Arc::clone(store), reader, key, checkpoints, Arc::default())
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
        let sizes = || Checkpoints::new(&directory.log()).sizes().unwrap();
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
        assert!(matches!(error, LogError::Contradiction(Contradiction::Root { .. })), "{error}");
        assert!(is_final(&error));
        edit(&hashes, 64);
        // A checkpoint that was signed later comes back.
        let kept = Checkpoints::new(&directory.log()).path_of(9);
        let later = Checkpoint::new("example.com/log", 9, Hash([1; 32])).unwrap();
        fs::write(&kept, later.sign(&one.key).unwrap().to_string()).unwrap();
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Contradiction(Contradiction::Shrunk { .. })), "{error}");
        fs::remove_file(kept).unwrap();
        edit(&directory.log().join("checkpoint"), 3);
        let error = signer(&directory, &store).step().unwrap_err();
        assert!(matches!(error, LogError::Checkpoint { .. }), "{error}");
        assert_eq!(sizes(), [1, 5]);
    }
}
