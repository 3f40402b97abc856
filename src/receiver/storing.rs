//! The sink that stores: it verifies the lines of a delivery and appends its entries to the store.
//!
//! A body that cannot be decoded is put in quarantine.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::kept::{Outcome, Phases};
use super::response::{self, Problem};
use super::sink::{Accepted, BodyDelivery, NotStored, Settlement, Sink};
use super::{DeliveryObserver, ReceiverLimits};
use crate::entry::lines;
use crate::ingest::{Batch, Caps, TooManyLines};
use crate::keys::{KeyRing, RefreshTrigger};
use crate::random::{self, NoRandomBytes};
use crate::signature::{KeySet, Verdict};
use crate::store::{Appended, Delivery, Quarantined, Refused, Store, StoredBatch};

/// The memory that each line takes while its body is stored, in bytes.
const LINE_OVERHEAD: usize = 96;

/// Stores deliveries.
pub(crate) struct StoreSink {
    pub(crate) store: Arc<Store>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) refresh: RefreshTrigger,
    /// The threads that verify signatures.
    pub(crate) pool: rayon::ThreadPool,
    pub(crate) observer: Arc<dyn DeliveryObserver>,
    /// Held by the task that an operator runs: one at a time.
    pub(crate) task: Mutex<()>,
}

/// A body whose lines were verified.
pub(crate) struct Verified {
    pub(crate) batch: Batch,
    /// The generation of the keys.
    pub(crate) generation: u64,
}

/// Why a body was not verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    TooManyLines(#[from] TooManyLines),
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
}

/// Verifies the lines of a body with keys and their generation. It is meant for the threads that verify.
///
/// # Errors
/// When it has too many lines, or the system has no random bytes.
pub(crate) fn verify(
    body: Bytes,
    (keys, generation): (Arc<KeySet>, u64),
    caps: Caps,
) -> Result<Verified, VerifyError> {
    let seed = random::seed()?;
    Ok(Verified { batch: Batch::new(body, &keys, caps, &seed)?, generation })
}

impl Sink for StoreSink {
    fn accept(
        &self,
        delivery: BodyDelivery,
        limits: &ReceiverLimits,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Settlement {
        let profile = delivery.input.profile;
        let stored = self.store(delivery, limits, phases, runtime);
        Settlement::Now(stored.map_err(NotStored::from).map(
            |StoredBatch { id, appended, .. }| {
                let Appended { received, stored, duplicates, .. } = appended;
                let outcome = Outcome::Stored { delivery: id, received, stored, duplicates };
                Accepted { outcome: Some(outcome), response: response::stored(&appended, profile) }
            },
        ))
    }

    fn keep(&self, delivery: BodyDelivery, problem: Problem) -> Settlement {
        Settlement::Now(Err(self.quarantine(&delivery, problem)))
    }

    fn note_refused(&self, refused: Refused) {
        self.store.note_refused(refused);
    }
}

impl StoreSink {
    /// Verifies and stores a delivery.
    fn store(
        &self,
        delivery: BodyDelivery,
        limits: &ReceiverLimits,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Result<StoredBatch, Problem> {
        let BodyDelivery { received_at, started, input, peer, sent, body, mut reservation, .. } =
            delivery;
        let decoded_bytes = body.len() as u64;

        // Each line has an overhead. It is more than the body if the lines are tiny.
        let lines = lines(&body).take(limits.lines.max_lines).count();
        let more = (lines * LINE_OVERHEAD).saturating_sub(body.len());
        let more = more.min(reservation.max_bytes().saturating_sub(reservation.bytes()));
        let waiting = Instant::now();
        reservation
            .grow_blocking(more, limits.queue_timeout, runtime)
            .map_err(|_| Problem::overloaded())?;
        phases.add_wait(waiting.elapsed());

        let verifying = Instant::now();
        let keys = self.ring.current(&input.name);
        let verified = self.pool.install(|| verify(body, keys, limits.lines));
        let Verified { batch, generation } = verified.map_err(|error| match error {
            VerifyError::TooManyLines(error) => Problem::too_many_lines(&error),
            VerifyError::Random(error) => {
                tracing::error!(%error, input = input.name, "a delivery was not stored");
                Problem::not_stored()
            }
        })?;
        phases.verify = Some(verifying.elapsed());
        let delivery = Delivery {
            received_at,
            started,
            input: input.name.clone(),
            peer,
            bytes: sent,
            decoded_bytes,
            origin: None,
        };
        let storing = Instant::now();
        let stored = self.store.append(delivery, &batch, &input.expected).map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        phases.store = Some(storing.elapsed());
        drop(reservation);
        self.look_for_keys(&batch, generation);
        self.observer.stored(&stored);
        Ok(stored)
    }

    /// Asks for new keys if stored entries lack theirs. They were verified with the keys of `generation`.
    pub(crate) fn look_for_keys(&self, batch: &Batch, generation: u64) {
        if batch.verdicts().any(Verdict::awaits_key) {
            self.refresh.trigger();
            // If new keys arrived between the check and the commit, the recheck for them did not see these
            // entries.
            if self.ring.generation() != generation {
                self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
            }
        }
    }

    /// Puts a body in quarantine. Returns `problem`, or another one if that fails, so that the sender
    /// retries.
    fn quarantine(&self, delivery: &BodyDelivery, problem: Problem) -> NotStored {
        let what = Quarantined {
            id: 0,
            received_at: delivery.received_at,
            input: delivery.input.name.clone(),
            peer: delivery.peer.clone(),
            status: problem.status,
            reason: problem.detail.clone(),
            content_encoding: delivery.content_encoding.clone(),
            bytes: delivery.sent,
            origin: None,
        };
        match self.store.quarantine(&what, &delivery.body) {
            Ok(id) => {
                tracing::warn!(
                    id,
                    input = what.input,
                    reason = what.reason,
                    "a body was put in quarantine"
                );
                NotStored { problem, outcome: Outcome::Quarantined { id } }
            }
            Err(error) => {
                tracing::error!(%error, input = what.input, "a body that cannot be decoded was not kept");
                Problem::not_stored().into()
            }
        }
    }
}
