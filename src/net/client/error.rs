//! The errors of the client: what failed, as the system or the library says it, and what to try.

use std::error::Error;
use std::io;
use std::iter;
use std::time::Duration;

use hyper::StatusCode;
use hyper_util::client::legacy;
use rustls::CertificateError;

use super::proxy::ProxyError;

/// Why there is no usable response. `url` has no query and no credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be requested.
    #[error("bad URL {url:?}: {why}")]
    Url {
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no connection: the name is unknown, nothing listens there, or the proxy refuses.
    #[error("cannot connect to {url}: {why}")]
    Connect {
        url: String,
        /// What failed, and what to try.
        why: String,
    },
    /// The TLS handshake failed, usually because the server is not trusted.
    #[error("the TLS handshake with {url} failed: {why}")]
    Tls {
        url: String,
        /// What failed, and what to try.
        why: String,
    },
    /// The connection failed before the response was complete.
    #[error("the connection to {url} failed: {why}")]
    Lost {
        url: String,
        /// What failed.
        why: String,
    },
    /// The response was not complete in time.
    #[error("no complete answer from {url} within {after:?}")]
    Timeout {
        url: String,
        /// The time-out.
        after: Duration,
    },
    /// The status is not 200.
    #[error("{url} answered {status}, expected 200")]
    Status { url: String, status: StatusCode },
    /// The response is over the size limit.
    #[error("{url} answered with more than {max} bytes")]
    TooLarge {
        url: String,
        /// The limit, in bytes.
        max: usize,
    },
    /// A redirection is not followed.
    #[error("{url} redirects, and the redirection is not followed: {why}")]
    Redirect {
        url: String,
        /// The reason.
        why: String,
    },
}

/// The error for a failed request.
pub(super) fn failure(url: String, error: &legacy::Error) -> ClientError {
    let why = error.source().map_or_else(|| error.to_string(), message);
    if !error.is_connect() {
        return ClientError::Lost { url, why };
    }
    if find::<ProxyError>(error).is_some() {
        let advice = Some("check HTTPS_PROXY and NO_PROXY in the environment");
        return ClientError::Connect { url, why: with_advice(why, advice) };
    }
    match find::<rustls::Error>(error) {
        Some(tls) => ClientError::Tls { url, why: with_advice(tls.to_string(), tls_advice(tls)) },
        None => ClientError::Connect { url, why: with_advice(why, tcp_advice(error)) },
    }
}

impl ClientError {
    /// The message without the advice. The advice may name flags of a command, and not every reader of
    /// the message runs that command.
    pub fn without_advice(&self) -> String {
        let text = self.to_string();
        text.split_once("; ").map_or(text.as_str(), |(what, _)| what).to_owned()
    }
}

fn with_advice(why: String, advice: Option<&str>) -> String {
    match advice {
        Some(advice) => format!("{why}; {advice}"),
        None => why,
    }
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "if the server is yours, pass its certificate or the CA's with --cacert, \
             or skip verification with --insecure",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("use a name that is in the certificate"),
        rustls::Error::InvalidMessage(_) => Some(PLAIN),
        _ => None,
    }
}

fn tcp_advice(error: &legacy::Error) -> Option<&'static str> {
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last()?;
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Some("is the port right?"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Some(PLAIN),
        _ => None,
    }
}

const PLAIN: &str = "perhaps the server expects plain http there";

/// The first error in the chain that is a `T`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The messages of an error and its causes, each once.
pub(super) fn message(error: &(dyn Error + 'static)) -> String {
    let mut message = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if message.is_empty() {
            message = cause;
        } else if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// An error and its causes. The source of an I/O error skips the error that it wraps.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_advice() {
        let check = |why: &str| {
            let error = ClientError::Tls { url: "https://a.test/".into(), why: why.into() };
            assert_eq!(
                error.without_advice(),
                "the TLS handshake with https://a.test/ failed: UnknownIssuer"
            );
        };
        check("UnknownIssuer");
        check(&with_advice("UnknownIssuer".into(), Some("try --insecure")));
    }
}
