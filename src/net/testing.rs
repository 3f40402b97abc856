//! Helpers for tests of the network: certificates, limits, a listener and a client.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{
    Admission, CloseConnection, ConnectionRefusal, Limits, Listener, ListenerObserver, PairFiles,
    Peer, RequestBody, ServerTls, Shutdown, Trigger, shutdown, tls,
};

/// A time-out that the test waits for.
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// A time-out that must not pass.
pub(super) const LONG: Duration = Duration::from_secs(1000);

/// Limits that no test reaches.
pub(super) fn generous_limits() -> Limits {
    Limits {
        handshake_timeout: LONG,
        header_timeout: LONG,
        idle_timeout: LONG,
        linger_timeout: LONG,
        ..Limits::default()
    }
}

/// Awaits a future for a minute at most, so that a test that hangs fails.
pub(super) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it never happened")
}

/// A self-signed certificate and its key, in PEM.
pub(super) struct TestCertificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl TestCertificate {
    pub(super) fn new(name: &str) -> TestCertificate {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        TestCertificate { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes both to files in `dir`.
    pub(super) fn write(&self, dir: &Path) -> PairFiles {
        let files = PairFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.certificate, &self.certificate).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }

    /// The certificate for a listener.
    pub(super) fn tls(&self) -> Arc<ServerTls> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(ServerTls::load(self.write(dir.path())).unwrap())
    }
}

/// A listener with a service for tests. `/echo` answers with the body, `/tls` with the version and
/// the cipher suite of the connection, `/early` with 401 before it reads the body. `/close` closes the
/// connection, `/wait` waits for the gate, `/to?URL` redirects, and `/authorized` and `/refused` set
/// the [`Admission`]. Any other path is 404.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) trigger: Trigger,
    pub(super) gate: Arc<Gate>,
    refused: mpsc::UnboundedReceiver<ConnectionRefusal>,
    pub(super) task: JoinHandle<()>,
}

/// Holds requests to `/wait`.
#[derive(Default)]
pub(super) struct Gate {
    pub(super) arrived: Notify,
    pub(super) open: Notify,
}

struct Recorder(mpsc::UnboundedSender<ConnectionRefusal>);

impl ListenerObserver for Recorder {
    fn refused(&self, _: SocketAddr, why: ConnectionRefusal) {
        // The test may be over.
        let _ = self.0.send(why);
    }

    fn accept_failed(&self, error: &io::Error) {
        panic!("{error}");
    }
}

impl TestServer {
    pub(super) async fn start(limits: Limits, tls: Option<Arc<ServerTls>>) -> TestServer {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
        let address = listener.address();
        let (trigger, shutdown): (Trigger, Shutdown) = shutdown();
        let (sender, refused) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let service = {
            let gate = gate.clone();
            move |request, peer: Peer| answer(request, peer, gate.clone())
        };
        let serving = listener.serve(service, limits, Arc::new(Recorder(sender)), shutdown);
        TestServer { address, trigger, gate, refused, task: tokio::spawn(serving) }
    }

    /// The next refusal.
    pub(super) async fn refused(&mut self) -> ConnectionRefusal {
        in_time(self.refused.recv()).await.unwrap()
    }

    /// Ends the listener. Returns whether there were no more refusals.
    pub(super) async fn ends(mut self) -> bool {
        drop(self.trigger);
        in_time(self.task).await.unwrap();
        self.refused.recv().await.is_none()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        in_time(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Connects with TLS and without verification.
    pub(super) async fn connect_tls(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.connect_with(tls::insecure().unwrap(), alpn).await
    }

    /// Connects with this configuration of TLS.
    pub(super) async fn connect_with(
        &self,
        mut config: rustls::ClientConfig,
        alpn: &str,
    ) -> TlsStream<TcpStream> {
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().unwrap();
        in_time(connector.connect(name, self.connect().await)).await.unwrap()
    }
}

async fn answer(
    request: Request<RequestBody>,
    peer: Peer,
    gate: Arc<Gate>,
) -> Result<Response<Full<Bytes>>, CloseConnection> {
    let mut response = Response::new(Full::default());
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().collect().await.map_err(|_| CloseConnection)?;
            *response.body_mut() = Full::new(body.to_bytes());
        }
        "/tls" => {
            let tls = peer.tls.map(|tls| tls.to_string());
            *response.body_mut() = Full::from(tls.unwrap_or_default());
        }
        "/early" => *response.status_mut() = StatusCode::UNAUTHORIZED,
        "/authorized" => drop(response.extensions_mut().insert(Admission::Authorized)),
        "/refused" => drop(response.extensions_mut().insert(Admission::Refused)),
        "/close" => return Err(CloseConnection),
        "/wait" => {
            gate.arrived.notify_one();
            gate.open.notified().await;
        }
        "/to" => {
            *response.status_mut() = StatusCode::FOUND;
            let to = request.uri().query().unwrap_or_default().parse().unwrap();
            response.headers_mut().insert("location", to);
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// Sends `bytes`, and reads until the connection ends, with an error or without.
pub(super) async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    let mut all = Vec::new();
    in_time(async {
        // The other side may close before it has everything.
        let _ = io.write_all(bytes).await;
        let _ = io.flush().await;
        let _ = io.read_to_end(&mut all).await;
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

/// A client on one connection, over HTTP/1.1 or HTTP/2.
pub(super) enum TestClient {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// A client on `io`, and the task of its connection.
pub(super) async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    two: bool,
) -> (TestClient, JoinHandle<hyper::Result<()>>) {
    use hyper::client::conn::{http1, http2};
    let io = TokioIo::new(io);
    if two {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (TestClient::Two(sender), tokio::spawn(connection))
    } else {
        let (sender, connection) = http1::handshake(io).await.unwrap();
        (TestClient::One(sender), tokio::spawn(connection))
    }
}

impl TestClient {
    /// The status and body of the answer to a POST.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: &'static str,
    ) -> hyper::Result<(u16, Bytes)> {
        let request = Request::post(format!("http://localhost{path}"));
        let request = request.header("host", "localhost").body(Full::from(body)).unwrap();
        let answer = match self {
            TestClient::One(one) => in_time(one.send_request(request)).await?,
            TestClient::Two(two) => in_time(two.send_request(request)).await?,
        };
        let status = answer.status().as_u16();
        Ok((status, in_time(answer.into_body().collect()).await?.to_bytes()))
    }
}
