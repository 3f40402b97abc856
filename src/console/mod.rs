//! The console's port: whether the program is alive, and whether it is ready.
//!
//! It only reads. `/healthz` says that the process answers; `/readyz` that it takes deliveries.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};

use crate::receiver::answer;

/// Answers one request.
pub fn handle<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, body) = match (request.uri().path(), request.method()) {
        ("/healthz" | "/readyz", &Method::GET | &Method::HEAD) => (StatusCode::OK, "ok\n"),
        ("/healthz" | "/readyz", _) => (StatusCode::METHOD_NOT_ALLOWED, "expected GET\n"),
        _ => (StatusCode::NOT_FOUND, "there is nothing here\n"),
    };
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer::to(request.method(), answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_and_readiness_are_asked_without_a_token() {
        for (method, path, status) in [
            ("GET", "/healthz", 200),
            ("HEAD", "/readyz", 200),
            ("POST", "/readyz", 405),
            ("GET", "/", 404),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(handle(&request).status().as_u16(), status, "{method} {path}");
        }
    }
}
