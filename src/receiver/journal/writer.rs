//! The task that puts waiting deliveries into the journal.
//!
//! It does one thing at a time: it begins an epoch, or it puts an object. Meanwhile deliveries gather
//! for the next object. Each delivery has a deadline. When the deadline passes it is answered 500,
//! though its object may still arrive: the sender sends it again, and the stores find the duplicate.
//! When all deliveries of an object are past their deadlines, its epoch is given up, because nothing may
//! follow an object that is not known to be there.
//!
//! After an epoch was given up a new one is begun at once, and not only when a delivery comes: a load
//! balancer sends none to a receiver that is not ready, and the new epoch shows that the object store
//! works again.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::status::PutWatch;
use super::{Queued, Waiting};
use crate::journal::cipher::Cipher;
use crate::journal::object::PackedDeliveries;
use crate::journal::{Epoch, Journal, JournalError, Platform, PutError, System};
use crate::net::Shutdown;
use crate::objects::Objects;

/// The most deliveries in an object. Stores read a few more.
const MOST_DELIVERIES: usize = 1 << 16;

/// The pause after an epoch cannot be begun for another reason than a failed call, which the protocol
/// repeats by itself.
const PAUSE: Duration = Duration::from_secs(5);

/// When an object is put, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterSettings {
    /// How long a delivery waits for others.
    pub(crate) max_wait: Duration,
    /// The size of the waiting bodies at which they do not wait any longer, in bytes.
    pub(crate) max_size: u64,
    /// How long a delivery waits until it is answered 500.
    pub(crate) put_timeout: Duration,
}

/// Puts deliveries into a journal.
pub(crate) struct Writer<O, P = System> {
    journal: Journal<O, P>,
    cipher: Option<Arc<Cipher>>,
    settings: WriterSettings,
    watch: Arc<PutWatch>,
    queue: mpsc::UnboundedReceiver<Queued>,
    /// Whether more may come.
    is_open: bool,
    /// Whether the shutdown has begun: nothing waits for more.
    is_ending: bool,
    /// The deliveries that wait for the next object, the oldest first.
    waiting: VecDeque<Waiting>,
    /// The size of their bodies, in bytes.
    bytes: u64,
    /// The deliveries of the object that is being put, the oldest first.
    flying: VecDeque<Waiting>,
    /// The epoch, while nothing is being put.
    epoch: Option<Epoch<O, P>>,
    work: Option<Work<O, P>>,
    /// Every epoch below this is known to be there.
    known: u64,
}

type Work<O, P> = Pin<Box<dyn Future<Output = Done<O, P>> + Send>>;

/// What the work came to.
enum Done<O, P> {
    Began(Result<Epoch<O, P>, JournalError>),
    Put {
        epoch: Epoch<O, P>,
        /// The size of the object in bytes.
        bytes: u64,
        deliveries: usize,
        took: Duration,
    },
    NotPut(PutError),
    /// The deliveries were not compressed. The epoch goes on.
    NotPacked(Epoch<O, P>, io::Error),
}

impl<O: Objects, P: Platform> Writer<O, P> {
    /// A writer of what comes through `queue`.
    pub(crate) fn new(
        journal: Journal<O, P>,
        cipher: Option<Cipher>,
        settings: WriterSettings,
        watch: Arc<PutWatch>,
        queue: mpsc::UnboundedReceiver<Queued>,
    ) -> Writer<O, P> {
        Writer {
            journal,
            cipher: cipher.map(Arc::new),
            settings,
            watch,
            queue,
            is_open: true,
            is_ending: false,
            waiting: VecDeque::new(),
            bytes: 0,
            flying: VecDeque::new(),
            epoch: None,
            work: None,
            known: 0,
        }
    }

    /// Writes until all senders of the queue are gone and all deliveries are settled. Once the shutdown
    /// has begun, deliveries do not wait for others.
    pub(crate) async fn run(mut self, mut shutdown: Shutdown) {
        while self.is_open || !self.waiting.is_empty() || !self.flying.is_empty() {
            self.begin_work();
            let wake = self.wake();
            tokio::select! {
                queued = self.queue.recv(), if self.is_open => self.arrived(queued),
                done = working(&mut self.work) => {
                    self.work = None;
                    self.done(done);
                }
                _ = shutdown.begun(), if !self.is_ending => self.is_ending = true,
                () = until(wake) => {}
            }
            self.expire(Instant::now());
        }
    }

    fn arrived(&mut self, queued: Option<Queued>) {
        match queued {
            Some(Queued::Delivery(waiting)) => {
                self.bytes += waiting.bytes();
                self.waiting.push_back(*waiting);
            }
            Some(Queued::Ping(answer)) => drop(answer.send(())),
            None => self.is_open = false,
        }
    }

    /// Begins an epoch if there is none, or puts an object if one is due.
    fn begin_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        // All that came while an object was put goes into the next one.
        while let Ok(queued) = self.queue.try_recv() {
            self.arrived(Some(queued));
        }
        match self.epoch.take() {
            None => self.work = Some(Box::pin(begin(self.journal.clone(), self.known))),
            Some(epoch) if self.is_due() => self.put(epoch),
            Some(epoch) => self.epoch = Some(epoch),
        }
    }

    fn is_due(&self) -> bool {
        let waited = self.flush_at().is_some_and(|at| at <= Instant::now());
        let is_last = self.is_ending || !self.is_open;
        waited || is_last && !self.waiting.is_empty() || self.bytes >= self.settings.max_size
    }

    /// When the oldest delivery has waited for others long enough.
    fn flush_at(&self) -> Option<Instant> {
        self.waiting.front().map(|oldest| oldest.since + self.settings.max_wait)
    }

    /// When there is something to do though nothing happens.
    fn wake(&self) -> Option<Instant> {
        let deadline = |oldest: &Waiting| oldest.since + self.settings.put_timeout;
        let idle = self.work.is_none().then(|| self.flush_at()).flatten();
        let fronts = [self.waiting.front(), self.flying.front()];
        fronts.into_iter().flatten().map(deadline).chain(idle).min()
    }

    /// Puts waiting deliveries, the oldest first, up to the largest size. It is at least one.
    fn put(&mut self, epoch: Epoch<O, P>) {
        let mut bytes = 0;
        while let Some(waiting) = self.waiting.pop_front() {
            bytes += waiting.bytes();
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            self.flying.push_back(waiting);
            if bytes >= self.settings.max_size || self.flying.len() >= MOST_DELIVERIES {
                break;
            }
        }
        // The bodies are not copied.
        let deliveries: Vec<_> = self.flying.iter().map(|one| one.delivery.clone()).collect();
        let (cipher, count) = (self.cipher.clone(), deliveries.len());
        self.work = Some(Box::pin(async move {
            let object = match epoch.prepare() {
                Ok(object) => object,
                Err(error) => return Done::NotPut(error),
            };
            let (id, header) = (object.id(), object.header());
            // Compressing and hashing or encrypting take a while.
            let packing = tokio::task::spawn_blocking(move || {
                let packed = PackedDeliveries::new(&deliveries)?;
                Ok(packed.object(id, &header, cipher.as_deref()))
            });
            let body = match packing.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(body) => body,
                Err(error) => return Done::NotPacked(object.back(), error),
            };
            let (bytes, begun) = (body.len() as u64, Instant::now());
            match object.put(body).await {
                Ok(epoch) => Done::Put { epoch, bytes, deliveries: count, took: begun.elapsed() },
                Err(error) => Done::NotPut(error),
            }
        }));
    }

    fn done(&mut self, done: Done<O, P>) {
        match done {
            Done::Began(Ok(epoch)) => {
                tracing::info!(epoch = epoch.number(), "a new epoch of the journal began");
                self.known = epoch.number();
                self.works(epoch);
            }
            // It was logged, and the next attempt begins.
            Done::Began(Err(_)) => {}
            Done::Put { epoch, bytes, deliveries, took } => {
                self.watch.observer.put(bytes, deliveries, took);
                self.works(epoch);
                for waiting in self.flying.drain(..) {
                    waiting.done(&self.watch.status);
                }
            }
            Done::NotPut(error) => self.abandon(&error),
            Done::NotPacked(epoch, error) => {
                tracing::error!(%error, "deliveries were not journaled");
                self.epoch = Some(epoch);
                self.fail();
            }
        }
    }

    fn works(&mut self, epoch: Epoch<O, P>) {
        if let Some(trouble) = self.watch.status.works(epoch.number(), epoch.next()) {
            tracing::info!(trouble, "the journal works again");
        }
        self.epoch = Some(epoch);
    }

    /// The epoch is over. What is certainly not in the journal goes into the next one.
    fn abandon(&mut self, error: &PutError) {
        self.watch.observer.abandoned();
        match error {
            PutError::Sealed { .. } => {
                tracing::info!(%error, "the epoch is over; a new one begins");
            }
            _ => tracing::warn!(%error, "the epoch is given up; a new one begins"),
        }
        if error.may_be_read() {
            return self.fail();
        }
        while let Some(waiting) = self.flying.pop_back() {
            self.bytes += waiting.bytes();
            self.waiting.push_front(waiting);
        }
    }

    /// Nothing is known of the deliveries that were being put.
    fn fail(&mut self) {
        for waiting in self.flying.drain(..) {
            waiting.failed(&self.watch.status);
        }
    }

    /// Answers the deliveries whose time is over. If none is left of those that are being put, the epoch
    /// is given up.
    fn expire(&mut self, now: Instant) {
        let is_over = |oldest: &&Waiting| oldest.since + self.settings.put_timeout <= now;
        let was_flying = !self.flying.is_empty();
        let waiting = self.waiting.iter().take_while(is_over).count();
        let flying = self.flying.iter().take_while(is_over).count();
        for waiting in self.waiting.drain(..waiting) {
            self.bytes = self.bytes.saturating_sub(waiting.bytes());
            waiting.failed(&self.watch.status);
        }
        for waiting in self.flying.drain(..flying) {
            waiting.failed(&self.watch.status);
        }
        if was_flying && self.flying.is_empty() {
            self.work = None;
            self.watch.observer.abandoned();
            let why = "an object could not be put in time";
            self.watch.status.fails(why);
            tracing::warn!("{why}: the epoch is given up; a new one begins");
        }
    }
}

/// Settles what is left as not stored, and says that nothing is put any more.
impl<O, P> Drop for Writer<O, P> {
    fn drop(&mut self) {
        for waiting in self.flying.drain(..).chain(self.waiting.drain(..)) {
            waiting.failed(&self.watch.status);
        }
        self.watch.status.fails("the receiver ends");
    }
}

async fn begin<O: Objects, P: Platform>(journal: Journal<O, P>, known: u64) -> Done<O, P> {
    let began = journal.begin(known).await;
    if let Err(error) = &began {
        tracing::error!(%error, "no epoch of the journal can be begun; trying again");
        sleep(PAUSE).await;
    }
    Done::Began(began)
}

/// Waits for the work, if there is some.
async fn working<O, P>(work: &mut Option<Work<O, P>>) -> Done<O, P> {
    match work {
        Some(work) => work.as_mut().await,
        None => pending().await,
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}
