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
    /// The cursor of the next page: the value of `page[after]` in its URI, decoded, or all of `next`
    /// if that is no URI.
    pub(crate) fn after(&self) -> Option<String> {
        let next = self.next.as_deref()?;
        match next.starts_with('/') || next.contains("://") || next.contains('?') {
            true => parameter(next, "page[after]"),
            false => Some(next.to_owned()),
        }
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
#[serde(from = "WrittenMeta")]
pub(crate) struct PulledMeta {
    pub(crate) page: CursorPage,
}

/// The cursors as the API writes them: under `page`, as documented, or beside it.
#[derive(Deserialize)]
struct WrittenMeta {
    #[serde(default)]
    page: Option<CursorPage>,
    #[serde(flatten)]
    beside: CursorPage,
}

impl From<WrittenMeta> for PulledMeta {
    fn from(WrittenMeta { page, beside }: WrittenMeta) -> PulledMeta {
        let is_beside = beside.next.is_some() && page.as_ref().is_none_or(|it| it.next.is_none());
        PulledMeta { page: page.filter(|_| !is_beside).unwrap_or(beside) }
    }
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
        // A bare token.
        check("ewogICJpZCI6IDF9", Some("ewogICJpZCI6IDF9"));
        check("a+b/c==", Some("a+b/c=="));
        check("", Some(""));
        assert_eq!(CursorPage::default().after(), None);
    }

    #[test]
    fn the_cursors_of_entries_are_under_page_or_beside_it() {
        for (meta, expected) in [
            (r#"{"page":{"next":"/x?page[after]=a","size":1}}"#, Some("a")),
            (r#"{"page":{"next":null,"size":1},"next":"/x?page[after]=b"}"#, Some("b")),
            (r#"{"next":"c","size":1}"#, Some("c")),
            (r#"{"page":null,"next":null}"#, None),
            ("{}", None),
        ] {
            let meta: PulledMeta = serde_json::from_str(meta).unwrap();
            assert_eq!(meta.page.after().as_deref(), expected);
        }
    }

    #[test]
    fn an_encoded_cursor_is_decoded_again() {
        for text in ["", "filter[ts][gte]", "2023-03-21T09:29:14+00:00", "a=b&c%20 d", "Zoë"] {
            assert_eq!(decoded(&encoded(text)).as_deref(), Some(text));
        }
    }
}
