//! How many connections there are, in all and from each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Limits, Refused};

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
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Only addresses that have connections are in it.
    from: HashMap<IpAddr, usize>,
}

impl Slots {
    /// Counts a connection from `address` until the slot is dropped.
    pub(super) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Slot, Refused> {
        let network = network(address);
        let mut counts = self.counts();
        if counts.all >= limits.max_connections {
            return Err(Refused::TooManyConnections { max: limits.max_connections });
        }
        let from = counts.from.get(&network).copied().unwrap_or(0);
        if from >= limits.max_connections_per_address
            && !limits.many_clients.iter().any(|net| net.contains(&address))
        {
            return Err(Refused::TooManyFromAddress { max: limits.max_connections_per_address });
        }
        counts.all += 1;
        counts.from.insert(network, from + 1);
        Ok(Slot { slots: self.clone(), network })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    network: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts();
        counts.all -= 1;
        if let Some(from) = counts.from.get_mut(&self.network) {
            *from -= 1;
            if *from == 0 {
                counts.from.remove(&self.network);
            }
        }
    }
}

/// What counts as one address: who has one IPv6 address has its whole /64.
fn network(address: IpAddr) -> IpAddr {
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

    /// Takes a slot for each address with room for three in all and two from each; `.` is a slot, `a`
    /// too many in all, `f` too many from the address.
    fn check(addresses: &[&str], expected: &str) {
        let limits = Limits {
            max_connections: 3,
            max_connections_per_address: 2,
            many_clients: vec!["192.0.2.9/32".parse().unwrap()],
            ..Limits::default()
        };
        let slots = Arc::new(Slots::default());
        let taken: Vec<_> =
            addresses.iter().map(|one| slots.take(one.parse().unwrap(), &limits)).collect();
        let found: String = taken
            .iter()
            .map(|one| match one {
                Ok(_) => '.',
                Err(Refused::TooManyConnections { max: 3 }) => 'a',
                Err(Refused::TooManyFromAddress { max: 2 }) => 'f',
                Err(_) => '?',
            })
            .collect();
        assert_eq!(found, expected, "{addresses:?}");
        drop(taken);
        let counts = slots.counts();
        assert_eq!((counts.all, counts.from.len()), (0, 0), "{addresses:?}");
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        check(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], "...a");
        check(&["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"], "..f.");
        check(&["192.0.2.9", "192.0.2.9", "192.0.2.9", "192.0.2.9"], "...a");
        check(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"], "..f.");
    }
}
