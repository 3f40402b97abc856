//! Connections of the client, direct or through a proxy that the environment names.
//!
//! It reads `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in upper or lower case, like curl. It asks the
//! proxy for a tunnel (`CONNECT`, RFC 9110, 9.3.6), so the proxy sees the name of the host and nothing
//! more. The loopback address is never reached through a proxy. Plain HTTP is never sent through a
//! proxy, so `HTTP_PROXY` is ignored.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;

/// The proxies to use, and the hosts to reach without one.
#[derive(Clone, Debug)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// The proxies that the environment names now.
    pub fn from_env() -> Proxies {
        Proxies(Arc::new(Matcher::from_env()))
    }

    /// No proxies.
    pub fn none() -> Proxies {
        Proxies::new("", "")
    }

    /// The proxy `https` for all hosts but those in `no`. Both have the syntax of the environment.
    pub fn new(https: &str, no: &str) -> Proxies {
        Proxies(Arc::new(Matcher::builder().https(https).no(no).build()))
    }

    /// The proxy through which `uri` is reached.
    fn of(&self, uri: &Uri) -> Option<Intercept> {
        let host = uri.host()?;
        if is_loopback(host) || uri.scheme_str() != Some("https") {
            return None;
        }
        self.0.intercept(uri)
    }
}

/// Whether `host`, as written in a URL, is the loopback address: a loopback IP address, or
/// `localhost`, which always resolves to one (RFC 6761, 6.3).
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// A proxy did not open a tunnel.
#[derive(Debug, thiserror::Error)]
#[error("through the proxy {proxy}")]
pub(super) struct ProxyError {
    proxy: Uri,
    source: BoxError,
}

/// Opens TCP connections, directly or through a tunnel.
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpConnector,
    /// Connects to the proxy, which may use TLS itself.
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(proxies: Proxies, tls: ClientConfig) -> Connector {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        let to_proxy = HttpsConnector::from((direct.clone(), tls));
        Connector { direct, to_proxy, proxies }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.of(&uri) else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) });
        };
        let failed = {
            let proxy = proxy.uri().clone();
            |source: BoxError| ProxyError { proxy, source }.into()
        };
        if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
            let error = failed("expected an HTTP proxy, with http:// or https://".into());
            return Box::pin(async move { Err(error) });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.to_proxy.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(uri);
        Box::pin(async move { connecting.await.map_err(|error| failed(error.into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, expected: Option<&str>) {
        let proxies = Proxies::new("http://user:secret@proxy.test:3128", "no.test,192.0.2.0/24");
        let found = proxies.of(&uri.parse().unwrap()).map(|proxy| proxy.uri().to_string());
        assert_eq!(found.as_deref(), expected, "{uri}");
        assert!(!format!("{proxies:?}").contains("secret"));
    }

    #[test]
    fn the_proxy_is_used_for_https_to_other_hosts() {
        check("https://host.test/", Some("http://proxy.test:3128/"));
        check("https://198.51.100.1:8443/", Some("http://proxy.test:3128/"));
        check("https://no.test/", None);
        check("https://a.no.test/", None);
        check("https://192.0.2.7/", None);
        check("https://localhost/", None);
        check("https://127.1.2.3/", None);
        check("https://[::1]/", None);
        check("https://[::ffff:127.0.0.1]/", None);
        check("http://host.test/", None);
    }
}
