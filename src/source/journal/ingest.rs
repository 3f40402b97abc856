//! Stores the deliveries of an object of the journal.
//!
//! The journal is not believed: the signatures are checked here, with the keys of this store. Every
//! position of the object is stored or in quarantine when this returns, or it failed and is done again
//! as a whole: a position is never stored twice, because the store refuses that.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use crate::clock::now;
use crate::entry::Millis;
use crate::journal::ObjectId;
use crate::journal::cipher::Cipher;
use crate::journal::object::{self, ContentError, ObjectLimits};
use crate::random::NoRandomBytes;
use crate::receiver::deliver::Deliverer;
use crate::receiver::storing::{Verified, VerifyError, verify};
use crate::signature::KeySet;
use crate::store::{Delivery, Judge, Origin, Positions, Quarantined, StoreError};

/// What was received longer ago than this is verified with the keys of that time.
const OLD: i64 = 60 * 60 * 1000;

/// The status of a body over a limit of this store, as the receiver would answer it.
const TOO_LARGE: u16 = 413;

/// The most deliveries in an object. A receiver puts far fewer into one.
const MOST_DELIVERIES: usize = 1 << 18;

/// What an object may have beyond its bodies, in bytes.
const OVERHEAD: u64 = 64 << 20;

/// Why the deliveries of an object are not all stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    /// The object cannot be read. That does not change by itself.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The store failed. The same call may succeed later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It may succeed later.
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
}

/// Reads objects into the store.
pub(crate) struct Ingester {
    /// What the receiver stores deliveries with.
    deliverer: Arc<Deliverer>,
    cipher: Option<Cipher>,
    limits: ObjectLimits,
}

/// A delivery of an object, and where it stands.
struct Placed {
    origin: Origin,
    delivery: object::Delivery,
}

impl Placed {
    /// The delivery as the store takes it.
    fn to_store(&self) -> Delivery {
        let Placed { origin, delivery } = self;
        Delivery {
            received_at: delivery.received_at,
            started: Instant::now(),
            input: delivery.input.clone(),
            peer: delivery.peer.clone(),
            bytes: delivery.sent,
            decoded_bytes: delivery.body.len() as u64,
            origin: Some(*origin),
        }
    }
}

impl Ingester {
    /// `max_size` is the size at which receivers put an object, in bytes.
    pub(crate) fn new(
        deliverer: Arc<Deliverer>,
        cipher: Option<Cipher>,
        max_size: u64,
    ) -> Ingester {
        let limits = object_limits(max_size, deliverer.limits.max_decoded as u64);
        Ingester { deliverer, cipher, limits }
    }

    /// Reads the deliveries of an object.
    ///
    /// # Errors
    /// When it is damaged, of an unknown version, encrypted with another key, or over a limit.
    pub(crate) fn read(
        &self,
        id: ObjectId,
        object: &[u8],
    ) -> Result<Vec<object::Delivery>, ContentError> {
        object::deliveries(id, object, self.cipher.as_ref(), self.limits)
    }

    /// Stores the deliveries of an object, without the positions `done`, and returns their number.
    /// Blocks until all of them are on disk.
    ///
    /// # Errors
    /// [`IngestError`]; then some of them may be stored.
    pub(super) fn ingest(
        &self,
        id: ObjectId,
        object: &[u8],
        done: &Positions,
    ) -> Result<u64, IngestError> {
        let deliveries = self.read(id, object)?;
        let ObjectId { epoch, number } = id;
        let count = deliveries.len() as u64;
        let (mut decoded, mut kept) = (Vec::new(), Vec::new());
        for (position, delivery) in (0..).zip(deliveries) {
            if done.contains(position) {
                continue;
            }
            let placed = Placed { origin: Origin { epoch, number, position }, delivery };
            let most = self.deliverer.limits.max_decoded;
            if let Some(undecoded) = &placed.delivery.undecoded {
                let (status, reason) = (undecoded.status, undecoded.reason.clone());
                kept.push((placed, status, reason));
            } else if placed.delivery.body.len() > most {
                let found = placed.delivery.body.len();
                let reason = format!("the body has {found} bytes, and this store takes {most}");
                kept.push((placed, TOO_LARGE, reason));
            } else {
                decoded.push(placed);
            }
        }
        let verified = self.verify(&decoded)?;
        let mut stored = Vec::new();
        for (placed, verified) in decoded.into_iter().zip(verified) {
            match verified {
                Ok(verified) => stored.push((placed, verified)),
                Err(reason) => kept.push((placed, TOO_LARGE, reason)),
            }
        }
        self.append(&stored)?;
        for (placed, status, reason) in kept {
            self.quarantine(placed, status, reason)?;
        }
        Ok(count)
    }

    /// Verifies the lines of all bodies, on all cores. A body with too many lines has a reason instead.
    fn verify(&self, decoded: &[Placed]) -> Result<Vec<Result<Verified, String>>, IngestError> {
        let caps = self.deliverer.limits.lines;
        let one = |placed: &Placed| match verify(
            placed.delivery.body.clone(),
            self.keys(&placed.delivery.input, placed.delivery.received_at),
            caps,
        ) {
            Ok(verified) => Ok(Ok(verified)),
            Err(VerifyError::TooManyLines(error)) => Ok(Err(error.to_string())),
            Err(VerifyError::Random(error)) => Err(IngestError::Random(error)),
        };
        self.deliverer.sink.pool.install(|| decoded.par_iter().map(one).collect())
    }

    /// The keys for what an input received, and their generation.
    fn keys(&self, input: &str, received_at: Millis) -> (Arc<KeySet>, u64) {
        let ring = &self.deliverer.sink.ring;
        let (keys, generation) = ring.current(input);
        // The time is the receiver's claim. A wrong one only chooses among keys that were published.
        match now().get().saturating_sub(received_at.get()) > OLD {
            true => (ring.keys(input, received_at), generation),
            // This set remembers which key verified last.
            false => (keys, generation),
        }
    }

    fn append(&self, verified: &[(Placed, Verified)]) -> Result<(), StoreError> {
        let sink = &self.deliverer.sink;
        let all = verified.iter().map(|(placed, Verified { batch, .. })| {
            (placed.to_store(), batch, sink.ring.expected(&placed.delivery.input))
        });
        let results = sink.store.append_all(all);
        for (result, (_, Verified { batch, generation })) in results.into_iter().zip(verified) {
            match result {
                Ok(stored) => {
                    sink.look_for_keys(batch, *generation);
                    sink.observer.stored(&stored);
                }
                // By a run of this process that was interrupted.
                Err(StoreError::AlreadyStored(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Puts a body in quarantine: one that could not be decoded, or is over a limit of this store.
    fn quarantine(
        &self,
        Placed { origin, delivery }: Placed,
        status: u16,
        reason: String,
    ) -> Result<(), StoreError> {
        let is_decoded = delivery.undecoded.is_none();
        let what = Quarantined {
            id: 0,
            received_at: delivery.received_at,
            input: delivery.input,
            peer: delivery.peer,
            status,
            reason,
            content_encoding: delivery.content_encoding.filter(|_| !is_decoded),
            bytes: delivery.body.len() as u64,
            origin: Some(origin),
        };
        match self.deliverer.sink.store.quarantine(&what, &delivery.body) {
            Ok(id) => {
                let (input, reason) = (what.input, what.reason);
                tracing::warn!(id, input, reason, "a body of the journal was put in quarantine");
                Ok(())
            }
            Err(StoreError::AlreadyStored(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// How much an object may hold: more than any receiver puts into one.
pub(crate) fn object_limits(max_size: u64, max_decoded: u64) -> ObjectLimits {
    let bytes = max_size.saturating_add(max_decoded).saturating_add(OVERHEAD);
    ObjectLimits { bytes, deliveries: MOST_DELIVERIES }
}
