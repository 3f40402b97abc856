//! What a connection is doing, as far as it decides when the connection is idle.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::slots::Place;

/// What a connection is doing. Shared between its task and its requests.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    hang_up: Notify,
    place: Arc<Place>,
}

#[derive(Debug)]
struct State {
    /// Whether there was a request.
    begun: bool,
    /// How many requests the handler is at work on. It has time-outs of its own.
    handling: usize,
    /// When the handler last gave an answer, or the peer took a part of one.
    last: Instant,
}

impl Activity {
    /// A connection that is opened now.
    pub(super) fn new(place: Arc<Place>) -> Arc<Activity> {
        let state = State { begun: false, handling: 0, last: Instant::now() };
        Arc::new(Activity { state: Mutex::new(state), hang_up: Notify::new(), place })
    }

    /// A request has come; the handler is at work on it until what this gives is dropped.
    pub(super) fn handling(self: &Arc<Self>) -> Handling {
        let mut state = self.state();
        state.begun = true;
        state.handling += 1;
        self.place.begin();
        Handling(self.clone())
    }

    /// Whether there was a request.
    pub(super) fn has_begun(&self) -> bool {
        self.state().begun
    }

    /// Whether a handler is at work.
    pub(super) fn is_handling(&self) -> bool {
        self.state().handling > 0
    }

    /// When nothing will have happened for `period`, if nothing happens till then.
    pub(super) fn quiet_at(&self, period: Duration) -> Instant {
        let state = self.state();
        match state.handling {
            0 => state.last + period,
            _ => Instant::now() + period,
        }
    }

    /// A request was authorized.
    pub(super) fn authorize(&self) {
        self.place.authorize();
    }

    /// Asks that the connection be closed.
    pub(super) fn hang_up(&self) {
        self.hang_up.notify_one();
    }

    /// Waits until that is asked.
    pub(super) async fn hung_up(&self) {
        self.hang_up.notified().await;
    }

    fn touch(&self) {
        self.state().last = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that the handler is at work on.
#[derive(Debug)]
pub(super) struct Handling(Arc<Activity>);

impl Drop for Handling {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.handling -= 1;
        self.0.place.end();
        state.last = Instant::now();
    }
}

/// The body of an answer, which keeps the connection from being idle while parts of it are taken.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B> Watched<B> {
    pub(super) fn new(body: B, activity: Arc<Activity>) -> Watched<B> {
        Watched { body, activity }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.activity.touch();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
