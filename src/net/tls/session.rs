//! What the TLS handshake of a connection agreed on: the version and the cipher suite.

use std::fmt;

use rustls::{CipherSuite, ProtocolVersion, ServerConnection};

/// The version and the cipher suite of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TlsSession {
    version: ProtocolVersion,
    cipher: CipherSuite,
}

impl TlsSession {
    /// Reads both from a connection. `None` before the end of the handshake.
    pub(in crate::net) fn of(connection: &ServerConnection) -> Option<TlsSession> {
        let version = connection.protocol_version()?;
        Some(TlsSession { version, cipher: connection.negotiated_cipher_suite()?.suite() })
    }
}

/// Such as `TLS 1.3, TLS_AES_256_GCM_SHA384`: the cipher suite as the registry of IANA names it.
impl fmt::Display for TlsSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            ProtocolVersion::TLSv1_2 => f.write_str("TLS 1.2")?,
            ProtocolVersion::TLSv1_3 => f.write_str("TLS 1.3")?,
            // rustls has no other.
            other => write!(f, "{other:?}")?,
        }
        let name = format!("{:?}", self.cipher);
        // rustls names those of TLS 1.3 otherwise.
        match name.strip_prefix("TLS13_") {
            Some(rest) => write!(f, ", TLS_{rest}"),
            None => write!(f, ", {name}"),
        }
    }
}
