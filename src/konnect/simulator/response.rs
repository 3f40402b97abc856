//! What a request is answered with: JSON, nothing, or a problem in the documents' words.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use serde::Serialize;

use crate::konnect::api::{InvalidParameter, Problem};

/// What an operation comes to.
pub(super) type Result<T> = std::result::Result<T, ApiError>;

/// An answer in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => response(status, "application/json", body),
        Err(_) => ApiError::Internal.response(0),
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
pub(super) enum ApiError {
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

impl ApiError {
    /// A request of which one thing is wrong.
    pub(super) fn invalid(detail: &'static str, parameter: InvalidParameter) -> ApiError {
        ApiError::Invalid { detail, parameters: vec![parameter] }
    }

    /// The status of the answer.
    fn status(&self) -> u16 {
        match self {
            ApiError::Invalid { .. } => 400,
            ApiError::Unauthorized => 401,
            ApiError::Forbidden => 403,
            ApiError::NotFound => 404,
            ApiError::MethodNotAllowed => 405,
            ApiError::Conflict(_) => 409,
            ApiError::TooLarge(_) => 413,
            ApiError::Internal => 500,
        }
    }

    /// The answer that says what is wrong.
    pub(super) fn response(self, trace_id: u64) -> Response {
        let unauthorized = self == ApiError::Unauthorized;
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
            ApiError::Unauthorized => ("Unauthorized", "Unauthorized".to_owned()),
            ApiError::Forbidden => {
                ("Forbidden", "You do not have permission to perform this action".to_owned())
            }
            ApiError::NotFound => ("Not Found", "Not Found".to_owned()),
            ApiError::MethodNotAllowed => ("Method Not Allowed", "Method not allowed".to_owned()),
            ApiError::Conflict(detail) => ("Resource Conflict", (*detail).to_owned()),
            ApiError::TooLarge(most) => {
                ("Content Too Large", format!("The body is larger than [{most}] bytes"))
            }
            ApiError::Invalid { detail, .. } => ("Bad Request", (*detail).to_owned()),
            ApiError::Internal => ("Internal Server Error", "Internal server error".to_owned()),
        };
        // The documents show one prefix for what the gateway refuses, and another for the service.
        let prefix = match self {
            ApiError::Invalid { .. } | ApiError::Conflict(_) => "konnect",
            _ => "kong",
        };
        let invalid_parameters = match self {
            ApiError::Invalid { parameters, .. } => parameters,
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
        let problem = ApiError::Conflict("A replay job is currently running").problem(7);
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({"status": 409, "title": "Resource Conflict",
                "type": "https://httpstatuses.com/409", "instance": "konnect:trace:7",
                "detail": "A replay job is currently running"})
        );
        assert_eq!(ApiError::Unauthorized.problem(8).instance, "kong:trace:8");
        let parameter = InvalidParameter::default();
        let problem = ApiError::invalid("Invalid endpoint", parameter.clone()).problem(9);
        assert_eq!((problem.status, problem.invalid_parameters), (400, vec![parameter]));
    }
}
