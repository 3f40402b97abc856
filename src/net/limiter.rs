//! How many connections are open, in all and from each address, and which of them are evicted.
//!
//! Anybody who reaches the port can open connections and send nothing. So when 15/16 of the limit is
//! reached, each new connection evicts another one. Only idle connections without an authorized
//! request are evicted. The oldest from an address that never had an authorized request goes first;
//! if there is none, the oldest of the others. The last 1/16 is reserved for addresses that have had
//! an authorized request.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LinkedHashSet;
use tokio::sync::Notify;

use super::{ConnectionRefusal, Limits};

/// The number of addresses with an authorized request that are remembered: the most recent ones.
const MAX_KNOWN: usize = 4096;

/// One in this many of the connections is reserved for known addresses.
const RESERVED_SHARE: usize = 16;

/// Counts the open connections of a listener.
#[derive(Clone, Debug)]
pub(crate) struct OpenConnections(pub(super) Arc<ConnectionLimiter>);

impl OpenConnections {
    /// The number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.0.table().all
    }
}

/// Admits connections up to the limits.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimiter {
    table: Mutex<Table>,
    /// Notified when a connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    all: usize,
    /// The number of connections that were told to end and have not ended yet.
    evicted: usize,
    /// The number of connections from each address that has any.
    by_address: HashMap<IpAddr, usize>,
    /// Addresses that had an authorized request, the most recent one last.
    known: LinkedHashSet<IpAddr>,
    /// The open connections by their numbers.
    open: HashMap<u64, Connection>,
    /// The connections that can be evicted, in the order in which they are.
    idle: BTreeSet<EvictionRank>,
    /// The number of the next connection.
    next_number: u64,
}

/// The order of eviction: unknown addresses first, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionRank {
    is_known: bool,
    number: u64,
}

/// What decides whether a connection can be evicted.
#[derive(Debug)]
struct Connection {
    rank: EvictionRank,
    /// The number of requests in progress.
    requests: usize,
    /// Whether one of its requests was authorized.
    is_authorized: bool,
    is_evicted: bool,
    handle: Arc<ConnectionHandle>,
}

impl ConnectionLimiter {
    /// Counts a connection from `address` until the permit is dropped. If another connection is
    /// evicted for it, this may wait for the end of that one, which comes at once.
    pub(super) async fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<ConnectionPermit, ConnectionRefusal> {
        let mut has_evicted = false;
        loop {
            // Created before the table is read, so that no end is missed.
            let ended = self.ended.notified();
            if let Some(permit) = self.try_admit(address, limits, &mut has_evicted)? {
                return Ok(permit);
            }
            ended.await;
        }
    }

    /// Like [`admit`](ConnectionLimiter::admit), but returns `None` where that waits.
    fn try_admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
        has_evicted: &mut bool,
    ) -> Result<Option<ConnectionPermit>, ConnectionRefusal> {
        let network = network(address);
        let mut table = self.table();
        let from_address = table.by_address.get(&network).copied().unwrap_or(0);
        if from_address >= limits.max_connections_per_address
            && !limits.many_clients.iter().any(|net| net.contains(&address))
        {
            return Err(ConnectionRefusal::TooManyFromAddress {
                max: limits.max_connections_per_address,
            });
        }
        let max = limits.max_connections;
        let is_known = table.known.contains(&network);
        let staying = table.all - table.evicted;
        if staying >= max - max / RESERVED_SHARE && !*has_evicted {
            *has_evicted = table.evict_one();
            if !*has_evicted && (staying >= max || !is_known) {
                return Err(ConnectionRefusal::TooManyConnections { max });
            }
        }
        if table.all >= max {
            return Ok(None);
        }
        let number = table.next_number;
        let rank = EvictionRank { is_known, number };
        let handle = Arc::new(ConnectionHandle {
            limiter: self.clone(),
            network,
            number,
            evicted: Notify::new(),
        });
        let connection = Connection {
            rank,
            requests: 0,
            is_authorized: false,
            is_evicted: false,
            handle: handle.clone(),
        };
        table.next_number += 1;
        table.all += 1;
        *table.by_address.entry(network).or_default() += 1;
        table.open.insert(number, connection);
        table.idle.insert(rank);
        Ok(Some(ConnectionPermit(handle)))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Tells the first connection in the order of eviction to end. `false` if there is none.
    fn evict_one(&mut self) -> bool {
        let next = self.idle.pop_first();
        let Some(connection) = next.and_then(|rank| self.open.get_mut(&rank.number)) else {
            return false;
        };
        connection.is_evicted = true;
        connection.handle.evicted.notify_one();
        self.evicted += 1;
        true
    }
}

/// A connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit(Arc<ConnectionHandle>);

impl ConnectionPermit {
    /// The handle that the requests of the connection report to.
    pub(super) fn handle(&self) -> Arc<ConnectionHandle> {
        self.0.clone()
    }

    /// Waits until the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.0.evicted.notified().await;
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let ConnectionHandle { limiter, network, number, .. } = &*self.0;
        let mut table = limiter.table();
        table.all -= 1;
        if let Some(Connection { rank, is_evicted, .. }) = table.open.remove(number) {
            table.evicted -= usize::from(is_evicted);
            table.idle.remove(&rank);
        }
        if let Some(from_address) = table.by_address.get_mut(network) {
            *from_address -= 1;
            if *from_address == 0 {
                table.by_address.remove(network);
            }
        }
        drop(table);
        limiter.ended.notify_waiters();
    }
}

/// Tells the limiter what a connection does.
#[derive(Debug)]
pub(super) struct ConnectionHandle {
    limiter: Arc<ConnectionLimiter>,
    network: IpAddr,
    number: u64,
    evicted: Notify,
}

impl ConnectionHandle {
    /// A request begins. The connection is not evicted until the request ends.
    pub(super) fn begin_request(&self) {
        self.change(|connection| connection.requests += 1);
    }

    pub(super) fn end_request(&self) {
        self.change(|connection| connection.requests -= 1);
    }

    /// A request was authorized: the connection is never evicted, and its address is known.
    pub(super) fn authorize(&self) {
        self.change(|connection| connection.is_authorized = true);
        let mut table = self.limiter.table();
        if !table.known.to_back(&self.network) {
            table.known.insert(self.network);
        }
        if table.known.len() > MAX_KNOWN {
            table.known.pop_front();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Connection)) {
        let table = &mut *self.limiter.table();
        // A request may end after its connection.
        let Some(connection) = table.open.get_mut(&self.number) else { return };
        change(connection);
        if connection.requests == 0 && !connection.is_authorized && !connection.is_evicted {
            table.idle.insert(connection.rank);
        } else {
            table.idle.remove(&connection.rank);
        }
    }
}

/// The address that connections are counted by. For IPv6 it is the /64, because one customer usually
/// has a whole /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
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

    fn admit(
        limiter: &Arc<ConnectionLimiter>,
        limits: &Limits,
        address: &str,
    ) -> Result<Option<ConnectionPermit>, ConnectionRefusal> {
        limiter.try_admit(address.parse().unwrap(), limits, &mut false)
    }

    /// Admits a connection from each address, with limits of three in all and two from each. `.` is a
    /// connection, `a` is too many in all, `f` is too many from the address. All have a request in
    /// progress.
    fn check(addresses: &[&str], expected: &str) {
        let limits = Limits {
            max_connections: 3,
            max_connections_per_address: 2,
            many_clients: vec!["192.0.2.9/32".parse().unwrap()],
            ..Limits::default()
        };
        let limiter = Arc::new(ConnectionLimiter::default());
        let taken: Vec<_> = addresses
            .iter()
            .map(|one| {
                admit(&limiter, &limits, one)
                    .map(|permit| permit.inspect(|one| one.0.begin_request()))
            })
            .collect();
        let found: String = taken
            .iter()
            .map(|one| match one {
                Ok(Some(_)) => '.',
                Err(ConnectionRefusal::TooManyConnections { max: 3 }) => 'a',
                Err(ConnectionRefusal::TooManyFromAddress { max: 2 }) => 'f',
                _ => '?',
            })
            .collect();
        assert_eq!(found, expected, "{addresses:?}");
        drop(taken);
        let table = limiter.table();
        assert_eq!(
            (table.all, table.by_address.len(), table.open.len()),
            (0, 0, 0),
            "{addresses:?}"
        );
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        check(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], "...a");
        check(&["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"], "..f.");
        check(&["192.0.2.9", "192.0.2.9", "192.0.2.9", "192.0.2.9"], "...a");
        check(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"], "..f.");
    }

    #[tokio::test]
    async fn the_oldest_idle_connection_without_authorization_is_evicted() {
        let limits = Limits { max_connections: 32, ..Limits::default() };
        let limiter = Arc::new(ConnectionLimiter::default());
        let admit = |address: &str| admit(&limiter, &limits, address).unwrap().unwrap();
        // Thirty of 32 are for everybody.
        let mut open: Vec<_> = (0..30).map(|_| admit("192.0.2.1")).collect();
        open[0].0.begin_request();
        open[1].0.authorize();
        open[2].0.begin_request();
        open[2].0.end_request();
        let another = admit("192.0.2.2");
        open[2].evicted().await;
        drop(open.remove(2));
        assert_eq!(limiter.table().evicted, 0);
        // Its address is known now, so it is evicted after later ones from other addresses.
        let last = admit("192.0.2.1");
        open[2].evicted().await;
        drop(open.remove(2));
        let table = limiter.table();
        assert!(table.idle.first().unwrap() < table.idle.last().unwrap());
        assert_eq!(table.idle.last(), Some(&EvictionRank { is_known: true, number: 31 }));
        drop(table);
        drop((another, last));
    }

    #[test]
    fn some_connections_are_reserved_for_known_addresses() {
        let limits = Limits { max_connections: 32, ..Limits::default() };
        let limiter = Arc::new(ConnectionLimiter::default());
        // All have a request in progress.
        let admit = |address: &str| {
            admit(&limiter, &limits, address)
                .map(|permit| permit.inspect(|permit| permit.0.begin_request()))
                .map(Option::unwrap)
        };
        let known = admit("192.0.2.7").unwrap();
        known.0.authorize();
        let busy: Vec<_> = (0..29).map(|_| admit("192.0.2.1").unwrap()).collect();
        let full = |found: Result<ConnectionPermit, ConnectionRefusal>| {
            assert_eq!(found.unwrap_err(), ConnectionRefusal::TooManyConnections { max: 32 });
        };
        full(admit("192.0.2.1"));
        let kept = [(); 2].map(|()| admit("192.0.2.7").unwrap());
        full(admit("192.0.2.7"));
        drop((busy, kept));
    }

    #[tokio::test]
    async fn a_new_connection_waits_for_the_end_of_the_evicted_one() {
        let limits = Limits { max_connections: 1, ..Limits::default() };
        let limiter = Arc::new(ConnectionLimiter::default());
        let address = "192.0.2.1".parse().unwrap();
        let first = limiter.admit(address, &limits).await.unwrap();
        let ends = async {
            first.evicted().await;
            drop(first);
        };
        let (second, ()) = tokio::join!(limiter.admit(address, &limits), ends);
        assert!(second.is_ok());
        assert_eq!(limiter.table().all, 1);
    }

    #[test]
    fn the_known_addresses_are_capped() {
        let limits = Limits::default();
        let limiter = Arc::new(ConnectionLimiter::default());
        for n in 0..MAX_KNOWN + 10 {
            let [.., high, low] = n.to_be_bytes();
            let address = IpAddr::from([10, 0, high, low]);
            limiter.try_admit(address, &limits, &mut false).unwrap().unwrap().0.authorize();
        }
        assert_eq!(limiter.table().known.len(), MAX_KNOWN);
    }
}
