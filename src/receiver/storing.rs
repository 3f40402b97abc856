//! The sink that stores: it verifies the lines of a delivery and appends its entries to the store.
//!
//! A body that cannot be decoded is put in quarantine.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::runtime::Handle;

use super::kept::{Outcome, Phases};
use super::response::{self, Problem};
use super::sink::{Accepted, BodyDelivery, NotStored, Settlement, Sink};
use super::{DeliveryObserver, ReceiverLimits};
use crate::entry::lines;
use crate::ingest::Batch;
use crate::keys::{KeyRing, RefreshTrigger};
use crate::random;
use crate::signature::Verdict;
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
                Accepted { outcome, response: response::stored(&appended, profile) }
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
        let deadline = tokio::time::Instant::now() + limits.queue_timeout;
        reservation.grow_blocking(more, deadline, runtime).map_err(|_| Problem::overloaded())?;
        phases.add_wait(waiting.elapsed());

        let (keys, generation) = self.ring.current(&input.name);
        let seed = random::seed().map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        let verifying = Instant::now();
        let batch = self
            .pool
            .install(|| Batch::new(body, &keys, limits.lines, &seed))
            .map_err(|error| Problem::too_many_lines(&error))?;
        phases.verify = Some(verifying.elapsed());
        let awaits_key = batch.verdicts().any(Verdict::awaits_key);
        let delivery = Delivery {
            received_at,
            started,
            input: input.name.clone(),
            peer,
            bytes: sent,
            decoded_bytes,
        };
        let storing = Instant::now();
        let stored = self.store.append(delivery, &batch, &input.expected).map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        phases.store = Some(storing.elapsed());
        drop(reservation);
        if awaits_key {
            self.refresh.trigger();
            // If new keys arrived between the check and the commit, the recheck for them did not see these
            // entries.
            if self.ring.generation() != generation {
                self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
            }
        }
        self.observer.stored(&stored);
        Ok(stored)
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
