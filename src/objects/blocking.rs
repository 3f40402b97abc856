//! Object storage for a thread that may block. A call that fails is made again, a few times.
//!
//! Its functions must not be called on a thread of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Bucket, BucketUrl, Created, ObjectError, Objects};

/// How often a call is made whose outcome is unknown.
const ATTEMPTS: u32 = 4;

/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// A place in an object store, for a thread that may block.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    bucket: Bucket,
    runtime: Handle,
    /// No call is made again once this is set.
    stopping: Arc<AtomicBool>,
}

impl Blocking {
    /// Opens a place. Nothing is sent yet.
    ///
    /// # Errors
    /// Those of [`Bucket::open`].
    pub(crate) fn open(url: &BucketUrl, runtime: Handle) -> Result<Blocking, ObjectError> {
        Ok(Blocking { bucket: Bucket::open(url)?, runtime, stopping: Arc::default() })
    }

    /// The same place, for a thread that ends when `stopping` is set.
    pub(crate) fn until(self, stopping: Arc<AtomicBool>) -> Blocking {
        Blocking { stopping, ..self }
    }

    /// The URL of the place.
    pub(crate) fn url(&self) -> &BucketUrl {
        self.bucket.url()
    }

    /// Reads an object; `None` if there is none.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        self.again(|| self.runtime.block_on(self.bucket.get(key)))
    }

    /// The size of an object in bytes; `None` if there is none.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, ObjectError> {
        let found = self.again(|| self.runtime.block_on(self.bucket.head(key)))?;
        Ok(found.map(|meta| meta.size))
    }

    /// The names of all objects under a prefix, with their sizes.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        let listed = self.again(|| self.runtime.block_on(self.bucket.list(prefix)))?;
        Ok(listed.into_iter().map(|meta| (meta.location.to_string(), meta.size)).collect())
    }

    /// Creates an object. Returns what is there if another call created it. An unknown outcome is
    /// settled by reading the object.
    pub(crate) fn create(&self, key: &str, body: &Bytes) -> Result<Option<Bytes>, ObjectError> {
        self.again(|| {
            self.runtime.block_on(async {
                match self.bucket.create(key, body.clone()).await {
                    Ok(Created::Now) => Ok(None),
                    Ok(Created::Exists) => match self.bucket.get(key).await? {
                        // Another call was creating it, and may have failed.
                        None => Err(ObjectError::Call {
                            doing: "create",
                            key: key.to_owned(),
                            why: "it is said to be there, and is not".to_owned(),
                        }),
                        found => Ok(found),
                    },
                    Err(error) => match self.bucket.get(key).await {
                        Ok(Some(found)) => Ok(Some(found)),
                        _ => Err(error),
                    },
                }
            })
        })
    }

    /// Makes a call again while it fails, a few times.
    fn again<T>(&self, call: impl Fn() -> Result<T, ObjectError>) -> Result<T, ObjectError> {
        let mut attempt = 1;
        loop {
            match call() {
                Err(_) if self.stopping.load(Ordering::Relaxed) => {
                    return Err(ObjectError::Stopped);
                }
                Err(ObjectError::Call { .. }) if attempt < ATTEMPTS => {
                    std::thread::sleep(PAUSE * attempt);
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}
