//! Errors as problem details (RFC 9457).

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;

use super::read_pool::READ_TIMEOUT;
use super::throttle::RETRY_AFTER as RETRY;
use crate::search::QueryError;
use crate::store::StoreError;

/// An error that is reported to the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    /// The HTTP status.
    pub(super) status: u16,
    /// A description of the error.
    pub(super) detail: String,
    /// The name of the wrong parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter: Option<&'static str>,
    /// The position of the error in the query, in characters from zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<usize>,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: detail.into(),
            parameter: None,
            position: None,
        }
    }

    /// A parameter is not valid.
    pub(super) fn parameter(name: &'static str, why: impl std::fmt::Display) -> Problem {
        let problem = Problem::new(StatusCode::BAD_REQUEST, format!("{name}: {why}"));
        Problem { parameter: Some(name), ..problem }
    }

    /// The query is not valid.
    pub(super) fn query(error: &QueryError) -> Problem {
        let position = Some(error.position);
        let problem = Problem::new(StatusCode::BAD_REQUEST, error.to_string());
        Problem { parameter: Some("q"), position, ..problem }
    }

    /// The request is not valid.
    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The body is over the cap.
    pub(super) fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// The token is wrong or missing.
    pub(super) fn unauthorized(detail: &str) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// The request may not act.
    pub(super) fn forbidden(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, detail)
    }

    /// Actions are not allowed.
    pub(super) fn actions_are_off() -> Problem {
        Problem::forbidden(
            "actions are not allowed; set actions = true in the section [console] of the \
             configuration",
        )
    }

    /// Something else is being done.
    pub(super) fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// Too many wrong tokens were tried.
    pub(super) fn too_many_attempts() -> Problem {
        let detail = "too many wrong tokens; try again in a few seconds";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn method_not_allowed() -> Problem {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not support the method")
    }

    /// The read took too long.
    pub(super) fn timed_out() -> Problem {
        let detail = format!(
            "the request took longer than {} seconds; use a narrower time range, or search fields \
             instead of words",
            READ_TIMEOUT.as_secs()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, detail)
    }

    /// The receiver does not accept deliveries now.
    pub(super) fn not_ready(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The `Host` is not a name of the console.
    pub(super) fn misdirected(host: &str) -> Problem {
        let host: String = host.chars().take(100).collect();
        let detail = format!(
            "{host:?} is not a name of this console; add it to console.hosts in the configuration"
        );
        Problem::new(StatusCode::MISDIRECTED_REQUEST, detail)
    }

    /// Something that the operator can mend went wrong. The log says what.
    pub(super) fn failed(what: &str, error: &dyn std::error::Error) -> Problem {
        tracing::error!(%error, "{what}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{what}; the log says why"))
    }

    /// An internal error. The client is not told what it was.
    pub(super) fn internal(error: &dyn std::error::Error) -> Problem {
        tracing::error!(%error, "the console cannot answer");
        let detail = "the store cannot be read; the log says why";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::TimedOut | StoreError::Cancelled => Problem::timed_out(),
            StoreError::NoSuch { .. } => Problem::not_found(error.to_string()),
            error => Problem::internal(&error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default() + "\n";
        let mut answer = (status, body).into_response();
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY.as_secs()));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"vidimus console\"");
            headers.insert(WWW_AUTHENTICATE, scheme);
        }
        answer
    }
}
