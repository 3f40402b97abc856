//! How many connections a listener may have, and how long each of them may take.
//!
//! Each connection takes a file descriptor, and the system limits those (`RLIMIT_NOFILE`). If
//! connections could take all of them, the store could not open a segment and nobody could open the
//! console. So the listeners together get fewer connections than there are descriptors.

use std::time::Duration;

use ipnet::IpNet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors kept for the store, the outputs and the key sources. Half of all descriptors, if
/// that is less.
const RESERVED_DESCRIPTORS: usize = 512;

/// The console, and the log if it has an address of its own, get one in this many of the connections.
const OTHERS_SHARE: usize = 8;

/// The limits of a [`Listener`](super::Listener).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most connections at a time. More are closed at once.
    pub(crate) max_connections: usize,
    /// The most connections at a time from one address. For IPv6: from one /64, because one customer
    /// usually has a whole /64.
    pub(crate) max_connections_per_address: usize,
    /// Addresses without that limit: trusted proxies and tunnels, which have many clients.
    pub(crate) many_clients: Vec<IpNet>,
    /// The size of the largest request header, in bytes. At least
    /// [`MIN_HEADER_BYTES`](Limits::MIN_HEADER_BYTES).
    pub(crate) max_header_bytes: usize,
    /// For the TLS handshake, from the start of the connection.
    pub(crate) handshake_timeout: Duration,
    /// For the first request's header, from the end of the handshake.
    pub(crate) header_timeout: Duration,
    /// For the next request's header, from the end of a response. It is also the longest pause within a
    /// streamed response, on either side.
    pub(crate) idle_timeout: Duration,
    /// For the peer to read the last response and close its side.
    pub(crate) linger_timeout: Duration,
}

impl Limits {
    /// The smallest `max_header_bytes`: the size of hyper's smallest read buffer.
    pub(crate) const MIN_HEADER_BYTES: usize = 8192;

    /// The limits of the receiver, and of each of the `others`, if each of them is configured with these.
    /// `descriptors` is how many file descriptors this process may have; `None` is no limit.
    pub(crate) fn for_descriptors(
        &self,
        descriptors: Option<u64>,
        others: usize,
    ) -> (Limits, Limits) {
        let (mut receiver, mut other) = (self.clone(), self.clone());
        let all = descriptors.and_then(|all| usize::try_from(all).ok()).unwrap_or(usize::MAX);
        let left = all - RESERVED_DESCRIPTORS.min(all / 2);
        if left < self.max_connections.saturating_mul(1 + others) {
            other.max_connections = self.max_connections.min(left / OTHERS_SHARE).max(1);
            let left = left - (others * other.max_connections).min(left);
            receiver.max_connections = self.max_connections.min(left).max(1);
        }
        (receiver, other)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 512,
            max_connections_per_address: 64,
            many_clients: Vec::new(),
            max_header_bytes: 32 << 10,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            linger_timeout: Duration::from_secs(5),
        }
    }
}

/// Raises the limit on file descriptors as far as this process may. Returns the limit, or `None` if
/// there is none.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the limit cannot be raised, it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(max_connections: usize, descriptors: Option<u64>, receiver: usize, console: usize) {
        let limits = Limits { max_connections, ..Limits::default() };
        let found = limits.for_descriptors(descriptors, 1);
        let found = (found.0.max_connections, found.1.max_connections);
        assert_eq!(found, (receiver, console), "{max_connections} {descriptors:?}");
    }

    #[test]
    fn some_descriptors_are_reserved() {
        check(1024, None, 1024, 1024);
        check(1024, Some(1 << 20), 1024, 1024);
        check(1024, Some(2560), 1024, 1024);
        check(1024, Some(2000), 1024, 186);
        check(1024, Some(1024), 448, 64);
        check(100, Some(1024), 100, 100);
        check(1024, Some(64), 28, 4);
        check(1024, Some(0), 1, 1);
        let limits = Limits { max_connections: 1024, ..Limits::default() };
        let found = limits.for_descriptors(Some(2560), 2);
        assert_eq!((found.0.max_connections, found.1.max_connections), (1024, 256));
        let found = limits.for_descriptors(Some(1024), 2);
        assert_eq!((found.0.max_connections, found.1.max_connections), (384, 64));
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_the_hard_limit() {
        let raised = raise_descriptor_limit();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
