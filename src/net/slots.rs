//! How many connections there are, in all and from each address, and which of them give way.
//!
//! Whoever reaches the port can open connections and say nothing. So from 15/16 of the limit on, a
//! new connection takes the place of another that no handler is at work on and that never had an
//! authorized request: the oldest of those from addresses that never had one, else the oldest of the
//! others. What is above 15/16 is kept for addresses that have had an authorized request before.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LinkedHashSet;
use tokio::sync::Notify;

use super::{Limits, Refused};

/// The most addresses that are remembered; of more, those that had an authorized request last.
const REMEMBERED: usize = 4096;

/// One in so many of the connections is kept for addresses that are remembered.
const KEPT: usize = 16;

/// The open connections of a listener.
#[derive(Clone, Debug)]
pub struct Connections(pub(super) Arc<Slots>);

impl Connections {
    /// How many there are.
    pub fn open(&self) -> usize {
        self.0.counts().all
    }
}

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Slots {
    counts: Mutex<Counts>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// How many of them were told to give way.
    leaving: usize,
    /// Only addresses that have connections are in it.
    from: HashMap<IpAddr, usize>,
    /// Addresses that had an authorized request; the last one last.
    known: LinkedHashSet<IpAddr>,
    /// The connections by their numbers.
    open: HashMap<u64, Standing>,
    /// Those that can give way, in the order in which they do.
    idle: BTreeSet<Rank>,
    /// How many there have been.
    opened: u64,
}

/// Who gives way before whom: those from unknown addresses first, then the older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_known: bool,
    number: u64,
}

/// Whether a connection can give way.
#[derive(Debug)]
struct Standing {
    rank: Rank,
    /// How many requests a handler is at work on.
    at_work: usize,
    /// Whether one of its requests was authorized.
    is_authorized: bool,
    /// Whether it was told to give way.
    is_leaving: bool,
    place: Arc<Place>,
}

impl Slots {
    /// Counts a connection from `address` until the slot is dropped. Where another gives way, it may
    /// wait for the end of that one, which comes at once.
    pub(super) async fn take(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Slot, Refused> {
        let mut made_room = false;
        loop {
            // Made before the look, so that no end is missed.
            let ended = self.ended.notified();
            if let Some(slot) = self.try_take(address, limits, &mut made_room)? {
                return Ok(slot);
            }
            ended.await;
        }
    }

    /// The same; `None` if a connection that was told to give way has not ended yet.
    fn try_take(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
        made_room: &mut bool,
    ) -> Result<Option<Slot>, Refused> {
        let network = network(address);
        let mut counts = self.counts();
        let from = counts.from.get(&network).copied().unwrap_or(0);
        if from >= limits.max_connections_per_address
            && !limits.many_clients.iter().any(|net| net.contains(&address))
        {
            return Err(Refused::TooManyFromAddress { max: limits.max_connections_per_address });
        }
        let max = limits.max_connections;
        let is_known = counts.known.contains(&network);
        let staying = counts.all - counts.leaving;
        if staying >= max - max / KEPT && !*made_room {
            *made_room = counts.tell_one();
            if !*made_room && (staying >= max || !is_known) {
                return Err(Refused::TooManyConnections { max });
            }
        }
        if counts.all >= max {
            return Ok(None);
        }
        let number = counts.opened;
        let rank = Rank { is_known, number };
        let place =
            Arc::new(Place { slots: self.clone(), network, number, give_way: Notify::new() });
        let standing = Standing {
            rank,
            at_work: 0,
            is_authorized: false,
            is_leaving: false,
            place: place.clone(),
        };
        counts.opened += 1;
        counts.all += 1;
        *counts.from.entry(network).or_default() += 1;
        counts.open.insert(number, standing);
        counts.idle.insert(rank);
        Ok(Some(Slot(place)))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Tells the next connection to give way, if there is one that can.
    fn tell_one(&mut self) -> bool {
        let next = self.idle.pop_first();
        let Some(standing) = next.and_then(|rank| self.open.get_mut(&rank.number)) else {
            return false;
        };
        standing.is_leaving = true;
        standing.place.give_way.notify_one();
        self.leaving += 1;
        true
    }
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Place>);

impl Slot {
    /// What the requests of the connection are told to.
    pub(super) fn place(&self) -> Arc<Place> {
        self.0.clone()
    }

    /// Waits until the connection has to give way.
    pub(super) async fn gives_way(&self) {
        self.0.give_way.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Place { slots, network, number, .. } = &*self.0;
        let mut counts = slots.counts();
        counts.all -= 1;
        if let Some(Standing { rank, is_leaving, .. }) = counts.open.remove(number) {
            counts.leaving -= usize::from(is_leaving);
            counts.idle.remove(&rank);
        }
        if let Some(from) = counts.from.get_mut(network) {
            *from -= 1;
            if *from == 0 {
                counts.from.remove(network);
            }
        }
        drop(counts);
        slots.ended.notify_waiters();
    }
}

/// Where it is known what a connection does.
#[derive(Debug)]
pub(super) struct Place {
    slots: Arc<Slots>,
    network: IpAddr,
    number: u64,
    give_way: Notify,
}

impl Place {
    /// A handler is at work on a request: the connection stays until it is done.
    pub(super) fn begin(&self) {
        self.change(|standing| standing.at_work += 1);
    }

    /// A handler is done with a request.
    pub(super) fn end(&self) {
        self.change(|standing| standing.at_work -= 1);
    }

    /// A request of the connection was authorized: it stays, and its address is remembered.
    pub(super) fn authorize(&self) {
        self.change(|standing| standing.is_authorized = true);
        let mut counts = self.slots.counts();
        if !counts.known.to_back(&self.network) {
            counts.known.insert(self.network);
        }
        if counts.known.len() > REMEMBERED {
            counts.known.pop_front();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        let counts = &mut *self.slots.counts();
        // A request may end after its connection.
        let Some(standing) = counts.open.get_mut(&self.number) else { return };
        change(standing);
        if standing.at_work == 0 && !standing.is_authorized && !standing.is_leaving {
            counts.idle.insert(standing.rank);
        } else {
            counts.idle.remove(&standing.rank);
        }
    }
}

/// What counts as one address: who has one IPv6 address has its whole /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Arc<Slots>, limits: &Limits, address: &str) -> Result<Option<Slot>, Refused> {
        slots.try_take(address.parse().unwrap(), limits, &mut false)
    }

    /// Takes a slot for each address with room for three in all and two from each; `.` is a slot, `a`
    /// too many in all, `f` too many from the address. All are at work on a request.
    fn check(addresses: &[&str], expected: &str) {
        let limits = Limits {
            max_connections: 3,
            max_connections_per_address: 2,
            many_clients: vec!["192.0.2.9/32".parse().unwrap()],
            ..Limits::default()
        };
        let slots = Arc::new(Slots::default());
        let taken: Vec<_> = addresses
            .iter()
            .map(|one| take(&slots, &limits, one).map(|slot| slot.inspect(|one| one.0.begin())))
            .collect();
        let found: String = taken
            .iter()
            .map(|one| match one {
                Ok(Some(_)) => '.',
                Err(Refused::TooManyConnections { max: 3 }) => 'a',
                Err(Refused::TooManyFromAddress { max: 2 }) => 'f',
                _ => '?',
            })
            .collect();
        assert_eq!(found, expected, "{addresses:?}");
        drop(taken);
        let counts = slots.counts();
        assert_eq!((counts.all, counts.from.len(), counts.open.len()), (0, 0, 0), "{addresses:?}");
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        check(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], "...a");
        check(&["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"], "..f.");
        check(&["192.0.2.9", "192.0.2.9", "192.0.2.9", "192.0.2.9"], "...a");
        check(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"], "..f.");
    }

    #[tokio::test]
    async fn the_oldest_that_never_authorized_and_is_idle_gives_way() {
        let limits = Limits { max_connections: 32, ..Limits::default() };
        let slots = Arc::new(Slots::default());
        let take = |address: &str| take(&slots, &limits, address).unwrap().unwrap();
        // Thirty of 32 are there for everybody.
        let mut open: Vec<_> = (0..30).map(|_| take("192.0.2.1")).collect();
        open[0].0.begin();
        open[1].0.authorize();
        open[2].0.begin();
        open[2].0.end();
        let another = take("192.0.2.2");
        open[2].gives_way().await;
        drop(open.remove(2));
        assert_eq!(slots.counts().leaving, 0);
        // Of an address that is known now, so it goes after those of others that came later.
        let last = take("192.0.2.1");
        open[2].gives_way().await;
        drop(open.remove(2));
        let counts = slots.counts();
        assert!(counts.idle.first().unwrap() < counts.idle.last().unwrap());
        assert_eq!(counts.idle.last(), Some(&Rank { is_known: true, number: 31 }));
        drop(counts);
        drop((another, last));
    }

    #[test]
    fn some_are_kept_for_addresses_that_were_authorized() {
        let limits = Limits { max_connections: 32, ..Limits::default() };
        let slots = Arc::new(Slots::default());
        // All are at work on a request.
        let take = |address: &str| {
            take(&slots, &limits, address)
                .map(|slot| slot.inspect(|slot| slot.0.begin()))
                .map(Option::unwrap)
        };
        let known = take("192.0.2.7").unwrap();
        known.0.authorize();
        let busy: Vec<_> = (0..29).map(|_| take("192.0.2.1").unwrap()).collect();
        let full = |found: Result<Slot, Refused>| {
            assert_eq!(found.unwrap_err(), Refused::TooManyConnections { max: 32 });
        };
        full(take("192.0.2.1"));
        let kept = [(); 2].map(|()| take("192.0.2.7").unwrap());
        full(take("192.0.2.7"));
        drop((busy, kept));
    }

    #[tokio::test]
    async fn one_more_waits_for_the_end_of_the_one_that_gives_way() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let slots = Arc::new(Slots::default());
        let address = "192.0.2.1".parse().unwrap();
        let first = slots.take(address, &limits).await.unwrap();
        let ends = async {
            first.gives_way().await;
            drop(first);
        };
        let (second, ()) = tokio::join!(slots.take(address, &limits), ends);
        assert!(second.is_ok());
        assert_eq!(slots.counts().all, 1);
    }

    #[test]
    fn the_addresses_that_are_remembered_are_capped() {
        let limits = Limits::default();
        let slots = Arc::new(Slots::default());
        for n in 0..REMEMBERED + 10 {
            let [.., high, low] = n.to_be_bytes();
            let address = IpAddr::from([10, 0, high, low]);
            slots.try_take(address, &limits, &mut false).unwrap().unwrap().0.authorize();
        }
        assert_eq!(slots.counts().known.len(), REMEMBERED);
    }
}
