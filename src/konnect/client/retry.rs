//! When a call is retried: after a 429, a 5xx or a failed connection. The wait doubles each time, or
//! is what `Retry-After` says (RFC 9110, section 10.2.3).
//!
//! A call that creates something is not retried when its connection breaks, because it may have
//! succeeded. After a 5xx it is retried.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;

use crate::entry::Millis;
use crate::konnect::deliver::RetryPolicy;
use crate::net::{ClientError, retry_after};

/// The maximum wait that a server can request.
const LONGEST: Duration = Duration::from_secs(60);

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    waits: Vec<Duration>,
    makes: bool,
}

impl Attempts {
    /// Before the first attempt. `makes`: each call creates something new.
    pub(crate) fn new(retry: RetryPolicy, makes: bool) -> Attempts {
        let mut waits: Vec<_> = retry.waits().collect();
        waits.reverse();
        Attempts { waits, makes }
    }

    /// The wait before the next attempt; `None` if this response is final.
    pub(crate) fn after_answer(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        now: Millis,
    ) -> Option<Duration> {
        if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
            return None;
        }
        let wait = self.waits.pop()?;
        let asked = retry_after(headers, now.get());
        Some(asked.map_or(wait, |asked| asked.max(wait).min(LONGEST)))
    }

    /// The wait before the next attempt; `None` if this error is final.
    pub(crate) fn after_error(&mut self, error: &ClientError) -> Option<Duration> {
        let passing = match error {
            ClientError::Connect { .. } => true,
            ClientError::Lost { .. } | ClientError::Timeout { .. } => !self.makes,
            _ => false,
        };
        if passing { self.waits.pop() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderValue, RETRY_AFTER};

    use super::*;

    /// 2025-05-16T20:09:54Z.
    const NOW: i64 = 1_747_426_194_000;

    fn attempts(makes: bool) -> Attempts {
        let second = Duration::from_secs(1);
        Attempts::new(RetryPolicy { first: second, longest: 3 * second, most: 3 }, makes)
    }

    fn check(status: u16, retry_after: Option<&str>, expected: &[u64]) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        let (mut attempts, now) = (attempts(true), Millis::saturating(NOW));
        let waits = std::iter::from_fn(|| attempts.after_answer(status, &headers, now));
        let waits: Vec<_> = waits.map(|wait| wait.as_secs()).collect();
        assert_eq!(waits, expected, "{status} {retry_after:?}");
    }

    #[test]
    fn temporary_errors_are_retried() {
        for status in [429, 500, 502, 503, 504] {
            check(status, None, &[1, 2, 3]);
        }
        for status in [200, 301, 400, 401, 403, 404, 409, 422] {
            check(status, None, &[]);
        }
    }

    #[test]
    fn the_server_says_how_long() {
        check(429, Some("2"), &[2, 2, 3]);
        check(503, Some("100000"), &[60, 60, 60]);
        check(503, Some("Fri, 16 May 2025 20:10:04 GMT"), &[10, 10, 10]);
        check(503, Some("Fri, 16 May 2025 20:00:00 GMT"), &[1, 2, 3]);
        check(429, Some("soon"), &[1, 2, 3]);
        check(404, Some("2"), &[]);
    }

    #[test]
    fn a_call_that_creates_something_is_made_once() {
        let url = String::new;
        let connect = ClientError::Connect { url: url(), why: url() };
        let lost = ClientError::Lost { url: url(), why: url() };
        let timeout = ClientError::Timeout { url: url(), after: Duration::ZERO };
        let tls = ClientError::Tls { url: url(), why: url() };
        for (error, makes, expected) in [
            (&connect, false, 3),
            (&connect, true, 3),
            (&lost, false, 3),
            (&lost, true, 0),
            (&timeout, false, 3),
            (&timeout, true, 0),
            (&tls, false, 0),
        ] {
            let mut attempts = attempts(makes);
            let count = std::iter::from_fn(|| attempts.after_error(error)).count();
            assert_eq!(count, expected, "{error:?} {makes}");
        }
    }
}
