//! The network: listeners with TLS, limits and shutdown, and an HTTP client.
//!
//! It does not know entries, the store or the receiver. `Listener` passes requests to a service, and
//! [`Client`] sends requests.
//!
//! - `listener` accepts connections. `connection` serves one of them. `limits` says how many there may
//!   be and how long they may take, `limiter` counts and evicts them, and `refusal` has the reasons for
//!   refused ones.
//! - `tls` reads certificates, for listeners and for the client.
//! - `shutdown` tells every task when to stop.
//! - `budget` limits the bytes of request bodies in memory.
//! - `client` is the HTTP client. `http` has small parts of HTTP.

mod budget;
mod client;
mod connection;
mod http;
mod limiter;
mod limits;
mod listener;
mod refusal;
mod shutdown;
#[cfg(test)]
mod testing;
mod tls;

pub(crate) use budget::{MemoryBudget, Reservation};
pub use client::{Client, ClientError, ClientOptions, Proxies};
pub(crate) use connection::{Admission, CloseConnection, Peer, RequestBody};
pub(crate) use http::{percent_encoded, retry_after};
pub(crate) use limiter::{OpenConnections, network};
pub(crate) use limits::{Limits, raise_descriptor_limit};
pub use listener::ListenError;
pub(crate) use listener::{Listener, activation_socket};
pub(crate) use refusal::{ConnectionRefusal, ListenerObserver};
pub use shutdown::Shutdown;
pub(crate) use shutdown::{Trigger, shutdown};
pub(crate) use tls::{
    CertificateInfo, Reload, ServerTls, TlsSession, check_names, client_config, ensure_self_signed,
};
pub use tls::{PairFiles, TlsError};
