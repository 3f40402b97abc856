//! A listener: it accepts connections, counts and serves them, and ends them at shutdown.
//!
//! A connection over a limit is closed at once and reported. It does not wait for a free place, which
//! may never come. `limiter` chooses the connections that are evicted first.
//!
//! The service manager can open the socket and pass it to the program (sd_listen_fds(3)). Connections
//! then wait in the kernel while the program restarts, and a port below 1024 needs no privilege.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Request, Response};
use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::{ConnectionContext, http};
use super::limiter::{ConnectionLimiter, OpenConnections};
use super::{CloseConnection, Limits, ListenerObserver, Peer, RequestBody, ServerTls, Shutdown};

/// The pause after a failed accept for want of descriptors or memory. They are free again when
/// connections end, so it does not help to accept again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Failed accepts are reported at most once in this time.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(source))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
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

/// Why a socket of the service manager cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivationError {
    /// There are several sockets, and nothing says which of them is for deliveries.
    #[error(
        "the service manager passed {0} sockets, expected 1, for deliveries: name one address \
         (ListenStream=) in the socket unit"
    )]
    Several(usize),
    /// The socket does not listen on TCP, for example.
    #[error("cannot use the socket that the service manager passed: {0}")]
    Unusable(#[from] io::Error),
}

/// Takes the socket that the service manager passed, if there is one. Only a TCP socket is accepted.
///
/// It removes the variables that describe the socket from the environment, so it must be called
/// before other threads start.
///
/// # Errors
/// When there are several sockets, or when the socket does not listen on TCP.
pub(crate) fn activation_socket() -> Result<Option<std::net::TcpListener>, ActivationError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(ActivationError::Several(sockets.len()));
    }
    let socket = sockets.take_tcp_listener(0)?;
    if let Some(socket) = &socket {
        socket.set_nonblocking(true)?;
    }
    Ok(socket)
}

/// A TCP port that accepts connections, with TLS or without.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    limiter: Arc<ConnectionLimiter>,
}

impl Listener {
    /// Starts to listen on `address`. With port 0 the system chooses a free port. Connections wait
    /// until [`serve`](Listener::serve) is called.
    ///
    /// # Errors
    /// When the address is in use, not an address of this machine, or not allowed.
    pub(crate) async fn bind(
        address: SocketAddr,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Listener, ListenError> {
        let failed = |source| ListenError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        Listener::new(tcp, tls).map_err(failed)
    }

    /// Uses a socket that already listens and does not block.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub(crate) fn from_socket(
        socket: std::net::TcpListener,
        tls: Option<Arc<ServerTls>>,
    ) -> io::Result<Listener> {
        Listener::new(TcpListener::from_std(socket)?, tls)
    }

    fn new(tcp: TcpListener, tls: Option<Arc<ServerTls>>) -> io::Result<Listener> {
        let address = tcp.local_addr()?;
        Ok(Listener { tcp, address, tls, limiter: Arc::default() })
    }

    /// The address, with the actual port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts the open connections, also while the listener serves.
    pub(crate) fn connections(&self) -> OpenConnections {
        OpenConnections(Arc::clone(&self.limiter))
    }

    /// Serves connections until shutdown. Then it accepts no more connections, closes the idle ones,
    /// answers the requests in progress, and drops what is left at the deadline.
    ///
    /// `service` is called for each request. Its future is dropped when the client hangs up or the
    /// deadline passes. Work that must finish anyway must be spawned by `service` and awaited by the
    /// caller at shutdown. `service` must limit its own waits, above all for the request's body. A
    /// response body without an end must end when the shutdown begins.
    pub(crate) async fn serve<S, F, B>(
        self,
        service: S,
        limits: Limits,
        observer: Arc<dyn ListenerObserver>,
        mut shutdown: Shutdown,
    ) where
        S: Fn(Request<RequestBody>, Peer) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, CloseConnection>> + Send + 'static,
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let http = http(&limits);
        let context =
            Arc::new(ConnectionContext { tls: self.tls, limits, observer, http, service });
        let limiter = self.limiter;
        let mut connections = JoinSet::new();
        let mut reported: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                _ = shutdown.begun() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.tcp.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(connection) => connection,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    if reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL) {
                        context.observer.accept_failed(&error);
                        reported = Some(Instant::now());
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let address = SocketAddr::new(address.ip().to_canonical(), address.port());
            match limiter.admit(address.ip(), &context.limits).await {
                Err(why) => context.observer.refused(address, why),
                Ok(permit) => {
                    tracing::debug!(peer = %address, listener = %self.address, "connection opened");
                    let serving = context.clone().serve(tcp, address, permit, shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        tracing::debug!(peer = %address, "connection closed");
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

/// Whether only the connection failed that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::{
        LONG, SHORT, TestCertificate, TestServer, exchange, generous_limits, http, in_time,
    };
    use crate::net::{ConnectionRefusal, Reload};

    #[tokio::test]
    async fn a_connection_over_the_limit_is_closed() {
        let limits = Limits { max_connections_per_address: 1, ..generous_limits() };
        let mut server = TestServer::start(limits, None).await;
        let (mut client, connection) = http(server.connect().await, false).await;
        client.post("/echo", "").await.unwrap();
        assert_eq!(exchange(server.connect().await, b"").await, "");
        assert_eq!(server.refused().await, ConnectionRefusal::TooManyFromAddress { max: 1 });
        client.post("/echo", "").await.unwrap();

        drop(client);
        in_time(connection).await.unwrap().unwrap();
        let ask = b"GET /early HTTP/1.1\r\nconnection: close\r\n\r\n";
        in_time(async { while exchange(server.connect().await, ask).await.is_empty() {} }).await;
    }

    #[tokio::test]
    async fn a_new_certificate_is_for_new_connections() {
        let dir = tempfile::tempdir().unwrap();
        let tls =
            Arc::new(ServerTls::load(TestCertificate::new("localhost").write(dir.path())).unwrap());
        let server = TestServer::start(generous_limits(), Some(tls.clone())).await;
        let certificate = |io: &tokio_rustls::client::TlsStream<_>| {
            io.get_ref().1.peer_certificates().unwrap().to_vec()
        };
        let old = server.connect_tls("http/1.1").await;
        let first = certificate(&old);
        let (mut old, _) = http(old, false).await;
        old.post("/echo", "").await.unwrap();

        TestCertificate::new("localhost").write(dir.path());
        assert!(matches!(tls.reload(), Reload::Replaced));
        let new = server.connect_tls("h2").await;
        assert_ne!(certificate(&new), first);
        old.post("/echo", "").await.unwrap();

        let files = TestCertificate::new("localhost").write(dir.path());
        std::fs::write(files.key, TestCertificate::new("localhost").key).unwrap();
        assert!(matches!(tls.reload(), Reload::Unchanged));
        assert!(matches!(tls.reload(), Reload::Kept(_)));
        let newest = server.connect_tls("h2").await;
        assert_eq!(certificate(&newest), certificate(&new));
    }

    #[tokio::test]
    async fn a_shutdown_finishes_requests_and_closes_idle_connections() {
        for two in [false, true] {
            let server = TestServer::start(generous_limits(), None).await;
            let (mut idle, idle_ends) = http(server.connect().await, two).await;
            idle.post("/echo", "").await.unwrap();
            let silent = server.connect().await;
            let (mut client, _) = http(server.connect().await, two).await;
            let gate = server.gate.clone();
            let answer = tokio::spawn(async move { client.post("/wait", "").await });
            in_time(gate.arrived.notified()).await;

            server.trigger.begin(LONG);
            in_time(idle_ends).await.unwrap().unwrap();
            assert_eq!(exchange(silent, b"").await, "");
            let late = tokio::net::TcpStream::connect(server.address);
            in_time(late).await.unwrap_err();
            gate.open.notify_one();
            assert_eq!(in_time(answer).await.unwrap().unwrap().0, 200);
            in_time(server.task).await.unwrap();
        }
    }

    #[tokio::test]
    async fn connections_are_dropped_at_the_deadline() {
        for two in [false, true] {
            let tls = Some(TestCertificate::new("localhost").tls());
            let server = TestServer::start(generous_limits(), tls).await;
            let alpn = if two { "h2" } else { "http/1.1" };
            let (mut client, _) = http(server.connect_tls(alpn).await, two).await;
            let answer = tokio::spawn(async move { client.post("/wait", "").await });
            in_time(server.gate.arrived.notified()).await;
            server.trigger.begin(SHORT);
            in_time(server.task).await.unwrap();
            in_time(answer).await.unwrap().unwrap_err();
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let server = TestServer::start(generous_limits(), None).await;
        let error = Listener::bind(server.address, None).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}: ", server.address)), "{error}");
        assert!(error.contains("another program listens there"), "{error}");
    }
}
