//! From the path to the `Authorization`: nothing of the body is read before these are right.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Request};

use super::Input;
use super::answer::Problem;
use crate::config::any_matches;

/// What a request asks for.
#[derive(Debug)]
pub enum Admitted {
    /// Whether the receiver is alive: for load balancers, without a token.
    Health,
    /// A delivery to an input.
    Delivery(Arc<Input>),
}

/// Where load balancers ask.
pub const HEALTH: &str = "/healthz";

/// Lets a request in, or says why not, with the scheme of its `Authorization`.
pub fn admit<B>(
    inputs: &[Arc<Input>],
    request: &Request<B>,
) -> Result<Admitted, (Problem, Option<String>)> {
    let (path, method) = (request.uri().path(), request.method());
    if path == HEALTH {
        return match *method {
            Method::GET | Method::HEAD => Ok(Admitted::Health),
            _ => Err((Problem::method(method, "GET, HEAD"), None)),
        };
    }
    let Some(input) = inputs.iter().find(|input| input.path == path) else {
        return Err((Problem::unknown_path(path), scheme(request.headers())));
    };
    if method != Method::POST {
        return Err((Problem::method(method, "POST"), scheme(request.headers())));
    }
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let why = match (values.next(), values.next()) {
        (Some(one), None) if any_matches(&input.authorization, one.as_bytes()) => {
            return Ok(Admitted::Delivery(Arc::clone(input)));
        }
        (Some(_), None) => "the Authorization is not the one that is configured",
        (None, _) => "there is no Authorization",
        (Some(_), Some(_)) => "there is more than one Authorization",
    };
    Err((Problem::unauthorized(why), scheme(request.headers())))
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
    use crate::config::Secret;

    fn check(method: &str, path: &str, authorization: &[&str], status: u16, seen: Option<&str>) {
        let secrets = ["Splunk 1", "Bearer two"].map(|value| Secret::new(value).unwrap()).to_vec();
        let input = Input {
            name: "default".into(),
            path: "/audit-logs".into(),
            authorization: secrets,
            expected: Arc::default(),
        };
        let mut request = Request::builder().method(method).uri(path);
        for value in authorization {
            request = request.header(AUTHORIZATION, *value);
        }
        let found = match admit(&[Arc::new(input)], &request.body(()).unwrap()) {
            Ok(_) => (200, None),
            Err((problem, scheme)) => (problem.status, scheme),
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
    }
}
