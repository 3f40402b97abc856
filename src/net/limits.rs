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
const RESERVED_DESCRIPTORS: usize = 256;

/// The console gets one in this many of the connections.
const CONSOLE_SHARE: usize = 8;

/// The limits of a [`Listener`](super::Listener).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; one more is closed at once.
    pub max_connections: usize,
    /// Connections at a time from one address (IPv6: one /64, which is what one customer gets).
    pub max_connections_per_address: usize,
    /// Addresses that `max_connections_per_address` does not hold: trusted proxies and tunnels, behind
    /// which there are many clients.
    pub many_clients: Vec<IpNet>,
    /// The header of a request, in bytes; at least [`MIN_HEADER_BYTES`](Limits::MIN_HEADER_BYTES).
    pub max_header_bytes: usize,
    /// From the connection to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From there to the end of the first request's header.
    pub header_timeout: Duration,
    /// From an answer to the end of the next request's header. It is also the longest pause that a
    /// streamed answer may make, whether because the handler has nothing or the client takes nothing.
    pub idle_timeout: Duration,
    /// How long a peer may take to read the last answer and close, once we are done with it.
    pub linger_timeout: Duration,
}

impl Limits {
    /// The least that `max_header_bytes` can be, in bytes: the smallest buffer hyper reads into.
    pub const MIN_HEADER_BYTES: usize = 8192;

    /// The limits of the receiver and of the console, if each of them is configured with these.
    /// `descriptors` is how many file descriptors this process may have; `None` is no limit.
    pub fn for_descriptors(&self, descriptors: Option<u64>) -> (Limits, Limits) {
        let (mut receiver, mut console) = (self.clone(), self.clone());
        let all = descriptors.and_then(|all| usize::try_from(all).ok()).unwrap_or(usize::MAX);
        let left = all - RESERVED_DESCRIPTORS.min(all / 2);
        if left < self.max_connections.saturating_mul(2) {
            console.max_connections = self.max_connections.min(left / CONSOLE_SHARE).max(1);
            let left = left - console.max_connections.min(left);
            receiver.max_connections = self.max_connections.min(left).max(1);
        }
        (receiver, console)
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
pub fn raise_descriptor_limit() -> Option<u64> {
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
        let found = limits.for_descriptors(descriptors);
        let found = (found.0.max_connections, found.1.max_connections);
        assert_eq!(found, (receiver, console), "{max_connections} {descriptors:?}");
    }

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        check(1024, None, 1024, 1024);
        check(1024, Some(1 << 20), 1024, 1024);
        check(1024, Some(2304), 1024, 1024);
        check(1024, Some(2000), 1024, 218);
        check(1024, Some(1024), 672, 96);
        check(100, Some(1024), 100, 100);
        check(1024, Some(64), 28, 4);
        check(1024, Some(0), 1, 1);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let raised = raise_descriptor_limit();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
