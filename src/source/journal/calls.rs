//! The calls of the object store that a store or a command makes: each has a limit of time, and a
//! failure is told.
//!
//! The protocol repeats a create until it is known what stands under the key, and tells nobody. Without
//! this a store that may not write would look healthy, and a command would never end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::status::SourceStatus;
use crate::objects::{Created, ObjectError, Objects};

/// The longest that a call may take. Reading a large object over a slow line takes long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Who is told how calls end.
pub(crate) trait Watch: Send + Sync + 'static {
    /// The object `key` could not be created.
    fn create_failed(&self, key: &str, error: &ObjectError);

    /// The object `key` could not be read.
    fn read_failed(&self, key: &str, error: &ObjectError);

    /// There is an object `key` now, whoever created it.
    fn found(&self, key: &str);
}

/// An object store whose calls are watched.
#[derive(Debug)]
pub(crate) struct Watched<O, W> {
    pub(crate) objects: O,
    /// The longest that a call may take.
    pub(crate) limit: Duration,
    pub(crate) watch: Arc<W>,
}

impl<O, W> Watched<O, W> {
    async fn limited<T>(
        &self,
        (doing, key): (&'static str, &str),
        call: impl Future<Output = Result<T, ObjectError>> + Send,
    ) -> Result<T, ObjectError> {
        timeout(self.limit, call).await.unwrap_or_else(|_| {
            let why = format!("there was no answer within {} s", self.limit.as_secs());
            Err(ObjectError::Call { doing, key: key.to_owned(), why })
        })
    }
}

impl<O: Objects, W: Watch> Objects for Watched<O, W> {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        let created = self.limited(("create", key), self.objects.create(key, body)).await;
        match &created {
            Ok(_) => self.watch.found(key),
            Err(error) => self.watch.create_failed(key, error),
        }
        created
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let read = self.limited(("read", key), self.objects.get(key)).await;
        match &read {
            Ok(Some(_)) => self.watch.found(key),
            Ok(None) => {}
            Err(error) => self.watch.read_failed(key, error),
        }
        read
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.limited(("delete", key), self.objects.delete(key)).await
    }
}

impl Watch for SourceStatus {
    fn create_failed(&self, key: &str, error: &ObjectError) {
        self.create_fails(key, error);
    }

    fn read_failed(&self, _: &str, error: &ObjectError) {
        // The reader tells what else there is to tell.
        self.denied(error);
    }

    fn found(&self, key: &str) {
        self.create_ends(key);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::journal::testing::Memory;
    use crate::journal::{Cursor, Journal};

    /// An object store that refuses to create objects.
    #[derive(Default)]
    pub(crate) struct ReadOnly(pub(crate) Memory);

    impl Objects for ReadOnly {
        async fn create(&self, key: &str, _: Bytes) -> Result<Created, ObjectError> {
            let (key, why) = (key.to_owned(), "read only".to_owned());
            Err(ObjectError::Denied { doing: "create", key, why })
        }

        async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
            self.0.get(key).await
        }

        async fn delete(&self, key: &str) -> Result<(), ObjectError> {
            self.0.delete(key).await
        }
    }

    #[tokio::test]
    async fn a_store_that_may_not_write_says_so() {
        let status = Arc::new(SourceStatus::new("main"));
        let watch = Arc::clone(&status);
        let objects = Watched { objects: ReadOnly::default(), limit: LIMIT, watch };
        let journal = Journal::new(Arc::new(objects));
        let store = "s".parse().unwrap();
        let cursor = Cursor::default();
        let mut joining = std::pin::pin!(journal.join(&store, &cursor, 0));
        // It tries for ever, so it is polled until it pauses.
        assert!(futures_util::poll!(joining.as_mut()).is_pending());
        let failing = status.standing().failing.unwrap();
        assert!(failing.contains("read only") && failing.contains("registry/0"), "{failing}");
        let trouble = status.trouble().unwrap();
        assert!(trouble.to_string().contains("does not allow"), "{trouble}");
        assert!(!trouble.in_public().contains("read only"), "{}", trouble.in_public());
        status.joined();
        status.create_ends("registry/0");
        assert_eq!((status.standing().failing, status.trouble()), (None, None));
    }

    #[tokio::test]
    async fn a_call_without_an_answer_fails() {
        struct Hung;
        impl Objects for Hung {
            async fn create(&self, _: &str, _: Bytes) -> Result<Created, ObjectError> {
                std::future::pending().await
            }
            async fn get(&self, _: &str) -> Result<Option<Bytes>, ObjectError> {
                std::future::pending().await
            }
            async fn delete(&self, _: &str) -> Result<(), ObjectError> {
                std::future::pending().await
            }
        }
        let status = Arc::new(SourceStatus::new("main"));
        let objects = Watched { objects: Hung, limit: Duration::ZERO, watch: Arc::clone(&status) };
        assert!(objects.get("k").await.unwrap_err().to_string().contains("no answer"));
        assert!(objects.create("k", Bytes::new()).await.is_err());
        assert!(status.standing().failing.is_some());
    }
}
