//! The client for HTTP/1.1 and HTTP/2: small documents fetched, requests sent.
//!
//! Every call has a time-out over all of it, and every answer a cap. Plain http is spoken to the
//! loopback address only, unless verification is off altogether. Errors show a URL without its query,
//! in which there may be a secret.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::client_error::{failure, words};
use super::proxy::{Connector, is_loopback};
use super::{ClientError, Proxies, TlsError, trust};

/// The most redirections that are followed.
const MAX_REDIRECTS: usize = 3;

/// How a client connects and whom it believes.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// A PEM file of certificates that are trusted beside the system's roots: a CA's, or a server's
    /// own self-signed one.
    pub ca_file: Option<PathBuf>,
    /// Believe anybody, and speak plain http to anybody. For development alone.
    pub insecure: bool,
    /// The proxies.
    pub proxies: Proxies,
}

impl Default for ClientOptions {
    /// The system's roots and the environment's proxies.
    fn default() -> ClientOptions {
        ClientOptions { ca_file: None, insecure: false, proxies: Proxies::from_env() }
    }
}

/// A client. Its clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    insecure: bool,
}

impl Client {
    /// A client with connections of its own. Reads the system's roots.
    ///
    /// # Errors
    /// When the CA's file cannot be used.
    pub fn new(options: ClientOptions) -> Result<Client, TlsError> {
        let tls = match options.insecure {
            true => trust::insecure()?,
            false => trust::verifying(options.ca_file.as_deref())?,
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
        Ok(Client { inner, insecure: options.insecure })
    }

    /// Fetches the document at `url`: the body of a 200, at most `max` bytes, within `timeout`.
    ///
    /// Three redirections are followed, but never to plain http.
    ///
    /// # Errors
    /// When there is no such answer.
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

    /// Sends `request`, whose URI is absolute, and gives the answer, whatever its status, with a body
    /// of at most `max` bytes, within `timeout`.
    ///
    /// # Errors
    /// When there is no answer.
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
            let answer = self.request(request).await?;
            let url = shown(&at);
            match answer.status() {
                StatusCode::OK => return Ok(collect(answer.into_body(), max, &url).await?.into()),
                status if status.is_redirection() => {
                    let Some(location) = answer.headers().get(LOCATION) else {
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
        if let Some(why) = self.unacceptable(request.uri()) {
            return Err(ClientError::Url { url, why });
        }
        const AGENT: HeaderValue =
            HeaderValue::from_static(concat!("vidimus/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        self.inner.request(request).await.map_err(|error| failure(url, &error))
    }

    /// What is wrong with a URL.
    fn unacceptable(&self, uri: &Uri) -> Option<&'static str> {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Some("expected an absolute URL");
        };
        match scheme {
            _ if authority.as_str().contains('@') => {
                Some("credentials in a URL are not supported: give them otherwise")
            }
            "https" => None,
            "http" if self.insecure || is_loopback(authority.host()) => None,
            "http" => Some("plain http is spoken to the loopback address only: use https"),
            _ => Some("expected https"),
        }
    }
}

/// Scheme, host, port and path.
fn shown(uri: &Uri) -> String {
    let Some(authority) = uri.authority() else {
        return uri.path().to_owned();
    };
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let scheme = uri.scheme_str().unwrap_or_default();
    format!("{scheme}://{}{port}{}", authority.host(), uri.path())
}

/// Where a redirection from `from` leads (RFC 9110, 10.2.2): to an absolute URL or an absolute path.
fn redirected(from: &Uri, location: &HeaderValue) -> Result<Uri, String> {
    let to: Uri = location
        .to_str()
        .ok()
        // A URI here has no fragment, and a location may.
        .and_then(|text| text.split('#').next())
        .filter(|text| !text.starts_with("//"))
        .and_then(|text| text.parse().ok())
        .ok_or("its location is no URL that is understood")?;
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
    Uri::from_parts(parts).map_err(|_| "its location is no URL that is understood".to_owned())
}

async fn collect(body: Incoming, max: usize, url: &str) -> Result<Bytes, ClientError> {
    let url = url.to_owned();
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge { url, max }),
        Err(error) => Err(ClientError::Lost { url, why: words(&*error) }),
    }
}
