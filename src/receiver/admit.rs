//! From the path to the `Authorization`: nothing of the body is read before these are right.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request};

use super::Input;
use super::answer::Problem;
use super::hec::{self, Reply};
use crate::config::ResponseProfile;
use crate::settings::any_matches;

/// What a request asks for.
#[derive(Debug)]
pub enum Admitted {
    /// Whether the receiver is alive: for load balancers, without a token.
    Health(ResponseProfile),
    /// A delivery to an input.
    Delivery(Arc<Input>),
}

/// Why a request is not let in.
#[derive(Debug)]
pub struct Refusal {
    /// What the sender is told.
    pub problem: Problem,
    /// The scheme of its `Authorization`.
    pub scheme: Option<String>,
    /// How it is told.
    pub profile: ResponseProfile,
}

/// Where load balancers ask.
pub const HEALTH: &str = "/healthz";

/// Lets a request in, or says why not.
pub fn admit<B>(inputs: &[Arc<Input>], request: &Request<B>) -> Result<Admitted, Box<Refusal>> {
    let (path, method) = (request.uri().path(), request.method());
    let refuse = |problem, profile| {
        let scheme = scheme(request.headers());
        Err(Box::new(Refusal { problem, scheme, profile }))
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
            ("the Authorization is not the one that is configured", hec::unauthorized(one))
        }
        (None, _) => ("there is no Authorization", Reply::TokenIsRequired),
        (Some(_), Some(_)) => ("there is more than one Authorization", Reply::InvalidAuthorization),
    };
    refuse(Problem::unauthorized(why, reply), profile)
}

/// How the question at `path` whether the receiver is alive is answered, if it is that question.
fn health(inputs: &[Arc<Input>], path: &str) -> Option<ResponseProfile> {
    let stands_in = || inputs.iter().any(|input| input.profile == ResponseProfile::SplunkHec);
    match path {
        HEALTH => Some(ResponseProfile::Vidimus),
        path if hec::HEALTH.contains(&path) && stands_in() => Some(ResponseProfile::SplunkHec),
        _ => None,
    }
}

/// The scheme of the `Authorization` (RFC 9110 section 11.1): only what is known to be one, since a
/// value without a scheme is all secret.
fn scheme(headers: &HeaderMap) -> Option<String> {
    const KNOWN: [&str; 8] =
        ["Basic", "Bearer", "Digest", "Splunk", "Token", "ApiKey", "Negotiate", "AWS4-HMAC-SHA256"];
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (first, _) = value.split_once(' ')?;
    let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(first));
    Some(known.map_or_else(|| "other".to_owned(), |known| (*known).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Secret;

    fn check(method: &str, path: &str, authorization: &[&str], status: u16, seen: Option<&str>) {
        let secrets = ["Splunk 1", "Bearer two"].map(|value| Secret::new(value).unwrap()).to_vec();
        let input = Input {
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
    fn path_then_method_then_authorization() {
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
