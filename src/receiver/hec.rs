//! The answers of Splunk's HTTP Event Collector (HEC), for an input that stands in for it.
//!
//! Only what is said is its: what is stored, kept, refused and counted is the same as for any other
//! input. Codes and texts are those of the table "Possible error codes" in Splunk's page
//! "Troubleshoot HTTP Event Collector", and what Splunk itself says of a path that it does not have.
//! There is no 503: a busy Splunk's code 9 comes with the status 429, and is sent again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::HeaderValue;

/// Where HEC's clients ask whether it takes deliveries, with or without a token.
pub const HEALTH: [&str; 2] = ["/services/collector/health", "/services/collector/health/1.0"];

/// What HEC says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is stored.
    Success,
    /// There is no token.
    TokenIsRequired,
    /// The `Authorization` is nothing that HEC knows.
    InvalidAuthorization,
    /// The `Authorization` is well formed, and not the one that is configured.
    InvalidToken,
    /// There is no event in the body.
    NoData,
    /// The body cannot be read.
    InvalidDataFormat,
    /// It is not stored.
    InternalServerError,
    /// There was no room in time.
    ServerIsBusy,
    /// Deliveries are taken.
    Healthy,
    /// There is nothing at this path, or not for this method.
    NotFound,
}

impl Reply {
    /// The status that it comes with: `status` but where HEC's is known to be another.
    pub fn status(self, status: StatusCode) -> StatusCode {
        match self {
            Reply::InvalidToken => StatusCode::FORBIDDEN,
            Reply::NoData => StatusCode::BAD_REQUEST,
            _ => status,
        }
    }

    /// The body that says so, in JSON.
    pub fn body(self) -> &'static str {
        match self {
            Reply::Success => r#"{"text":"Success","code":0}"#,
            Reply::TokenIsRequired => r#"{"text":"Token is required","code":2}"#,
            Reply::InvalidAuthorization => r#"{"text":"Invalid authorization","code":3}"#,
            Reply::InvalidToken => r#"{"text":"Invalid token","code":4}"#,
            Reply::NoData => r#"{"text":"No data","code":5}"#,
            // The number is that of the first event that was not taken: none of the body was.
            Reply::InvalidDataFormat => {
                r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#
            }
            Reply::InternalServerError => r#"{"text":"Internal server error","code":8}"#,
            Reply::ServerIsBusy => r#"{"text":"Server is busy","code":9}"#,
            Reply::Healthy => r#"{"text":"HEC is healthy","code":17}"#,
            Reply::NotFound => {
                r#"{"text":"The requested URL was not found on this server.","code":404}"#
            }
        }
    }
}

/// What HEC says of an `Authorization` that was found to be wrong. It depends on nothing but the
/// value itself, so that it tells nothing of the right one.
///
/// HEC takes `Splunk TOKEN`, and the token as the password of `Basic`.
pub fn unauthorized(value: &HeaderValue) -> Reply {
    let value = value.as_bytes().trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, token) = value.split_at_checked(end).unwrap_or_default();
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"splunk") {
        return if token.is_empty() { Reply::TokenIsRequired } else { Reply::InvalidToken };
    }
    let has_password = || STANDARD.decode(token).is_ok_and(|pair| pair.contains(&b':'));
    match scheme {
        b"" => Reply::TokenIsRequired,
        scheme if scheme.eq_ignore_ascii_case(b"basic") && has_password() => Reply::InvalidToken,
        _ => Reply::InvalidAuthorization,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Reply) {
        assert_eq!(unauthorized(&value.parse().unwrap()), expected, "{value:?}");
    }

    #[test]
    fn a_wrong_authorization_is_missing_unknown_or_unreadable() {
        for value in ["", " ", "Splunk", "splunk  "] {
            check(value, Reply::TokenIsRequired);
        }
        for value in ["Splunk x", "SPLUNK  x y", "Basic eDp5", "basic eDo="] {
            check(value, Reply::InvalidToken);
        }
        for value in ["x", "Splunkx", "Bearer x", "Basic", "Basic !", "Basic eA==", "Splunk\tx"] {
            check(value, Reply::InvalidAuthorization);
        }
    }
}
