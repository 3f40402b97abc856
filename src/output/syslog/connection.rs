//! A connection to a syslog receiver, over TCP (RFC 6587) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgements, and data that TCP accepted may never be read. So the end of the
//! connection stands in for one: we end our side, and a receiver that then closes its side without
//! a reset has read everything. If it closes with unread data its system sends a reset. If it
//! closes before we end our side, nothing is known, and everything is sent again.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, ProtocolVersion,
    StreamOwned,
};

use crate::output::syslog::settings::Address;

/// How long to wait for a reset after the receiver closed, minimum and maximum.
const SHORTEST_SETTLING: Duration = Duration::from_millis(20);
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// The maximum number of reads to see whether the receiver has closed.
const READS: usize = 16;

/// A connection failed, or could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {source}{}", advice(.source))]
pub(super) struct ConnectionError {
    doing: String,
    source: io::Error,
}

/// What the receiver did after we ended our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseResult {
    /// It closed its side, so it has read everything. `notified` if it sent TLS's close_notify;
    /// without it somebody on the network may have closed the connection.
    Closed { notified: bool },
    /// It did not close within the time that it had.
    Open,
}

/// A connection to a receiver.
pub(super) struct Connection {
    stream: Stream,
    peer: SocketAddr,
    /// The round-trip time.
    round_trip: Duration,
    /// How long the receiver may take to accept data.
    timeout: Duration,
}

enum Stream {
    Tcp(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// A socket with a deadline for every operation.
struct Socket {
    tcp: TcpStream,
    wait: Wait,
}

/// How long an operation may block.
#[derive(Clone, Copy)]
enum Wait {
    /// Until this time.
    Until(Instant),
    /// Not at all: the socket is non-blocking.
    Never,
}

impl Connection {
    /// Connects to the first address of `to` that accepts a connection, each within `timeout`. The
    /// TLS handshake may take as long again. `name` must be in the certificate.
    pub(super) fn open(
        to: &Address,
        tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
        timeout: Duration,
    ) -> Result<Connection, ConnectionError> {
        // The resolver of the system has its own time-outs.
        let addresses = (to.host.as_str(), to.port).to_socket_addrs();
        let mut failed = None;
        for peer in addresses.doing("find its address")? {
            let begun = Instant::now();
            let tcp = match connect(peer, timeout) {
                Ok(tcp) => tcp,
                Err(error) => {
                    failed = Some(ConnectionError {
                        doing: format!("connect to {peer}"),
                        source: error,
                    });
                    continue;
                }
            };
            let round_trip = begun.elapsed();
            let mut socket = Socket { tcp, wait: Wait::Until(Instant::now() + timeout) };
            let stream = match tls {
                None => Stream::Tcp(socket),
                Some((config, name)) => {
                    let shaken = handshake(&mut socket, config, name);
                    let conn = shaken.doing("agree on TLS")?;
                    Stream::Tls(Box::new(StreamOwned::new(conn, socket)))
                }
            };
            return Ok(Connection { stream, peer, round_trip, timeout });
        }
        Err(failed.unwrap_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "it has none");
            ConnectionError { doing: "find its address".to_owned(), source }
        }))
    }

    /// Describes the receiver, and whether TLS is used.
    pub(super) fn description(&self) -> String {
        let peer = self.peer;
        let Stream::Tls(tls) = &self.stream else { return format!("{peer}, without TLS") };
        let version = match tls.conn.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        format!("{peer}, {version}, the certificate is good")
    }

    /// Sends these bytes, unless the receiver has closed. It must accept all of them in time.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.look()?;
        self.socket().wait = Wait::Until(Instant::now() + self.timeout);
        let written = match &mut self.stream {
            Stream::Tcp(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        // If the receiver has closed, that error is more useful than the one of the write.
        written.or_else(|error| self.look().and(Err(error).doing("send")))
    }

    /// Ends our side, and waits for the receiver to close its side.
    pub(super) fn finish(mut self, wait: Duration) -> Result<CloseResult, ConnectionError> {
        self.look()?;
        self.socket().wait = Wait::Until(Instant::now() + self.timeout);
        let ended = match &mut self.stream {
            Stream::Tcp(_) => Ok(()),
            Stream::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()
            }
        };
        let ended = ended.and_then(|()| self.socket().tcp.shutdown(Shutdown::Write));
        ended.or_else(|error| self.look().and(Err(error).doing("end the connection")))?;
        let ended_at = Instant::now();
        self.socket().wait = Wait::Until(ended_at + wait);
        loop {
            match self.stream.read() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok(CloseResult::Open);
                }
                Err(error) => return Err(error).doing("learn whether everything was read"),
            }
        }
        // It may have closed for its own reasons while the last bytes were on their way. Then its
        // system answers them with a reset, within a round trip.
        let settling = (self.round_trip * 2).clamp(SHORTEST_SETTLING, LONGEST_SETTLING);
        std::thread::sleep(settling.saturating_sub(ended_at.elapsed()));
        let reset = self.socket().tcp.take_error();
        match reset.and_then(|reset| reset.map_or(Ok(()), Err)) {
            Ok(()) => Ok(CloseResult::Closed { notified: self.stream.is_notified() }),
            Err(error) => Err(error).doing("learn whether everything was read"),
        }
    }

    /// Checks whether the receiver has closed, and discards what it sends.
    fn look(&mut self) -> Result<(), ConnectionError> {
        let before = std::mem::replace(&mut self.socket().wait, Wait::Never);
        let looked = self.socket().tcp.set_nonblocking(true).and_then(|()| self.stream.drain());
        self.socket().wait = before;
        looked.and_then(|()| self.socket().tcp.set_nonblocking(false)).doing("send")
    }

    fn socket(&mut self) -> &mut Socket {
        match &mut self.stream {
            Stream::Tcp(socket) => socket,
            Stream::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Stream {
    /// Whether the receiver sent close_notify (RFC 8446, 6.1).
    fn is_notified(&mut self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Tls(tls) => {
                tls.conn.process_new_packets().is_ok_and(|state| state.peer_has_closed())
            }
        }
    }

    /// Reads what has arrived.
    fn drain(&mut self) -> io::Result<()> {
        for _ in 0..READS {
            match self.read() {
                Ok(0) => {
                    let why = "the receiver has closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and discards some bytes. Returns their number. 0 is the end of the TCP stream.
    fn read(&mut self) -> io::Result<usize> {
        let mut piece = [0; 4096];
        match self {
            Stream::Tcp(socket) => socket.read(&mut piece),
            Stream::Tls(tls) => {
                let StreamOwned { conn, sock } = &mut **tls;
                if conn.process_new_packets().map_err(tls_error)?.peer_has_closed() {
                    return sock.read(&mut piece);
                }
                let read = conn.read_tls(sock)?;
                conn.process_new_packets().map_err(tls_error)?;
                while conn.reader().read(&mut piece).is_ok_and(|read| read > 0) {}
                Ok(read)
            }
        }
    }
}

fn connect(peer: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&peer, timeout)?;
    // A connection to a free local port can be given that port as its own, and then is connected to
    // itself.
    if tcp.local_addr()? == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

fn handshake(
    socket: &mut Socket,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
) -> io::Result<ClientConnection> {
    let mut conn = ClientConnection::new(Arc::clone(config), name.clone()).map_err(tls_error)?;
    while conn.is_handshaking() {
        conn.complete_io(socket)?;
    }
    Ok(conn)
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Socket {
    /// Performs `act` within the deadline.
    fn in_time(
        &mut self,
        set: impl FnOnce(&TcpStream, Option<Duration>) -> io::Result<()>,
        act: impl FnOnce(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the receiver takes too long");
        let left = match self.wait {
            Wait::Never => return act(&mut self.tcp),
            Wait::Until(end) => end.saturating_duration_since(Instant::now()),
        };
        if left.is_zero() {
            return Err(late());
        }
        set(&self.tcp, Some(left))?;
        act(&mut self.tcp).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => late(),
            _ => error,
        })
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.in_time(TcpStream::set_read_timeout, |tcp| tcp.read(into))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.in_time(TcpStream::set_write_timeout, |tcp| tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds the operation to an error.
trait Doing<T> {
    fn doing(self, doing: &str) -> Result<T, ConnectionError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &str) -> Result<T, ConnectionError> {
        self.map_err(|source| ConnectionError { doing: doing.to_owned(), source })
    }
}

/// What the operator can try.
fn advice(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        None => match error.kind() {
            io::ErrorKind::ConnectionRefused => "; is the port right?",
            _ => "",
        },
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::UnknownIssuer => {
                "; if the receiver is yours, give its certificate or its CA's as ca_file"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "; use a name that is in the certificate as the address's host, or as server_name"
            }
            _ => "",
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            "; perhaps the receiver has no TLS there: transport = \"tcp\""
        }
        Some(rustls::Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
                "; perhaps the receiver asks for a certificate: give cert_file and key_file"
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                "; the receiver does not take the certificate in cert_file"
            }
            _ => "",
        },
        Some(_) => "",
    }
}
