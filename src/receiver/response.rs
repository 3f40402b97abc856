//! The response to a request: counts, or a problem (RFC 9457).
//!
//! Only this file maps a failure to a status. A response never repeats the body or the `Authorization`.
//!
//! An input with the profile `splunk-hec` responds like Splunk's HTTP Event Collector (HEC). Only the
//! response differs: entries are stored, kept and counted as for any other input. Codes and texts are
//! those of the table "Possible error codes" in Splunk's page "Troubleshoot HTTP Event Collector", and
//! those of Splunk for an unknown path. There is no 503: code 9 has the status 429, so that the sender
//! retries.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::body::UnknownEncoding;
use crate::config::ResponseProfile;
use crate::ingest::{LineCounts, TooManyLines};
use crate::store::Appended;

pub(super) type HttpResponse = Response<Full<Bytes>>;

/// A failure, as the sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status, also for metrics. The HEC profile may send another one.
    pub(super) status: u16,
    /// A sentence for people.
    pub(super) detail: String,
    header: Option<(HeaderName, HeaderValue)>,
    reply: HecReply,
}

impl Problem {
    fn new(status: StatusCode, reply: HecReply, detail: impl Into<String>) -> Problem {
        Problem { status: status.as_u16(), detail: detail.into(), header: None, reply }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Problem {
        Problem { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    pub(super) fn unknown_path(path: &str) -> Problem {
        let path: String = path.chars().take(100).collect();
        let detail = format!("there is no input at the path {path:?}");
        Problem::new(StatusCode::NOT_FOUND, HecReply::NotFound, detail)
    }

    pub(super) fn method(method: &Method, allowed: &'static str) -> Problem {
        let method: String = method.as_str().chars().take(20).collect();
        let detail = format!("the method {method:?} is not allowed here, expected {allowed}");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, HecReply::NotFound, detail)
            .with(ALLOW, allowed)
    }

    pub(super) fn unauthorized(why: &str, reply: HecReply) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, reply, why)
            .with(WWW_AUTHENTICATE, "Bearer realm=\"vidimus\"")
    }

    /// `kept` says what becomes of the body.
    pub(super) fn unknown_encoding(unknown: &UnknownEncoding, kept: &str) -> Problem {
        let detail = format!("{unknown}; the body is {kept}");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, HecReply::InvalidDataFormat, detail)
    }

    /// `when` is "as sent" or "when decoded".
    pub(super) fn too_large(max: usize, when: &str) -> Problem {
        let detail = format!("the body is larger than {max} bytes {when}, and is not kept");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, HecReply::InvalidDataFormat, detail)
    }

    pub(super) fn too_many_lines(error: &TooManyLines) -> Problem {
        let detail = format!("{error}, and is not kept");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, HecReply::InvalidDataFormat, detail)
    }

    pub(super) fn undecodable(why: &str) -> Problem {
        let detail = format!("the body cannot be decoded: {why}; it is kept in quarantine");
        Problem::new(StatusCode::BAD_REQUEST, HecReply::InvalidDataFormat, detail)
    }

    pub(super) fn not_stored() -> Problem {
        let detail = "nothing of the delivery is stored; send it again";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, HecReply::InternalServerError, detail)
    }

    /// The object of the delivery may still arrive, so this does not say that nothing is stored.
    pub(super) fn not_journaled() -> Problem {
        let detail = "the delivery is not known to be in the journal; send it again";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, HecReply::InternalServerError, detail)
    }

    pub(super) fn overloaded() -> Problem {
        let detail = "too many bytes are in flight; send it again later";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, HecReply::ServerIsBusy, detail)
            .with(RETRY_AFTER, "5")
    }

    pub(super) fn into_response(self, profile: ResponseProfile) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = match profile {
            ResponseProfile::Vidimus => {
                let title = status.canonical_reason();
                let body = json!({"type": "about:blank", "title": title, "status": self.status, "detail": self.detail});
                response(status, "application/problem+json", body.to_string())
            }
            ResponseProfile::SplunkHec => hec_response(self.reply, status),
        };
        // The header belongs to this status only.
        if let Some((name, value)) = self.header.filter(|_| response.status() == status) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The response to a stored delivery.
pub(super) fn stored(appended: &Appended, profile: ResponseProfile) -> HttpResponse {
    match profile {
        ResponseProfile::Vidimus => counts(appended),
        ResponseProfile::SplunkHec => hec_received(appended.received),
    }
}

/// The response to a delivery that is in the journal. What is stored or a duplicate is known later.
pub(super) fn journaled(counts: &LineCounts, profile: ResponseProfile) -> HttpResponse {
    let LineCounts { received, malformed } = counts;
    match profile {
        ResponseProfile::Vidimus => {
            let body = format!(r#"{{"received":{received},"malformed":{malformed}}}"#);
            response(StatusCode::OK, "application/json", body)
        }
        ResponseProfile::SplunkHec => hec_received(*received),
    }
}

/// HEC's response to a delivery that was accepted.
fn hec_received(received: u64) -> HttpResponse {
    let reply = if received == 0 { HecReply::NoData } else { HecReply::Success };
    hec_response(reply, StatusCode::OK)
}

fn counts(appended: &Appended) -> HttpResponse {
    // Formatted by hand to keep the order of the members, which people read.
    let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
        appended;
    let body = format!(
        r#"{{"received":{received},"stored":{stored},"duplicates":{duplicates},"malformed":{malformed},"verdicts":{{"valid":{valid},"invalid":{invalid},"unsigned":{unsigned},"no_key":{no_key}}}}}"#
    );
    response(StatusCode::OK, "application/json", body)
}

/// The response to a health check.
pub(super) fn healthy(profile: ResponseProfile) -> HttpResponse {
    match profile {
        ResponseProfile::Vidimus => response(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        ResponseProfile::SplunkHec => hec_response(HecReply::Healthy, StatusCode::OK),
    }
}

/// Removes the body from the response to a `HEAD` request (RFC 9110 section 9.3.2). On HTTP/2 a body
/// there would be an error.
pub(super) fn for_method(method: &Method, mut response: HttpResponse) -> HttpResponse {
    if method == Method::HEAD {
        let length = response.body().size_hint().exact().unwrap_or_default();
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
        *response.body_mut() = Full::default();
    }
    response
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> HttpResponse {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HecReply {
    Success,
    TokenIsRequired,
    InvalidAuthorization,
    InvalidToken,
    NoData,
    InvalidDataFormat,
    InternalServerError,
    ServerIsBusy,
    Healthy,
    NotFound,
}

impl HecReply {
    /// The status that HEC sends with it, or `status` if HEC's is not known.
    fn status(self, status: StatusCode) -> StatusCode {
        match self {
            HecReply::InvalidToken => StatusCode::FORBIDDEN,
            HecReply::NoData => StatusCode::BAD_REQUEST,
            _ => status,
        }
    }

    fn body(self) -> &'static str {
        match self {
            HecReply::Success => r#"{"text":"Success","code":0}"#,
            HecReply::TokenIsRequired => r#"{"text":"Token is required","code":2}"#,
            HecReply::InvalidAuthorization => r#"{"text":"Invalid authorization","code":3}"#,
            HecReply::InvalidToken => r#"{"text":"Invalid token","code":4}"#,
            HecReply::NoData => r#"{"text":"No data","code":5}"#,
            // The number of the first event that was not taken. None of the body was taken.
            HecReply::InvalidDataFormat => {
                r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#
            }
            HecReply::InternalServerError => r#"{"text":"Internal server error","code":8}"#,
            HecReply::ServerIsBusy => r#"{"text":"Server is busy","code":9}"#,
            HecReply::Healthy => r#"{"text":"HEC is healthy","code":17}"#,
            HecReply::NotFound => {
                r#"{"text":"The requested URL was not found on this server.","code":404}"#
            }
        }
    }
}

fn hec_response(reply: HecReply, status: StatusCode) -> HttpResponse {
    response(reply.status(status), "application/json", reply.body().to_owned())
}

/// HEC's reply to a wrong `Authorization`. It depends on the value alone, so that it reveals nothing of
/// the right one.
///
/// HEC accepts `Splunk TOKEN`, and the token as the password of `Basic`.
pub(super) fn hec_unauthorized(value: &HeaderValue) -> HecReply {
    let value = value.as_bytes().trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, token) = value.split_at_checked(end).unwrap_or_default();
    let token = token.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"splunk") {
        return match token.is_empty() {
            true => HecReply::TokenIsRequired,
            false => HecReply::InvalidToken,
        };
    }
    let has_password = || STANDARD.decode(token).is_ok_and(|pair| pair.contains(&b':'));
    match scheme {
        b"" => HecReply::TokenIsRequired,
        scheme if scheme.eq_ignore_ascii_case(b"basic") && has_password() => HecReply::InvalidToken,
        _ => HecReply::InvalidAuthorization,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn counts_have_the_documented_shape() {
        let appended =
            Appended { received: 3, stored: 2, duplicates: 1, valid: 2, ..Appended::default() };
        let response = stored(&appended, ResponseProfile::Vidimus);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"received":3,"stored":2,"duplicates":1,"malformed":0,"verdicts":{"valid":2,"invalid":0,"unsigned":0,"no_key":0}}"#
        );
    }

    #[tokio::test]
    async fn a_journaled_delivery_is_answered_with_what_is_known() {
        for (profile, received, status, expected) in [
            (ResponseProfile::Vidimus, 3, 200, r#"{"received":3,"malformed":1}"#),
            (ResponseProfile::Vidimus, 0, 200, r#"{"received":0,"malformed":1}"#),
            (ResponseProfile::SplunkHec, 3, 200, r#"{"text":"Success","code":0}"#),
            (ResponseProfile::SplunkHec, 0, 400, r#"{"text":"No data","code":5}"#),
        ] {
            let response = journaled(&LineCounts { received, malformed: 1 }, profile);
            assert_eq!(response.status(), status, "{expected}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), expected);
        }
    }

    #[tokio::test]
    async fn a_problem_has_its_status_and_headers() {
        let response = Problem::overloaded().into_response(ResponseProfile::Vidimus);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["status"], &body["title"]), (&429.into(), &"Too Many Requests".into()));
    }

    fn check(value: &str, expected: HecReply) {
        assert_eq!(hec_unauthorized(&value.parse().unwrap()), expected, "{value:?}");
    }

    #[test]
    fn hec_tells_wrong_authorizations_apart() {
        for value in ["", " ", "Splunk", "splunk  "] {
            check(value, HecReply::TokenIsRequired);
        }
        for value in ["Splunk x", "SPLUNK  x y", "Basic eDp5", "basic eDo="] {
            check(value, HecReply::InvalidToken);
        }
        for value in ["x", "Splunkx", "Bearer x", "Basic", "Basic !", "Basic eA==", "Splunk\tx"] {
            check(value, HecReply::InvalidAuthorization);
        }
    }
}
