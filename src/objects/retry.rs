//! The one place where a call of an object store is made again because it failed.
//!
//! The protocol of the journal repeats its creates and reads itself, because it must find out what
//! became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ObjectError;

/// How often a call is made at most. It is given up after 8 seconds if each attempt fails at once, and
/// after three minutes if none is answered.
const ATTEMPTS: u32 = 6;

/// The pause before the second attempt. Each later one is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(250);

/// Makes calls again.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    /// No call is made again once this is set.
    pub(super) stopping: Arc<AtomicBool>,
    pause: Duration,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { stopping: Arc::default(), pause: PAUSE }
    }
}

impl Retry {
    /// Makes a call until it does not fail, a few times.
    ///
    /// # Errors
    /// The last one of the call. One that does not pass by itself is returned at once.
    pub(super) async fn again<T, F>(&self, call: impl Fn() -> F) -> Result<T, ObjectError>
    where
        F: Future<Output = Result<T, ObjectError>>,
    {
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Err(error @ ObjectError::Call { .. }) => error,
                done => return done,
            };
            // Short pauses follow each other, because the program may be ending. Their length is random,
            // so that calls that failed together do not come back together.
            for _ in 0..1 << (attempt - 1) {
                if self.stopping.load(Ordering::Relaxed) {
                    return Err(ObjectError::Stopped);
                }
                if attempt == ATTEMPTS {
                    return Err(error);
                }
                tokio::time::sleep(self.pause.mul_f64(0.5 + fastrand::f64())).await;
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn failed() -> ObjectError {
        ObjectError::Call { doing: "read", key: "k".to_owned(), why: "it broke off".to_owned() }
    }

    /// Makes a call that fails so often with `error`. Returns how often it was made, and the result.
    async fn check(
        failures: u32,
        error: fn() -> ObjectError,
        stopping: bool,
    ) -> (u32, Result<(), ObjectError>) {
        let retry = Retry { stopping: Arc::new(stopping.into()), pause: Duration::ZERO };
        let made = Cell::new(0);
        let done = retry.again(|| async {
            made.set(made.get() + 1);
            if made.get() > failures { Ok(()) } else { Err(error()) }
        });
        let done = done.await;
        (made.get(), done)
    }

    #[tokio::test]
    async fn a_call_that_fails_is_made_again_a_few_times() {
        assert!(matches!(check(0, failed, false).await, (1, Ok(()))));
        assert!(matches!(check(5, failed, false).await, (6, Ok(()))));
        assert!(matches!(check(6, failed, false).await, (6, Err(ObjectError::Call { .. }))));
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        let large = || ObjectError::TooLarge { key: "k".to_owned() };
        assert!(matches!(check(1, large, false).await, (1, Err(ObjectError::TooLarge { .. }))));
    }

    #[tokio::test]
    async fn a_program_that_ends_makes_no_call_again() {
        assert!(matches!(check(1, failed, true).await, (1, Err(ObjectError::Stopped))));
        assert!(matches!(check(0, failed, true).await, (1, Ok(()))));
    }
}
