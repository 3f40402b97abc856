//! Creates an object and finds out what became of it, whatever the object store answers.
//!
//! This is the only place that decides that an object is our own. An answer "created" is the truth.
//! Any other answer says nothing: the object may be there, from us or from another, or be on its way.
//! So the key is read: the same bytes are ours, because they have a nonce that nobody else has; other
//! bytes are another's; and where nothing is, the object is created again. The second attempt cannot
//! do harm, because both attempts have the same bytes.

use bytes::Bytes;
use serde::Serialize;

use super::Journal;
use super::control;
use super::header::Kind;
use super::platform::Platform;
use crate::objects::{Created, ObjectError, Objects};
use crate::random::NoRandomBytes;

/// What stands under a key that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Our object.
    Ours,
    /// These bytes, which are another's. There are none if it is too large to be read.
    Other(Bytes),
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Creates a control object with a new nonce, as [`Journal::settle`] does.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(super) async fn create(
        &self,
        kind: Kind,
        key: &str,
        value: &(impl Serialize + Sync),
    ) -> Result<Settled, NoRandomBytes> {
        let body = control::encode(kind, self.platform.nonce()?, value);
        Ok(self.settle(key, &body).await)
    }

    /// Creates `body` under `key`, until it is known what stands there. It takes as long as it takes: the
    /// caller sets the limit by dropping the future. The object may be there after that, or come later.
    pub(super) async fn settle(&self, key: &str, body: &Bytes) -> Settled {
        let mut attempt = 0;
        loop {
            let mut why = match self.objects.create(key, body.clone()).await {
                Ok(Created::Now) => return Settled::Ours,
                Ok(Created::Exists) => None,
                Err(error) => Some(error),
            };
            loop {
                match self.objects.get(key).await {
                    Ok(Some(found)) if found == *body => return Settled::Ours,
                    Ok(Some(found)) => return Settled::Other(found),
                    Ok(None) => break,
                    // Ours are smaller.
                    Err(ObjectError::TooLarge { .. }) => return Settled::Other(Bytes::new()),
                    Err(error) => why = Some(error),
                }
                self.platform.pause(attempt, why.as_ref()).await;
                attempt = attempt.saturating_add(1);
            }
            self.platform.pause(attempt, why.as_ref()).await;
            attempt = attempt.saturating_add(1);
        }
    }
}
