//! The clients of the journal: receivers, stores and prunes, as the program runs them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::super::control::Empty;
use super::super::settle::Settled;
use super::super::{
    Cursor, Epoch, Header, Journal, JournalError, Kind, ObjectId, Read, SealOutcome, keys,
};
use super::mutant::Mutant;
use super::world::Seat;
use crate::objects::Objects;

type Client = Journal<Seat, Seat>;

fn client(seat: &Arc<Seat>) -> Client {
    Journal::on(Arc::clone(seat), Arc::clone(seat))
}

/// A future that the schedule can give up.
struct Limited<F> {
    inner: Option<Pin<Box<F>>>,
    over: Arc<AtomicBool>,
}

fn limited<F: Future>(over: &Arc<AtomicBool>, inner: F) -> Limited<F> {
    Limited { inner: Some(Box::pin(inner)), over: Arc::clone(over) }
}

impl<F: Future> Future for Limited<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.over.swap(false, Ordering::Relaxed) {
            self.inner = None;
        }
        match &mut self.inner {
            Some(inner) => inner.as_mut().poll(context).map(Some),
            None => Poll::Ready(None),
        }
    }
}

/// An object of deliveries: what a receiver was sent, as numbers.
fn deliveries(header: &Header, batch: &[u16]) -> Bytes {
    let mut object = header.to_bytes().to_vec();
    batch.iter().for_each(|delivery| object.extend_from_slice(&delivery.to_be_bytes()));
    object.into()
}

/// The deliveries in an object.
pub(super) fn delivered(object: &[u8]) -> impl Iterator<Item = u16> {
    let rest = object.get(Header::LEN..).unwrap_or_default();
    rest.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// A receiver that puts these objects. A delivery is acknowledged, or it is not and its sender would
/// send it again, as another delivery. `over` ends its patience.
pub(super) async fn receiver(
    seat: Arc<Seat>,
    over: Arc<AtomicBool>,
    batches: Vec<Vec<u16>>,
    mut epoch: Option<Epoch<Seat, Seat>>,
) {
    let journal = client(&seat);
    let mutant = seat.shared.lock().mutant;
    let acknowledge = |batch: &[u16]| {
        let mut world = seat.shared.lock();
        world.note(|| format!("receiver {} acknowledges {batch:?}", seat.actor));
        world.acknowledged.extend(batch);
    };
    if mutant == Some(Mutant::AcknowledgeOutOfOrder) {
        return out_of_order(&journal, &over, &batches, acknowledge).await;
    }
    for batch in &batches {
        // An epoch that was sealed is followed by another, but a receiver does not try for ever.
        for _ in 0..3 {
            let ours = match epoch.take() {
                Some(epoch) => epoch,
                None => match limited(&over, journal.begin(0)).await {
                    Some(Ok(epoch)) => epoch,
                    _ => break,
                },
            };
            let (number, next) = (ours.number(), ours.next());
            let put = ours.put(|_, header| deliveries(header, batch));
            match limited(&over, put).await {
                Some(Ok(ours)) => {
                    acknowledge(batch);
                    epoch = Some(ours);
                    break;
                }
                // They were answered with an error, because they may be in the journal.
                Some(Err(error)) if error.may_be_read() => break,
                Some(Err(_)) => {}
                None => match mutant {
                    Some(Mutant::PutAgainAfterGivingUp) => {}
                    Some(Mutant::GoOnAfterGivingUp) => {
                        epoch = Some(Epoch::resumed(journal.clone(), number, next + 1));
                        break;
                    }
                    Some(Mutant::AcknowledgeAfterGivingUp) => {
                        acknowledge(batch);
                        break;
                    }
                    _ => break,
                },
            }
        }
    }
}

async fn out_of_order(
    journal: &Client,
    over: &Arc<AtomicBool>,
    batches: &[Vec<u16>],
    acknowledge: impl Fn(&[u16]),
) {
    let Some(Ok(epoch)) = limited(over, journal.begin(0)).await else { return };
    let puts = batches.iter().zip(0..).map(|(batch, next)| {
        let epoch = Epoch::resumed(journal.clone(), epoch.number(), next);
        let acknowledge = &acknowledge;
        async move {
            if epoch.put(|_, header| deliveries(header, batch)).await.is_ok() {
                acknowledge(batch);
            }
        }
    });
    let all = futures_util::future::join_all(puts);
    limited(over, all).await;
}

/// A process of a store. It looks `rounds` times. `last` is its last run, which seals everything and
/// reads until nothing is left.
pub(super) async fn store(seat: Arc<Seat>, at: usize, rounds: u32, last: bool) {
    let shared = seat.shared.clone();
    let ended = process(&seat, at, rounds, last).await;
    let mut world = shared.lock();
    if let Err(error) = ended
        && !error.is_temporary()
    {
        let id = world.stores[at].id.clone();
        world.note(|| format!("store {id} ({at}) stops: {error}"));
        if world.stores[at].protected {
            world.violate(format!("store {id} stops, for which prune had to wait: {error}"));
        }
        world.stores[at].stopped = Some(error.to_string());
    }
}

async fn process(seat: &Arc<Seat>, at: usize, rounds: u32, last: bool) -> Result<(), JournalError> {
    let journal = client(seat);
    let shared = &seat.shared;
    let mutant = shared.lock().mutant;
    let (id, mut published, committed) = {
        let world = shared.lock();
        let store = &world.stores[at];
        let committed = store.disk.cursor();
        // What is archived is not known yet.
        let first = if store.archive.is_some() { Cursor::default() } else { committed.clone() };
        (store.id.clone(), first, committed)
    };
    let mut membership = journal.join(&id, (&published, &committed), 0).await?;
    {
        let mut world = shared.lock();
        let store = &mut world.stores[at];
        store.protected = !store.twin && !store.retired;
    }
    for round in 0..rounds {
        let done = match look(seat, at, &journal, last).await {
            Err(error) if error.is_temporary() => false,
            done => done?,
        };
        let (mut cursor, committed) = {
            let world = shared.lock();
            (world.stores[at].safe(), world.stores[at].disk.cursor())
        };
        match mutant {
            Some(Mutant::PublishEarly) => {
                let open = cursor.finished_below();
                let next = cursor.position(open).unwrap_or_default().next;
                cursor.read_below(open, next + 1);
            }
            Some(Mutant::PublishUnarchived) => cursor.clone_from(&committed),
            _ => {}
        }
        let changed = cursor != published;
        if changed && (last || shared.lock().decide(seat.actor, &[1, 1]) == 1) {
            match membership.publish((&cursor, &committed)).await {
                Err(error) if error.is_temporary() => {}
                done => done?,
            }
            published = cursor;
        }
        if last && done {
            return Ok(());
        }
        assert!(!last || round + 1 < rounds, "the last run of store {at} does not end");
    }
    Ok(())
}

/// Looks once at everything that is open. Returns whether nothing is.
async fn look(
    seat: &Arc<Seat>,
    at: usize,
    journal: &Client,
    last: bool,
) -> Result<bool, JournalError> {
    let shared = &seat.shared;
    let cursor = shared.lock().stores[at].disk.cursor();
    let first = cursor.finished_below();
    let mut epochs = cursor.epochs().map(|(epoch, _)| epoch + 1).max().unwrap_or(first).max(first);
    while journal.exists_epoch(epochs).await? {
        epochs += 1;
    }
    let mut done = true;
    for epoch in first..epochs {
        done &= follow(seat, at, journal, epoch, last).await?;
    }
    Ok(done)
}

/// Reads an epoch as far as it goes. Returns whether it is finished.
async fn follow(
    seat: &Arc<Seat>,
    at: usize,
    journal: &Client,
    epoch: u64,
    last: bool,
) -> Result<bool, JournalError> {
    let shared = &seat.shared;
    let mutant = shared.lock().mutant;
    let end = |next: u64| {
        let mut world = shared.lock();
        world.note(|| format!("store {at} finishes {epoch} at {next}"));
        world.stores[at].disk.ends.insert(epoch, next);
    };
    let mut skip = 0;
    loop {
        let cursor = shared.lock().stores[at].disk.cursor();
        let next = match cursor.position(epoch) {
            Some(position) if !position.sealed => position.next + skip,
            _ => return Ok(true),
        };
        match journal.read(epoch, next).await? {
            Read::Deliveries(object) => {
                let mut world = shared.lock();
                world.note(|| format!("store {at} commits {epoch}/{next}"));
                world.stores[at].disk.log.insert((epoch, next), object);
                skip = 0;
                let backup = world.stores[at].disk.clone();
                world.stores[at].backups.push(backup);
            }
            Read::Sealed => {
                end(next);
                return Ok(true);
            }
            Read::Absent => {
                // Silence has lasted long enough, or not. No clock is asked.
                if !last && shared.lock().decide(seat.actor, &[3, 1]) == 0 {
                    return Ok(false);
                }
                match mutant {
                    Some(Mutant::SkipGaps) if skip == 0 => {
                        skip = 1;
                        continue;
                    }
                    Some(Mutant::AbsentIsTheEnd) => {
                        end(next);
                        return Ok(true);
                    }
                    Some(Mutant::SealUnseen | Mutant::SealWithoutFloors) => {
                        let key = keys::object(epoch, next);
                        let settled = journal.create(Kind::Seal, &key, &Empty::default()).await?;
                        if mutant == Some(Mutant::SealUnseen) || settled == Settled::Ours {
                            end(next);
                        }
                        continue;
                    }
                    _ => {}
                }
                if journal.seal(epoch, next).await? == SealOutcome::Sealed {
                    end(next);
                    return Ok(true);
                }
            }
            Read::Unknown { why, .. } => {
                shared.lock().violate(format!("{epoch}/{next} cannot be read: {why}"));
                return Ok(false);
            }
        }
    }
}

/// A prune that finds old enough what is below a number that is chosen for each epoch.
pub(super) async fn prune(seat: Arc<Seat>) {
    let journal = client(&seat);
    let limits = {
        let mut world = seat.shared.lock();
        let mut ends = BTreeMap::new();
        for id in world.objects.keys().filter_map(|key| ObjectId::of_key(key)) {
            ends.insert(id.epoch, id.number + 1);
        }
        // Mostly everything, sometimes more than there is, sometimes less.
        for end in ends.values_mut() {
            *end = match world.decide(seat.actor, &[4, 1, 2]) {
                0 => *end,
                1 => *end + 1,
                _ => *end / 2,
            };
        }
        ends
    };
    let mutant = seat.shared.lock().mutant;
    let report = match mutant {
        Some(Mutant::PruneWithoutDecision) => {
            async {
                let (floor, _) = journal.plan(&limits).await.ok()?;
                for (epoch, (from, to)) in floor.deletes {
                    for number in from..to {
                        seat.delete(&keys::object(epoch, number)).await.ok()?;
                    }
                }
                None
            }
            .await
        }
        _ => Some(journal.prune(&limits).await),
    };
    seat.shared.lock().note(|| format!("prune ends: {report:?}"));
}

/// Retires the store at this place.
pub(super) async fn retire(seat: Arc<Seat>, at: usize) {
    let id = {
        let mut world = seat.shared.lock();
        let id = world.stores[at].id.clone();
        for store in world.stores.iter_mut().filter(|store| store.id == id) {
            store.retired = true;
            store.protected = false;
        }
        id
    };
    let _ = client(&seat).retire(&id).await;
}

/// An actor that is at work.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
