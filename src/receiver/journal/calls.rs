//! The calls of the object store that a receiver makes: each has a limit of time, and each failure is
//! told.
//!
//! The protocol repeats a call that failed. So the limit is short: a connection that went silent must
//! not use up the time that a delivery may wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::status::{JournalStatus, PutObserver};
use crate::objects::{Created, ObjectError, Objects};

/// An object store with limits and an observer.
pub(crate) struct WatchedObjects<O> {
    pub(crate) objects: O,
    /// The longest that a call may take.
    pub(crate) limit: Duration,
    pub(crate) status: Arc<JournalStatus>,
    pub(crate) observer: Arc<dyn PutObserver>,
}

impl<O: Objects> WatchedObjects<O> {
    async fn watch<T>(
        &self,
        (doing, key): (&'static str, &str),
        call: impl Future<Output = Result<T, ObjectError>> + Send,
    ) -> Result<T, ObjectError> {
        let done = timeout(self.limit, call).await.unwrap_or_else(|_| {
            let why = format!("there was no answer within {} ms", self.limit.as_millis());
            Err(ObjectError::Call { doing, key: key.to_owned(), why })
        });
        if let Err(error) = &done {
            self.observer.call_failed();
            match self.status.fails(&error.to_string()) {
                true => tracing::warn!(%error, "the journal fails; trying again"),
                false => tracing::debug!(%error, "the journal still fails"),
            }
        }
        done
    }
}

impl<O: Objects> Objects for WatchedObjects<O> {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        self.watch(("create", key), self.objects.create(key, body)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        self.watch(("read", key), self.objects.get(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.watch(("delete", key), self.objects.delete(key)).await
    }
}
