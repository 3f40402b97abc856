//! A connection to a syslog receiver, over TCP (RFC 6587) or TLS (RFC 5425).
//!
//! SyslogSink has no answers, and what TCP took may never be read. Its end stands in for one: we end our
//! side, and a receiver that then ends its own, without a reset, has read all there was. One that has
//! not is reset by its system when it closes, and one that closes before we do has to be asked again.

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

/// How long a reset is waited for that may follow the receiver's end, at least and at most.
const SHORTEST_SETTLING: Duration = Duration::from_millis(20);
const LONGEST_SETTLING: Duration = Duration::from_secs(1);

/// How often it is read, at most, to see whether the receiver has hung up.
const READS: usize = 16;

/// Why a connection cannot be made, or not be used any more.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {source}{}", advice(.source))]
pub(super) struct ConnectionError {
    doing: String,
    source: io::Error,
}

/// What the receiver did when we had ended our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseResult {
    /// It ended its own: it has read everything. `notified` if it said so within TLS; if not,
    /// whoever is on the way can have ended it in its place.
    Closed { notified: bool },
    /// Nothing, in the time that it had.
    Open,
}

/// A connection.
pub(super) struct Connection {
    stream: Stream,
    peer: SocketAddr,
    /// How long the way there and back took.
    round_trip: Duration,
    /// How long the receiver may take to take what it is sent.
    timeout: Duration,
}

enum Stream {
    Tcp(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

/// A socket, on which nothing is waited for without an end.
struct Socket {
    tcp: TcpStream,
    wait: Wait,
}

/// How long may be waited.
#[derive(Clone, Copy)]
enum Wait {
    /// Until then.
    Until(Instant),
    /// Not at all.
    Never,
}

impl Connection {
    /// Connects to the first of the addresses of `to` that can be connected to, each within `timeout`;
    /// TLS, if there is to be any, has as long once more. `name` is what the certificate must have.
    pub(super) fn open(
        to: &Address,
        tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
        timeout: Duration,
    ) -> Result<Connection, ConnectionError> {
        // The system's resolver has time-outs of its own.
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

    /// With whom, and how.
    pub(super) fn description(&self) -> String {
        let peer = self.peer;
        let Stream::Tls(tls) = &self.stream else { return format!("{peer}, without TLS") };
        let version = match tls.conn.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        format!("{peer}, {version}, the certificate is good")
    }

    /// Sends these bytes, unless the receiver has hung up. It has to take them all in time.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.look()?;
        self.socket().wait = Wait::Until(Instant::now() + self.timeout);
        let written = match &mut self.stream {
            Stream::Tcp(socket) => socket.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        };
        // What it said before it left tells more than that it has left.
        written.or_else(|error| self.look().and(Err(error).doing("send")))
    }

    /// Ends our side, and waits so long for the receiver to end its own.
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
        // It may have closed for a reason of its own while the last bytes were on their way. Those are
        // answered with a reset then, which comes within a round trip.
        let settling = (self.round_trip * 2).clamp(SHORTEST_SETTLING, LONGEST_SETTLING);
        std::thread::sleep(settling.saturating_sub(ended_at.elapsed()));
        let reset = self.socket().tcp.take_error();
        match reset.and_then(|reset| reset.map_or(Ok(()), Err)) {
            Ok(()) => Ok(CloseResult::Closed { notified: self.stream.is_notified() }),
            Err(error) => Err(error).doing("learn whether everything was read"),
        }
    }

    /// Looks whether the receiver has hung up, and throws away what it says.
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
    /// Whether the receiver said within TLS that it has ended its side (close_notify: RFC 8446, 6.1).
    fn is_notified(&mut self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Tls(tls) => {
                tls.conn.process_new_packets().is_ok_and(|state| state.peer_has_closed())
            }
        }
    }

    /// Reads what is there already.
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

    /// Reads a piece of what the receiver says, which does not matter; how much it is. 0 is the end
    /// of the stream, below TLS.
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
    // A port of this machine on which nobody listens can be given to the connection itself, which then
    // is one with itself.
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
    /// What `act` does, within the time that there is.
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

/// Adds what was being done.
trait Doing<T> {
    fn doing(self, doing: &str) -> Result<T, ConnectionError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &str) -> Result<T, ConnectionError> {
        self.map_err(|source| ConnectionError { doing: doing.to_owned(), source })
    }
}

/// What to try.
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
