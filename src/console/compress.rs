//! Compresses responses with gzip (RFC 9110, section 8.4) for clients that accept it: pages, JSON,
//! metrics, the stylesheet and the script.
//!
//! Some responses are not compressed. A compressor would hold back the events of the stream. The
//! login has a secret, the cookie, beside text that an attacker may choose, so the compressed length
//! would leak the secret (BREACH, CVE-2013-3587). So would a page with the token of a form or with
//! an authorization value: such a page is marked as [`Uncompressed`].

use std::io::{self, Write};

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::problem::Problem;

/// Shorter responses are not compressed, in bytes.
const MIN_BYTES: u64 = 1024;

/// Longer responses are compressed on a blocking thread, in bytes.
const BLOCKING_BYTES: usize = 64 << 10;

/// The media types that are compressed.
const TYPES: [&str; 7] = [
    "text/html",
    "text/css",
    "text/javascript",
    "image/svg+xml",
    "application/json",
    "application/problem+json",
    "application/openmetrics-text",
];

/// An extension of a response that holds a secret, so that it is not compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncompressed;

/// Middleware that compresses responses.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let takes_gzip = request.method() != Method::HEAD && takes_gzip(request.headers());
    let is_secret = matches!(request.uri().path(), "/login" | "/logout");
    let mut answer = next.run(request).await;
    if is_secret || !is_worthwhile(&answer) {
        return answer;
    }
    answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    match takes_gzip {
        true => compressed(answer)
            .await
            .unwrap_or_else(|error| Problem::internal(error.as_ref()).into_response()),
        false => answer,
    }
}

/// Whether the client accepts gzip (RFC 9110, section 12.5.3).
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|one| one.to_str().ok());
    let mut weights = lists.flat_map(|list| list.split(',')).filter_map(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next()?;
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
        name.eq_ignore_ascii_case("gzip").then_some(weight)
    });
    weights.any(|weight| weight > 0.0)
}

fn is_worthwhile(answer: &Response) -> bool {
    let headers = answer.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|one| one.to_str().ok());
    let media = media.and_then(|media| media.split(';').next()).unwrap_or_default();
    let holds = |name: HeaderName| headers.contains_key(name);
    answer.extensions().get::<Uncompressed>().is_none()
        && TYPES.contains(&media)
        && !holds(header::CONTENT_ENCODING)
        && !holds(header::SET_COOKIE)
        && answer.body().size_hint().exact().is_some_and(|size| size >= MIN_BYTES)
}

async fn compressed(
    answer: Response,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = answer.into_parts();
    // The body is in memory already, so this reads no more.
    let body = to_bytes(body, usize::MAX).await?;
    let body = match body.len() > BLOCKING_BYTES {
        true => tokio::task::spawn_blocking(move || gzip(&body)).await??,
        false => gzip(&body)?,
    };
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Response::from_parts(head, Body::from(body)))
}

/// Compresses what is sent many times.
pub(super) fn gzip_best(body: &[u8]) -> Vec<u8> {
    // Memory takes every write.
    compress_with(body, Compression::best()).unwrap_or_default()
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    compress_with(body, Compression::fast())
}

fn compress_with(body: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), level);
    encoder.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_if_its_weight_is_not_zero() {
        let check = |value: &'static str, expected: bool| {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        };
        check("gzip", true);
        check("br, GZIP;q=0.5", true);
        check("deflate, br;q=1.0, gzip; q=0", false);
        check("gzip;q=0.000", false);
        check("gzip;q=x", false);
        check("identity", false);
        check("gzipped", false);
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn only_what_is_long_and_no_secret_is_compressed() {
        let answer = |media: &'static str, size: usize| {
            let headers = [(header::CONTENT_TYPE, media)];
            (headers, "x".repeat(size)).into_response()
        };
        assert!(is_worthwhile(&answer("text/html; charset=utf-8", 1024)));
        assert!(!is_worthwhile(&answer("text/html; charset=utf-8", 1023)));
        assert!(!is_worthwhile(&answer("text/event-stream", 5000)));
        let mut with_cookie = answer("text/html", 5000);
        with_cookie.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_static("a=b"));
        assert!(!is_worthwhile(&with_cookie));
        let mut marked = answer("text/html", 5000);
        marked.extensions_mut().insert(Uncompressed);
        assert!(!is_worthwhile(&marked));
    }
}
