//! A port that is listened on: connections are accepted, counted, served, and ended at shutdown.
//!
//! A connection over a limit is closed at once, and said so: it is not left waiting for a turn that
//! may not come.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::{Server, http};
use super::slots::Slots;
use super::{CloseConnection, Events, Limits, Peer, ServerTls, Shutdown};

/// How long nothing is accepted after it failed for want of descriptors or memory. They come back
/// when connections end, which accepting again at once would not hasten.
const PAUSE: Duration = Duration::from_millis(100);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(source))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there, perhaps another vidimus: stop it or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "; expected an address of this machine",
        _ => "",
    }
}

/// A port that is listened on, with TLS or without.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
}

impl Listener {
    /// Begins to listen on `address`; port 0 is one that is free. Connections wait until
    /// [`serve`](Listener::serve).
    ///
    /// # Errors
    /// When the address is taken, not ours, or not allowed.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Listener, ListenError> {
        let failed = |source| ListenError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Listener { tcp, address, tls })
    }

    /// The address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until shutdown. Then no more are accepted, idle ones are closed, requests
    /// at work are answered, and what is left at the deadline is dropped.
    ///
    /// `service` is called for each request. Its future is dropped when the client hangs up or the
    /// deadline passes: what has to be finished all the same must be spawned by it, and awaited by
    /// whoever shuts down. It bounds its own waits, on the request's body above all. An answer whose
    /// body goes on for ever has to end it when shutdown begins.
    pub async fn serve<S, F, B>(
        self,
        service: S,
        limits: Limits,
        events: Arc<dyn Events>,
        mut shutdown: Shutdown,
    ) where
        S: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, CloseConnection>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let http = http(&limits);
        let server = Arc::new(Server { tls: self.tls, limits, events, http, service });
        let slots = Arc::new(Slots::default());
        let mut connections = JoinSet::new();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                _ = shutdown.begun() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.tcp.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(connection) => connection,
                Err(error) if is_peers(&error) => continue,
                Err(error) => {
                    if !failing {
                        server.events.cannot_accept(&error);
                    }
                    failing = true;
                    sleep(PAUSE).await;
                    continue;
                }
            };
            failing = false;
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            match slots.take(address.ip(), &server.limits) {
                Err(why) => server.events.refused(address, why),
                Ok(slot) => {
                    let serving = server.clone().serve(tcp, address, shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(slot);
                    });
                }
            }
        }
        drop(self.tcp);
        tokio::select! {
            () = shutdown.over() => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
        connections.shutdown().await;
    }
}

/// Whether it is the one connection that failed, before it was accepted.
fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
