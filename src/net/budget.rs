//! The bytes in flight in the whole process: what requests hold in memory is reserved first.
//!
//! Reservations are served in the order in which they ask. Who waits for much is not passed by those
//! who ask for little, so a single large request gets its turn. Reservations that grow in steps can
//! all come to wait for one another; then the first to reach its deadline gives up, and what it gives
//! back goes to the next. That is why there is no way to wait without a deadline.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The semaphore counts in units of this many bytes, since it counts no further than 2^32.
const UNIT: usize = 1024;

/// A budget of bytes, shared by its clones.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    /// In units.
    total: usize,
}

/// There were not as many bytes to be had in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "overloaded: {asked} more bytes beside the {held} held were not to be had in time, \
     of {total} in all"
)]
pub struct Overloaded {
    /// The bytes that were asked for.
    pub asked: usize,
    /// The bytes that the reservation has.
    pub held: usize,
    /// The whole budget, in bytes.
    pub total: usize,
}

impl Budget {
    /// A budget of `bytes`, rounded down to whole KiB and to what can be counted (4 TiB).
    pub fn new(bytes: usize) -> Budget {
        let total = (bytes / UNIT).min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Budget { units: Arc::new(Semaphore::new(total)), total }
    }

    /// A reservation of nothing, to be grown.
    pub fn reserve(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0, permit: None }
    }

    /// The whole budget, in bytes.
    pub fn total(&self) -> usize {
        self.total * UNIT
    }

    /// The bytes that nobody has reserved.
    pub fn available(&self) -> usize {
        self.units.available_permits() * UNIT
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
    /// Always for `bytes`, rounded up.
    permit: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// The bytes reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that it can ever have: the whole budget, in bytes.
    pub fn most(&self) -> usize {
        self.budget.total()
    }

    /// Reserves `more` bytes, waiting for them until `deadline`. Dropped while it waits, it leaves the
    /// reservation as it was.
    ///
    /// # Errors
    /// When they were not to be had in time, or are more than there will ever be. The reservation
    /// stays as it was.
    pub async fn grow(&mut self, more: usize, deadline: Instant) -> Result<(), Overloaded> {
        let overloaded = Overloaded { asked: more, held: self.bytes, total: self.budget.total() };
        let bytes = self.bytes.checked_add(more).ok_or(overloaded)?;
        let units = bytes.div_ceil(UNIT);
        if units > self.budget.total {
            return Err(overloaded);
        }
        let wanted = u32::try_from(units - self.units()).map_err(|_| overloaded)?;
        if wanted > 0 {
            let acquired = self.budget.units.clone().acquire_many_owned(wanted);
            match timeout_at(deadline, acquired).await {
                Ok(Ok(permit)) => match &mut self.permit {
                    Some(held) => held.merge(permit),
                    none => *none = Some(permit),
                },
                _ => return Err(overloaded),
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The same on a thread that may block; `runtime` keeps the time.
    ///
    /// # Errors
    /// As [`grow`](Reservation::grow).
    ///
    /// # Panics
    /// On a thread of the runtime that runs tasks.
    pub fn grow_blocking(
        &mut self,
        more: usize,
        deadline: Instant,
        runtime: &Handle,
    ) -> Result<(), Overloaded> {
        runtime.block_on(self.grow(more, deadline))
    }

    /// Gives back what is over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.bytes = self.bytes.min(bytes);
        let over = self.units() - self.bytes.div_ceil(UNIT);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(over));
        }
    }

    fn units(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(1000)
    }

    #[tokio::test]
    async fn bytes_are_counted_exactly_and_given_back() {
        let budget = Budget::new(10 * UNIT + 5);
        let mut one = budget.reserve();
        for _ in 0..100 {
            one.grow(10, later()).await.unwrap();
        }
        assert_eq!((one.bytes(), budget.available()), (1000, 9 * UNIT));
        one.grow(9 * UNIT, later()).await.unwrap();
        assert_eq!((one.bytes(), budget.available()), (1000 + 9 * UNIT, 0));
        one.shrink_to(UNIT + 1);
        assert_eq!((one.bytes(), budget.available()), (UNIT + 1, 8 * UNIT));
        one.shrink_to(5000);
        assert_eq!(one.bytes(), UNIT + 1);
        drop(one);
        assert_eq!(budget.available(), 10 * UNIT);
    }

    #[tokio::test]
    async fn over_the_budget_is_refused_in_time() {
        let budget = Budget::new(4 * UNIT);
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        one.grow(3 * UNIT, later()).await.unwrap();
        other.grow(1, later()).await.unwrap();
        let error = other.grow(UNIT, soon()).await.unwrap_err();
        assert_eq!(error, Overloaded { asked: UNIT, held: 1, total: 4 * UNIT });
        assert_eq!((other.bytes(), budget.available()), (1, 0));
        // What can never be is not waited for.
        one.grow(usize::MAX, later()).await.unwrap_err();
        one.grow(2 * UNIT, later()).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_large_request_is_not_passed_by_small_ones() {
        let budget = Budget::new(10 * UNIT);
        let mut held = budget.reserve();
        held.grow(5 * UNIT, later()).await.unwrap();
        let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
        let mut waiting = Vec::new();
        for units in [10, 1, 1] {
            let (mut reservation, sender) = (budget.reserve(), sender.clone());
            waiting.push(tokio::spawn(async move {
                reservation.grow(units * UNIT, later()).await.unwrap();
                sender.send(units).unwrap();
            }));
            // On this runtime of one thread it has run until it waits, or is done.
            tokio::task::yield_now().await;
        }
        assert!(served.try_recv().is_err());
        drop(held);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(served.recv().await, Some(10));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_blocking_thread_can_wait() {
        let budget = Budget::new(4 * UNIT);
        let mut held = budget.reserve();
        held.grow(4 * UNIT, later()).await.unwrap();
        let (runtime, mut other) = (Handle::current(), budget.reserve());
        let waiting = tokio::task::spawn_blocking(move || {
            other.grow_blocking(UNIT, later(), &runtime)?;
            other.grow_blocking(UNIT, later(), &runtime).map(|()| other.bytes())
        });
        held.shrink_to(UNIT);
        assert_eq!(waiting.await.unwrap(), Ok(2 * UNIT));
    }
}
