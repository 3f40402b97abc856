//! Text as it stands in a parameter of a URL.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what is unreserved (RFC 3986, section 2.3).
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The text, with each byte percent-encoded that is not unreserved.
pub fn percent_encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, &RESERVED)
}
