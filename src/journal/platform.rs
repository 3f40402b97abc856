//! What the protocol needs of the program around it: pauses and nonces. A test brings its own.

use std::future::Future;
use std::time::Duration;

use super::header::Nonce;
use crate::objects::ObjectError;
use crate::random::{self, NoRandomBytes};

/// Pauses between attempts, and nonces.
pub(crate) trait Platform: Send + Sync + 'static {
    /// Waits before the next attempt. `attempt` counts from 0 for each object. `why` is the newest
    /// error; `None` if two calls of the object store contradicted each other.
    fn pause(&self, attempt: u32, why: Option<&ObjectError>) -> impl Future<Output = ()> + Send;

    /// A nonce that was never used.
    ///
    /// # Errors
    /// When the system has no random bytes.
    fn nonce(&self) -> Result<Nonce, NoRandomBytes>;
}

/// The pauses and nonces of the running program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Platform for System {
    async fn pause(&self, attempt: u32, why: Option<&ObjectError>) {
        match why {
            Some(error) => tracing::debug!(attempt, %error, "the journal tries again"),
            None => tracing::debug!(attempt, "the journal tries again"),
        }
        // Half of it is random, so that receivers do not come back all at once.
        tokio::time::sleep(longest(attempt).mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }

    fn nonce(&self) -> Result<Nonce, NoRandomBytes> {
        random::secret_bytes().map(Nonce)
    }
}

fn longest(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let millis = |attempt| longest(attempt).as_millis();
        assert_eq!([0, 1, 5, 6, u32::MAX].map(millis), [20, 40, 640, 1000, 1000]);
        assert_ne!(System.nonce().unwrap(), System.nonce().unwrap());
    }
}
