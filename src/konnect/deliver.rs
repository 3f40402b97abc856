//! One delivery to a destination, with Konnect's retries.
//!
//! From Kong's page "Konnect and Dev Portal audit logs": after a connection error, a 429 or a 500,
//! the batch is sent again, at most four times. The first wait is 1 s, the longest 30 s. After any
//! other status, the batch is either accepted or lost.

use std::time::{Duration, Instant};

use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::batch::Encoding;
use crate::net::ClientError;

/// The waits between attempts.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The first wait. Each later wait is twice the one before.
    pub first: Duration,
    /// The maximum wait.
    pub longest: Duration,
    /// The maximum number of retries.
    pub most: usize,
}

impl RetryPolicy {
    /// Konnect's own policy.
    pub const KONNECT: RetryPolicy =
        RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(30), most: 4 };

    /// The waits in order.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        let doubled = move |wait: &Duration| Some((*wait * 2).min(self.longest));
        std::iter::successors(Some(self.first.min(self.longest)), doubled).take(self.most)
    }
}

/// One attempt at a delivery.
#[derive(Debug)]
pub struct Attempt {
    /// The status of the response, or the error.
    pub answer: Result<u16, ClientError>,
    /// The time from the first byte of the request to the response.
    pub took: Duration,
}

impl Attempt {
    /// Whether the receiver accepted the batch.
    pub fn acknowledged(&self) -> bool {
        matches!(self.answer, Ok(200..300))
    }

    /// Whether another attempt may succeed.
    pub fn is_temporary(&self) -> bool {
        match self.answer {
            Ok(status) => matches!(status, 429 | 500),
            // A wrong URL stays wrong.
            Err(ClientError::Url { .. }) => false,
            Err(_) => true,
        }
    }
}

/// Calls `post` until the delivery is accepted or lost, and returns the attempts in order. An
/// untrusted certificate ends it at once.
pub async fn deliver<F>(retry: RetryPolicy, mut post: impl FnMut() -> F) -> Vec<Attempt>
where
    F: Future<Output = Result<u16, ClientError>>,
{
    let mut attempts = Vec::with_capacity(1);
    let mut waits = retry.waits();
    loop {
        let start = Instant::now();
        let attempt = Attempt { answer: post().await, took: start.elapsed() };
        // Konnect would retry. But the user can fix this, and need not wait.
        let is_untrusted = matches!(attempt.answer, Err(ClientError::Tls { .. }));
        let again = attempt.is_temporary() && !is_untrusted;
        let wait = if again { waits.next() } else { None };
        if let (Some(wait), answer) = (wait, &attempt.answer) {
            match answer {
                Ok(status) => tracing::debug!(status, ?wait, "sending the batch again"),
                Err(error) => tracing::debug!(%error, ?wait, "sending the batch again"),
            }
        }
        attempts.push(attempt);
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return attempts,
        }
    }
}

/// The headers of a delivery. `authorization` is sent unchanged, and `Debug` hides it.
pub fn headers(encoding: Encoding, authorization: Option<HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if encoding != Encoding::Identity {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    }
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        headers.insert(AUTHORIZATION, authorization);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: RetryPolicy =
        RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO, most: 4 };

    #[test]
    fn the_waits_are_konnects() {
        let seconds =
            |retry: RetryPolicy| retry.waits().map(|wait| wait.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(RetryPolicy::KONNECT), [1, 2, 4, 8]);
        assert_eq!(
            seconds(RetryPolicy { most: 7, ..RetryPolicy::KONNECT }),
            [1, 2, 4, 8, 16, 30, 30]
        );
    }

    /// 0 is a connection error, 1 a URL that nobody can ask, 2 a certificate that is not trusted.
    fn check(answers: &[u16], attempts: usize, acknowledged: bool) {
        let mut given = answers.iter().map(|answer| match answer {
            0 => Err(ClientError::Connect { url: "u".into(), why: "refused".into() }),
            1 => Err(ClientError::Url { url: "u".into(), why: "bad" }),
            2 => Err(ClientError::Tls { url: "u".into(), why: "UnknownIssuer".into() }),
            status => Ok(*status),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let made = runtime.block_on(deliver(AT_ONCE, || std::future::ready(given.next().unwrap())));
        assert_eq!(made.len(), attempts, "{answers:?}");
        assert_eq!(made.last().unwrap().acknowledged(), acknowledged, "{answers:?}");
    }

    #[test]
    fn responses_that_are_retried() {
        check(&[200], 1, true);
        check(&[204], 1, true);
        check(&[0, 429, 500, 200], 4, true);
        check(&[500; 9], 5, false);
        check(&[0; 9], 5, false);
        check(&[1; 9], 1, false);
        check(&[2; 9], 1, false);
        for last in [301, 400, 401, 408, 413, 502, 503] {
            check(&[429, last, 200], 2, false);
        }
    }

    #[test]
    fn the_headers_are_konnects() {
        let token = HeaderValue::from_static("Splunk 0123");
        let all = headers(Encoding::ApplicationGzip, Some(token));
        assert_eq!(all[CONTENT_TYPE], "text/plain");
        assert_eq!(all[CONTENT_ENCODING], "application/gzip");
        assert_eq!(all[AUTHORIZATION], "Splunk 0123");
        assert!(!format!("{all:?}").contains("0123"));
        assert_eq!(headers(Encoding::Identity, None).len(), 1);
    }
}
