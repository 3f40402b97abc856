//! Ends a command whose calls of the object store fail. The protocol repeats them for ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cli::exit::Failure;
use crate::journal::Journal;
use crate::objects::watched::{LIMIT, Watch, Watched};
use crate::objects::{ObjectError, Objects};

/// How long calls may fail before a command ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// A journal whose calls are counted by a command.
pub(super) type Patient<O> = Journal<Watched<O, Patience>>;

/// How long calls have failed.
#[derive(Debug)]
pub(super) struct Patience {
    failing_since: Mutex<Option<Instant>>,
    /// How long they may fail.
    limit: Duration,
    /// Gets the reason when the command must end.
    over: mpsc::UnboundedSender<String>,
}

impl Watch for Patience {
    fn failed(&self, error: &ObjectError) {
        let mut failing = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *failing.get_or_insert_with(Instant::now);
        let is_denied = matches!(error, ObjectError::Denied { .. });
        if is_denied || since.elapsed() >= self.limit {
            // The command may have ended already.
            let _ = self.over.send(error.to_string());
        }
    }

    fn exists(&self, _: &str) {
        *self.failing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Does something with the journal in an object store.
///
/// # Errors
/// Also when a call is not allowed, or calls have failed for a minute.
pub(super) async fn patiently<O: Objects, T>(
    objects: O,
    work: impl AsyncFnOnce(Patient<O>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_patience(PATIENCE, objects, work).await
}

async fn with_patience<O: Objects, T>(
    limit: Duration,
    objects: O,
    work: impl AsyncFnOnce(Patient<O>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (over, mut ends) = mpsc::unbounded_channel();
    let watch = Arc::new(Patience { failing_since: Mutex::default(), limit, over });
    let journal = Journal::new(Arc::new(Watched { objects, limit: LIMIT, watch }));
    tokio::select! {
        done = work(journal) => done,
        Some(why) = ends.recv() => Err(Failure::failed(why)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::objects::Created;
    use crate::objects::testing::{Memory, ReadOnly};

    /// An object store that creates nothing and gives no reason.
    struct Broken;

    impl Objects for Broken {
        async fn create(&self, key: &str, _: Bytes) -> Result<Created, ObjectError> {
            let (key, why) = (key.to_owned(), "broken".to_owned());
            Err(ObjectError::Call { doing: "create", key, why })
        }

        async fn get(&self, _: &str) -> Result<Option<Bytes>, ObjectError> {
            Ok(None)
        }

        async fn delete(&self, _: &str) -> Result<(), ObjectError> {
            Ok(())
        }
    }

    async fn retire(limit: Duration, objects: impl Objects) -> Result<(), Failure> {
        let store = "s".parse().unwrap();
        with_patience(limit, objects, async |journal| Ok(journal.retire(&store).await?)).await
    }

    #[tokio::test]
    async fn a_command_ends_when_calls_fail() {
        assert!(retire(Duration::ZERO, Memory::default()).await.is_ok());
        let denied = retire(Duration::MAX, ReadOnly::default()).await.unwrap_err();
        assert!(denied.to_string().contains("read only"), "{denied}");
        let broken = retire(Duration::ZERO, Broken).await.unwrap_err();
        assert!(broken.to_string().contains("broken"), "{broken}");
    }
}
