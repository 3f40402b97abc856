//! What a request is answered with: JSON, nothing, or a problem in the documents' words.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::konnect::api::{InvalidParameter, Problem};

/// What an operation comes to.
pub(super) type Result<T> = std::result::Result<T, ErrorResponse>;

/// An answer in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => response(status, "application/json", body),
        Err(_) => ErrorResponse::Internal.response(0),
    }
}

/// An answer without a body.
pub(super) fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ErrorResponse {
    /// The token is missing or unknown.
    Unauthorized,
    /// The token has not the role.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is such a path, but not with this method.
    MethodNotAllowed,
    /// It is not possible now, because of this.
    Conflict(&'static str),
    /// The body is too large, in bytes.
    TooLarge(usize),
    /// The request is wrong.
    Invalid {
        /// In a few words.
        detail: &'static str,
        /// What is wrong with what.
        parameters: Vec<InvalidParameter>,
    },
    /// It is the stand-in that failed.
    Internal,
}

impl ErrorResponse {
    /// A request of which one thing is wrong.
    pub(super) fn invalid(detail: &'static str, parameter: InvalidParameter) -> ErrorResponse {
        ErrorResponse::Invalid { detail, parameters: vec![parameter] }
    }

    /// The status of the answer.
    fn status(&self) -> u16 {
        match self {
            ErrorResponse::Invalid { .. } => 400,
            ErrorResponse::Unauthorized => 401,
            ErrorResponse::Forbidden => 403,
            ErrorResponse::NotFound => 404,
            ErrorResponse::MethodNotAllowed => 405,
            ErrorResponse::Conflict(_) => 409,
            ErrorResponse::TooLarge(_) => 413,
            ErrorResponse::Internal => 500,
        }
    }

    /// The answer that says what is wrong.
    pub(super) fn response(self, trace_id: u64) -> Response {
        let unauthorized = self == ErrorResponse::Unauthorized;
        let problem = self.problem(trace_id);
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // It is made of texts and numbers, which can always be written.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = response(status, "application/problem+json", body);
        if unauthorized {
            let bearer = HeaderValue::from_static("Bearer realm=\"vidimus simulate\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }

    /// The problem for an answer with this trace id.
    fn problem(self, trace_id: u64) -> Problem {
        let status = self.status();
        let (title, detail) = match &self {
            ErrorResponse::Unauthorized => ("Unauthorized", "Unauthorized".to_owned()),
            ErrorResponse::Forbidden => {
                ("Forbidden", "You do not have permission to perform this action".to_owned())
            }
            ErrorResponse::NotFound => ("Not Found", "Not Found".to_owned()),
            ErrorResponse::MethodNotAllowed => {
                ("Method Not Allowed", "Method not allowed".to_owned())
            }
            ErrorResponse::Conflict(detail) => ("Resource Conflict", (*detail).to_owned()),
            ErrorResponse::TooLarge(most) => {
                ("Content Too Large", format!("The body is larger than [{most}] bytes"))
            }
            ErrorResponse::Invalid { detail, .. } => ("Bad Request", (*detail).to_owned()),
            ErrorResponse::Internal => {
                ("Internal Server Error", "Internal server error".to_owned())
            }
        };
        // The documents show one prefix for what the gateway refuses, and another for the service.
        let prefix = match self {
            ErrorResponse::Invalid { .. } | ErrorResponse::Conflict(_) => "konnect",
            _ => "kong",
        };
        let invalid_parameters = match self {
            ErrorResponse::Invalid { parameters, .. } => parameters,
            _ => Vec::new(),
        };
        Problem {
            status,
            title: title.to_owned(),
            kind: Some(format!("https://httpstatuses.com/{status}")),
            instance: format!("{prefix}:trace:{trace_id}"),
            detail,
            invalid_parameters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_those_of_the_documents() {
        let problem = ErrorResponse::Conflict("A replay job is currently running").problem(7);
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({"status": 409, "title": "Resource Conflict",
                "type": "https://httpstatuses.com/409", "instance": "konnect:trace:7",
                "detail": "A replay job is currently running"})
        );
        assert_eq!(ErrorResponse::Unauthorized.problem(8).instance, "kong:trace:8");
        let parameter = InvalidParameter::default();
        let problem = ErrorResponse::invalid("Invalid endpoint", parameter.clone()).problem(9);
        assert_eq!((problem.status, problem.invalid_parameters), (400, vec![parameter]));
    }
}
