//! The receiver's side: an epoch that only one receiver writes, one object at a time.
//!
//! An object is put only when every lower one is known to be there, so whatever is acknowledged after
//! its put stands in a prefix that every store reads. A put takes the epoch and gives it back when the
//! object is known to be there. In every other case the epoch is gone, also when the future is dropped:
//! nothing may follow an object that is not known to be there.

use bytes::Bytes;

use super::Journal;
use super::error::JournalError;
use super::header::{Header, Kind, Nonce};
use super::keys;
use super::platform::Platform;
use super::series::first_free;
use super::settle::{Settled, settle};
use crate::objects::Objects;
use crate::random::NoRandomBytes;

/// An epoch of this receiver, with everything that was put known to be there.
#[derive(Debug)]
#[must_use = "what was put is there, and the next object goes into this epoch"]
pub(crate) struct Epoch<O, P = super::System> {
    journal: Journal<O, P>,
    number: u64,
    next: u64,
}

/// Why an object is not known to be in the epoch. The epoch is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// A store ended the epoch before the object. The object is not in the journal and will never be.
    #[error("{key:?} was sealed by a store")]
    Sealed { key: String },
    /// Another's object stands in its place. The object is not in the journal and will never be.
    #[error("{key:?} is taken by an object that this receiver did not write")]
    Taken { key: String },
    /// Whether stores have read the object is not known.
    #[error("cannot tell whether {key:?} was read: {why}")]
    Unsettled { key: String, why: String },
    /// The object was not made. It is not in the journal.
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
}

impl PutError {
    /// Whether stores may read the object, or have read it. Then its deliveries must not be put again:
    /// they could be counted twice. A put that was dropped is like this too.
    pub(crate) fn may_be_read(&self) -> bool {
        matches!(self, PutError::Unsettled { .. })
    }
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Begins a new epoch: the first free number. `hint` is a guess of it, such as the number of the
    /// epoch before. It tries until it succeeds; the caller sets the limit by dropping the future.
    ///
    /// # Errors
    /// [`JournalError::Random`] and [`JournalError::Full`].
    pub(crate) async fn begin(&self, hint: u64) -> Result<Epoch<O, P>, JournalError> {
        let nonce = self.platform.nonce()?;
        let mut body = Header { kind: Kind::Epoch, nonce }.to_bytes().to_vec();
        body.extend_from_slice(br#"{"version":1}"#);
        let body = Bytes::from(body);
        let mut attempt = 0;
        let mut number = loop {
            match first_free(&*self.objects, keys::epoch, 0, hint).await {
                Ok(number) => break number,
                Err(JournalError::Objects(error)) => {
                    self.platform.pause(attempt, Some(&error)).await;
                    attempt = attempt.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        };
        loop {
            let key = keys::epoch(number);
            match settle(&*self.objects, &*self.platform, &key, &body).await {
                Settled::Ours => break,
                // Another receiver was faster. The next number is free unless a third one was.
                Settled::Other(_) => {
                    number = number.checked_add(1).ok_or(JournalError::Full { key })?;
                }
            }
        }
        Ok(Epoch { journal: self.clone(), number, next: 0 })
    }
}

impl<O: Objects, P: Platform> Epoch<O, P> {
    /// The number of the epoch.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The number of the next object, which is how many objects the epoch has.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Puts the next object. `encode` makes it, once, from its key and its header, with which it must
    /// begin. When this returns the epoch, every store will read the object, and its deliveries can be
    /// acknowledged. It tries until it is known what became of the object; the caller sets the limit by
    /// dropping the future. Then the object may be there, or come later.
    ///
    /// # Errors
    /// [`PutError`], which says whether the deliveries may be put into another epoch.
    pub(crate) async fn put(
        self,
        encode: impl FnOnce(&str, &Header) -> Bytes + Send,
    ) -> Result<Epoch<O, P>, PutError> {
        let header = Header { kind: Kind::Deliveries, nonce: self.journal.platform.nonce()? };
        let key = keys::object(self.number, self.next);
        let body = encode(&key, &header);
        let Some(next) = self.next.checked_add(1) else {
            return Err(PutError::Taken { key });
        };
        debug_assert!(body.starts_with(&header.to_bytes()), "an object begins with its header");
        match settle(&*self.journal.objects, &*self.journal.platform, &key, &body).await {
            Settled::Ours => Ok(Epoch { next, ..self }),
            Settled::Other(found) => Err(self.other(key, header.nonce, &found).await),
        }
    }

    /// What it means that these bytes stand where our object was to be.
    async fn other(&self, key: String, nonce: Nonce, found: &[u8]) -> PutError {
        match Header::parse(found) {
            Ok((header, _)) if header.nonce == nonce => {
                PutError::Unsettled { key, why: "it has our nonce and other bytes".to_owned() }
            }
            Ok((Header { kind: Kind::Seal, .. }, _)) => {
                // A late seal can take the place of an object that was read and pruned.
                match self.journal.first_unpruned(self.number).await {
                    Ok(floor) if floor <= self.next => PutError::Sealed { key },
                    Ok(_) => PutError::Unsettled { key, why: "it was pruned".to_owned() },
                    Err(error) => PutError::Unsettled { key, why: error.to_string() },
                }
            }
            _ => PutError::Taken { key },
        }
    }
}

#[cfg(test)]
impl<O: Objects, P: Platform> Epoch<O, P> {
    /// An epoch at any number, to show what would go wrong.
    pub(super) fn resumed(journal: Journal<O, P>, number: u64, next: u64) -> Epoch<O, P> {
        Epoch { journal, number, next }
    }
}
