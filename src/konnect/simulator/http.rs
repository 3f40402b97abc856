//! The API over HTTP: a request in, an answer out.
//!
//! In this order: a path that is none 404, a method that it has not 405, a token that is none 401 or
//! has not the role 403, then the body, then what the operation says. Each call with a good token
//! leaves its entries, as with Konnect; calls of the control surface do not.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as HttpBody;
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, Result, json, problem};
use super::control;
use super::core::Core;
use super::operation;
use super::refusal::Refusal;
use super::route::Resource;
use crate::konnect::authentication::Means;
use crate::konnect::traffic::Call;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 64 << 10;

/// How much an entry keeps of each part of a call, in characters.
const MAX_KEPT: usize = 512;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request did not come in time, or broke off: there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBody;

/// Answers a request of `peer`.
pub async fn handle<B>(
    core: &Core,
    request: Request<B>,
    peer: IpAddr,
) -> std::result::Result<Answer, NoBody>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let trace_id = core.organization().traffic.trace_id();
    let refused = |refusal: Refusal| Ok(problem(refusal, trace_id));
    let (head, body) = request.into_parts();
    let Some(resource) = Resource::of(head.uri.path()) else {
        return refused(Refusal::NotFound);
    };
    if !resource.methods().contains(&head.method) {
        let mut answer = problem(Refusal::Method, trace_id);
        let allowed: Vec<_> = resource.methods().iter().map(Method::as_str).collect();
        if let Ok(allowed) = HeaderValue::from_str(&allowed.join(", ")) {
            answer.headers_mut().insert(ALLOW, allowed);
        }
        return Ok(answer);
    }
    if resource == Resource::KeySet {
        let keys = core.organization().keys.jwk_set();
        return Ok(json(StatusCode::OK, &keys));
    }
    let mut values = head.headers.get_all(AUTHORIZATION).iter();
    let authorization = match (values.next(), values.next()) {
        (Some(one), None) => Some(one.as_bytes()),
        _ => None,
    };
    let authorized = core.authorize(authorization);
    if authorized == Err(Refusal::Unauthorized) {
        return refused(Refusal::Unauthorized);
    }
    if let Resource::Control(path) = &resource {
        if let Err(refusal) = authorized {
            return refused(refusal);
        }
        let read = match read(body).await? {
            Ok(body) => control::handle(core, path, &head.method, &body).await,
            Err(refusal) => Err(refusal),
        };
        return Ok(read.unwrap_or_else(|refusal| problem(refusal, trace_id)));
    }

    let outcome = match authorized {
        Err(refusal) => Err(refusal),
        Ok(()) => match read(body).await? {
            Err(refusal) => Err(refusal),
            Ok(body) => operation::perform(core, &resource, &head.method, &head.uri, &body),
        },
    };
    let answer = outcome.unwrap_or_else(|refusal| problem(refusal, trace_id));
    let user_agent = head.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let now = core.clock.now();
    let mut organization = core.organization();
    let call = Call {
        method: head.method.as_str(),
        path: &short(head.uri.path()),
        query: &short(head.uri.query().unwrap_or_default()),
        status: answer.status().as_u16(),
        principal: Some(&organization.traffic.owner().clone()),
        means: Means::Pat,
        src: &peer.to_string(),
        user_agent: &short(&String::from_utf8_lossy(user_agent)),
        trace_id,
    };
    organization.called(&call, now);
    Ok(answer)
}

/// As much of a text as an entry keeps of a call.
fn short(text: &str) -> String {
    text.chars().take(MAX_KEPT).collect()
}

/// The body of a request, within the cap.
async fn read<B>(body: B) -> std::result::Result<Result<Bytes>, NoBody>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // What is announced need not be waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Ok(Err(Refusal::TooLarge(MAX_BODY)));
    }
    let limited = Box::pin(Limited::new(body, MAX_BODY).collect());
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(collected)) => Ok(Ok(collected.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Ok(Err(Refusal::TooLarge(MAX_BODY))),
        Ok(Err(_)) | Err(_) => Err(NoBody),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body that is announced and never comes.
    struct Announced(u64);

    impl HttpBody for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_not_waited_for() {
        let large = read(Announced(MAX_BODY as u64 + 1)).await;
        assert_eq!(large, Ok(Err(Refusal::TooLarge(MAX_BODY))));
    }
}
