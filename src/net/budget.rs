//! A limit on the memory that request bodies take in the whole process. Bytes are reserved before they
//! are read.
//!
//! Each reservation has a ticket, and the tickets are numbered by age. The oldest waiting reservation
//! is served first, so small requests cannot overtake a large one. Reservations grow in steps, so all
//! of them can wait for each other. Then the youngest of them is refused at once, and the oldest gets
//! its bytes. That is why the oldest always makes progress. The oldest reservation of all also goes on
//! waiting when its patience is used up. Younger waiting reservations are then refused one by one until
//! it has its bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The unit that is counted in, in bytes.
const UNIT: usize = 1024;

/// A number of bytes to reserve from. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct MemoryBudget {
    ledger: Arc<Mutex<Ledger>>,
    /// In units.
    total: usize,
}

/// The bytes were not free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overloaded;

impl MemoryBudget {
    /// A budget of `bytes`, rounded down to whole KiB.
    pub(crate) fn new(bytes: usize) -> MemoryBudget {
        let total = bytes / UNIT;
        let ledger = Ledger { available: total, ..Ledger::default() };
        MemoryBudget { ledger: Arc::new(Mutex::new(ledger)), total }
    }

    /// An empty reservation, younger than all others.
    pub(crate) fn reserve(&self) -> Reservation {
        let mut ledger = self.ledger();
        let ticket = ledger.tickets;
        ledger.tickets += 1;
        ledger.holders.insert(ticket, Holder::default());
        drop(ledger);
        Reservation { budget: self.clone(), ticket, bytes: 0, waited: Duration::ZERO }
    }

    /// The whole budget, in bytes.
    pub(crate) fn total(&self) -> usize {
        self.total * UNIT
    }

    /// The bytes that are not reserved.
    pub(crate) fn available(&self) -> usize {
        self.ledger().available * UNIT
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reservations, in units.
#[derive(Debug, Default)]
struct Ledger {
    available: usize,
    tickets: u64,
    /// By ticket, the oldest first.
    holders: BTreeMap<u64, Holder>,
    /// The number of holders that wait.
    waiting: usize,
}

#[derive(Debug, Default)]
struct Holder {
    units: usize,
    request: Option<PendingRequest>,
    /// Whether it was refused to free its units. It frees them when it is dropped.
    was_refused: bool,
}

/// A request for more units whose result was not read yet.
#[derive(Debug)]
struct PendingRequest {
    units: usize,
    /// Whether the units were granted. `None` while it waits.
    granted: Option<bool>,
    is_overdue: bool,
    decided: Arc<Notify>,
}

impl Holder {
    fn waits(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.granted.is_none())
    }
}

impl Ledger {
    /// Requests more units. `None` if they are granted at once.
    fn request(&mut self, ticket: u64, units: usize) -> Option<Arc<Notify>> {
        let holder = self.holders.entry(ticket).or_default();
        holder.was_refused = false;
        if self.waiting == 0 && units <= self.available {
            holder.units += units;
            self.available -= units;
            return None;
        }
        let decided = Arc::new(Notify::new());
        let notify = Arc::clone(&decided);
        holder.request = Some(PendingRequest { units, granted: None, is_overdue: false, decided });
        self.waiting += 1;
        self.serve_waiting();
        Some(notify)
    }

    /// Takes the result of a request: whether the units were granted. `None` if it still waits.
    fn take_result(&mut self, ticket: u64) -> Option<bool> {
        let holder = self.holders.get_mut(&ticket)?;
        let granted = holder.request.as_ref()?.granted?;
        holder.request = None;
        Some(granted)
    }

    /// Marks a request as overdue. Returns whether it goes on waiting: that is, whether no older
    /// reservation has units or waits for some.
    fn mark_overdue(&mut self, ticket: u64) -> bool {
        let older = self.holders.range(..ticket);
        if older.into_iter().any(|(_, holder)| holder.units > 0 || holder.waits()) {
            return false;
        }
        let holder = self.holders.get_mut(&ticket);
        if let Some(request) = holder.and_then(|holder| holder.request.as_mut()) {
            request.is_overdue = true;
        }
        self.serve_waiting();
        true
    }

    /// Withdraws a request, whether or not it was granted.
    fn withdraw(&mut self, ticket: u64) {
        let Some(holder) = self.holders.get_mut(&ticket) else { return };
        match holder.request.take() {
            Some(PendingRequest { granted: Some(true), units, .. }) => {
                holder.units -= units;
                self.available += units;
            }
            Some(PendingRequest { granted: None, .. }) => self.waiting -= 1,
            _ => return,
        }
        self.serve_waiting();
    }

    fn free(&mut self, ticket: u64, units: usize) {
        if let Some(holder) = self.holders.get_mut(&ticket) {
            holder.units -= units;
            self.available += units;
        }
        self.serve_waiting();
    }

    fn remove(&mut self, ticket: u64) {
        if let Some(holder) = self.holders.remove(&ticket) {
            self.available += holder.units;
            self.waiting -= usize::from(holder.waits());
        }
        self.serve_waiting();
    }

    /// Grants waiting requests in order of age. If the oldest one cannot be granted, it may refuse a
    /// younger one.
    fn serve_waiting(&mut self) {
        while self.waiting > 0 {
            let oldest = self.holders.iter_mut().find(|(_, holder)| holder.waits());
            let Some((&ticket, holder)) = oldest else { return };
            let Some(request) = &mut holder.request else { return };
            if request.units > self.available {
                let is_overdue = request.is_overdue;
                return self.refuse_youngest(ticket, is_overdue);
            }
            self.available -= request.units;
            holder.units += request.units;
            request.granted = Some(true);
            request.decided.notify_one();
            self.waiting -= 1;
        }
    }

    /// Refuses the youngest waiting reservation that has units, so that it frees them for `oldest`. It
    /// does so only if all reservations with units wait, or if `oldest` is overdue.
    fn refuse_youngest(&mut self, oldest: u64, is_overdue: bool) {
        let mut with_units = self.holders.values().filter(|holder| holder.units > 0);
        let is_freeing = with_units.clone().any(|holder| holder.was_refused);
        if is_freeing || !is_overdue && !with_units.all(Holder::waits) {
            return;
        }
        let mut younger = self.holders.range_mut(oldest + 1..).rev();
        let youngest = younger.find(|(_, holder)| holder.units > 0 && holder.waits());
        if let Some((_, holder)) = youngest
            && let Some(request) = &mut holder.request
        {
            request.granted = Some(false);
            request.decided.notify_one();
            holder.was_refused = true;
            self.waiting -= 1;
        }
    }
}

/// Bytes reserved from a [`MemoryBudget`]. They are freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: MemoryBudget,
    ticket: u64,
    bytes: usize,
    /// How long it has waited for bytes.
    waited: Duration,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most bytes that it can have: the whole budget.
    pub(crate) fn max_bytes(&self) -> usize {
        self.budget.total()
    }

    /// Reserves `more` bytes. A reservation waits for `patience` in all its calls together, or longer if
    /// no other reservation is older. If the future is dropped, the reservation does not change.
    ///
    /// # Errors
    /// When the bytes are not free in time, when an older reservation needs the bytes of this one, or
    /// when the whole budget is too small. The reservation does not change, and should be dropped.
    pub(crate) async fn grow(&mut self, more: usize, patience: Duration) -> Result<(), Overloaded> {
        let bytes = self.bytes.checked_add(more).ok_or(Overloaded)?;
        let units = bytes.div_ceil(UNIT);
        if units > self.budget.total {
            return Err(Overloaded);
        }
        let wanted = units - self.bytes.div_ceil(UNIT);
        if wanted > 0 {
            let begun = Instant::now();
            let deadline = begun + patience.saturating_sub(self.waited);
            let granted = self.wait_for(wanted, deadline).await;
            self.waited += begun.elapsed();
            if !granted {
                return Err(Overloaded);
            }
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Requests units, and waits for the result.
    async fn wait_for(&self, units: usize, deadline: Instant) -> bool {
        let Some(decided) = self.budget.ledger().request(self.ticket, units) else { return true };
        let withdraw = WithdrawOnDrop(self);
        if timeout_at(deadline, decided.notified()).await.is_err()
            && self.budget.ledger().mark_overdue(self.ticket)
        {
            decided.notified().await;
        }
        let granted = self.budget.ledger().take_result(self.ticket);
        drop(withdraw);
        granted == Some(true)
    }

    /// Like [`grow`](Reservation::grow), on a thread that may block. `runtime` has the timer.
    ///
    /// # Errors
    /// Those of [`grow`](Reservation::grow).
    ///
    /// # Panics
    /// When called on a thread of the runtime that runs tasks.
    pub(crate) fn grow_blocking(
        &mut self,
        more: usize,
        patience: Duration,
        runtime: &Handle,
    ) -> Result<(), Overloaded> {
        runtime.block_on(self.grow(more, patience))
    }

    /// Frees all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let held = self.bytes.div_ceil(UNIT);
        self.bytes = self.bytes.min(bytes);
        let excess = held - self.bytes.div_ceil(UNIT);
        if excess > 0 {
            self.budget.ledger().free(self.ticket, excess);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.ledger().remove(self.ticket);
    }
}

/// Withdraws the request of a reservation, unless its result was taken.
struct WithdrawOnDrop<'a>(&'a Reservation);

impl Drop for WithdrawOnDrop<'_> {
    fn drop(&mut self) {
        let Reservation { budget, ticket, .. } = self.0;
        budget.ledger().withdraw(*ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Duration {
        Duration::from_millis(50)
    }

    fn later() -> Duration {
        Duration::from_secs(1000)
    }

    #[tokio::test]
    async fn bytes_are_reserved_and_freed() {
        let budget = MemoryBudget::new(10 * UNIT + 5);
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
    async fn a_request_over_the_budget_is_refused_at_its_deadline() {
        let budget = MemoryBudget::new(4 * UNIT);
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        one.grow(3 * UNIT, later()).await.unwrap();
        other.grow(1, later()).await.unwrap();
        other.grow(UNIT, soon()).await.unwrap_err();
        assert_eq!((other.bytes(), budget.available()), (1, 0));
        // A request that is larger than the budget does not wait.
        one.grow(usize::MAX, later()).await.unwrap_err();
        one.grow(2 * UNIT, later()).await.unwrap_err();
    }

    #[tokio::test]
    async fn the_waits_of_a_reservation_add_up() {
        let budget = MemoryBudget::new(4 * UNIT);
        let (mut one, mut other) = (budget.reserve(), budget.reserve());
        one.grow(4 * UNIT, later()).await.unwrap();
        other.grow(UNIT, soon()).await.unwrap_err();
        assert!(other.waited >= soon());
        // All of its patience is used up, so it is refused at once.
        other.waited = later();
        let refused = timeout_at(Instant::now() + later() / 10, other.grow(UNIT, later())).await;
        refused.expect("it waits").unwrap_err();
        // What is free is granted all the same.
        one.shrink_to(UNIT);
        other.grow(UNIT, later()).await.unwrap();
    }

    #[tokio::test]
    async fn small_requests_do_not_overtake_a_large_one() {
        let budget = MemoryBudget::new(10 * UNIT);
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
            // The runtime has one thread, so the task has run until it waits or is done.
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
        let budget = MemoryBudget::new(4 * UNIT);
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

    /// Grows like a body of `units`, one unit at a time.
    async fn grow_to(budget: MemoryBudget, units: usize, patience: Duration) -> bool {
        let mut reservation = budget.reserve();
        for _ in 0..units {
            if reservation.grow(UNIT, patience).await.is_err() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }

    #[tokio::test]
    async fn the_oldest_reservations_make_progress() {
        let budget = MemoryBudget::new(8 * UNIT);
        let bodies: Vec<_> =
            (0..4).map(|_| tokio::spawn(grow_to(budget.clone(), 4, later()))).collect();
        let mut done = Vec::new();
        for body in bodies {
            done.push(body.await.unwrap());
        }
        assert_eq!(done, [true, true, false, false]);
        assert_eq!(budget.available(), 8 * UNIT);
        // Each needs the whole budget.
        let bodies: Vec<_> =
            (0..4).map(|_| tokio::spawn(grow_to(budget.clone(), 8, later()))).collect();
        let mut done = 0;
        for body in bodies {
            done += usize::from(body.await.unwrap());
        }
        assert!(done >= 1);
    }

    #[tokio::test]
    async fn the_oldest_reservation_waits_beyond_its_deadline() {
        let budget = MemoryBudget::new(4 * UNIT);
        let (mut oldest, mut busy, mut young) =
            (budget.reserve(), budget.reserve(), budget.reserve());
        oldest.grow(UNIT, later()).await.unwrap();
        busy.grow(2 * UNIT, later()).await.unwrap();
        young.grow(UNIT, later()).await.unwrap();
        let waits = tokio::spawn(async move {
            oldest.grow(2 * UNIT, soon()).await.unwrap();
            oldest
        });
        tokio::task::yield_now().await;
        // It would wait for long. It is refused when the oldest is overdue.
        young.grow(UNIT, later()).await.unwrap_err();
        drop(young);
        assert_eq!(budget.available(), UNIT);
        drop(busy);
        assert_eq!(waits.await.unwrap().bytes(), 3 * UNIT);
    }

    #[tokio::test]
    async fn a_cancelled_request_is_withdrawn() {
        let budget = MemoryBudget::new(4 * UNIT);
        let mut held = budget.reserve();
        held.grow(4 * UNIT, later()).await.unwrap();
        let mut other = budget.reserve();
        let given_up = tokio::spawn(async move {
            other.grow(UNIT, later()).await.unwrap();
        });
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        held.shrink_to(0);
        let ledger = budget.ledger();
        assert_eq!((ledger.available, ledger.waiting, ledger.holders.len()), (4, 0, 1));
    }
}
