//! What the tests of the network share: certificates, a running listener, and what it says.

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
    Admission, CloseConnection, Events, Limits, Listener, PairFiles, Peer, Refused, RequestBody,
    ServerTls, Shutdown, Trigger, shutdown, trust,
};

/// A time-out that has to pass.
pub(super) const SHORT: Duration = Duration::from_millis(100);
/// One that must not.
pub(super) const LONG: Duration = Duration::from_secs(1000);

/// Limits that nothing comes near.
pub(super) fn ample() -> Limits {
    Limits {
        handshake_timeout: LONG,
        header_timeout: LONG,
        idle_timeout: LONG,
        linger_timeout: LONG,
        ..Limits::default()
    }
}

/// Waits for what has to happen, so that a test that hangs fails.
pub(super) async fn happens<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it never happened")
}

/// A certificate for a name, issued by itself, and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Pair {
    pub(super) fn new(name: &str) -> Pair {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes both into `dir`.
    pub(super) fn write(&self, dir: &Path) -> PairFiles {
        let files = PairFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.certificate, &self.certificate).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }

    /// Gives it to a server.
    pub(super) fn tls(&self) -> Arc<ServerTls> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(ServerTls::load(self.write(dir.path())).unwrap())
    }
}

/// A listener that runs, with a service for tests:
/// `/echo` answers with the body, `/early` with 401 before it reads the body, `/close` closes the
/// connection, `/wait` waits until it is let go, `/to?URL` redirects, `/authorized` and `/refused` say
/// so to the connection; anything else is 404.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) trigger: Trigger,
    pub(super) gate: Arc<Gate>,
    refused: mpsc::UnboundedReceiver<Refused>,
    pub(super) task: JoinHandle<()>,
}

/// Where requests to `/wait` wait.
#[derive(Default)]
pub(super) struct Gate {
    pub(super) arrived: Notify,
    pub(super) open: Notify,
}

struct Told(mpsc::UnboundedSender<Refused>);

impl Events for Told {
    fn refused(&self, _: SocketAddr, why: Refused) {
        // The test may be over.
        let _ = self.0.send(why);
    }

    fn cannot_accept(&self, error: &io::Error) {
        panic!("{error}");
    }
}

impl Running {
    pub(super) async fn start(limits: Limits, tls: Option<Arc<ServerTls>>) -> Running {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), tls).await.unwrap();
        let address = listener.address();
        let (trigger, shutdown): (Trigger, Shutdown) = shutdown();
        let (sender, refused) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let service = {
            let gate = gate.clone();
            move |request, _: Peer| answer(request, gate.clone())
        };
        let serving = listener.serve(service, limits, Arc::new(Told(sender)), shutdown);
        Running { address, trigger, gate, refused, task: tokio::spawn(serving) }
    }

    /// The next thing that is turned away.
    pub(super) async fn refused(&mut self) -> Refused {
        happens(self.refused.recv()).await.unwrap()
    }

    /// Whether nothing more was turned away when the listener ended.
    pub(super) async fn ends(mut self) -> bool {
        drop(self.trigger);
        happens(self.task).await.unwrap();
        self.refused.recv().await.is_none()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        happens(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Connects with TLS, trusting anybody.
    pub(super) async fn connect_tls(&self, alpn: &str) -> TlsStream<TcpStream> {
        let mut config = trust::insecure().unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = "localhost".try_into().unwrap();
        happens(connector.connect(name, self.connect().await)).await.unwrap()
    }
}

async fn answer(
    request: Request<RequestBody>,
    gate: Arc<Gate>,
) -> Result<Response<Full<Bytes>>, CloseConnection> {
    let mut response = Response::new(Full::default());
    match request.uri().path() {
        "/echo" => {
            let body = request.into_body().collect().await.map_err(|_| CloseConnection)?;
            *response.body_mut() = Full::new(body.to_bytes());
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

/// Sends `bytes` and reads until the connection ends, however it does.
pub(super) async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    let mut all = Vec::new();
    happens(async {
        // The other side may close before it has everything.
        let _ = io.write_all(bytes).await;
        let _ = io.flush().await;
        let _ = io.read_to_end(&mut all).await;
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

/// A client's side of HTTP/1.1 or HTTP/2 on one connection, and how the connection ends.
pub(super) enum Http {
    One(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Two(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

pub(super) async fn http(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    two: bool,
) -> (Http, JoinHandle<hyper::Result<()>>) {
    use hyper::client::conn::{http1, http2};
    let io = TokioIo::new(io);
    if two {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        (Http::Two(sender), tokio::spawn(connection))
    } else {
        let (sender, connection) = http1::handshake(io).await.unwrap();
        (Http::One(sender), tokio::spawn(connection))
    }
}

impl Http {
    /// The status and body of the answer to a POST.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: &'static str,
    ) -> hyper::Result<(u16, Bytes)> {
        let request = Request::post(format!("http://localhost{path}"));
        let request = request.header("host", "localhost").body(Full::from(body)).unwrap();
        let answer = match self {
            Http::One(one) => happens(one.send_request(request)).await?,
            Http::Two(two) => happens(two.send_request(request)).await?,
        };
        let status = answer.status().as_u16();
        Ok((status, happens(answer.into_body().collect()).await?.to_bytes()))
    }
}
