//! A TCP connection that closes in such a way that the peer can read the last response.
//!
//! A response may be sent before the request's body has been read (401, 413). If the connection is then
//! closed with unread bytes, TCP resets it, and the peer may lose the response (RFC 9112, 9.6). So our
//! side is closed first. Then everything that arrives is discarded until the peer closes its side or a
//! time-out passes. This is called lingering.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// Whether a socket lingers, and how long. Clones share the setting.
#[derive(Clone, Debug)]
pub(super) struct Linger {
    enabled: Arc<AtomicBool>,
    timeout: Duration,
}

impl Linger {
    pub(super) fn new(timeout: Duration) -> Linger {
        Linger { enabled: Arc::new(AtomicBool::new(true)), timeout }
    }

    /// Closes without lingering, because there is no response that the peer could lose.
    pub(super) fn disable(&self) {
        self.enabled.store(false, Ordering::Relaxed);
    }
}

/// A TCP connection that lingers when it is shut down. It is below TLS, so that nothing is decrypted
/// only to be discarded.
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
        if !this.linger.enabled.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let timeout = this.linger.timeout;
        let deadline = this.lingering.get_or_insert_with(|| Box::pin(sleep(timeout)));
        let mut discarded = [0; 8192];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut into = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                // The peer closed or reset its side.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
