//! Pages of lists, with cursors.
//!
//! Both versions of the API have the same pages. Destinations have the cursors under `meta`, entries
//! under `meta.page`.

use serde::{Deserialize, Serialize};

use super::destination::Destination;
use super::pulled::PulledEntry;

/// The URIs of the other pages (`CursorMetaPage`). They may be relative, and contain the
/// cursor as `page[after]` or `page[before]`, percent-encoded or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CursorPage {
    /// The first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<String>,
    /// The last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<String>,
    /// The next page; `None` on the last.
    #[serde(default)]
    pub(crate) next: Option<String>,
    /// The previous page; `None` on the first.
    #[serde(default)]
    pub(crate) previous: Option<String>,
    /// The requested page size.
    #[serde(default)]
    pub(crate) size: u64,
}

impl CursorPage {
    /// The value of `page[after]` in the URI of the next page, decoded.
    pub(crate) fn after(&self) -> Option<String> {
        parameter(self.next.as_deref()?, "page[after]")
    }
}

/// A page of `get-audit-log-destinations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DestinationPage {
    pub(crate) data: Vec<Destination>,
    pub(crate) meta: CursorPage,
}

/// A page of `get-audit-logs`, with entries of the type `T`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PulledPage<T = PulledEntry> {
    pub(crate) data: Vec<T>,
    pub(crate) meta: PulledMeta,
}

/// The cursors of a page of entries (`CursorMeta`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PulledMeta {
    pub(crate) page: CursorPage,
}

/// The first value of a parameter in the query of a URI, decoded; `None` if it is missing or not
/// text.
pub(crate) fn parameter(uri: &str, name: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    parameters(query).find_map(|(known, value)| (known == name).then_some(value))
}

/// The names and values of a query (`application/x-www-form-urlencoded`), decoded, where they are
/// text.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, decoded(value)?))
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Text encoded as a name or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<&str>) {
        let page = CursorPage { next: Some(uri.to_owned()), ..CursorPage::default() };
        assert_eq!(page.after().as_deref(), expected, "{uri}");
    }

    #[test]
    fn the_cursor_is_found_in_the_uri() {
        check("/audit-logs?page[after]=ew", Some("ew"));
        check("https://h/v3/x?page%5Bsize%5D=1&page%5Bafter%5D=f1%3D%3D", Some("f1=="));
        check("/x?page%5bafter%5d=a+b%2B", Some("a b+"));
        check("/x?page%5Bafter%5D=", Some(""));
        check("/x?page[before]=y", None);
        check("/x?page[after]=%G0&page[after]=%F0", None);
        check("/x?page[after]=%", None);
        check("/x", None);
        assert_eq!(CursorPage::default().after(), None);
    }

    #[test]
    fn an_encoded_cursor_is_decoded_again() {
        for text in ["", "filter[ts][gte]", "2023-03-21T09:29:14+00:00", "a=b&c%20 d", "Zoë"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        }
    }
}
