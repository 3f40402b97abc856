//! Looks at the store, for whoever asks by HTTP: on threads that may wait, only a few at once, and no
//! longer than somebody waits for the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::problem::Problem;
use crate::store::{Interrupt, Reader, StoreError};

/// How long an answer may take, with the wait for a turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the store.
#[derive(Debug)]
pub(super) struct Looks {
    reader: Arc<Reader>,
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Looks {
    /// Looks of which `at_once` are at work at once, and each takes `patience` at most.
    pub(super) fn new(reader: Arc<Reader>, at_once: usize, patience: Duration) -> Looks {
        Looks { reader, turns: Arc::new(Semaphore::new(at_once)), patience }
    }

    /// Does `work` with the store. It ends when it takes too long, and when this is dropped.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let deadline = Instant::now() + self.patience;
        let interrupt = Arc::new(Interrupt::at(deadline));
        let _cancel = Cancel(Arc::clone(&interrupt));
        let turn = timeout_at(deadline.into(), Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| StoreError::TimedOut)?;
        let reader = self.reader.until(interrupt);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&reader);
            drop(turn);
            done
        });
        match done.await {
            Ok(done) => done.map_err(Problem::from),
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

/// Nobody waits any more when this is dropped.
struct Cancel(Arc<Interrupt>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Directory, Options, Store};

    fn looks(patience: Duration) -> (tempfile::TempDir, Looks) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("d")).unwrap();
        drop(Store::open(&directory, Options::default()).unwrap());
        let reader = Arc::new(Reader::open(&directory).unwrap());
        (temporary, Looks::new(reader, 1, patience))
    }

    /// Asks again and again, and never has the answer.
    fn endless(reader: &Reader) -> Result<(), StoreError> {
        loop {
            reader.refused(1)?;
        }
    }

    #[tokio::test]
    async fn who_asks_for_too_much_is_told_so() {
        let (_temporary, looks) = looks(Duration::from_millis(50));
        let problem = looks.look(endless).await.unwrap_err();
        assert_eq!(problem.status, 504);
        assert!(problem.detail.contains("narrower"), "{}", problem.detail);
        assert!(looks.look(|reader| reader.refused(1)).await.is_ok());
    }

    #[tokio::test]
    async fn the_wait_for_a_turn_counts() {
        let (_temporary, looks) = looks(Duration::from_millis(50));
        let turn = looks.turns.acquire().await.unwrap();
        assert_eq!(looks.look(|reader| reader.refused(1)).await.unwrap_err().status, 504);
        drop(turn);
    }

    #[tokio::test]
    async fn a_look_ends_with_whoever_waits_for_it() {
        let (_temporary, looks) = looks(Duration::from_secs(1000));
        let (sender, begun) = tokio::sync::oneshot::channel();
        let look = looks.look(move |reader| {
            sender.send(()).unwrap();
            endless(reader)
        });
        tokio::select! {
            _ = look => panic!("it is endless"),
            begun = begun => begun.unwrap(),
        }
        // There is one turn, and it is free again.
        assert!(looks.look(|reader| reader.refused(1)).await.is_ok());
    }
}
