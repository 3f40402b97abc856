//! A store that a test opens through the library, without a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tempfile::TempDir;
use vidimus::entry::Millis;
use vidimus::ingest::{Batch, Caps, ExpectedIds};
use vidimus::signature::{KeySet, Seed};
use vidimus::store::{Appended, Delivery, Directory, Judge, Options, Store, StoreError};

pub(crate) const CAPS: Caps = Caps { max_line: 1 << 20, max_lines: 1_000_000 };

/// The time of every delivery, in milliseconds since 1970.
pub(crate) const RECEIVED_AT: i64 = 1_760_000_000_000;

/// A data directory. Dropping it removes the files.
pub(crate) struct Home {
    _temporary: Option<TempDir>,
    pub(crate) path: PathBuf,
}

impl Home {
    pub(crate) fn new() -> Home {
        let temporary = tempfile::tempdir().unwrap();
        Home { path: temporary.path().join("data"), _temporary: Some(temporary) }
    }

    /// A data directory that somebody else removes.
    pub(crate) fn at(path: &Path) -> Home {
        Home { path: path.to_owned(), _temporary: None }
    }

    #[track_caller]
    pub(crate) fn open(&self, options: Options) -> Store {
        let directory = Directory::create(&self.path).unwrap();
        // A process that another test starts inherits open files and their locks for a moment.
        for _ in 0..100_000 {
            match Store::open(&directory, options) {
                Err(StoreError::Locked(_)) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
        panic!("{} stays locked", self.path.display());
    }
}

/// Appends a body in one delivery.
#[track_caller]
pub(crate) fn append(store: &Store, body: &str, keys: &KeySet) -> Appended {
    let batch =
        Batch::new(Bytes::copy_from_slice(body.as_bytes()), keys, CAPS, &Seed::new([7; 32]))
            .unwrap();
    append_batch(store, &batch, body.len())
}

/// Appends a batch of so many bytes in one delivery.
#[track_caller]
pub(crate) fn append_batch(store: &Store, batch: &Batch, bytes: usize) -> Appended {
    let delivery = Delivery {
        received_at: Millis::saturating(RECEIVED_AT),
        started: Instant::now(),
        input: "default".into(),
        peer: "127.0.0.1:1".into(),
        bytes: bytes as u64,
        decoded_bytes: bytes as u64,
        origin: None,
    };
    store.append(delivery, batch, &ExpectedIds::default()).unwrap().appended
}

/// A judge with the same keys for every input and time.
pub(crate) struct FixedKeys(pub(crate) Arc<KeySet>);

impl Judge for FixedKeys {
    fn keys(&self, _: &str, _: Millis) -> Arc<KeySet> {
        Arc::clone(&self.0)
    }
    fn expected(&self, _: &str) -> Arc<ExpectedIds> {
        Arc::default()
    }
    fn max_line(&self) -> usize {
        CAPS.max_line
    }
}
