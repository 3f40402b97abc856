//! An HTTP or HTTPS endpoint whose answers a test chooses.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::spawn;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::wait_until;

/// A request, with its body decoded.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the client sent a certificate.
    pub(crate) showed_certificate: bool,
}

impl Received {
    /// The value of a header, which must not be repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        value
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.body.clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Parses the body as JSON lines.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, headers with their line ends, and a body.
    Answer(u16, &'static str, String),
    /// A 200 with half the body, then the end of the connection.
    Half(String),
    /// A 200 with these bytes.
    Bytes(Vec<u8>),
    /// A 200 whose body does not end while the client reads.
    Endless,
    /// The end of the connection, without an answer.
    Close,
    /// No answer until the client disconnects.
    Hang,
}

impl Reply {
    /// An answer with no headers and no body.
    pub(crate) fn status(status: u16) -> Reply {
        Reply::Answer(status, "", String::new())
    }
}

type Answers = Box<dyn FnMut(&Received) -> Reply + Send>;

/// An endpoint that listens until the test process ends.
pub(crate) struct Endpoint {
    port: u16,
    scheme: &'static str,
    received: Arc<Mutex<Vec<(Received, Reply)>>>,
}

impl Endpoint {
    /// Starts an endpoint. `answers` gives the answer to each request, one request at a time.
    pub(crate) fn start(answers: impl FnMut(&Received) -> Reply + Send + 'static) -> Endpoint {
        Endpoint::start_with(None, answers)
    }

    /// Starts an endpoint with TLS. The PEM file has a certificate for `localhost` and its key. The
    /// endpoint asks for a client certificate and accepts the one in the file.
    pub(crate) fn start_tls(
        pem: &Path,
        answers: impl FnMut(&Received) -> Reply + Send + 'static,
    ) -> Endpoint {
        Endpoint::start_with(Some(Arc::new(server_config(pem))), answers)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answers: impl FnMut(&Received) -> Reply + Send + 'static,
    ) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(answers)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let log = Arc::clone(&received);
        spawn(move || {
            for tcp in listener.incoming() {
                let (tls, answers, log) = (tls.clone(), Arc::clone(&answers), Arc::clone(&log));
                // The client may disconnect.
                spawn(move || drop(connection(tcp.unwrap(), tls, &answers, &log)));
            }
        });
        Endpoint { port, scheme, received }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.port)
    }

    /// The requests so far, each with its answer.
    pub(crate) fn received(&self) -> MutexGuard<'_, Vec<(Received, Reply)>> {
        self.received.lock().unwrap()
    }

    /// The requests that got a complete 2xx answer.
    pub(crate) fn taken(&self) -> Vec<Received> {
        let received = self.received();
        let taken =
            received.iter().filter(|(_, reply)| matches!(reply, Reply::Answer(200..300, ..)));
        taken.map(|(request, _)| request.clone()).collect()
    }

    /// Waits until the requests with a complete 2xx answer have `count` lines. Returns the lines.
    pub(crate) fn wait_for_lines(&self, count: usize) -> Vec<String> {
        let lines = || self.taken().iter().flat_map(Received::lines).collect::<Vec<_>>();
        wait_until("lines at the endpoint", || lines().len() >= count);
        lines()
    }

    /// Waits for `count` requests.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        wait_until("requests at the endpoint", || self.received().len() >= count);
    }
}

fn connection(
    tcp: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answers: &Mutex<Answers>,
    log: &Mutex<Vec<(Received, Reply)>>,
) -> io::Result<()> {
    match tls {
        None => requests(tcp, |_| false, answers, log),
        Some(config) => {
            let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
            requests(tls, |tls| tls.conn.peer_certificates().is_some(), answers, log)
        }
    }
}

fn requests<S: Read + Write>(
    mut stream: S,
    showed_certificate: impl Fn(&S) -> bool,
    answers: &Mutex<Answers>,
    log: &Mutex<Vec<(Received, Reply)>>,
) -> io::Result<()> {
    loop {
        let mut received = request(&mut stream)?;
        received.showed_certificate = showed_certificate(&stream);
        // The lock keeps the recorded requests in the order of the answers.
        let mut answers = answers.lock().unwrap();
        let reply = answers(&received);
        log.lock().unwrap().push((received, reply.clone()));
        drop(answers);
        match reply {
            Reply::Answer(status, headers, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\n\r\n");
                stream.write_all((head + &body).as_bytes())?;
                stream.flush()?;
            }
            Reply::Half(body) => {
                let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes())?;
                stream.write_all(&body.as_bytes()[..body.len() / 2])?;
                return stream.flush();
            }
            Reply::Bytes(body) => {
                let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat())?;
                stream.flush()?;
            }
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")?;
                loop {
                    stream.write_all(b"10\r\n0123456789abcdef\r\n")?;
                }
            }
            Reply::Close => return Ok(()),
            Reply::Hang => return stream.read(&mut [0]).map(drop),
        }
    }
}

fn request(stream: &mut impl Read) -> io::Result<Received> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    assert_eq!(first.next(), Some("POST"));
    let target = first.next().unwrap().to_owned();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut received = Received { target, headers, body: Vec::new(), showed_certificate: false };
    let length = received.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    received.body = match received.header("content-encoding") {
        None => body,
        Some(encoding) => {
            assert!(encoding.ends_with("gzip"), "{encoding}");
            let mut decoded = Vec::new();
            flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut decoded)?;
            decoded
        }
    };
    Ok(received)
}

fn server_config(pem: &Path) -> ServerConfig {
    let chain: Vec<_> = CertificateDer::pem_file_iter(pem).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(pem).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap()
}
