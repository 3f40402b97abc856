//! Object storage for a thread that may block. A call that fails is made again, a few times.
//!
//! Its functions must not be called on a thread of the runtime.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{Bucket, BucketUrl, Created, ObjectError, Objects, series};

/// A place in an object store, for a thread that may block.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    bucket: Bucket,
    runtime: Handle,
}

impl Blocking {
    /// Opens a place. Nothing is sent yet.
    ///
    /// # Errors
    /// Those of [`Bucket::open`].
    pub(crate) fn open(url: &BucketUrl, runtime: Handle) -> Result<Blocking, ObjectError> {
        Ok(Blocking { bucket: Bucket::open(url)?, runtime })
    }

    /// The same place, for a thread that ends when `stopping` is set.
    pub(crate) fn until(mut self, stopping: Arc<AtomicBool>) -> Blocking {
        self.bucket.retry.stopping = stopping;
        self
    }

    /// The URL of the place.
    pub(crate) fn url(&self) -> &BucketUrl {
        self.bucket.url()
    }

    /// Reads an object; `None` if there is none.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let Blocking { bucket, runtime } = self;
        runtime.block_on(bucket.retry.again(|| bucket.get(key)))
    }

    /// The size of an object in bytes; `None` if there is none.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>, ObjectError> {
        let found = self.runtime.block_on(self.bucket.head(key))?;
        Ok(found.map(|meta| meta.size))
    }

    /// How many of the objects with these names there are. They are numbered from 0 without gaps.
    /// `None` if every number seems taken.
    pub(crate) fn count(
        &self,
        name: impl Fn(u64) -> String + Send + Sync,
    ) -> Result<Option<u64>, ObjectError> {
        let Blocking { bucket, runtime } = self;
        runtime.block_on(bucket.retry.again(|| series::first_free(bucket, &name, 0, 0)))
    }

    /// The names of all objects under a prefix, with their sizes.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        let listed = self.runtime.block_on(self.bucket.list(prefix))?;
        Ok(listed.into_iter().map(|meta| (meta.location.to_string(), meta.size)).collect())
    }

    /// Creates an object. Returns what is there if another call created it. An unknown outcome is
    /// settled by reading the object.
    pub(crate) fn create(&self, key: &str, body: &Bytes) -> Result<Option<Bytes>, ObjectError> {
        let Blocking { bucket, runtime } = self;
        runtime.block_on(bucket.retry.again(|| async {
            match bucket.create(key, body.clone()).await {
                Ok(Created::Now) => Ok(None),
                Ok(Created::Exists) => match bucket.get(key).await? {
                    // Another call was creating it, and may have failed.
                    None => Err(ObjectError::Call {
                        doing: "create",
                        key: key.to_owned(),
                        why: "it is said to be there, and is not".to_owned(),
                    }),
                    found => Ok(found),
                },
                Err(error) => match bucket.get(key).await {
                    Ok(Some(found)) => Ok(Some(found)),
                    _ => Err(error),
                },
            }
        }))
    }

    /// Writes an object, also over one that is there.
    pub(crate) fn replace(&self, key: &str, body: &Bytes) -> Result<(), ObjectError> {
        let Blocking { bucket, runtime } = self;
        runtime.block_on(bucket.replace(key, body))
    }

    /// Deletes an object. It is no error if there is none.
    pub(crate) fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.runtime.block_on(self.bucket.delete(key))
    }
}
