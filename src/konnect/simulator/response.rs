//! Responses: JSON, an empty body, or a problem object with the documented texts.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::konnect::api::{InvalidParameter, Problem};

/// The result of an operation.
pub(super) type Result<T> = std::result::Result<T, ErrorResponse>;

pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => response(status, "application/json", body),
        Err(_) => ErrorResponse::Internal.response(0),
    }
}

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

#[derive(Clone, Debug, PartialEq)]
pub(super) enum ErrorResponse {
    /// The token is missing or unknown.
    Unauthorized,
    /// The token lacks the role.
    Forbidden,
    NotFound,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// The state does not allow it, for this reason.
    Conflict(&'static str),
    /// The body is larger than this number of bytes.
    TooLarge(usize),
    /// The request is invalid.
    Invalid {
        detail: &'static str,
        parameters: Vec<InvalidParameter>,
    },
    /// The simulator failed.
    Internal,
}

impl ErrorResponse {
    /// An invalid request with one error.
    pub(super) fn invalid(detail: &'static str, parameter: InvalidParameter) -> ErrorResponse {
        ErrorResponse::Invalid { detail, parameters: vec![parameter] }
    }

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

    pub(super) fn response(self, trace_id: u64) -> Response {
        let unauthorized = self == ErrorResponse::Unauthorized;
        let problem = self.problem(trace_id);
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // It has only texts and numbers, so it can always be serialized.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = response(status, "application/problem+json", body);
        if unauthorized {
            let bearer = HeaderValue::from_static("Bearer realm=\"vidimus simulate\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
        }
        response
    }

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
        // The documents have one prefix for errors of the gateway, and another for errors of the service.
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
