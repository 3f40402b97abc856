//! A port that is listened on: connections are accepted, counted, served, and ended at shutdown.
//!
//! A connection over a limit is closed at once, and said so: it is not left waiting for a turn that
//! may not come. `slots` says which of the others give way before.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::{Server, http};
use super::slots::{Connections, Slots};
use super::{CloseConnection, Events, Limits, Peer, RequestBody, ServerTls, Shutdown};

/// How long nothing is accepted after it failed for want of descriptors or memory. They come back
/// when connections end, which accepting again at once would not hasten.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it is not said again that accepting fails.
const SILENCE: Duration = Duration::from_secs(60);

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
    slots: Arc<Slots>,
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
        Listener::of(tcp, tls).map_err(failed)
    }

    /// Takes over a socket that listens already and does not block.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn take_over(
        socket: std::net::TcpListener,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Listener> {
        Listener::of(TcpListener::from_std(socket)?, tls)
    }

    fn of(tcp: TcpListener, tls: Option<Arc<ServerTls>>) -> io::Result<Listener> {
        let address = tcp.local_addr()?;
        Ok(Listener { tcp, address, tls, slots: Arc::default() })
    }

    /// The address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Knows how many connections are open.
    pub fn connections(&self) -> Connections {
        Connections(Arc::clone(&self.slots))
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
        S: Fn(Request<RequestBody>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, CloseConnection>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let http = http(&limits);
        let server = Arc::new(Server { tls: self.tls, limits, events, http, service });
        let slots = self.slots;
        let mut connections = JoinSet::new();
        let mut told: Option<Instant> = None;
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
                    if told.is_none_or(|told| told.elapsed() >= SILENCE) {
                        server.events.cannot_accept(&error);
                        told = Some(Instant::now());
                    }
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            match slots.take(address.ip(), &server.limits).await {
                Err(why) => server.events.refused(address, why),
                Ok(slot) => {
                    tracing::debug!(peer = %address, listener = %self.address, "a connection");
                    let serving = server.clone().serve(tcp, address, slot, shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        tracing::debug!(peer = %address, "the connection has ended");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{LONG, Pair, Running, SHORT, ample, exchange, happens, http};
    use crate::net::{Refused, Reload};

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed_and_its_place_is_given_on() {
        let limits = Limits { max_connections_per_address: 1, ..ample() };
        let mut running = Running::start(limits, None).await;
        let (mut client, connection) = http(running.connect().await, false).await;
        client.post("/echo", "").await.unwrap();
        assert_eq!(exchange(running.connect().await, b"").await, "");
        assert_eq!(running.refused().await, Refused::TooManyFromAddress { max: 1 });
        client.post("/echo", "").await.unwrap();

        drop(client);
        happens(connection).await.unwrap().unwrap();
        let ask = b"GET /early HTTP/1.1\r\nconnection: close\r\n\r\n";
        happens(async { while exchange(running.connect().await, ask).await.is_empty() {} }).await;
    }

    #[tokio::test]
    async fn a_new_certificate_is_for_new_connections() {
        let dir = tempfile::tempdir().unwrap();
        let tls = Arc::new(ServerTls::load(Pair::new("localhost").write(dir.path())).unwrap());
        let running = Running::start(ample(), Some(tls.clone())).await;
        let certificate = |io: &tokio_rustls::client::TlsStream<_>| {
            io.get_ref().1.peer_certificates().unwrap().to_vec()
        };
        let old = running.connect_tls("http/1.1").await;
        let first = certificate(&old);
        let (mut old, _) = http(old, false).await;
        old.post("/echo", "").await.unwrap();

        Pair::new("localhost").write(dir.path());
        assert!(matches!(tls.reload(), Reload::Replaced));
        let new = running.connect_tls("h2").await;
        assert_ne!(certificate(&new), first);
        old.post("/echo", "").await.unwrap();

        let files = Pair::new("localhost").write(dir.path());
        std::fs::write(files.key, Pair::new("localhost").key).unwrap();
        assert!(matches!(tls.reload(), Reload::Unchanged));
        assert!(matches!(tls.reload(), Reload::Kept(_)));
        let newest = running.connect_tls("h2").await;
        assert_eq!(certificate(&newest), certificate(&new));
    }

    #[tokio::test]
    async fn a_shutdown_answers_what_is_at_work_and_closes_the_rest() {
        for two in [false, true] {
            let running = Running::start(ample(), None).await;
            let (mut idle, idle_ends) = http(running.connect().await, two).await;
            idle.post("/echo", "").await.unwrap();
            let silent = running.connect().await;
            let (mut client, _) = http(running.connect().await, two).await;
            let gate = running.gate.clone();
            let answer = tokio::spawn(async move { client.post("/wait", "").await });
            happens(gate.arrived.notified()).await;

            running.trigger.begin(LONG);
            happens(idle_ends).await.unwrap().unwrap();
            assert_eq!(exchange(silent, b"").await, "");
            let late = tokio::net::TcpStream::connect(running.address);
            happens(late).await.unwrap_err();
            gate.open.notify_one();
            assert_eq!(happens(answer).await.unwrap().unwrap().0, 200);
            happens(running.task).await.unwrap();
        }
    }

    #[tokio::test]
    async fn at_the_deadline_the_rest_is_dropped() {
        for two in [false, true] {
            let tls = Some(Pair::new("localhost").tls());
            let running = Running::start(ample(), tls).await;
            let alpn = if two { "h2" } else { "http/1.1" };
            let (mut client, _) = http(running.connect_tls(alpn).await, two).await;
            let answer = tokio::spawn(async move { client.post("/wait", "").await });
            happens(running.gate.arrived.notified()).await;
            running.trigger.begin(SHORT);
            happens(running.task).await.unwrap();
            happens(answer).await.unwrap().unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let running = Running::start(ample(), None).await;
        let error = Listener::bind(running.address, None).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}: ", running.address)), "{error}");
        assert!(error.contains("another program listens there"), "{error}");
    }
}
