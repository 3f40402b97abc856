//! The client with servers and a proxy on the loopback address.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::net::testing::{LONG, SHORT, TestCertificate, TestServer, generous_limits, in_time};
use crate::net::{ConnectionRefusal, ServerTls, ensure_self_signed};

fn client_with(ca_file: Option<PathBuf>, insecure: bool, proxies: Proxies) -> Client {
    let none = ClientOptions::default();
    Client::new(ClientOptions { ca_file, insecure, proxies, ..none }).unwrap()
}

fn post(url: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(url).body(body.into()).unwrap()
}

/// A server that sends `bytes` to every request, and then nothing.
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
    let client = client_with(None, false, Proxies::none());
    let found = match in_time(client.get(&url, 10, timeout)).await {
        Ok(body) => String::from_utf8(body).unwrap(),
        Err(error) => error.to_string().replace(url.split('?').next().unwrap(), "URL"),
    };
    assert!(found.starts_with(expected), "{found}\nexpected {expected}");
    assert!(!found.contains("secret"), "{found}");
}

#[tokio::test]
async fn a_document_has_limits_of_size_and_time() {
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
async fn plain_http_is_allowed_for_the_loopback_address_only() {
    let client = client_with(None, false, Proxies::none());
    for (url, why) in [
        ("/keys", "expected an absolute URL"),
        ("keys.json", "expected an absolute URL"),
        ("", "expected an absolute URL"),
        ("ftp://127.0.0.1/", "expected https"),
        ("http://192.0.2.1/", "plain http is allowed for the loopback address only: use https"),
        ("https://me:secret@host.test/", "credentials in a URL are not supported"),
    ] {
        let error = client.get(url, 1, LONG).await.unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}

#[tokio::test]
async fn redirections_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let files = TestCertificate::new("localhost").write(dir.path());
    let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
    let server = TestServer::start(generous_limits(), Some(tls)).await;
    let client = client_with(Some(files.certificate), false, Proxies::none());
    let base = format!("https://localhost:{}", server.address.port());
    for (path, expected) in [
        ("/to?/echo", "Ok([])"),
        (&format!("/to?{base}/echo#there"), "Ok([])"),
        ("/to?/early", "401"),
        ("/to?/to?/to?/echo", "Ok([])"),
        ("/to?/to?/to?/to?/echo", "there were 3 redirections before it"),
        ("/to?http://127.0.0.1:1/", "http://127.0.0.1:1/ is not https"),
        ("/to?//host.test/", "not a valid URL"),
        ("/to?echo", "not a valid URL"),
        ("/to?ftp://host.test/", "ftp://host.test/ is not https"),
    ] {
        let found = in_time(client.get(&format!("{base}{path}"), 9, LONG)).await;
        let found = found.map_err(|error| error.to_string());
        assert!(format!("{found:?}").contains(expected), "{path}: {found:?}");
    }
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_used_as_ca() {
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("tls.pem");
    ensure_self_signed(&pem, &["vidimus.test".to_owned()], jiff::Timestamp::now()).unwrap();
    let tls = Arc::new(ServerTls::load(PairFiles::combined(&pem)).unwrap());
    let mut server = TestServer::start(generous_limits(), Some(tls)).await;
    let port = server.address.port();

    let trusting = client_with(Some(pem), false, Proxies::none());
    for host in ["localhost", "127.0.0.1"] {
        let request = post(&format!("https://{host}:{port}/echo"), "body");
        let answer = in_time(trusting.send(request, 9, LONG)).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"body"[..]));
        assert_eq!(answer.version(), hyper::Version::HTTP_2);
    }
    let request = post(&format!("https://127.0.0.1:{port}/echo"), "0123456789");
    let error = in_time(trusting.send(request, 9, LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { max: 9, .. }), "{error}");
    let request = post(&format!("https://127.0.0.1:{port}/close"), "");
    let error = in_time(trusting.send(request, 9, LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    let request = post(&format!("https://127.0.0.1:{port}/wait"), "");
    let error = in_time(trusting.send(request, 9, SHORT)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");

    let insecure = client_with(None, true, Proxies::none());
    let request = post(&format!("https://127.0.0.1:{port}/early"), "");
    assert_eq!(in_time(insecure.send(request, 9, LONG)).await.unwrap().status(), 401);

    let distrusting = client_with(None, false, Proxies::none());
    let request = post(&format!("https://127.0.0.1:{port}/echo"), "");
    let error = in_time(distrusting.send(request, 9, LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("UnknownIssuer; if the server is yours"), "{error}");
    let ConnectionRefusal::HandshakeFailed(why) = server.refused().await else { panic!() };
    assert!(why.starts_with("the peer does not trust our certificate"), "{why}");
}

#[tokio::test]
async fn errors_give_advice() {
    let client = client_with(None, false, Proxies::none());
    let plain = TestServer::start(generous_limits(), None).await;
    for url in [format!("http://{}/", plain.address), saying(b"HTTP/1.1 400 No\r\n\r\n").await] {
        let url = url.replace("http:", "https:");
        let error = in_time(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
        assert!(error.ends_with("; perhaps the server expects plain http there"), "{error}");
    }

    let with_tls =
        TestServer::start(generous_limits(), Some(TestCertificate::new("localhost").tls())).await;
    let url = format!("http://{}/", with_tls.address);
    let error = in_time(client.get(&url, 9, LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("https://{free}/");
    let error = in_time(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to {url}: ")), "{error}");
    assert!(error.ends_with("; is the port right?"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let files = TestCertificate::new("other.test").write(dir.path());
    let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
    let other = TestServer::start(generous_limits(), Some(tls)).await;
    let client = client_with(Some(files.certificate), false, Proxies::none());
    let url = format!("https://{}/", other.address);
    let error = in_time(client.get(&url, 9, LONG)).await.unwrap_err().to_string();
    assert!(error.ends_with("use a name that is in the certificate"), "{error}");
}

/// A proxy that opens every tunnel to `to`, or refuses with a status. Its requests arrive at the
/// receiver.
async fn proxy(to: Result<std::net::SocketAddr, u16>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:secret@{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::unbounded_channel();
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
    (url, requests)
}

#[tokio::test]
async fn a_proxy_opens_a_tunnel() {
    let dir = tempfile::tempdir().unwrap();
    let files = TestCertificate::new("receiver.test").write(dir.path());
    let tls = Arc::new(ServerTls::load(files.clone()).unwrap());
    let server = TestServer::start(generous_limits(), Some(tls)).await;
    let ca = Some(files.certificate);

    let (url, mut requests) = proxy(Ok(server.address)).await;
    let through = client_with(ca.clone(), false, Proxies::new(&url, ""));
    let request = post("https://receiver.test:8443/echo", "body");
    let answer = in_time(through.send(request, 9, LONG)).await.unwrap();
    assert_eq!(&answer.body()[..], b"body");
    let requests = requests.recv().await.unwrap();
    assert!(requests.starts_with("CONNECT receiver.test:8443 HTTP/1.1\r\n"), "{requests}");
    assert!(requests.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{requests}");

    for (status, why) in [(407, "proxy authorization required"), (403, "unsuccessful")] {
        let (url, _requests) = proxy(Err(status)).await;
        let through = client_with(ca.clone(), false, Proxies::new(&url, ""));
        let got = in_time(through.get("https://receiver.test/", 9, LONG)).await;
        let error = got.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to https://receiver.test/: through the proxy"));
        assert!(error.contains(why) && error.contains("HTTPS_PROXY"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    let through = client_with(ca, false, Proxies::new("socks5://127.0.0.1:1", ""));
    let got = in_time(through.get("https://receiver.test/", 9, LONG)).await;
    assert!(got.unwrap_err().to_string().contains("expected an HTTP proxy"));
}
