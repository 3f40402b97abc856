//! The head of a kept request: everything but its body. Secrets are replaced before it is kept.
//!
//! Names of headers are in lower case, and headers of the same name stand together: hyper reads them
//! so. Their order is otherwise that of the request.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Request, Version};

use crate::entry::Millis;
use crate::net::TlsSession;
use crate::receiver::admit::scheme;

/// Stands for a secret value.
const HIDDEN: &str = "(hidden)";

/// Parts of names whose values are secrets, in headers and in query strings.
const SECRET_NAMES: [&str; 12] = [
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "cookie",
    "credential",
    "jwt",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
];

/// The head of a request.
pub(crate) struct KeptHead {
    /// When its headers were read.
    pub(crate) received_at: Millis,
    /// The sender: an address and a port, or the address that a trusted proxy names.
    pub(crate) peer: String,
    pub(crate) tls: Option<TlsSession>,
    /// The input at the path of the request, if there is one.
    pub(crate) input: Option<String>,
    pub(crate) method: String,
    /// The path and the query.
    pub(crate) target: String,
    pub(crate) version: Version,
    pub(crate) headers: Box<[KeptHeader]>,
    /// The `Content-Encoding`. Several headers are joined by commas.
    pub(crate) content_encoding: Option<String>,
}

/// A header of a request or of an answer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeptHeader {
    pub(crate) name: Box<str>,
    /// The value as sent. A secret is replaced by a note, with the scheme of an `Authorization`.
    pub(crate) value: Box<[u8]>,
    pub(crate) is_hidden: bool,
}

impl KeptHead {
    /// The head of `request`, without secrets.
    pub(crate) fn new<B>(
        request: &Request<B>,
        received_at: Millis,
        peer: &str,
        tls: Option<TlsSession>,
        input: Option<&str>,
        content_encoding: Option<String>,
    ) -> KeptHead {
        KeptHead {
            received_at,
            peer: peer.to_owned(),
            tls,
            input: input.map(str::to_owned),
            method: request.method().as_str().to_owned(),
            target: target(request.uri().path(), request.uri().query()),
            version: request.version(),
            headers: headers(request.headers()),
            content_encoding,
        }
    }

    /// The bytes that it takes besides those of the struct.
    pub(super) fn bytes(&self) -> usize {
        let texts = [Some(&self.peer), self.input.as_ref(), Some(&self.method), Some(&self.target)];
        let texts = texts.into_iter().chain([self.content_encoding.as_ref()]).flatten();
        texts.map(String::len).sum::<usize>() + bytes(&self.headers)
    }
}

/// The headers without secrets.
pub(super) fn headers(headers: &HeaderMap) -> Box<[KeptHeader]> {
    headers.iter().map(|(name, value)| header(name, value)).collect()
}

/// The bytes that headers take.
pub(super) fn bytes(headers: &[KeptHeader]) -> usize {
    // Each text is allocated by itself, in at least so many bytes.
    const ALLOCATED: usize = 32;
    let one = |one: &KeptHeader| {
        size_of::<KeptHeader>() + one.name.len() + one.value.len() + 2 * ALLOCATED
    };
    headers.iter().map(one).sum()
}

fn header(name: &HeaderName, value: &HeaderValue) -> KeptHeader {
    let hidden = match name {
        name if [AUTHORIZATION, PROXY_AUTHORIZATION].contains(name) => {
            let scheme = scheme(value);
            Some(scheme.map_or_else(|| HIDDEN.to_owned(), |scheme| format!("{scheme} {HIDDEN}")))
        }
        // The server sends this one, and there is no secret in it.
        name if *name == hyper::header::WWW_AUTHENTICATE => None,
        name => is_secret(name.as_str()).then(|| HIDDEN.to_owned()),
    };
    KeptHeader {
        name: name.as_str().into(),
        is_hidden: hidden.is_some(),
        // A copy: the value of the request holds the buffer that the connection was read into.
        value: hidden.map_or_else(|| value.as_bytes().into(), |note| note.into_bytes().into()),
    }
}

/// The path and the query, without the values of secret parameters.
fn target(path: &str, query: Option<&str>) -> String {
    let Some(query) = query else { return path.to_owned() };
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={HIDDEN}"),
        _ => parameter.to_owned(),
    };
    let parameters: Vec<_> = query.split('&').map(parameter).collect();
    format!("{path}?{}", parameters.join("&"))
}

/// Whether values under this name are secrets.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, value: &'static str, expected: &str) {
        let name = HeaderName::from_static(name);
        let kept = header(&name, &HeaderValue::from_static(value));
        assert_eq!(String::from_utf8_lossy(&kept.value), expected, "{name}: {value}");
        assert_eq!(kept.is_hidden, expected.contains("(hidden)"), "{name}: {value}");
    }

    #[test]
    fn the_values_of_secret_headers_are_replaced() {
        for name in ["authorization", "proxy-authorization"] {
            check(name, "Bearer hunter2", "Bearer (hidden)");
            check(name, "bAsIc aHVudGVyMg==", "Basic (hidden)");
            check(name, "hunter2 x", "other (hidden)");
            check(name, "hunter2", "(hidden)");
            check(name, "", "(hidden)");
        }
        for name in [
            "cookie",
            "x-api-key",
            "apikey",
            "x-auth-token",
            "x-amz-security-token",
            "x-webhook-secret",
            "x-session-id",
            "x-hub-signature-256",
        ] {
            check(name, "hunter2", "(hidden)");
        }
        for name in ["user-agent", "content-type", "x-request-id", "www-authenticate", "key"] {
            check(name, "Konnect x", "Konnect x");
        }
    }

    #[test]
    fn secret_parameters_of_a_query_are_replaced() {
        let check = |query: Option<&str>, expected: &str| {
            assert_eq!(target("/a", query), expected, "{query:?}");
        };
        check(None, "/a");
        check(Some(""), "/a?");
        check(Some("x=1&y"), "/a?x=1&y");
        check(Some("access_token=hunter2&x=1"), "/a?access_token=(hidden)&x=1");
        check(Some("x=1&API_KEY=a=b&token"), "/a?x=1&API_KEY=(hidden)&token");
    }

    #[test]
    fn headers_keep_their_order_and_exact_values() {
        let mut sent = HeaderMap::new();
        for (name, value) in [("x-b", &b"\xff 1"[..]), ("host", b"h"), ("x-a", b"2"), ("x-b", b"3")]
        {
            let value = HeaderValue::from_bytes(value).unwrap();
            sent.append(HeaderName::from_static(name), value);
        }
        let kept = headers(&sent);
        let kept: Vec<_> = kept.iter().map(|one| (&*one.name, &*one.value)).collect();
        let expected: [(&str, &[u8]); 4] =
            [("x-b", b"\xff 1"), ("x-b", b"3"), ("host", b"h"), ("x-a", b"2")];
        assert_eq!(kept, expected);
    }
}
