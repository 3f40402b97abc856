//! An HTTP client, for HTTP/1.1 and HTTP/2.
//!
//! Every call has one time-out for all of it, and every response a size limit. Plain HTTP is used for
//! the loopback address only, unless an option allows it. Errors show the URL without its query,
//! because the query may have a secret.

mod error;
mod proxy;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub use self::error::ClientError;
use self::error::{failure, message};
pub use self::proxy::Proxies;
use self::proxy::{Connector, is_loopback};
use super::tls::{client_config, insecure};
use super::{PairFiles, TlsError};

/// The number of redirections that are followed.
const MAX_REDIRECTS: usize = 3;

/// How a client connects, and which servers it trusts.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// A PEM file of certificates to trust in addition to the system's roots: of a CA, or the
    /// self-signed certificate of a server.
    pub ca_file: Option<PathBuf>,
    /// The certificate and key for a server that asks for a client certificate.
    pub pair: Option<PairFiles>,
    /// Allow plain HTTP to any address.
    pub allow_plain_http: bool,
    /// Trust every server, allow plain HTTP to any address, and send no client certificate. For
    /// development only.
    pub insecure: bool,
    /// The proxies to connect through.
    pub proxies: Proxies,
}

impl Default for ClientOptions {
    /// Trusts the system's roots and uses the proxies of the environment.
    fn default() -> ClientOptions {
        ClientOptions {
            ca_file: None,
            pair: None,
            allow_plain_http: false,
            insecure: false,
            proxies: Proxies::from_env(),
        }
    }
}

/// An HTTP client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    allows_plain_http: bool,
}

impl Client {
    /// A client with its own connections. Reads the system's roots.
    ///
    /// # Errors
    /// When `ca_file` or `pair` cannot be used.
    pub fn new(options: ClientOptions) -> Result<Client, TlsError> {
        let tls = match options.insecure {
            true => insecure()?,
            false => client_config(options.ca_file.as_deref(), options.pair.as_ref())?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Connector::new(options.proxies, tls));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Client { inner, allows_plain_http: options.insecure || options.allow_plain_http })
    }

    /// The same client, for plain HTTP to any address too.
    pub fn allowing_plain_http(&self) -> Client {
        Client { allows_plain_http: true, ..self.clone() }
    }

    /// Fetches the document at `url`, of at most `max` bytes, within `timeout`. The status must be 200.
    ///
    /// At most three redirections are followed, and none from https to http.
    ///
    /// # Errors
    /// When there is no such response.
    pub async fn get(
        &self,
        url: &str,
        max: usize,
        timeout: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let bad = |_| ClientError::Url { url: url.to_owned(), why: "expected an absolute URL" };
        let first: Uri = url.parse().map_err(bad)?;
        let shown = shown(&first);
        tokio::time::timeout(timeout, self.follow(first, max))
            .await
            .map_err(|_| ClientError::Timeout { url: shown, after: timeout })?
    }

    /// Sends `request`, whose URI must be absolute. Returns the response with any status and with a
    /// body of at most `max` bytes, within `timeout`.
    ///
    /// # Errors
    /// When there is no such response.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        max: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, ClientError> {
        let url = shown(request.uri());
        let exchange = async {
            let (head, body) = self.request(request).await?.into_parts();
            Ok(Response::from_parts(head, collect(body, max, &url).await?))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(ClientError::Timeout { url: url.clone(), after: timeout }))
    }

    async fn follow(&self, first: Uri, max: usize) -> Result<Vec<u8>, ClientError> {
        let mut at = first;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::new(Full::default());
            *request.method_mut() = Method::GET;
            *request.uri_mut() = at.clone();
            let response = self.request(request).await?;
            let url = shown(&at);
            match response.status() {
                StatusCode::OK => {
                    return Ok(collect(response.into_body(), max, &url).await?.into());
                }
                status if status.is_redirection() => {
                    let Some(location) = response.headers().get(LOCATION) else {
                        return Err(ClientError::Status { url, status });
                    };
                    at = redirected(&at, location)
                        .map_err(|why| ClientError::Redirect { url, why })?;
                }
                status => return Err(ClientError::Status { url, status }),
            }
        }
        let why = format!("there were {MAX_REDIRECTS} redirections before it");
        Err(ClientError::Redirect { url: shown(&at), why })
    }

    async fn request(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let url = shown(request.uri());
        if let Some(why) = self.refuses(request.uri()) {
            return Err(ClientError::Url { url, why });
        }
        const AGENT: HeaderValue =
            HeaderValue::from_static(concat!("vidimus/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        self.inner.request(request).await.map_err(|error| failure(url, &error))
    }

    /// Why this client does not request a URL.
    fn refuses(&self, uri: &Uri) -> Option<&'static str> {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Some("expected an absolute URL");
        };
        match scheme {
            _ if authority.as_str().contains('@') => Some("credentials in a URL are not supported"),
            "https" => None,
            "http" if self.allows_plain_http || is_loopback(authority.host()) => None,
            "http" => Some("plain http is allowed for the loopback address only: use https"),
            _ => Some("expected https"),
        }
    }
}

/// A URL for errors: scheme, host, port and path.
fn shown(uri: &Uri) -> String {
    let Some(authority) = uri.authority() else {
        return uri.path().to_owned();
    };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let scheme = uri.scheme_str().unwrap_or_default();
    format!("{scheme}://{}{port}{}", authority.host(), uri.path())
}

/// The target of a redirection (RFC 9110, 10.2.2). It must be an absolute URL or an absolute path.
fn redirected(from: &Uri, location: &HeaderValue) -> Result<Uri, String> {
    let to: Uri = location
        .to_str()
        .ok()
        // A location may have a fragment. `Uri` does not accept one.
        .and_then(|text| text.split('#').next())
        .filter(|text| !text.starts_with("//"))
        .and_then(|text| text.parse().ok())
        .ok_or("its Location is not a valid URL")?;
    if to.scheme().is_some() {
        return match (from.scheme_str(), to.scheme_str()) {
            (_, Some("https")) => Ok(to),
            (Some("http"), Some("http")) => Ok(to),
            _ => Err(format!("{} is not https", shown(&to))),
        };
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = match to.path().starts_with('/') {
        true => to.into_parts().path_and_query,
        false => None,
    };
    Uri::from_parts(parts).map_err(|_| "its Location is not a valid URL".to_owned())
}

async fn collect(body: Incoming, max: usize, url: &str) -> Result<Bytes, ClientError> {
    let url = url.to_owned();
    // If the announced length is too large, the body is not read.
    if body.size_hint().lower() > max as u64 {
        return Err(ClientError::TooLarge { url, max });
    }
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge { url, max }),
        Err(error) => Err(ClientError::Lost { url, why: message(&*error) }),
    }
}
