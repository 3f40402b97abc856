//! What a listener turns away before any handler sees it, and who is told.
//!
//! "Nothing arrives" is the commonest question, so each reason says what the peer did, and is worth a
//! line where an operator looks. A peer that connects and leaves without a word (a health check, a
//! port scan) is not told of.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{AlertDescription, Error as TlsFailure};

/// Is told of what a listener turns away. Called on the connection's task: it must not block.
pub trait Events: Send + Sync + 'static {
    /// A connection or a request of `peer` was turned away.
    fn refused(&self, peer: SocketAddr, why: Refused);

    /// Connections cannot be accepted; said at most once a minute.
    fn cannot_accept(&self, error: &io::Error);
}

/// Why a connection or a request was turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are as many connections as there may be.
    #[error("there are {max} connections already, the most there may be")]
    TooManyConnections {
        /// The limit.
        max: usize,
    },
    /// It was idle, had no authorized request, and made room for a new connection.
    #[error("it had no authorized request and gave way to another connection: there are too many")]
    GaveWay,
    /// There are as many connections from the address as there may be.
    #[error("there are {max} connections from its address already, the most there may be")]
    TooManyFromAddress {
        /// The limit.
        max: usize,
    },
    /// The TLS handshake was not done in time.
    #[error("its TLS handshake was not done within {after:?}")]
    HandshakeTimeout {
        /// The limit.
        after: Duration,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    HandshakeFailed(String),
    /// Plain HTTP came where TLS is spoken.
    #[error("it sent plain HTTP to a port that speaks TLS: its URL must begin with https://")]
    PlainToTls,
    /// TLS came where plain HTTP is spoken.
    #[error("it sent TLS to a port that speaks plain HTTP: its URL must begin with http://")]
    TlsToPlain,
    /// No complete request header came in time.
    #[error("it sent no complete request header within {after:?}")]
    HeaderTimeout {
        /// The limit.
        after: Duration,
    },
    /// A request header that is none, or is too large. HTTP/1.1 only: over HTTP/2 the peer is told,
    /// we are not.
    #[error("it sent a bad request header: {0}")]
    BadHeader(String),
}

impl Refused {
    /// Every word that [`reason`](Refused::reason) gives.
    pub const REASONS: [&str; 9] = [
        "too_many_connections",
        "gave_way",
        "too_many_from_address",
        "handshake_timeout",
        "handshake_failed",
        "plain_to_tls",
        "tls_to_plain",
        "header_timeout",
        "bad_header",
    ];

    /// The reason in one word, for what is stored and counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Refused::TooManyConnections { .. } => "too_many_connections",
            Refused::GaveWay => "gave_way",
            Refused::TooManyFromAddress { .. } => "too_many_from_address",
            Refused::HandshakeTimeout { .. } => "handshake_timeout",
            Refused::HandshakeFailed(_) => "handshake_failed",
            Refused::PlainToTls => "plain_to_tls",
            Refused::TlsToPlain => "tls_to_plain",
            Refused::HeaderTimeout { .. } => "header_timeout",
            Refused::BadHeader(_) => "bad_header",
        }
    }

    /// What a failed handshake comes to.
    pub(super) fn handshake(error: &io::Error) -> Refused {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsFailure>());
        Refused::HandshakeFailed(match tls {
            Some(TlsFailure::AlertReceived(alert)) if untrusting(*alert) => {
                format!("the peer does not trust our certificate (it says {alert:?})")
            }
            Some(TlsFailure::AlertReceived(alert)) => format!("the peer says {alert:?}"),
            Some(other) => other.to_string(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the peer hung up, which is how some say that they do not trust our certificate"
                    .to_owned()
            }
            None => error.to_string(),
        })
    }
}

/// Whether a client that does not trust the certificate says so with this alert (RFC 8446, 6.2).
fn untrusting(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
    )
}
