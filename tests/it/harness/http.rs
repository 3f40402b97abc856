//! HTTP/1.1 by hand (RFC 9112), so that a test can send invalid requests, and HTTP/2 by the client
//! of the program.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use tokio::net::TcpSocket;
use vidimus::net::{Client, ClientOptions};

use super::{DEADLINE, Serve};

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, which must not be repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection that sends arbitrary bytes.
pub(crate) struct RawConnection(Stream);

impl RawConnection {
    /// Connects without TLS.
    pub(crate) fn plain(port: u16) -> RawConnection {
        RawConnection(Stream::Plain(connect(port)))
    }

    /// Connects without TLS, from this local address.
    pub(crate) fn plain_from(address: [u8; 4], port: u16) -> RawConnection {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let connected = runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((address, 0).into()).unwrap();
            socket.connect(([127, 0, 0, 1], port).into()).await.unwrap().into_std().unwrap()
        });
        connected.set_nonblocking(false).unwrap();
        RawConnection(Stream::Plain(with_deadline(connected)))
    }

    /// Connects with TLS, and trusts only the certificate in the file.
    pub(crate) fn tls(port: u16, certificate: &Path) -> RawConnection {
        RawConnection::tls_with(port, trusting(Some(certificate), rustls::ALL_VERSIONS)).unwrap()
    }

    /// Connects with TLS and completes the handshake.
    pub(crate) fn tls_with(port: u16, config: ClientConfig) -> io::Result<RawConnection> {
        let name = "localhost".try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = connect(port);
        while connection.is_handshaking() {
            let (read, written) = connection.complete_io(&mut tcp)?;
            if read + written == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(RawConnection(Stream::Tls(Box::new(StreamOwned::new(connection, tcp)))))
    }

    /// The TLS session.
    pub(crate) fn session(&self) -> &ClientConnection {
        match &self.0 {
            Stream::Tls(stream) => &stream.conn,
            Stream::Plain(_) => panic!("the connection has no TLS"),
        }
    }

    /// Sends bytes. Ignores errors: the peer may have answered before it closed the connection.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.write_all(bytes.as_ref()).and_then(|()| self.flush());
    }

    /// Sends a request with a `Content-Length`.
    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        self.send(head(method, target, headers, body.len()));
        self.send(body);
    }

    /// Reads an answer.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("the connection was closed without an answer")
    }

    /// Reads an answer. Returns `None` if the connection ends before the first byte.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                // A socket with a time-out is interrupted by the signals of other tests' processes.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_time_out(&error) => panic!("no answer in time"),
                _ if head.is_empty() => return None,
                ended => panic!("{ended:?} within the head of an answer: {}", head.escape_ascii()),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.read_exact(&mut answer.body).unwrap();
        }
        Some(answer)
    }

    /// Reads until the connection ends or fails.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut some) = (Vec::new(), [0; 4096]);
        loop {
            match self.read(&mut some) {
                Ok(0) => return all,
                Ok(count) => all.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_time_out(&error) => panic!("the connection does not end"),
                Err(_) => return all,
            }
        }
    }
}

impl Read for RawConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Plain(tcp) => tcp.read(into),
            Stream::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for RawConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

pub(crate) fn head(method: &str, target: &str, headers: &[(&str, &str)], length: usize) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + &format!("content-length: {length}\r\n\r\n")
}

/// The TLS configuration of a client that trusts the certificates of a PEM file, or none.
pub(crate) fn trusting(
    certificate: Option<&Path>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(path) = certificate {
        for one in CertificateDer::pem_file_iter(path).unwrap() {
            roots.add(one.unwrap()).unwrap();
        }
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Sends a `POST` with the client of the program, which uses HTTP/2 over TLS.
pub(crate) fn post_http2(
    serve: &Serve,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, vidimus::net::ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = ClientOptions { ca_file: Some(serve.certificate()), ..ClientOptions::default() };
    let uri = format!("{}{path}", serve.receiver);
    let mut request = hyper::Request::post(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_vec())).unwrap();
    let answer = runtime
        .block_on(async { Client::new(options).unwrap().send(request, 1 << 20, DEADLINE).await })?;
    assert_eq!(answer.version(), hyper::Version::HTTP_2);
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Ok(Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().iter().map(header).collect(),
        body: answer.body().to_vec(),
    })
}

fn connect(port: u16) -> TcpStream {
    with_deadline(TcpStream::connect(("127.0.0.1", port)).unwrap())
}

fn with_deadline(tcp: TcpStream) -> TcpStream {
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.set_write_timeout(Some(DEADLINE)).unwrap();
    tcp
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
