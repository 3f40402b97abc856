//! The bytes in flight in the whole process: what requests hold in memory is reserved first.
//!
//! Reservations have tickets in the order in which they are made, and the oldest that waits is served
//! first: who waits for much is not passed by those who ask for little. Reservations that grow in
//! steps can all come to wait for one another. Then the youngest of them is refused at once, and what
//! it gives back goes to the oldest, which thus always gets on. The oldest of all does not give up at
//! its deadline either: younger ones that wait are refused then, one after the other, until it has
//! what it asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Bytes are counted in units of this many.
const UNIT: usize = 1024;

/// A budget of bytes, shared by its clones.
#[derive(Clone, Debug)]
pub struct Budget {
    ledger: Arc<Mutex<Ledger>>,
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
    /// A budget of `bytes`, rounded down to whole KiB.
    pub fn new(bytes: usize) -> Budget {
        let total = bytes / UNIT;
        let ledger = Ledger { available: total, ..Ledger::default() };
        Budget { ledger: Arc::new(Mutex::new(ledger)), total }
    }

    /// A reservation of nothing, to be grown. It is younger than all that were made before.
    pub fn reserve(&self) -> Reservation {
        let mut ledger = self.ledger();
        let ticket = ledger.tickets;
        ledger.tickets += 1;
        ledger.holders.insert(ticket, Holder::default());
        drop(ledger);
        Reservation { budget: self.clone(), ticket, bytes: 0 }
    }

    /// The whole budget, in bytes.
    pub fn total(&self) -> usize {
        self.total * UNIT
    }

    /// The bytes that nobody has reserved.
    pub fn available(&self) -> usize {
        self.ledger().available * UNIT
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has what, and who waits, in units.
#[derive(Debug, Default)]
struct Ledger {
    available: usize,
    tickets: u64,
    /// By their tickets: the oldest first.
    holders: BTreeMap<u64, Holder>,
    /// How many of them wait.
    waiting: usize,
}

#[derive(Debug, Default)]
struct Holder {
    units: usize,
    asked: Option<Asked>,
    /// Whether it was refused to make room, which it does when it is dropped.
    was_refused: bool,
}

/// What a reservation asked for and has not seen the answer to.
#[derive(Debug)]
struct Asked {
    units: usize,
    /// Whether it has it; `None` while it waits.
    answer: Option<bool>,
    /// Whether its deadline has passed.
    is_overdue: bool,
    told: Arc<Notify>,
}

impl Holder {
    fn waits(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.answer.is_none())
    }
}

impl Ledger {
    /// Asks for more; `None` if it is granted at once.
    fn ask(&mut self, ticket: u64, units: usize) -> Option<Arc<Notify>> {
        let holder = self.holders.entry(ticket).or_default();
        holder.was_refused = false;
        if self.waiting == 0 && units <= self.available {
            holder.units += units;
            self.available -= units;
            return None;
        }
        let told = Arc::new(Notify::new());
        let asked = Asked { units, answer: None, is_overdue: false, told: Arc::clone(&told) };
        holder.asked = Some(asked);
        self.waiting += 1;
        self.settle();
        Some(told)
    }

    /// The answer, if there is one.
    fn answer(&mut self, ticket: u64) -> Option<bool> {
        let holder = self.holders.get_mut(&ticket)?;
        let answer = holder.asked.as_ref()?.answer?;
        holder.asked = None;
        Some(answer)
    }

    /// The deadline has passed. `false` unless it is the oldest that has or wants anything, which
    /// goes on waiting.
    fn insist(&mut self, ticket: u64) -> bool {
        let older = self.holders.range(..ticket);
        if older.into_iter().any(|(_, holder)| holder.units > 0 || holder.waits()) {
            return false;
        }
        let holder = self.holders.get_mut(&ticket);
        if let Some(asked) = holder.and_then(|holder| holder.asked.as_mut()) {
            asked.is_overdue = true;
        }
        self.settle();
        true
    }

    /// Takes back what was asked for, be it granted or not.
    fn withdraw(&mut self, ticket: u64) {
        let Some(holder) = self.holders.get_mut(&ticket) else { return };
        match holder.asked.take() {
            Some(Asked { answer: Some(true), units, .. }) => {
                holder.units -= units;
                self.available += units;
            }
            Some(Asked { answer: None, .. }) => self.waiting -= 1,
            _ => return,
        }
        self.settle();
    }

    fn give_back(&mut self, ticket: u64, units: usize) {
        if let Some(holder) = self.holders.get_mut(&ticket) {
            holder.units -= units;
            self.available += units;
        }
        self.settle();
    }

    fn leave(&mut self, ticket: u64) {
        if let Some(holder) = self.holders.remove(&ticket) {
            self.available += holder.units;
            self.waiting -= usize::from(holder.waits());
        }
        self.settle();
    }

    /// Serves those that wait, and refuses one if the oldest of them would wait in vain.
    fn settle(&mut self) {
        while self.waiting > 0 {
            let oldest = self.holders.iter_mut().find(|(_, holder)| holder.waits());
            let Some((&ticket, holder)) = oldest else { return };
            let Some(asked) = &mut holder.asked else { return };
            if asked.units > self.available {
                let insists = asked.is_overdue;
                return self.make_room(ticket, insists);
            }
            self.available -= asked.units;
            holder.units += asked.units;
            asked.answer = Some(true);
            asked.told.notify_one();
            self.waiting -= 1;
        }
    }

    /// Refuses the youngest that waits and has anything, for the sake of the oldest that waits: if all
    /// that have anything wait, or if that one insists.
    fn make_room(&mut self, oldest: u64, insists: bool) {
        let mut having = self.holders.values().filter(|holder| holder.units > 0);
        let is_pending = having.clone().any(|holder| holder.was_refused);
        if is_pending || !insists && !having.all(Holder::waits) {
            return;
        }
        let mut younger = self.holders.range_mut(oldest + 1..).rev();
        let youngest = younger.find(|(_, holder)| holder.units > 0 && holder.waits());
        if let Some((_, holder)) = youngest
            && let Some(asked) = &mut holder.asked
        {
            asked.answer = Some(false);
            asked.told.notify_one();
            holder.was_refused = true;
            self.waiting -= 1;
        }
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    ticket: u64,
    bytes: usize,
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

    /// Reserves `more` bytes, waiting for them until `deadline`, or longer if there is no older
    /// reservation. Dropped while it waits, it leaves the reservation as it was.
    ///
    /// # Errors
    /// When they were not to be had in time, when an older reservation could not get on otherwise, or
    /// when they are more than there will ever be. The reservation stays as it was, and should be
    /// dropped.
    pub async fn grow(&mut self, more: usize, deadline: Instant) -> Result<(), Overloaded> {
        let overloaded = Overloaded { asked: more, held: self.bytes, total: self.budget.total() };
        let bytes = self.bytes.checked_add(more).ok_or(overloaded)?;
        let units = bytes.div_ceil(UNIT);
        if units > self.budget.total {
            return Err(overloaded);
        }
        let wanted = units - self.bytes.div_ceil(UNIT);
        if wanted > 0 && !self.wait_for(wanted, deadline).await {
            return Err(overloaded);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Asks for units, and waits for the answer.
    async fn wait_for(&self, units: usize, deadline: Instant) -> bool {
        let Some(told) = self.budget.ledger().ask(self.ticket, units) else { return true };
        let asking = Asking(self);
        if timeout_at(deadline, told.notified()).await.is_err()
            && self.budget.ledger().insist(self.ticket)
        {
            told.notified().await;
        }
        let answer = self.budget.ledger().answer(self.ticket);
        drop(asking);
        answer == Some(true)
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
        let held = self.bytes.div_ceil(UNIT);
        self.bytes = self.bytes.min(bytes);
        let over = held - self.bytes.div_ceil(UNIT);
        if over > 0 {
            self.budget.ledger().give_back(self.ticket, over);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.ledger().leave(self.ticket);
    }
}

/// Withdraws what a reservation asked for and did not get.
struct Asking<'a>(&'a Reservation);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let Reservation { budget, ticket, .. } = self.0;
        budget.ledger().withdraw(*ticket);
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

    /// What a body does that takes `units` in all, a unit at a time.
    async fn grow_to(budget: Budget, units: usize, deadline: Instant) -> bool {
        let mut reservation = budget.reserve();
        for _ in 0..units {
            if reservation.grow(UNIT, deadline).await.is_err() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }

    #[tokio::test]
    async fn of_those_that_wait_for_one_another_the_oldest_get_on() {
        let budget = Budget::new(8 * UNIT);
        let bodies: Vec<_> =
            (0..4).map(|_| tokio::spawn(grow_to(budget.clone(), 4, later()))).collect();
        let mut done = Vec::new();
        for body in bodies {
            done.push(body.await.unwrap());
        }
        assert_eq!(done, [true, true, false, false]);
        assert_eq!(budget.available(), 8 * UNIT);
        // Each takes the whole of it.
        let bodies: Vec<_> =
            (0..4).map(|_| tokio::spawn(grow_to(budget.clone(), 8, later()))).collect();
        let mut done = 0;
        for body in bodies {
            done += usize::from(body.await.unwrap());
        }
        assert!(done >= 1);
    }

    #[tokio::test]
    async fn the_oldest_outlasts_its_deadline() {
        let budget = Budget::new(4 * UNIT);
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
        // It waits without an end in sight, and is refused when the oldest has waited for too long.
        young.grow(UNIT, later()).await.unwrap_err();
        drop(young);
        assert_eq!(budget.available(), UNIT);
        drop(busy);
        assert_eq!(waits.await.unwrap().bytes(), 3 * UNIT);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_nothing_behind() {
        let budget = Budget::new(4 * UNIT);
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
