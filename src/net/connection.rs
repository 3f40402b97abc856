//! One connection, from its first byte to its end.
//!
//! HTTP/1.1 (RFC 9112) and HTTP/2 (RFC 9113), by ALPN or, where the client knows, without. There is
//! one clock for each connection: the handshake, then the first header, then idleness. While a
//! handler is at work no clock runs here: what it waits for, the body above all, it bounds itself.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Watched};
use super::body::RequestBody;
use super::slots::Slot;
use super::socket::{Linger, Socket};
use super::{Events, Limits, Refused, ServerTls, Shutdown};

/// The first byte of a TLS connection: the record type "handshake" (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; an IPv4 address is one, not mapped into IPv6.
    pub address: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// What a handler gives in place of an answer: the connection is closed without one.
///
/// Over HTTP/1.1 it is closed at once. Over HTTP/2 the request's stream is reset with
/// `INTERNAL_ERROR`, no new one is taken (`GOAWAY`), and the connection is closed when the requests
/// beside it are answered. A client takes either for a failed connection, never for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub struct CloseConnection;

/// What a handler says of a request, among the extensions of its answer. Without it the connection
/// goes on, and gives way to others when there are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was authorized: its connection is kept, and its address is remembered.
    Authorized,
    /// It was refused: its connection ends with the answer.
    Refused,
}

/// What the connections of a listener share.
pub(super) struct Server<S> {
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) limits: Limits,
    pub(super) events: Arc<dyn Events>,
    pub(super) http: auto::Builder<TokioExecutor>,
    pub(super) service: S,
}

/// How HTTP is spoken.
pub(super) fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let max_header = limits.max_header_bytes.max(Limits::MIN_HEADER_BYTES);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        // Ours is the clock, because this one runs while a connection is idle, too.
        .header_read_timeout(None)
        .max_buf_size(max_header)
        .max_headers(100);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(max_header).unwrap_or(u32::MAX))
        .max_concurrent_streams(32)
        // A peer that opens streams only to reset them (CVE-2023-44487) is cut off at these.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        // What a peer may send before a handler reads it: enough for 40 Mbit/s at 100 ms, and all the
        // memory that the bodies of a connection can take without authorization. One request that
        // is not being read does not hold up another.
        .initial_stream_window_size(512 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

impl<S, F, B> Server<S>
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
        slot: Slot,
        mut shutdown: Shutdown,
    ) {
        let linger = Linger::new(self.limits.linger_timeout);
        let activity = Activity::new(slot.place());
        let served = async {
            let opened = tokio::select! {
                _ = shutdown.begun() => return None,
                opened = self.open(tcp, &linger) => opened,
            };
            let peer = |tls| Peer { address, tls };
            match opened {
                Err(refused) => refused,
                Ok(Stream::Plain(io)) => {
                    self.requests(io, peer(false), &activity, &linger, shutdown).await
                }
                Ok(Stream::Tls(io)) => {
                    self.requests(io, peer(true), &activity, &linger, shutdown).await
                }
            }
        };
        let refused = tokio::select! {
            refused = served => refused,
            () = slot.gives_way() => Some(Refused::GaveWay),
        };
        drop(slot);
        if let Some(why) = refused {
            self.events.refused(address, why);
        }
    }

    /// Gets a connection to where HTTP is spoken, or tells why not, if that is worth telling.
    async fn open(&self, tcp: TcpStream, linger: &Linger) -> Result<Stream, Option<Refused>> {
        // Small answers go out at once. A socket that cannot do this has gone already.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let after = self.limits.header_timeout;
            let first = timeout(after, first_byte(&tcp)).await;
            return match first.map_err(|_| Some(Refused::HeaderTimeout { after }))? {
                None => Err(None),
                Some(TLS_HANDSHAKE) => Err(Some(Refused::TlsToPlain)),
                Some(_) => Ok(Stream::Plain(Socket::new(tcp, linger.clone()))),
            };
        };
        let handshake = async {
            match first_byte(&tcp).await {
                None => Err(None),
                // A request's method; no TLS record begins with a letter.
                Some(b'A'..=b'Z') => Err(Some(Refused::PlainToTls)),
                Some(_) => TlsAcceptor::from(tls.config())
                    .accept(Socket::new(tcp, linger.clone()))
                    .await
                    .map(|io| Stream::Tls(Box::new(io)))
                    .map_err(|error| Some(Refused::handshake(&error))),
            }
        };
        let after = self.limits.handshake_timeout;
        timeout(after, handshake).await.unwrap_or(Err(Some(Refused::HandshakeTimeout { after })))
    }

    /// Answers the requests of one connection.
    async fn requests<I>(
        &self,
        io: I,
        peer: Peer,
        activity: &Arc<Activity>,
        linger: &Linger,
        mut shutdown: Shutdown,
    ) -> Option<Refused>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let service = service_fn(|request| {
            let handling = activity.handling();
            let (activity, version) = (activity.clone(), request.version());
            let request = RequestBody::wrap(request, limits.linger_timeout);
            let answer = (self.service)(request, peer);
            async move {
                let answer = answer.await;
                let admission = answer.as_ref().ok().and_then(|it| it.extensions().get().copied());
                if admission == Some(Admission::Authorized) {
                    activity.authorize();
                }
                drop(handling);
                match answer {
                    Ok(mut answer) => {
                        if admission == Some(Admission::Refused) {
                            end_with(&mut answer, version, &activity);
                        }
                        Ok(answer.map(|body| Watched::new(body, activity)))
                    }
                    Err(close) => {
                        activity.hang_up();
                        Err(close)
                    }
                }
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(io), service));
        let mut closing = false;
        let first_header = Instant::now() + limits.header_timeout;
        let mut due = first_header.min(activity.quiet_at(limits.idle_timeout));
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended.err().and_then(bad_header),
                () = sleep_until(due) => {
                    let now = Instant::now();
                    if closing {
                        due = activity.quiet_at(limits.linger_timeout);
                    } else if activity.has_begun() {
                        due = activity.quiet_at(limits.idle_timeout);
                    } else {
                        // A request may begin and end before the first header is due.
                        due = first_header.min(now + limits.idle_timeout);
                        if first_header <= now {
                            return Some(Refused::HeaderTimeout { after: limits.header_timeout });
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
                () = activity.hung_up(), if !closing => {}
            }
            closing = true;
            due = Instant::now() + limits.linger_timeout;
            if !activity.is_handling() {
                linger.is_needless();
            }
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Has the connection end with this answer: by its header over HTTP/1 (RFC 9112, 9.6), where what is
/// left of the body is thrown away after it, and by `GOAWAY` over HTTP/2.
fn end_with<B>(answer: &mut Response<B>, version: Version, activity: &Activity) {
    match version {
        Version::HTTP_2 => activity.hang_up(),
        _ => drop(answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"))),
    }
}

/// A connection on which HTTP is spoken.
enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// The first byte that the peer sends, which stays to be read; `None` if it sends none and leaves.
async fn first_byte(tcp: &TcpStream) -> Option<u8> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) => Some(first[0]),
        _ => None,
    }
}

/// What the end of a connection comes to, if that is worth telling. hyper has answered it already.
fn bad_header(error: Box<dyn std::error::Error + Send + Sync>) -> Option<Refused> {
    let error = error.downcast_ref::<hyper::Error>()?;
    error.is_parse().then(|| Refused::BadHeader(error.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::net::testing::{Pair, Running, SHORT, ample, exchange, happens, http};

    /// Sends `bytes` to a listener with `limits` and gives what it answers and why it refuses.
    async fn check(tls: bool, limits: Limits, bytes: &[u8], answer: &str, why: Refused) {
        let tls = tls.then(|| Pair::new("localhost").tls());
        let mut running = Running::start(limits, tls).await;
        let found = exchange(running.connect().await, bytes).await;
        let bytes = String::from_utf8_lossy(bytes);
        assert!(found.starts_with(answer), "{bytes:.60}: {found}");
        assert_eq!(found.is_empty(), answer.is_empty(), "{bytes:.60}: {found}");
        assert_eq!(running.refused().await, why, "{bytes:.60}");
        assert!(running.ends().await, "{bytes:.60}: refused twice");
    }

    #[tokio::test]
    async fn a_handshake_has_its_time() {
        let limits = || Limits { handshake_timeout: SHORT, ..ample() };
        let why = || Refused::HandshakeTimeout { after: SHORT };
        check(true, limits(), b"", "", why()).await;
        check(true, limits(), &[TLS_HANDSHAKE, 3, 1, 0, 200], "", why()).await;
    }

    #[tokio::test]
    async fn a_first_header_has_its_time() {
        let limits = || Limits { header_timeout: SHORT, ..ample() };
        let why = || Refused::HeaderTimeout { after: SHORT };
        check(false, limits(), b"", "", why()).await;
        check(false, limits(), b"POST /echo HTTP/1.1\r\nhost: x\r\nx", "", why()).await;
        check(false, limits(), b"PRI * HTT", "", why()).await;
        let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        check(false, limits(), settings, "\0\0", why()).await;

        let tls = Some(Pair::new("localhost").tls());
        let mut running = Running::start(limits(), tls).await;
        let io = running.connect_tls("http/1.1").await;
        assert_eq!(exchange(io, b"POST /echo HTTP/1.1\r\n").await, "");
        assert_eq!(running.refused().await, why());
    }

    #[tokio::test]
    async fn the_wrong_scheme_is_recognised() {
        check(true, ample(), b"GET / HTTP/1.1\r\n\r\n", "", Refused::PlainToTls).await;
        check(true, ample(), b"PRI * HTTP/2.0\r\n", "", Refused::PlainToTls).await;
        check(false, ample(), &[TLS_HANDSHAKE, 3, 1, 0, 200], "", Refused::TlsToPlain).await;
    }

    #[tokio::test]
    async fn bad_headers_are_told_of() {
        let bad = |why: &str| Refused::BadHeader(why.to_owned());
        let bytes = b"GET / HTTP/1.1\r\nno colon\r\n\r\n";
        check(false, ample(), bytes, "HTTP/1.1 400", bad("invalid HTTP header parsed")).await;
        let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(33 << 10));
        let why = bad("message head is too large");
        check(false, ample(), large.as_bytes(), "HTTP/1.1 431", why).await;
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(101));
        let why = bad("message head is too large");
        check(false, ample(), many.as_bytes(), "HTTP/1.1 431", why).await;
    }

    #[tokio::test]
    async fn who_comes_and_goes_without_a_word_is_not_told_of() {
        for tls in [None, Some(Pair::new("localhost").tls())] {
            let running = Running::start(ample(), tls).await;
            drop(running.connect().await);
            // Served after it, and it is the only one.
            let mut other = running.connect().await;
            other.shutdown().await.unwrap();
            assert_eq!(exchange(other, b"").await, "");
            assert!(running.ends().await);
        }
    }

    #[tokio::test]
    async fn requests_are_answered_over_both_protocols() {
        for (two, alpn) in [(false, "http/1.1"), (true, "h2")] {
            let tls = Some(Pair::new("localhost").tls());
            let with_tls = Running::start(ample(), tls).await;
            let (mut client, _) = http(with_tls.connect_tls(alpn).await, two).await;
            assert_eq!(client.post("/echo", "a").await.unwrap(), (200, "a".into()), "{alpn}");
            let plain = Running::start(ample(), None).await;
            let (mut client, _) = http(plain.connect().await, two).await;
            assert_eq!(client.post("/echo", "b").await.unwrap(), (200, "b".into()), "{alpn}");
            assert_eq!(client.post("/none", "").await.unwrap().0, 404, "{alpn}");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_without_a_word() {
        for (two, alpn) in [(false, "http/1.1"), (true, "h2")] {
            let limits = Limits { idle_timeout: SHORT, linger_timeout: SHORT, ..ample() };
            let tls = Some(Pair::new("localhost").tls());
            let running = Running::start(limits, tls).await;
            let (mut client, connection) = http(running.connect_tls(alpn).await, two).await;
            client.post("/echo", "").await.unwrap();
            // The client neither closes nor asks again.
            happens(connection).await.unwrap().unwrap();
            assert!(running.ends().await, "{alpn}");
        }
    }

    #[tokio::test]
    async fn a_handler_at_work_is_not_idle() {
        for two in [false, true] {
            let limits = Limits { idle_timeout: SHORT, header_timeout: SHORT, ..ample() };
            let running = Running::start(limits, None).await;
            let (mut client, _) = http(running.connect().await, two).await;
            let gate = running.gate.clone();
            let answer = tokio::spawn(async move { client.post("/wait", "").await });
            happens(gate.arrived.notified()).await;
            // Connections beside it have come and been closed as idle, twice the time-out.
            for _ in 0..2 {
                assert_eq!(exchange(running.connect().await, b"").await, "");
            }
            gate.open.notify_one();
            assert_eq!(happens(answer).await.unwrap().unwrap().0, 200);
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_does_not_keep_a_connection() {
        const MUCH: usize = 32 << 20;
        let limits =
            Limits { max_connections: 1, idle_timeout: SHORT, linger_timeout: SHORT, ..ample() };
        let running = Running::start(limits, None).await;
        let mut io = running.connect().await;
        let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {MUCH}\r\n\r\n");
        let request = [head.as_bytes(), &vec![b'x'; MUCH]].concat();
        happens(io.write_all(&request)).await.unwrap();
        // Others are turned away until it has been given up.
        let ask = b"GET /early HTTP/1.1\r\nconnection: close\r\n\r\n";
        happens(async { while exchange(running.connect().await, ask).await.is_empty() {} }).await;
        assert!(exchange(io, b"").await.len() < MUCH);
    }

    #[tokio::test]
    async fn a_handler_can_close_the_connection() {
        let running = Running::start(ample(), None).await;
        let request = b"POST /close HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
        assert_eq!(exchange(running.connect().await, request).await, "");

        let (mut client, connection) = http(running.connect().await, true).await;
        let error = client.post("/close", "").await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("INTERNAL_ERROR"), "{text}");
        happens(connection).await.unwrap().unwrap();
        assert!(running.ends().await);
    }

    #[tokio::test]
    async fn a_refused_request_ends_its_connection() {
        for two in [false, true] {
            let running = Running::start(ample(), None).await;
            let (mut client, connection) = http(running.connect().await, two).await;
            assert_eq!(client.post("/authorized", "").await.unwrap().0, 200);
            assert_eq!(client.post("/refused", "x").await.unwrap().0, 200);
            happens(connection).await.unwrap().unwrap();
            assert!(running.ends().await);
        }
    }

    #[tokio::test]
    async fn idle_connections_give_way_and_authorized_ones_stay() {
        for two in [false, true] {
            let limits = Limits { max_connections: 4, ..ample() };
            let mut running = Running::start(limits, None).await;
            let (mut authorized, _) = http(running.connect().await, two).await;
            authorized.post("/authorized", "").await.unwrap();
            let (mut busy, _) = http(running.connect().await, two).await;
            let gate = running.gate.clone();
            let answer = tokio::spawn(async move { busy.post("/wait", "").await });
            happens(gate.arrived.notified()).await;
            // One was answered and never authorized, one says nothing.
            let (mut answered, answered_ends) = http(running.connect().await, two).await;
            answered.post("/echo", "").await.unwrap();
            let silent = running.connect().await;
            for _ in 0..2 {
                let (mut more, _) = http(running.connect().await, two).await;
                more.post("/authorized", "").await.unwrap();
                assert_eq!(running.refused().await, Refused::GaveWay);
            }
            let _ = happens(answered_ends).await.unwrap();
            assert_eq!(exchange(silent, b"").await, "");
            authorized.post("/authorized", "").await.unwrap();
            gate.open.notify_one();
            assert_eq!(happens(answer).await.unwrap().unwrap().0, 200);
        }
    }

    #[tokio::test]
    async fn an_answer_before_the_body_is_read_arrives() {
        let body = vec![b'x'; 8 << 20];
        let head =
            format!("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), &body].concat();
        let tls = Some(Pair::new("localhost").tls());
        let (plain, with_tls) =
            (Running::start(ample(), None).await, Running::start(ample(), tls).await);
        check(plain.connect().await, &request).await;
        check(with_tls.connect_tls("http/1.1").await, &request).await;

        /// Sends all of it before it looks for an answer, as simple clients do.
        async fn check(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) {
            happens(io.write_all(request)).await.unwrap();
            let answer = exchange(io, b"").await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer:?}");
        }
    }
}
