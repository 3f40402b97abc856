//! The body of a request. A handler may leave it unread.
//!
//! On HTTP/2, the response to a request with an unread body is followed by a reset of the stream with
//! `NO_ERROR` (RFC 9113, 8.1). Some clients, such as curl 7.88, then lose the response. So the rest of
//! the body is read and discarded until it ends or a time-out passes. On HTTP/1.1 the socket does this
//! instead. There the response must be written first: a read would tell a client that sent
//! `Expect: 100-continue` to go on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Version};
use tokio::runtime::Handle;
use tokio::time::timeout;

#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` after the end.
    incoming: Option<Incoming>,
    /// The runtime that discards the rest, and the time-out. HTTP/2 only.
    drain: Option<(Handle, Duration)>,
}

impl RequestBody {
    /// Wraps a request's body. Must be called in the runtime that is to discard the rest.
    pub(super) fn wrap(request: Request<Incoming>, linger: Duration) -> Request<RequestBody> {
        let drain = match request.version() {
            Version::HTTP_2 => Some((Handle::current(), linger)),
            _ => None,
        };
        request.map(|incoming| RequestBody { incoming: Some(incoming), drain })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.incoming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(mut rest), Some((runtime, linger))) = (self.incoming.take(), self.drain.take())
        else {
            return;
        };
        if rest.is_end_stream() {
            return;
        }
        let drained = async move { while let Some(Ok(_)) = rest.frame().await {} };
        runtime.spawn(timeout(linger, drained));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::Limits;
    use crate::net::testing::{LONG, SHORT, TestServer, generous_limits, in_time};

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;

    /// A frame of HTTP/2 (RFC 9113, 4.1).
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// Posts to `/early`, and checks the types of the frames that the server sends on the stream. The
    /// end of the body is sent after the response, or never.
    async fn check(linger_timeout: Duration, end: bool, expected: &[u8]) {
        let server = TestServer::start(Limits { linger_timeout, ..generous_limits() }, None).await;
        let mut io = server.connect().await;
        // Literal header fields without indexing (RFC 7541, 6.2.2).
        let headers = b"\0\x07:method\x04POST\0\x07:scheme\x04http\0\x05:path\x06/early";
        let request = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, 0, b""),
            frame(HEADERS, END_HEADERS, 1, headers),
            frame(DATA, 0, 1, b"some of the body"),
        ];
        io.write_all(&request.concat()).await.unwrap();
        let mut found = Vec::new();
        loop {
            let mut head = [0; 9];
            in_time(io.read_exact(&mut head)).await.unwrap();
            let [_, high, low, kind, _, _, _, _, stream] = head;
            let mut payload = vec![0; usize::from(high) * 256 + usize::from(low)];
            in_time(io.read_exact(&mut payload)).await.unwrap();
            // Flow control credit for the discarded bytes is not counted.
            if stream == 1 && matches!(kind, DATA | HEADERS | RESET) {
                found.push(kind);
            }
            match kind {
                HEADERS if end => {
                    let rest =
                        [frame(DATA, END_STREAM, 1, b"the rest"), frame(PING, 0, 0, &[0; 8])];
                    io.write_all(&rest.concat()).await.unwrap();
                }
                RESET => {
                    assert_eq!(payload, [0; 4], "expected NO_ERROR");
                    break;
                }
                // The answer to our ping: every frame before it has arrived.
                PING => break,
                _ => {}
            }
        }
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn the_rest_of_a_body_is_discarded() {
        check(LONG, true, &[HEADERS]).await;
        check(SHORT, false, &[HEADERS, RESET]).await;
    }
}
