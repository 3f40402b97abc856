//! Calls of an object store that have a limit of time, and whose ends are told.
//!
//! The protocol of the journal repeats its calls and tells nobody. Without this a program that may not
//! write would look healthy, and a command would never end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Created, ObjectError, Objects};

/// The longest that a call of a store or a command may take. A request ends before, unless it waits for
/// credentials.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Who is told how calls end.
pub(crate) trait Watch: Send + Sync + 'static {
    /// A call failed, or had no answer in time.
    fn failed(&self, error: &ObjectError);

    /// The failed call was to create the object `key`.
    fn create_failed(&self, _key: &str, _error: &ObjectError) {}

    /// There is an object `key` now, whoever created it.
    fn exists(&self, _key: &str) {}
}

/// An object store whose calls are watched.
#[derive(Debug)]
pub(crate) struct Watched<O, W> {
    pub(crate) objects: O,
    /// The longest that a call may take.
    pub(crate) limit: Duration,
    pub(crate) watch: Arc<W>,
}

impl<O, W: Watch> Watched<O, W> {
    async fn limited<T>(
        &self,
        (doing, key): (&'static str, &str),
        call: impl Future<Output = Result<T, ObjectError>> + Send,
    ) -> Result<T, ObjectError> {
        let done = timeout(self.limit, call).await.unwrap_or_else(|_| {
            let why = format!("there was no answer within {:?}", self.limit);
            Err(ObjectError::Call { doing, key: key.to_owned(), why })
        });
        done.inspect_err(|error| self.watch.failed(error))
    }
}

impl<O: Objects, W: Watch> Objects for Watched<O, W> {
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, ObjectError> {
        let created = self.limited(("create", key), self.objects.create(key, body)).await;
        match &created {
            Ok(_) => self.watch.exists(key),
            Err(error) => self.watch.create_failed(key, error),
        }
        created
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let read = self.limited(("read", key), self.objects.get(key)).await;
        if let Ok(Some(_)) = &read {
            self.watch.exists(key);
        }
        read
    }

    async fn exists(&self, key: &str) -> Result<bool, ObjectError> {
        let found = self.limited(("look for", key), self.objects.exists(key)).await;
        if let Ok(true) = &found {
            self.watch.exists(key);
        }
        found
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.limited(("delete", key), self.objects.delete(key)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::testing::{Memory, ReadOnly};
    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    impl Notes {
        fn note(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }

        #[track_caller]
        fn check(&self, expected: &[&str]) {
            assert_eq!(*self.0.lock().unwrap(), expected);
            self.0.lock().unwrap().clear();
        }
    }

    impl Watch for Notes {
        fn failed(&self, error: &ObjectError) {
            self.note(format!("failed: {error}"));
        }

        fn create_failed(&self, key: &str, _: &ObjectError) {
            self.note(format!("not created: {key}"));
        }

        fn exists(&self, key: &str) {
            self.note(format!("exists: {key}"));
        }
    }

    fn watched<O>(objects: O, limit: Duration) -> Watched<O, Notes> {
        Watched { objects, limit, watch: Arc::default() }
    }

    #[tokio::test]
    async fn each_end_is_told() {
        let memory = watched(Memory::default(), LIMIT);
        assert_eq!(memory.get("k").await.unwrap(), None);
        memory.watch.check(&[]);
        assert_eq!(memory.create("k", "x".into()).await.unwrap(), Created::Now);
        memory.watch.check(&["exists: k"]);
        assert_eq!(memory.create("k", "y".into()).await.unwrap(), Created::Exists);
        assert_eq!(memory.get("k").await.unwrap(), Some("x".into()));
        memory.watch.check(&["exists: k", "exists: k"]);
        memory.delete("k").await.unwrap();
        memory.watch.check(&[]);
        let read_only = watched(ReadOnly::default(), LIMIT);
        assert!(read_only.create("k", "x".into()).await.is_err());
        let failed = "failed: the object store does not allow to create \"k\": read only";
        read_only.watch.check(&[failed, "not created: k"]);
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
        let hung = watched(Hung, Duration::from_millis(1));
        let why = "in the object store: there was no answer within 1ms";
        assert!(hung.get("k").await.is_err());
        hung.watch.check(&[&format!("failed: cannot read \"k\" {why}")]);
        assert!(hung.create("k", Bytes::new()).await.is_err());
        hung.watch.check(&[&format!("failed: cannot create \"k\" {why}"), "not created: k"]);
        assert!(hung.delete("k").await.is_err());
        hung.watch.check(&[&format!("failed: cannot delete \"k\" {why}")]);
    }
}
