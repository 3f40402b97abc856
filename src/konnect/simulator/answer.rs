//! What a request is answered with: JSON, nothing, or a problem.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::refusal::Refusal;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// What an operation comes to.
pub type Result<T> = std::result::Result<T, Refusal>;

/// An answer in JSON.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Answer {
    match serde_json::to_vec(body) {
        Ok(body) => answer(status, "application/json", body),
        Err(_) => problem(Refusal::Internal, 0),
    }
}

/// An answer without a body.
pub fn no_content() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// The answer that says what is wrong.
pub fn problem(refusal: Refusal, trace_id: u64) -> Answer {
    let unauthorized = refusal == Refusal::Unauthorized;
    let problem = refusal.problem(trace_id);
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // It is made of texts and numbers, which can always be written.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = answer(status, "application/problem+json", body);
    if unauthorized {
        let bearer = HeaderValue::from_static("Bearer realm=\"vidimus simulate\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    answer
}

fn answer(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
