//! Access control, and the security headers of every response.
//!
//! The `Host` header must be a name of the console. This prevents DNS rebinding, where a page of
//! another site points its own name to this address. If a token is configured, every request must
//! carry it, as a bearer token (RFC 6750) or in the cookie that the login sets. `throttle` limits
//! wrong tokens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use ipnet::IpNet;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::problem::Problem;
use super::problem_response;
use super::throttle::{Attempt, Throttle};
use crate::net::{Admission, Peer};
use crate::settings::Secret;

/// The cookie that the login page sets.
const COOKIE: &str = "vidimus_session";

/// The security headers of every response. Pages load only from the console, and run only its
/// scripts.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer` browsers send `Origin: null` with the forms of the console.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Decides which requests are allowed.
#[derive(Debug)]
pub(crate) struct Guard {
    address: SocketAddr,
    hosts: Vec<String>,
    token: Option<Secret>,
    tls: bool,
    trusted_proxies: Vec<IpNet>,
    throttle: Throttle,
}

impl Guard {
    /// A guard for a console that listens on `address`, accepts `hosts` as further names, and
    /// requires `token`.
    pub(crate) fn new(address: SocketAddr, hosts: Vec<String>, token: Option<Secret>) -> Guard {
        let (tls, trusted_proxies, throttle) = (false, Vec::new(), Throttle::default());
        Guard { address, hosts, token, tls, trusted_proxies, throttle }
    }

    /// Sets whether browsers connect with https.
    pub(crate) fn with_tls(self, tls: bool) -> Guard {
        Guard { tls, ..self }
    }

    /// Sets the proxies whose `X-Forwarded-For` is trusted.
    pub(crate) fn with_proxies(self, trusted_proxies: Vec<IpNet>) -> Guard {
        Guard { trusted_proxies, ..self }
    }

    pub(super) fn asks_for_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether `host` is a name of the console: the address, `localhost` if the address is local,
    /// or a configured name. A configured name without a port matches any port.
    fn is_allowed_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if self.is_configured_host(&authority) {
            return true;
        }
        let name = authority.host().to_ascii_lowercase();
        let listen = self.address.ip().to_canonical();
        let named = match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            // Another site can point its name to our address, but it cannot have our address as its
            // name.
            Ok(ip) => ip == listen || listen.is_unspecified(),
            Err(_) => name == "localhost" && (listen.is_loopback() || listen.is_unspecified()),
        };
        let usual = if self.tls { 443 } else { 80 };
        named && authority.port_u16().unwrap_or(usual) == self.address.port()
    }

    /// Whether a host is one of the configured names.
    fn is_configured_host(&self, host: &Authority) -> bool {
        let whole = host.as_str().to_ascii_lowercase();
        let name = host.host().to_ascii_lowercase();
        self.hosts.iter().any(|ours| *ours == whole || *ours == name)
    }

    /// Whether a request comes from a page of the console, by its `Origin` (RFC 6454, section 7).
    /// `None` without the header.
    ///
    /// A proxy that speaks TLS may stand before a console that does not. It has a configured name,
    /// and the pages then come over https.
    pub(super) fn is_from_own_page(&self, headers: &HeaderMap) -> Option<bool> {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let (origin, None) = (values.next()?, values.next()) else { return Some(false) };
        let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        let Some((scheme, host)) = parts else { return Some(false) };
        let own = if self.tls { "https" } else { "http" };
        Some(match scheme {
            _ if scheme == own => self.is_allowed_host(host),
            "https" => host.parse().is_ok_and(|host| self.is_configured_host(&host)),
            _ => false,
        })
    }

    /// Checks the token of a request from `client`. `None` if the request has no token.
    fn attempt(&self, headers: &HeaderMap, client: IpAddr) -> Option<Attempt> {
        let Some(token) = &self.token else { return Some(Attempt::Right) };
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let given = (values.next(), values.next());
        if given.0.is_none() {
            cookies(headers).next()?;
        }
        let compare = || match given {
            (None, _) => {
                let session = session(token);
                cookies(headers).any(|given| session.as_bytes().ct_eq(given.as_bytes()).into())
            }
            (Some(value), None) => {
                let value = value.as_bytes();
                let is_bearer =
                    value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
                is_bearer && token.matches(value.get(7..).unwrap_or_default())
            }
            (Some(_), Some(_)) => false,
        };
        Some(self.throttle.attempt(client, Instant::now(), compare))
    }

    /// The session cookie, if the token is right.
    pub(super) fn log_in(&self, given: &str, client: IpAddr) -> Result<HeaderValue, Problem> {
        let Some(token) = &self.token else {
            return Err(Problem::bad_request("this console asks for no token"));
        };
        let compare = || token.matches(given.as_bytes());
        match self.throttle.attempt(client, Instant::now(), compare) {
            Attempt::Right => {}
            Attempt::Wrong => return Err(Problem::unauthorized(WRONG_TOKEN)),
            Attempt::Throttled => return Err(Problem::too_many_attempts()),
        }
        let secure = if self.tls { "; Secure" } else { "" };
        let session = session(token);
        let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(&error))
    }

    /// A cookie that deletes the session cookie.
    pub(super) fn log_out(&self) -> HeaderValue {
        HeaderValue::from_static("vidimus_session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
    }

    /// The address of the client, which a trusted proxy may forward.
    pub(super) fn client(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        peer.forwarded(headers, &self.trusted_proxies).unwrap_or(peer.address.ip())
    }
}

const WRONG_TOKEN: &str = "the token is wrong";

/// The value of the cookie. It proves knowledge of the token without revealing it, and is invalid
/// once the token changes.
pub(super) fn session(token: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"vidimus console session"))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// Middleware that checks every request and adds the headers.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = authorize(&guard, &peer, request, next).await;
    for (name, value) in SECURITY_HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

async fn authorize(guard: &Guard, peer: &Peer, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // Load balancers use any name for the host.
    if matches!(path, "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(named.map(str::to_owned)).unwrap_or_default();
    if !guard.is_allowed_host(&host) {
        return refused(problem_response(Problem::misdirected(&host), request.headers()));
    }
    if path == "/login" || path.starts_with("/assets/") {
        return next.run(request).await;
    }
    if is_embedded_elsewhere(request.headers()) {
        let problem = Problem::forbidden("a page of another site asks for this");
        return refused(problem_response(problem, request.headers()));
    }
    let client = guard.client(peer, request.headers());
    let attempt = guard.attempt(request.headers(), client);
    let has_header = request.headers().contains_key(header::AUTHORIZATION);
    let wants_page = request.method() == Method::GET
        && accepts_html(request.headers())
        && !path.starts_with("/api/")
        && path != "/metrics";
    match attempt {
        Some(Attempt::Right) => {
            let mut answer = next.run(request).await;
            answer.extensions_mut().insert(Admission::Authorized);
            answer
        }
        Some(Attempt::Throttled) => refused(Problem::too_many_attempts()),
        Some(Attempt::Wrong) | None if wants_page && !has_header => {
            Redirect::to("/login").into_response()
        }
        Some(Attempt::Wrong) => refused(Problem::unauthorized(WRONG_TOKEN)),
        None => {
            refused(Problem::unauthorized("expected the console's token: Authorization: Bearer …"))
        }
    }
}

/// Whether a page of another site makes the browser load this, as an image for instance (W3C, "Fetch
/// Metadata Request Headers"). Without a token such a page could keep the console busy. A link of
/// another site is followed.
fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_elsewhere = matches!(said("sec-fetch-site"), Some("cross-site" | "same-site"));
    is_elsewhere && said("sec-fetch-mode") != Some("navigate")
}

/// A response that refuses the request and closes the connection.
fn refused(answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    answer.extensions_mut().insert(Admission::Refused);
    answer
}

/// Whether the client is a browser.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(address: &str, hosts: &[&str], token: Option<&str>) -> Guard {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(address.parse().unwrap(), hosts, token.map(|token| Secret::new(token).unwrap()))
    }

    fn check_host(guard: &Guard, host: &str, expected: bool) {
        assert_eq!(guard.is_allowed_host(host), expected, "{host}");
    }

    #[test]
    fn a_host_is_ours_by_address_or_by_name() {
        let local = guard("127.0.0.1:8480", &["siem.example.com", "a.example:99"], None);
        check_host(&local, "127.0.0.1:8480", true);
        check_host(&local, "LOCALHOST:8480", true);
        check_host(&local, "siem.example.com", true);
        check_host(&local, "siem.example.com:1234", true);
        check_host(&local, "a.example:99", true);
        check_host(&local, "a.example:98", false);
        check_host(&local, "127.0.0.1", false);
        check_host(&local, "127.0.0.1:80", false);
        check_host(&local, "localhost.example.com:8480", false);
        check_host(&local, "evil.example:8480", false);
        check_host(&local, "10.0.0.1:8480", false);
        check_host(&local, "x@127.0.0.1:8480/", false);
        check_host(&local, "", false);
        let any = guard("[::]:80", &[], Some("t"));
        check_host(&any, "10.0.0.1", true);
        check_host(&any, "[::1]:80", true);
        check_host(&any, "evil.example", false);
        let secure = guard("127.0.0.1:443", &[], None).with_tls(true);
        check_host(&secure, "localhost", true);
        check_host(&secure, "localhost:80", false);
    }

    fn check_origin(guard: &Guard, origins: &[&str], expected: Option<bool>) {
        let pair = |origin: &&str| (header::ORIGIN, origin.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in origins.iter().map(pair) {
            headers.append(name, value);
        }
        assert_eq!(guard.is_from_own_page(&headers), expected, "{origins:?}");
    }

    #[test]
    fn an_origin_is_ours_by_name_and_scheme() {
        let plain = guard("127.0.0.1:8480", &["siem.example.com"], None);
        check_origin(&plain, &[], None);
        check_origin(&plain, &["http://127.0.0.1:8480"], Some(true));
        check_origin(&plain, &["http://localhost:8480"], Some(true));
        check_origin(&plain, &["https://siem.example.com"], Some(true));
        check_origin(&plain, &["http://siem.example.com"], Some(true));
        for foreign in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://127.0.0.1:8481",
            "https://127.0.0.1:8480",
            "http://127.0.0.1:8480/",
            "127.0.0.1:8480",
            "ftp://siem.example.com",
        ] {
            check_origin(&plain, &[foreign], Some(false));
        }
        check_origin(&plain, &["http://127.0.0.1:8480"; 2], Some(false));
        let secure = guard("127.0.0.1:8480", &["siem.example.com"], None).with_tls(true);
        check_origin(&secure, &["https://127.0.0.1:8480"], Some(true));
        check_origin(&secure, &["https://siem.example.com"], Some(true));
        check_origin(&secure, &["http://siem.example.com"], Some(false));
        check_origin(&secure, &["http://127.0.0.1:8480"], Some(false));
    }

    #[test]
    fn pages_of_other_sites_embed_nothing() {
        let check = |pairs: &[(&'static str, &str)], expected: bool| {
            let pair = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), value.parse().unwrap())
            };
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            assert_eq!(is_embedded_elsewhere(&headers), expected, "{pairs:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], false);
        check(&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], false);
        check(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], false);
        check(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], true);
        check(&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], true);
        check(&[("sec-fetch-site", "cross-site")], true);
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn check_admits(guard: &Guard, pairs: &[(HeaderName, &str)], expected: bool) {
        let pair = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        let headers: HeaderMap = pairs.iter().map(pair).collect();
        let is_right = guard.attempt(&headers, CLIENT) == Some(Attempt::Right);
        assert_eq!(is_right, expected, "{pairs:?}");
    }

    #[test]
    fn the_token_is_a_bearer_token_or_a_cookie() {
        let guard = guard("127.0.0.1:80", &[], Some("a secret"));
        check_admits(&guard, &[], false);
        check_admits(&guard, &[(header::AUTHORIZATION, "Bearer a secret")], true);
        check_admits(&guard, &[(header::AUTHORIZATION, "bearer a secret")], true);
        check_admits(&guard, &[(header::AUTHORIZATION, "Bearer a secre")], false);
        check_admits(&guard, &[(header::AUTHORIZATION, "Basic a secret")], false);
        check_admits(&guard, &[(header::AUTHORIZATION, "a secret")], false);
        let cookie = guard.log_in("a secret", CLIENT).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(!cookie.contains("a secret") && cookie.contains("HttpOnly; SameSite=Strict"));
        let pair = cookie.split(';').next().unwrap();
        check_admits(&guard, &[(header::COOKIE, &format!("x=y; {pair}"))], true);
        check_admits(&guard, &[(header::COOKIE, &format!("{pair}x"))], false);
        // A right cookie does not make up for a wrong bearer token.
        let wrong = (header::AUTHORIZATION, "Bearer b");
        check_admits(&guard, &[(header::COOKIE, pair), wrong], false);
        assert_eq!(guard.log_in("b", CLIENT).unwrap_err().status, 401);
        let secure = guard.with_tls(true).log_in("a secret", CLIENT).unwrap();
        assert!(secure.to_str().unwrap().ends_with("; Secure"));
    }
}
