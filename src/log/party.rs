//! What witnesses and time-stamping authorities have in common. They are outside, and are asked over
//! HTTP about the newest checkpoint. Each has a task of its own, so one that does not answer delays
//! nobody else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use tokio::sync::watch;

use crate::net::{Client, ClientError};
use crate::sanitise::sanitise;
use crate::tlog::note::Note;

/// The newest checkpoint of a log, which the signer sets. It may have cosignatures. A slow party skips
/// the ones in between.
pub(crate) type Newest = watch::Receiver<Option<Arc<Note>>>;

/// How long a party may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of an answer, in bytes. A time stamp with its certificates takes 8 KiB, and a
/// cosignature 200 bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The pause after the first failure. Each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How much of what a party says is shown, in characters.
const MAX_SAID: usize = 200;

/// A witness or a time-stamping authority.
#[derive(Debug)]
pub(super) struct Party {
    client: Client,
    url: Uri,
    content_type: HeaderValue,
    pub(super) status: Arc<PartyStatus>,
}

impl Party {
    /// `name` is the one that it has in metrics and messages. Requests have the media type
    /// `content_type`.
    pub(super) fn new(name: &str, client: Client, url: Uri, content_type: &'static str) -> Party {
        let content_type = HeaderValue::from_static(content_type);
        Party { client, url, content_type, status: PartyStatus::new(name) }
    }

    /// Sends a POST, and returns the response with any status.
    pub(super) async fn post(&self, body: Vec<u8>) -> Result<Response<Bytes>, ClientError> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        request.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        self.client.send(request, MAX_ANSWER, TIMEOUT).await
    }
}

/// The beginning of what a party said, safe to show: `", and said: …"`, or nothing if it said nothing.
pub(super) fn said(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).trim().chars().take(MAX_SAID).collect();
    if text.is_empty() { text } else { format!(", and said: {}", sanitise(&text)) }
}

/// How a party stands, which its task sets.
#[derive(Debug)]
pub(crate) struct PartyStatus {
    name: String,
    standing: Mutex<PartyStanding>,
}

/// How a party stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartyStanding {
    /// The number of leaves of the checkpoint that it vouched for last. 0: none since the start.
    pub(crate) leaves: u64,
    /// How often it failed since the start.
    pub(crate) failures: u64,
    /// What fails at the moment and is tried again.
    pub(crate) failing: Option<String>,
}

impl PartyStatus {
    pub(crate) fn new(name: &str) -> Arc<PartyStatus> {
        Arc::new(PartyStatus { name: name.to_owned(), standing: Mutex::default() })
    }

    /// The name of a witness's key, or the URL of a time-stamping authority.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How it stands now.
    pub(crate) fn standing(&self) -> PartyStanding {
        self.state().clone()
    }

    /// Notes that it vouched for a checkpoint of this many leaves.
    pub(crate) fn vouched(&self, leaves: u64) {
        let mut state = self.state();
        state.leaves = leaves;
        if state.failing.take().is_some() {
            tracing::info!(party = self.name, "it vouches for checkpoints of the log again");
        }
    }

    /// Notes that it failed and is asked again. The same failure is logged once.
    pub(crate) fn fails(&self, why: String) {
        let mut state = self.state();
        state.failures += 1;
        if state.failing.as_ref() != Some(&why) {
            tracing::warn!(
                party = self.name,
                error = why,
                "no signature over the newest checkpoint of the log; it is asked again later"
            );
        }
        state.failing = Some(why);
    }

    fn state(&self) -> MutexGuard<'_, PartyStanding> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pauses after failures that follow each other.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(super) fn up_to(longest: Duration) -> Pauses {
        Pauses { next: FIRST_PAUSE, longest }
    }

    /// Waits after a failure.
    pub(super) async fn pause(&mut self) {
        // Stores that failed together do not come back together.
        tokio::time::sleep(self.next.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        self.next = (self.next * 2).min(self.longest);
    }

    /// Begins again with the shortest pause.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_party_says_is_bounded_and_safe() {
        assert_eq!(said(b" \n"), "");
        assert_eq!(said(b"no \x1b[2Jkey\n"), ", and said: no \u{fffd}[2Jkey");
        assert_eq!(said(b"\xff"), ", and said: \u{fffd}");
        assert_eq!(said(&[b'x'; 1000]).chars().filter(|one| *one == 'x').count(), MAX_SAID);
    }

    #[test]
    fn a_failure_is_shown_until_it_vouches_again() {
        let status = PartyStatus::new("w");
        assert_eq!((status.name(), status.standing()), ("w", PartyStanding::default()));
        status.fails("down".into());
        status.fails("down".into());
        let standing = status.standing();
        assert_eq!((standing.failures, standing.failing.as_deref()), (2, Some("down")));
        status.vouched(7);
        let expected = PartyStanding { leaves: 7, failures: 2, failing: None };
        assert_eq!(status.standing(), expected);
    }
}
