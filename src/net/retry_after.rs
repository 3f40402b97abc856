//! How long a server asks to be left alone (RFC 9110, section 10.2.3).

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use jiff::fmt::rfc2822::DateTimeParser;

/// The wait that an answer asks for: seconds, or until an HTTP date. It can be as long as the server
/// likes. `now` is in milliseconds since the Unix epoch.
pub fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = date.as_millisecond().saturating_sub(now).max(0);
    Some(Duration::from_millis(wait.unsigned_abs()))
}
