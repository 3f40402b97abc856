//! The network: listening with TLS, limits and shutdown, and the client for HTTP.
//!
//! It knows nothing of entries, the store or the receiver: [`Listener`] hands requests to a
//! service, and [`Client`] fetches and sends.
//!
//! - `listen` accepts connections, `connection` serves one of them, `activity` knows when it is idle,
//!   `body` is a request's body, `socket` closes it politely;
//! - `limits` says how many and for how long, `slots` counts them and says which give way, `refused`
//!   names what was turned away;
//! - `tls` is the server's certificate, reloaded when its files change, `self_signed` makes one;
//! - `handed_over` is the socket of a service manager;
//! - `forwarded` is whom a proxy speaks for, [`descriptors`] how many connections the system allows;
//! - `shutdown` tells everyone when to stop;
//! - `budget` bounds the bytes in flight in the whole process;
//! - `client` is the client, `client_error` what it fails with, `proxy` how it connects, `trust` whom
//!   it believes and who it is, `retry_after` how long it is asked to wait; `percent` is for what stands in a URL.

mod activity;
mod body;
mod budget;
mod client;
mod client_error;
mod connection;
pub mod descriptors;
mod forwarded;
mod handed_over;
mod limits;
mod listen;
mod percent;
mod proxy;
mod refused;
mod retry_after;
mod self_signed;
mod shutdown;
mod slots;
mod socket;
#[cfg(test)]
mod testing;
mod tls;
mod trust;

pub use body::RequestBody;
pub use budget::{Budget, Overloaded, Reservation};
pub use client::{Client, ClientOptions};
pub use client_error::ClientError;
pub use connection::{Admission, CloseConnection, Peer};
pub use handed_over::{HandedOverError, handed_over};
pub use limits::Limits;
pub use listen::{ListenError, Listener};
pub use percent::percent_encoded;
pub use proxy::Proxies;
pub use refused::{Events, Refused};
pub use retry_after::retry_after;
pub use self_signed::ensure_self_signed;
pub use shutdown::{Shutdown, Trigger, shutdown};
pub use slots::{Connections, network};
pub use tls::{PairFiles, Reload, ServerTls, TlsError};
pub use trust::client_config;
