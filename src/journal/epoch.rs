//! The receiver's side: an epoch that only one receiver writes, one object at a time.
//!
//! An object is put only when every lower one is known to be there, so whatever is acknowledged after
//! its put stands in a prefix that every store reads. A put takes the epoch and gives it back when the
//! object is known to be there. In every other case the epoch is gone, also when the future is dropped:
//! nothing may follow an object that is not known to be there.

use bytes::Bytes;

use super::Journal;
use super::control::Empty;
use super::error::JournalError;
use super::header::{Header, Kind, Nonce};
use super::keys::{self, ObjectId};
use super::platform::Platform;
use super::series::{first_free, gaps};
use super::settle::Settled;
use crate::objects::Objects;
use crate::random::NoRandomBytes;

/// How many epochs are read at once, to see that all are there.
const READ_AT_ONCE: u64 = 32;

/// The largest distance to the end of a gap that is filled, in epochs.
const MOST_FILLED: u64 = 1000;

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
    /// Begins a new epoch, with everything below it there, because a store reads no epoch before the
    /// one below. Every epoch below `known` is known to be there, such as the last epoch of this receiver
    /// and those before it. It tries until it succeeds; the caller sets the limit by dropping the future.
    ///
    /// # Errors
    /// [`JournalError::Random`] and [`JournalError::Full`].
    pub(crate) async fn begin(&self, known: u64) -> Result<Epoch<O, P>, JournalError> {
        let search = || first_free(&*self.objects, keys::epoch, known, known);
        let end = match self.until_it_works(search).await {
            // Objects that are far away are there. They are forged, so there is a gap.
            Err(JournalError::Full { .. }) => u64::MAX,
            found => found?,
        };
        let mut number = self.close_gaps(known, end).await?;
        loop {
            let key = keys::epoch(number);
            match self.create(Kind::Epoch, &key, &Empty::default()).await? {
                Settled::Ours => break,
                // Another receiver was faster. The next number is free unless a third one was.
                Settled::Other(_) => {
                    number = number.checked_add(1).ok_or(JournalError::Full { key })?;
                }
            }
        }
        Ok(Epoch { journal: self.clone(), number, next: 0 })
    }

    /// Sees to it that nothing is missing below the epoch that this returns. `end` was found free, as
    /// the first in steps that double, from `known` on.
    ///
    /// The protocol leaves no gap. There is one if an object was forged or deleted. A small gap is filled
    /// with epochs that stay empty, and not used: stores may have passed it long ago. A gap that is too
    /// large to be filled is forged. Then the new epoch begins the gap.
    async fn close_gaps(&self, known: u64, end: u64) -> Result<u64, JournalError> {
        // The search has read the first two.
        let mut from = known.saturating_add(2);
        while from < end {
            let to = end.min(from.saturating_add(READ_AT_ONCE));
            let search = || gaps(&*self.objects, keys::epoch, from..to);
            let gaps = self.until_it_works(search).await?;
            for gap in gaps {
                let key = keys::epoch(gap);
                tracing::warn!(
                    key,
                    end,
                    "an object of the journal is missing: others are after it"
                );
                if end - gap > MOST_FILLED {
                    return Ok(gap);
                }
                // Another receiver may fill it too. Either object does.
                self.create(Kind::Epoch, &key, &Empty::default()).await?;
            }
            from = to;
        }
        Ok(end)
    }

    /// Repeats calls of the object store until none fails.
    async fn until_it_works<T, F>(&self, calls: impl Fn() -> F + Send) -> Result<T, JournalError>
    where
        F: Future<Output = Result<T, JournalError>> + Send,
    {
        let mut attempt = 0;
        loop {
            match calls().await {
                Err(JournalError::Objects(error)) => {
                    self.platform.pause(attempt, Some(&error)).await;
                    attempt = attempt.saturating_add(1);
                }
                done => return done,
            }
        }
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

    /// Prepares the next object: the caller makes its bytes from its id and its header.
    ///
    /// # Errors
    /// [`PutError::Random`].
    pub(crate) fn prepare(self) -> Result<NextObject<O, P>, PutError> {
        let header = Header { kind: Kind::Deliveries, nonce: self.journal.platform.nonce()? };
        Ok(NextObject { header, epoch: self })
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

/// The next object of an epoch, which has no bytes yet.
#[derive(Debug)]
#[must_use = "the epoch ends with it"]
pub(crate) struct NextObject<O, P = super::System> {
    epoch: Epoch<O, P>,
    header: Header,
}

impl<O: Objects, P: Platform> NextObject<O, P> {
    /// Which object it is.
    pub(crate) fn id(&self) -> ObjectId {
        ObjectId { epoch: self.epoch.number, number: self.epoch.next }
    }

    /// The header, with which the object must begin.
    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// The epoch again, without the object.
    pub(crate) fn back(self) -> Epoch<O, P> {
        self.epoch
    }

    /// Puts the object. When this returns the epoch, every store will read the object, and its deliveries
    /// can be acknowledged. It tries until it is known what became of the object; the caller sets the
    /// limit by dropping the future. Then the object may be there, or come later.
    ///
    /// # Errors
    /// [`PutError`], which says whether the deliveries may be put into another epoch.
    pub(crate) async fn put(self, body: Bytes) -> Result<Epoch<O, P>, PutError> {
        let key = self.id().key();
        let NextObject { epoch, header } = self;
        let Some(next) = epoch.next.checked_add(1) else {
            return Err(PutError::Taken { key });
        };
        debug_assert!(body.starts_with(&header.to_bytes()), "an object begins with its header");
        match epoch.journal.settle(&key, &body).await {
            Settled::Ours => Ok(Epoch { next, ..epoch }),
            Settled::Other(found) => Err(epoch.other(key, header.nonce, &found).await),
        }
    }
}

#[cfg(test)]
impl<O: Objects, P: Platform> Epoch<O, P> {
    /// An epoch at any number, to show what would go wrong.
    pub(super) fn resumed(journal: Journal<O, P>, number: u64, next: u64) -> Epoch<O, P> {
        Epoch { journal, number, next }
    }

    /// Makes the next object and puts it.
    pub(super) async fn put(
        self,
        encode: impl FnOnce(&str, &Header) -> Bytes + Send,
    ) -> Result<Epoch<O, P>, PutError> {
        let object = self.prepare()?;
        let body = encode(&object.id().key(), &object.header());
        object.put(body).await
    }
}
