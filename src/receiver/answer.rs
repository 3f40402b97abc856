//! What is said back: counts, or a problem (RFC 9457); or the same in the words of [`super::hec`].
//!
//! Here alone a failure becomes a status. What is said to the outside never holds what was sent.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::encoding::UnknownEncoding;
use super::hec::Reply;
use crate::config::ResponseProfile;
use crate::store::Appended;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// What went wrong, as it is told to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status. It is counted under this one whatever the profile makes of it.
    pub status: u16,
    /// What it is about, in a sentence.
    pub detail: String,
    header: Option<(HeaderName, HeaderValue)>,
    reply: Reply,
}

impl Problem {
    fn new(status: StatusCode, reply: Reply, detail: impl Into<String>) -> Problem {
        Problem { status: status.as_u16(), detail: detail.into(), header: None, reply }
    }

    fn with(self, name: HeaderName, value: &'static str) -> Problem {
        Problem { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    /// There is no input at this path.
    pub fn unknown_path(path: &str) -> Problem {
        let path: String = path.chars().take(100).collect();
        let detail = format!("there is no input at the path {path:?}");
        Problem::new(StatusCode::NOT_FOUND, Reply::NotFound, detail)
    }

    /// The path does not take this method.
    pub fn method(method: &Method, allowed: &'static str) -> Problem {
        let method: String = method.as_str().chars().take(20).collect();
        let detail = format!("the method {method:?} is not taken here, expected {allowed}");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, Reply::NotFound, detail).with(ALLOW, allowed)
    }

    /// The `Authorization` is wrong.
    pub fn unauthorized(why: &str, reply: Reply) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, reply, why)
            .with(WWW_AUTHENTICATE, "Bearer realm=\"vidimus\"")
    }

    /// The encoding is not known.
    pub fn unknown_encoding(unknown: &UnknownEncoding, kept: &str) -> Problem {
        let detail = format!("{unknown}; the body is {kept}");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Reply::InvalidDataFormat, detail)
    }

    /// The body is over a cap.
    pub fn too_large(cap: usize, when: &str) -> Problem {
        let detail = format!("the body is larger than {cap} bytes {when}, and is not kept");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Reply::InvalidDataFormat, detail)
    }

    /// The body has too many lines.
    pub fn too_many_lines(error: &crate::ingest::TooManyLines) -> Problem {
        let detail = format!("{error}, and is not kept");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Reply::InvalidDataFormat, detail)
    }

    /// The body cannot be decoded.
    pub fn undecodable(why: &str) -> Problem {
        let detail = format!("the body cannot be decoded: {why}; it is kept in quarantine");
        Problem::new(StatusCode::BAD_REQUEST, Reply::InvalidDataFormat, detail)
    }

    /// It was not stored.
    pub fn not_stored() -> Problem {
        let detail = "nothing of the delivery is stored; send it again";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Reply::InternalServerError, detail)
    }

    /// There was no room in time.
    pub fn overloaded() -> Problem {
        let detail = "too much is in flight, and waiting did not help; send it again later";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, Reply::ServerIsBusy, detail)
            .with(RETRY_AFTER, "5")
    }

    /// The answer that says so.
    pub fn into_answer(self, profile: ResponseProfile) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = match profile {
            ResponseProfile::Vidimus => {
                let title = status.canonical_reason();
                let body = json!({"type": "about:blank", "title": title, "status": self.status, "detail": self.detail});
                answer(status, "application/problem+json", body.to_string())
            }
            ResponseProfile::SplunkHec => say(self.reply, status),
        };
        // A challenge belongs to the status that it came with.
        if let Some((name, value)) = self.header.filter(|_| answer.status() == status) {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

/// The answer to a delivery that is stored.
pub fn stored(appended: &Appended, profile: ResponseProfile) -> Answer {
    match profile {
        ResponseProfile::Vidimus => counts(appended),
        ResponseProfile::SplunkHec if appended.received == 0 => say(Reply::NoData, StatusCode::OK),
        ResponseProfile::SplunkHec => say(Reply::Success, StatusCode::OK),
    }
}

fn counts(appended: &Appended) -> Answer {
    // Written out, because the order of the members is for people.
    let Appended { received, stored, duplicates, malformed, valid, invalid, unsigned, no_key } =
        appended;
    let body = format!(
        r#"{{"received":{received},"stored":{stored},"duplicates":{duplicates},"malformed":{malformed},"verdicts":{{"valid":{valid},"invalid":{invalid},"unsigned":{unsigned},"no_key":{no_key}}}}}"#
    );
    answer(StatusCode::OK, "application/json", body)
}

/// What HEC says, where it has no status of its own for that with this one.
fn say(reply: Reply, status: StatusCode) -> Answer {
    answer(reply.status(status), "application/json", reply.body().to_owned())
}

/// The answer to a load balancer.
pub fn healthy(profile: ResponseProfile) -> Answer {
    match profile {
        ResponseProfile::Vidimus => answer(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        ResponseProfile::SplunkHec => say(Reply::Healthy, StatusCode::OK),
    }
}

/// The answer to a request with this method: to `HEAD` without its body (RFC 9110 section 9.3.2),
/// which over HTTP/2 would be an error.
pub fn to(method: &Method, mut answer: Answer) -> Answer {
    if method == Method::HEAD {
        let length = answer.body().size_hint().exact().unwrap_or_default();
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        *answer.body_mut() = Full::default();
    }
    answer
}

/// An answer with a body.
pub fn answer(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn counts_have_the_shape_of_the_contract() {
        let appended =
            Appended { received: 3, stored: 2, duplicates: 1, valid: 2, ..Appended::default() };
        let answer = stored(&appended, ResponseProfile::Vidimus);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"received":3,"stored":2,"duplicates":1,"malformed":0,"verdicts":{"valid":2,"invalid":0,"unsigned":0,"no_key":0}}"#
        );
    }

    #[tokio::test]
    async fn a_problem_says_what_it_is_and_its_headers() {
        let answer = Problem::overloaded().into_answer(ResponseProfile::Vidimus);
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.headers()[RETRY_AFTER], "5");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["status"], &body["title"]), (&429.into(), &"Too Many Requests".into()));
    }
}
