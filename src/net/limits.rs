//! How many connections there may be and how long each may take.

use std::time::Duration;

use ipnet::IpNet;

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
