//! Admission of a request: its path, method and `Authorization` are checked before any of the body is
//! read.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request};

use super::InputEndpoint;
use super::response::{HecReply, Problem, hec_unauthorized};
use crate::config::ResponseProfile;
use crate::settings::any_matches;

/// A request that was admitted.
#[derive(Debug)]
pub(super) enum Admitted {
    /// A health check of a load balancer. It needs no token.
    Health(ResponseProfile),
    /// A delivery to an input.
    Delivery(Arc<InputEndpoint>),
}

/// Why a request was not admitted.
#[derive(Debug)]
pub(super) struct NotAdmitted {
    pub(super) problem: Problem,
    /// The scheme of its `Authorization`, if it is a known one.
    pub(super) scheme: Option<String>,
    /// The profile of the response.
    pub(super) profile: ResponseProfile,
}

/// The path of health checks.
const HEALTH: &str = "/healthz";

/// The paths of health checks of clients of Splunk's HEC.
const HEC_HEALTH: [&str; 2] = ["/services/collector/health", "/services/collector/health/1.0"];

/// Checks the path, the method and the `Authorization`, in this order.
pub(super) fn admit<B>(
    inputs: &[Arc<InputEndpoint>],
    request: &Request<B>,
) -> Result<Admitted, Box<NotAdmitted>> {
    let (path, method) = (request.uri().path(), request.method());
    let refuse = |problem, profile| {
        let scheme = request.headers().get(AUTHORIZATION).and_then(scheme);
        Err(Box::new(NotAdmitted { problem, scheme, profile }))
    };
    let Some(input) = inputs.iter().find(|input| input.path == path) else {
        return match health(inputs, path) {
            None => refuse(Problem::unknown_path(path), ResponseProfile::Vidimus),
            Some(profile) if [Method::GET, Method::HEAD].contains(method) => {
                Ok(Admitted::Health(profile))
            }
            Some(profile) => refuse(Problem::method(method, "GET, HEAD"), profile),
        };
    };
    let profile = input.profile;
    if method != Method::POST {
        return refuse(Problem::method(method, "POST"), profile);
    }
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (why, reply) = match (values.next(), values.next()) {
        (Some(one), None) if any_matches(&input.authorization, one.as_bytes()) => {
            return Ok(Admitted::Delivery(Arc::clone(input)));
        }
        (Some(one), None) => {
            ("the Authorization does not match the configured value", hec_unauthorized(one))
        }
        (None, _) => ("there is no Authorization", HecReply::TokenIsRequired),
        (Some(_), Some(_)) => {
            ("there is more than one Authorization", HecReply::InvalidAuthorization)
        }
    };
    refuse(Problem::unauthorized(why, reply), profile)
}

/// The profile of the response to a health check. `None` if `path` is not a path of health checks.
fn health(inputs: &[Arc<InputEndpoint>], path: &str) -> Option<ResponseProfile> {
    let has_hec = || inputs.iter().any(|input| input.profile == ResponseProfile::SplunkHec);
    match path {
        HEALTH => Some(ResponseProfile::Vidimus),
        path if HEC_HEALTH.contains(&path) && has_hec() => Some(ResponseProfile::SplunkHec),
        _ => None,
    }
}

/// The scheme of an `Authorization` (RFC 9110 section 11.1), or `other`. Unknown schemes are not kept,
/// because a value without a scheme is secret from its first byte.
pub(super) fn scheme(value: &HeaderValue) -> Option<String> {
    const KNOWN: [&str; 8] =
        ["Basic", "Bearer", "Digest", "Splunk", "Token", "ApiKey", "Negotiate", "AWS4-HMAC-SHA256"];
    let (first, _) = value.to_str().ok()?.split_once(' ')?;
    let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(first));
    Some(known.map_or_else(|| "other".to_owned(), |known| (*known).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn check(method: &str, path: &str, authorization: &[&str], status: u16, seen: Option<&str>) {
        let secrets = ["Splunk 1", "Bearer two"].map(|value| Secret::new(value).unwrap()).to_vec();
        let input = InputEndpoint {
            name: "default".into(),
            path: "/audit-logs".into(),
            authorization: secrets,
            expected: Arc::default(),
            profile: ResponseProfile::Vidimus,
        };
        let mut request = Request::builder().method(method).uri(path);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        let found = match admit(&[Arc::new(input)], &request.body(()).unwrap()) {
            Ok(_) => (200, None),
            Err(refusal) => (refusal.problem.status, refusal.scheme),
        };
        assert_eq!(found, (status, seen.map(str::to_owned)), "{method} {path} {authorization:?}");
    }

    #[test]
    fn path_method_and_authorization_are_checked_in_order() {
        check("POST", "/audit-logs", &["Splunk 1"], 200, None);
        check("POST", "/audit-logs?x=1", &["Bearer two"], 200, None);
        check("POST", "/audit-logs/", &["Splunk 1"], 404, Some("Splunk"));
        check("GET", "/nothing", &[], 404, None);
        check("GET", "/audit-logs", &[], 405, None);
        check("POST", "/audit-logs", &[], 401, None);
        check("POST", "/audit-logs", &["splunk 1"], 401, Some("Splunk"));
        check("POST", "/audit-logs", &["Splunk 1", "Splunk 1"], 401, Some("Splunk"));
        check("POST", "/audit-logs", &["hunter2"], 401, None);
        check("POST", "/audit-logs", &["hunter2 x"], 401, Some("other"));
        check("GET", "/healthz", &[], 200, None);
        check("POST", "/healthz", &[], 405, None);
        check("GET", "/services/collector/health", &[], 404, None);
    }
}
