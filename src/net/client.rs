//! The client for HTTP/1.1 and HTTP/2: small documents fetched, requests sent.
//!
//! Every call has a time-out over all of it, and every answer a cap. Plain http is spoken to the
//! loopback address only, unless verification is off altogether. Errors show a URL without its query,
//! in which there may be a secret.

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

use super::client_error::{failure, words};
use super::proxy::{Connector, is_loopback};
use super::trust::{self, client_config};
use super::{ClientError, PairFiles, Proxies, TlsError};

/// The most redirections that are followed.
const MAX_REDIRECTS: usize = 3;

/// How a client connects and whom it believes.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// A PEM file of certificates that are trusted beside the system's roots: a CA's, or a server's
    /// own self-signed one.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to a server that asks for one, and its key.
    pub pair: Option<PairFiles>,
    /// Speak plain http to others than the loopback address too.
    pub allow_plain_http: bool,
    /// Believe anybody, and speak plain http to anybody; no certificate is shown. For development
    /// alone.
    pub insecure: bool,
    /// The proxies.
    pub proxies: Proxies,
}

impl Default for ClientOptions {
    /// The system's roots and the environment's proxies.
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

/// A client. Its clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<Connector>, Full<Bytes>>,
    takes_plain_http: bool,
}

impl Client {
    /// A client with connections of its own. Reads the system's roots.
    ///
    /// # Errors
    /// When the CA's file, or the pair, cannot be used.
    pub fn new(options: ClientOptions) -> Result<Client, TlsError> {
        let tls = match options.insecure {
            true => trust::insecure()?,
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
        Ok(Client { inner, takes_plain_http: options.insecure || options.allow_plain_http })
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
            "http" if self.takes_plain_http || is_loopback(authority.host()) => None,
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
    // What is announced need not be waited for.
    if body.size_hint().lower() > max as u64 {
        return Err(ClientError::TooLarge { url, max });
    }
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLarge { url, max }),
        Err(error) => Err(ClientError::Lost { url, why: words(&*error) }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::net::testing::{LONG, Pair, Running, SHORT, ample, happens};
    use crate::net::{Refused, ServerTls, ensure_self_signed};

    fn client(ca_file: Option<PathBuf>, insecure: bool, proxies: Proxies) -> Client {
        let none = ClientOptions::default();
        Client::new(ClientOptions { ca_file, insecure, proxies, ..none }).unwrap()
    }

    fn post(url: &str, body: &'static str) -> Request<Full<Bytes>> {
        Request::post(url).body(body.into()).unwrap()
    }

    /// Answers whatever it is asked with `bytes`, and then with silence.
    async fn saying(bytes: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?token=secret", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut tcp, _)) = listener.accept().await {
                tcp.read_buf(&mut Vec::with_capacity(4096)).await.unwrap();
                tcp.write_all(bytes).await.unwrap();
                open.push(tcp);
            }
        });
        url
    }

    async fn check(bytes: &'static [u8], timeout: Duration, expected: &str) {
        let url = saying(bytes).await;
        let client = client(None, false, Proxies::none());
        let found = match happens(client.get(&url, 10, timeout)).await {
            Ok(body) => String::from_utf8(body).unwrap(),
            Err(error) => error.to_string().replace(url.split('?').next().unwrap(), "URL"),
        };
        assert!(found.starts_with(expected), "{found}\nexpected {expected}");
        assert!(!found.contains("secret"), "{found}");
    }

    #[tokio::test]
    async fn a_document_is_whole_small_and_in_time() {
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", LONG, "hi").await;
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789", LONG, "0123456789").await;
        let large = "URL answered with more than 10 bytes";
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n", LONG, large).await;
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb\r\n0123456789a\r\n";
        check(chunked, LONG, large).await;
        let late = "no complete answer from URL within 100ms";
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nslow", SHORT, late).await;
        check(b"", SHORT, late).await;
        let status = "URL answered 404 Not Found, expected 200";
        check(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", LONG, status).await;
        check(b"HTTP/1.1 204 No Content\r\n\r\n", LONG, "URL answered 204").await;
        check(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n", LONG, "URL answered 302").await;
        check(b"nonsense\r\n\r\n", LONG, "the connection to URL failed: ").await;
    }

    #[tokio::test]
    async fn a_url_is_absolute_and_plain_http_is_for_the_loopback_address() {
        let client = client(None, false, Proxies::none());
        for (url, why) in [
            ("/keys", "expected an absolute URL"),
            ("keys.json", "expected an absolute URL"),
            ("", "expected an absolute URL"),
            ("ftp://127.0.0.1/", "expected https"),
            ("http://192.0.2.1/", "plain http is spoken to the loopback address only: use https"),
            ("https://me:secret@host.test/", "credentials in a URL are not supported"),
        ] {
            let error = client.get(url, 1, LONG).await.unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("secret"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn redirections_are_followed_but_not_for_ever_and_not_to_plain_http() {
        let dir = tempfile::tempdir().unwrap();
        let files = Pair::new("localhost").write(dir.path());
        let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
        let running = Running::start(ample(), Some(tls)).await;
        let client = client(Some(files.certificate), false, Proxies::none());
        let base = format!("https://localhost:{}", running.address.port());
        for (path, expected) in [
            ("/to?/echo", "Ok([])"),
            (&format!("/to?{base}/echo#there"), "Ok([])"),
            ("/to?/early", "401"),
            ("/to?/to?/to?/echo", "Ok([])"),
            ("/to?/to?/to?/to?/echo", "there were 3 redirections before it"),
            ("/to?http://127.0.0.1:1/", "http://127.0.0.1:1/ is not https"),
            ("/to?//host.test/", "no URL that is understood"),
            ("/to?echo", "no URL that is understood"),
            ("/to?ftp://host.test/", "ftp://host.test/ is not https"),
        ] {
            let found = happens(client.get(&format!("{base}{path}"), 9, LONG)).await;
            let found = found.map_err(|error| error.to_string());
            assert!(format!("{found:?}").contains(expected), "{path}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_self_signed_certificate_is_its_own_authority() {
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("tls.pem");
        ensure_self_signed(&pem, &["vidimus.test".to_owned()], jiff::Timestamp::now()).unwrap();
        let tls = Arc::new(ServerTls::load(PairFiles::combined(&pem)).unwrap());
        let mut running = Running::start(ample(), Some(tls)).await;
        let port = running.address.port();

        let trusting = client(Some(pem), false, Proxies::none());
        for host in ["localhost", "127.0.0.1"] {
            let request = post(&format!("https://{host}:{port}/echo"), "body");
            let answer = happens(trusting.send(request, 9, LONG)).await.unwrap();
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"body"[..]));
            assert_eq!(answer.version(), hyper::Version::HTTP_2);
        }
        let request = post(&format!("https://127.0.0.1:{port}/echo"), "0123456789");
        let error = happens(trusting.send(request, 9, LONG)).await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { max: 9, .. }), "{error}");
        let request = post(&format!("https://127.0.0.1:{port}/close"), "");
        let error = happens(trusting.send(request, 9, LONG)).await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{error}");
        let request = post(&format!("https://127.0.0.1:{port}/wait"), "");
        let error = happens(trusting.send(request, 9, SHORT)).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");

        let anybody = client(None, true, Proxies::none());
        let request = post(&format!("https://127.0.0.1:{port}/early"), "");
        assert_eq!(happens(anybody.send(request, 9, LONG)).await.unwrap().status(), 401);

        let distrusting = client(None, false, Proxies::none());
        let request = post(&format!("https://127.0.0.1:{port}/echo"), "");
        let error = happens(distrusting.send(request, 9, LONG)).await.unwrap_err();
        assert!(matches!(error, ClientError::Tls { .. }), "{error}");
        assert!(error.to_string().contains("UnknownIssuer; if the server is yours"), "{error}");
        let Refused::HandshakeFailed(why) = running.refused().await else { panic!() };
        assert!(why.starts_with("the peer does not trust our certificate"), "{why}");
    }

    #[tokio::test]
    async fn errors_say_what_to_try() {
        let client = client(None, false, Proxies::none());
        let plain = Running::start(ample(), None).await;
        for url in [format!("http://{}/", plain.address), saying(b"HTTP/1.1 400 No\r\n\r\n").await]
        {
            let url = url.replace("http:", "https:");
            let error = happens(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
            assert!(error.ends_with("; perhaps the server speaks plain http there"), "{error}");
        }

        let with_tls = Running::start(ample(), Some(Pair::new("localhost").tls())).await;
        let url = format!("http://{}/", with_tls.address);
        let error = happens(client.get(&url, 9, LONG)).await.unwrap_err();
        assert!(matches!(error, ClientError::Lost { .. }), "{error}");

        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let url = format!("https://{free}/");
        let error = happens(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot connect to {url}: ")), "{error}");
        assert!(error.ends_with("; is the port right?"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        let files = Pair::new("other.test").write(dir.path());
        let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
        let other = Running::start(ample(), Some(tls)).await;
        let client = super::tests::client(Some(files.certificate), false, Proxies::none());
        let url = format!("https://{}/", other.address);
        let error = happens(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
        assert!(error.ends_with("use a name that is in the certificate"), "{error}");
    }

    /// A proxy that gives everybody a tunnel to `to`, or refuses with a status, and tells what it was
    /// asked.
    async fn proxy(
        to: Result<std::net::SocketAddr, u16>,
    ) -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await.unwrap());
                }
                sender.send(String::from_utf8(head).unwrap()).unwrap();
                match to {
                    Ok(to) => {
                        tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                        let mut other = TcpStream::connect(to).await.unwrap();
                        tokio::spawn(async move { copy_bidirectional(&mut tcp, &mut other).await });
                    }
                    Err(status) => {
                        let answer = format!("HTTP/1.1 {status} No\r\n\r\n");
                        tcp.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        (url, asked)
    }

    #[tokio::test]
    async fn a_proxy_gives_a_tunnel() {
        let dir = tempfile::tempdir().unwrap();
        let files = Pair::new("receiver.test").write(dir.path());
        let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
        let running = Running::start(ample(), Some(tls)).await;
        let ca = Some(files.certificate);

        let (url, mut asked) = proxy(Ok(running.address)).await;
        let through = client(ca.clone(), false, Proxies::new(&url, ""));
        let request = post("https://receiver.test:8443/echo", "body");
        let answer = happens(through.send(request, 9, LONG)).await.unwrap();
        assert_eq!(&answer.body()[..], b"body");
        let asked = asked.recv().await.unwrap();
        assert!(asked.starts_with("CONNECT receiver.test:8443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{asked}");

        for (status, why) in [(407, "proxy authorization required"), (403, "unsuccessful")] {
            let (url, _asked) = proxy(Err(status)).await;
            let through = client(ca.clone(), false, Proxies::new(&url, ""));
            let got = happens(through.get("https://receiver.test/", 9, LONG)).await;
            let error = got.unwrap_err().to_string();
            assert!(
                error.starts_with("cannot connect to https://receiver.test/: through the proxy")
            );
            assert!(error.contains(why) && error.contains("HTTPS_PROXY"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let through = client(ca, false, Proxies::new("socks5://127.0.0.1:1", ""));
        let got = happens(through.get("https://receiver.test/", 9, LONG)).await;
        assert!(got.unwrap_err().to_string().contains("expected a proxy of HTTP"));
    }
}
