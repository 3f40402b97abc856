//! Small parts of HTTP that hyper does not have: `Retry-After`, `X-Forwarded-For`, percent-encoding.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use ipnet::IpNet;
use jiff::fmt::rfc2822::DateTimeParser;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Peer;

/// Every character but the unreserved ones (RFC 3986, section 2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes every byte of `text` that is not unreserved, for a parameter of a URL.
pub(crate) fn percent_encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, &RESERVED)
}

/// The wait that a response asks for with `Retry-After` (RFC 9110, section 10.2.3): a number of
/// seconds, or an HTTP date. The wait is not capped. `now` is in milliseconds since the Unix epoch.
pub(crate) fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(value).ok()?;
    let wait = date.as_millisecond().saturating_sub(now).max(0);
    Some(Duration::from_millis(wait.unsigned_abs()))
}

impl Peer {
    /// The client's address from `X-Forwarded-For`. `None` if the peer is not one of the `trusted`
    /// proxies, or if the header has no such address.
    pub(crate) fn forwarded(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        if !is_trusted(self.address.ip().to_canonical()) {
            return None;
        }
        // Each proxy appends to the header, so it is read from the end. Anybody can make up what
        // stands before the first address that is not trusted.
        let values = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
        let hops: Vec<_> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        let hops = hops.iter().rev().map_while(|hop| hop.parse::<IpAddr>().ok());
        hops.map(|ip| ip.to_canonical()).find(|ip| !is_trusted(*ip))
    }
}
