//! One connection, from its first byte to its end.
//!
//! HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113). TLS clients choose through ALPN, plain ones by the first
//! bytes that they send. A connection has one timer: for the handshake, then for the first header, then
//! for idle time. The timer stands still while a handler works on a request. The handler limits its own
//! waits, above all for the body.

mod body;
mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::body::RequestBody;
use self::socket::{Linger, Socket};
use super::limiter::{ConnectionHandle, ConnectionPermit};
use super::{ConnectionRefusal, Limits, ListenerObserver, ServerTls, Shutdown, TlsSession};

/// The first byte of a TLS connection: the record type "handshake" (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address. An IPv4 address mapped into IPv6 is given as IPv4.
    pub(crate) address: SocketAddr,
    /// What the TLS handshake agreed on. `None` if the connection has no TLS.
    pub(crate) tls: Option<TlsSession>,
}

/// A handler returns this instead of a response to close the connection without one.
///
/// An HTTP/1.1 connection is closed at once. On HTTP/2 the request's stream is reset with
/// `INTERNAL_ERROR`, no new stream is accepted (`GOAWAY`), and the connection is closed after the
/// other requests are answered. A client treats both as a failed connection, never as a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub(crate) struct CloseConnection;

/// A handler's verdict on a request, set as an extension of the response. Without one the connection
/// stays open and can be evicted when there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The connection is kept, and its address is remembered.
    Authorized,
    /// The connection is closed after the response.
    Refused,
}

/// What the connections of a listener share.
pub(super) struct ConnectionContext<S> {
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) limits: Limits,
    pub(super) observer: Arc<dyn ListenerObserver>,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) service: S,
}

/// The settings of hyper.
pub(super) fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let max_header = limits.max_header_bytes.max(Limits::MIN_HEADER_BYTES);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        // Our timer replaces hyper's, which also runs while a connection is idle.
        .header_read_timeout(None)
        .max_buf_size(max_header)
        .max_headers(100);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX))
        .max_concurrent_streams(32)
        // These end a connection whose peer opens streams only to reset them (CVE-2023-44487).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        // The windows limit what a peer can send before a handler reads it, and so the memory that a
        // connection can take without authorization. They allow 40 Mbit/s at 100 ms. The connection's
        // window is larger than a stream's, so a request that is not read does not block another.
        .initial_stream_window_size(512 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

impl<S, F, B> ConnectionContext<S>
where
    S: Fn(Request<RequestBody>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, CloseConnection>> + Send + 'static,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        permit: ConnectionPermit,
        mut shutdown: Shutdown,
    ) {
        let linger = Linger::new(self.limits.linger_timeout);
        let activity = Activity::new(permit.handle());
        let served = async {
            let opened = tokio::select! {
                _ = shutdown.begun() => return None,
                opened = self.open(tcp, &linger) => opened,
            };
            match opened {
                Err(refusal) => refusal,
                Ok(Stream::Plain(io)) => {
                    let peer = Peer { address, tls: None };
                    self.requests(io, peer, &activity, &linger, shutdown).await
                }
                Ok(Stream::Tls(io)) => {
                    let peer = Peer { address, tls: TlsSession::of(io.get_ref().1) };
                    self.requests(io, peer, &activity, &linger, shutdown).await
                }
            }
        };
        let refusal = tokio::select! {
            refusal = served => refusal,
            () = permit.evicted() => Some(ConnectionRefusal::Evicted),
        };
        drop(permit);
        if let Some(why) = refusal {
            self.observer.refused(address, why);
        }
    }

    /// Opens a connection up to the point where HTTP begins. The error is `None` if the failure is not
    /// worth a report.
    async fn open(
        &self,
        tcp: TcpStream,
        linger: &Linger,
    ) -> Result<Stream, Option<ConnectionRefusal>> {
        // Small responses are sent at once. If this fails, the connection is closed already.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let after = self.limits.header_timeout;
            let first = timeout(after, first_byte(&tcp)).await;
            return match first.map_err(|_| Some(ConnectionRefusal::HeaderTimeout { after }))? {
                None => Err(None),
                Some(TLS_HANDSHAKE) => Err(Some(ConnectionRefusal::TlsToPlain)),
                Some(_) => Ok(Stream::Plain(Socket::new(tcp, linger.clone()))),
            };
        };
        let handshake = async {
            match first_byte(&tcp).await {
                None => Err(None),
                // A request's method. No TLS record begins with a letter.
                Some(b'A'..=b'Z') => Err(Some(ConnectionRefusal::PlainToTls)),
                Some(_) => TlsAcceptor::from(tls.config())
                    .accept(Socket::new(tcp, linger.clone()))
                    .await
                    .map(|io| Stream::Tls(Box::new(io)))
                    .map_err(|error| Some(ConnectionRefusal::handshake(&error))),
            }
        };
        let after = self.limits.handshake_timeout;
        timeout(after, handshake)
            .await
            .unwrap_or(Err(Some(ConnectionRefusal::HandshakeTimeout { after })))
    }

    /// Serves the requests of one connection.
    async fn requests<I>(
        &self,
        io: I,
        peer: Peer,
        activity: &Arc<Activity>,
        linger: &Linger,
        mut shutdown: Shutdown,
    ) -> Option<ConnectionRefusal>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let service = service_fn(|request| {
            let active = activity.begin_request();
            let (activity, version) = (activity.clone(), request.version());
            let request = RequestBody::wrap(request, limits.linger_timeout);
            let response = (self.service)(request, peer);
            async move {
                let response = response.await;
                let admission =
                    response.as_ref().ok().and_then(|it| it.extensions().get().copied());
                if admission == Some(Admission::Authorized) {
                    activity.handle.authorize();
                }
                drop(active);
                match response {
                    Ok(mut response) => {
                        if admission == Some(Admission::Refused) {
                            close_after(&mut response, version, &activity);
                        }
                        Ok(response.map(|body| TrackedBody { body, activity }))
                    }
                    Err(close) => {
                        activity.request_close();
                        Err(close)
                    }
                }
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(io), service));
        let mut closing = false;
        let first_header = Instant::now() + limits.header_timeout;
        let mut due = first_header.min(activity.idle_at(limits.idle_timeout));
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.err().and_then(bad_header),
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if closing {
                        due = activity.idle_at(limits.linger_timeout);
                    } else if activity.has_begun() {
                        due = activity.idle_at(limits.idle_timeout);
                    } else {
                        // A request may begin and end before the first header is due.
                        due = first_header.min(now + limits.idle_timeout);
                        if first_header <= now {
                            let after = limits.header_timeout;
                            return Some(ConnectionRefusal::HeaderTimeout { after });
                        }
                    }
                    if due > now {
                        continue;
                    }
                    if closing {
                        return None;
                    }
                }
                _ = shutdown.begun(), if !closing => {}
                () = activity.close_requested(), if !closing => {}
            }
            closing = true;
            due = Instant::now() + limits.linger_timeout;
            if !activity.is_handling() {
                linger.disable();
            }
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Closes the connection after this response. On HTTP/1 a header says so (RFC 9112, 9.6), and the rest
/// of the request's body is discarded; on HTTP/2 it is `GOAWAY`.
fn close_after<B>(response: &mut Response<B>, version: Version, activity: &Activity) {
    match version {
        Version::HTTP_2 => activity.request_close(),
        _ => drop(response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"))),
    }
}

/// A connection on which HTTP begins.
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// The first byte that the peer sends. It is not consumed. `None` if the peer closes without one.
async fn first_byte(tcp: &TcpStream) -> Option<u8> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) => Some(first[0]),
        _ => None,
    }
}

/// The refusal to report if a connection ended because of a bad header. hyper has answered already.
fn bad_header(error: Box<dyn std::error::Error + Send + Sync>) -> Option<ConnectionRefusal> {
    let error = error.downcast_ref::<hyper::Error>()?;
    error.is_parse().then(|| ConnectionRefusal::BadHeader(error.to_string()))
}

/// Whether a connection is idle. Its task and its requests share it.
#[derive(Debug)]
struct Activity {
    state: Mutex<ActivityState>,
    close: Notify,
    handle: Arc<ConnectionHandle>,
}

#[derive(Debug)]
struct ActivityState {
    /// Whether there was a request.
    has_begun: bool,
    /// The number of requests that a handler works on. The handler has its own time-outs.
    handling: usize,
    /// When a handler last returned a response, or the peer last took a part of one.
    last_active: Instant,
}

impl Activity {
    /// For a connection that opens now.
    fn new(handle: Arc<ConnectionHandle>) -> Arc<Activity> {
        let state = ActivityState { has_begun: false, handling: 0, last_active: Instant::now() };
        Arc::new(Activity { state: Mutex::new(state), close: Notify::new(), handle })
    }

    /// Marks a request as handled until the result is dropped.
    fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.state();
        state.has_begun = true;
        state.handling += 1;
        self.handle.begin_request();
        ActiveRequest(self.clone())
    }

    fn has_begun(&self) -> bool {
        self.state().has_begun
    }

    fn is_handling(&self) -> bool {
        self.state().handling > 0
    }

    /// When the connection will have been idle for `period`, if nothing happens until then.
    fn idle_at(&self, period: Duration) -> Instant {
        let state = self.state();
        match state.handling {
            0 => state.last_active + period,
            _ => Instant::now() + period,
        }
    }

    /// Asks the connection's task to close the connection.
    fn request_close(&self) {
        self.close.notify_one();
    }

    async fn close_requested(&self) {
        self.close.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, ActivityState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that a handler works on.
#[derive(Debug)]
struct ActiveRequest(Arc<Activity>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.handling -= 1;
        self.0.handle.end_request();
        state.last_active = Instant::now();
    }
}

/// A response body. The connection is not idle while the peer takes parts of it.
#[derive(Debug)]
struct TrackedBody<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.activity.state().last_active = Instant::now();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
