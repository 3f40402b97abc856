//! Runs reads of the store for HTTP requests: on blocking threads, only a few at once, with a
//! timeout, and only while the client is connected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::problem::Problem;
use crate::store::{Interrupt, Reader, StoreError};

/// The time limit of a read, including the wait for a permit.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Limits the reads of the store.
#[derive(Debug)]
pub(super) struct ReadPool {
    reader: Arc<Reader>,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl ReadPool {
    /// A pool that runs `concurrency` reads at once, each for at most `timeout`.
    pub(super) fn new(reader: Arc<Reader>, concurrency: usize, timeout: Duration) -> ReadPool {
        ReadPool { reader, permits: Arc::new(Semaphore::new(concurrency)), timeout }
    }

    /// Runs `work`. The read is interrupted after the timeout, and when the returned future is
    /// dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let deadline = Instant::now() + self.timeout;
        let interrupt = Arc::new(Interrupt::at(deadline));
        let _cancel = CancelOnDrop(Arc::clone(&interrupt));
        let permit = timeout_at(deadline.into(), Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| StoreError::TimedOut)?;
        let reader = self.reader.until(interrupt);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&reader);
            drop(permit);
            done
        });
        match done.await {
            Ok(done) => done.map_err(Problem::from),
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

/// Interrupts the read when it is dropped.
struct CancelOnDrop(Arc<Interrupt>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Directory, Options, Store};

    fn pool(timeout: Duration) -> (tempfile::TempDir, ReadPool) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("d")).unwrap();
        drop(Store::open(&directory, Options::default()).unwrap());
        let reader = Arc::new(Reader::open(&directory).unwrap());
        (temporary, ReadPool::new(reader, 1, timeout))
    }

    /// Reads for ever.
    fn endless(reader: &Reader) -> Result<(), StoreError> {
        loop {
            reader.refused(1)?;
        }
    }

    #[tokio::test]
    async fn who_asks_for_too_much_is_told_so() {
        let (_temporary, pool) = pool(Duration::from_millis(50));
        let problem = pool.run(endless).await.unwrap_err();
        assert_eq!(problem.status, 504);
        assert!(problem.detail.contains("narrower"), "{}", problem.detail);
        assert!(pool.run(|reader| reader.refused(1)).await.is_ok());
    }

    #[tokio::test]
    async fn the_wait_for_a_turn_counts() {
        let (_temporary, pool) = pool(Duration::from_millis(50));
        let permit = pool.permits.acquire().await.unwrap();
        assert_eq!(pool.run(|reader| reader.refused(1)).await.unwrap_err().status, 504);
        drop(permit);
    }

    #[tokio::test]
    async fn a_look_ends_with_whoever_waits_for_it() {
        let (_temporary, pool) = pool(Duration::from_secs(1000));
        let (sender, begun) = tokio::sync::oneshot::channel();
        let read = pool.run(move |reader| {
            sender.send(()).unwrap();
            endless(reader)
        });
        tokio::select! {
            _ = read => panic!("it is endless"),
            begun = begun => begun.unwrap(),
        }
        // The one permit is free again.
        assert!(pool.run(|reader| reader.refused(1)).await.is_ok());
    }
}
