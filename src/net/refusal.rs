//! Connections that a listener refuses before a handler sees a request, and the observer of them.
//!
//! "Nothing arrives" is the most common question, so each reason says what the peer did. A peer that
//! connects and sends nothing (a health check, a port scan) is not reported.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{AlertDescription, Error as TlsFailure};

/// Observes what a listener refuses. Its methods are called on the tasks of connections and must not
/// block.
pub(crate) trait ListenerObserver: Send + Sync + 'static {
    /// A connection of `peer`, or a request on it, was refused.
    fn refused(&self, peer: SocketAddr, why: ConnectionRefusal);

    /// A connection could not be accepted. Called at most once a minute.
    fn accept_failed(&self, error: &io::Error);
}

/// Why a connection, or a request on it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectionRefusal {
    #[error("there are {max} connections already, which is the limit")]
    TooManyConnections { max: usize },
    #[error(
        "it had no authorized request and was closed to make room: there are too many connections"
    )]
    Evicted,
    #[error("there are {max} connections from its address already, which is the limit")]
    TooManyFromAddress { max: usize },
    #[error("its TLS handshake did not finish within {after:?}")]
    HandshakeTimeout { after: Duration },
    #[error("the TLS handshake failed: {0}")]
    HandshakeFailed(String),
    #[error("it sent plain HTTP to a port that expects TLS: its URL must begin with https://")]
    PlainToTls,
    #[error("it sent TLS to a port that expects plain HTTP: its URL must begin with http://")]
    TlsToPlain,
    #[error("it sent no complete request header within {after:?}")]
    HeaderTimeout { after: Duration },
    /// A request header is malformed or too large. Reported for HTTP/1.1 only: on HTTP/2 hyper answers
    /// the peer and reports nothing.
    #[error("it sent a bad request header: {0}")]
    BadHeader(String),
}

impl ConnectionRefusal {
    /// Every word that [`reason`](ConnectionRefusal::reason) returns.
    pub(crate) const REASONS: [&str; 9] = [
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

    /// The reason in one word, for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            ConnectionRefusal::TooManyConnections { .. } => "too_many_connections",
            ConnectionRefusal::Evicted => "gave_way",
            ConnectionRefusal::TooManyFromAddress { .. } => "too_many_from_address",
            ConnectionRefusal::HandshakeTimeout { .. } => "handshake_timeout",
            ConnectionRefusal::HandshakeFailed(_) => "handshake_failed",
            ConnectionRefusal::PlainToTls => "plain_to_tls",
            ConnectionRefusal::TlsToPlain => "tls_to_plain",
            ConnectionRefusal::HeaderTimeout { .. } => "header_timeout",
            ConnectionRefusal::BadHeader(_) => "bad_header",
        }
    }

    /// The refusal for a failed handshake.
    pub(super) fn handshake(error: &io::Error) -> ConnectionRefusal {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsFailure>());
        ConnectionRefusal::HandshakeFailed(match tls {
            Some(TlsFailure::AlertReceived(alert)) if is_distrust(*alert) => {
                format!("the peer does not trust our certificate (it says {alert:?})")
            }
            Some(TlsFailure::AlertReceived(alert)) => format!("the peer says {alert:?}"),
            Some(other) => other.to_string(),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the peer hung up; some clients do that when they do not trust our certificate"
                    .to_owned()
            }
            None => error.to_string(),
        })
    }
}

/// Whether clients send this alert when they do not trust the certificate (RFC 8446, 6.2).
fn is_distrust(alert: AlertDescription) -> bool {
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
