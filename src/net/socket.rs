//! A TCP connection that is closed in a way that lets the peer read our last answer.
//!
//! An answer may be given before the request's body has been read (401, 413). If the connection is
//! then closed with bytes of the body unread, TCP resets it, and the peer may lose the answer
//! (RFC 9112, 9.6). So our side is closed first, and what still comes is read and thrown away until
//! the peer closes, or has had its time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Whether a socket lingers, and how long.
#[derive(Clone, Debug)]
pub(super) struct Linger {
    wanted: Arc<AtomicBool>,
    timeout: Duration,
}

impl Linger {
    pub(super) fn new(timeout: Duration) -> Linger {
        Linger { wanted: Arc::new(AtomicBool::new(true)), timeout }
    }

    /// There is no answer that the peer could lose.
    pub(super) fn is_needless(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

/// A TCP connection that lingers when it is shut down. Below TLS, so that nothing is decrypted only
/// to be thrown away.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    linger: Linger,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, linger: Linger) -> Socket {
        Socket { tcp, linger, lingering: None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.tcp).poll_shutdown(cx))?;
        }
        if !this.linger.wanted.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let timeout = this.linger.timeout;
        let over = this.lingering.get_or_insert_with(|| Box::pin(sleep(timeout)));
        let mut scrap = [0; 8192];
        while over.as_mut().poll(cx).is_pending() {
            let mut into = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                // The peer closed or reset its side: there is nobody to wait for.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
