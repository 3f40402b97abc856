//! Why the client has no answer: what failed, in the words of whatever failed, and what to try.

use std::error::Error;
use std::io;
use std::iter;
use std::time::Duration;

use hyper::StatusCode;
use hyper_util::client::legacy;
use rustls::CertificateError;

use super::proxy::ProxyFailed;

/// Why there is no answer, or none that can be used. `url` is without query and credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none that can be asked.
    #[error("bad URL {url:?}: {why}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no connection: the name is unknown, nobody listens, the proxy refuses.
    #[error("cannot connect to {url}: {why}")]
    Connect {
        /// The URL.
        url: String,
        /// What failed, and what to try.
        why: String,
    },
    /// There is no TLS with the server, most often because it is not trusted.
    #[error("no TLS with {url}: {why}")]
    Tls {
        /// The URL.
        url: String,
        /// What failed, and what to try.
        why: String,
    },
    /// The connection ended before the answer was whole.
    #[error("the connection to {url} failed: {why}")]
    Lost {
        /// The URL.
        url: String,
        /// What failed.
        why: String,
    },
    /// The answer was not whole in time.
    #[error("no complete answer from {url} within {after:?}")]
    Timeout {
        /// The URL.
        url: String,
        /// The time-out.
        after: Duration,
    },
    /// The answer is not the document.
    #[error("{url} answered {status}, expected 200")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is over the cap.
    #[error("{url} answered with more than {max} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The cap, in bytes.
        max: usize,
    },
    /// A redirection that is not followed.
    #[error("{url} redirects, and that is not followed: {why}")]
    Redirect {
        /// The URL.
        url: String,
        /// Why not.
        why: String,
    },
}

/// What a failed request comes to.
pub(super) fn failure(url: String, error: &legacy::Error) -> ClientError {
    let why = error.source().map_or_else(|| error.to_string(), words);
    if !error.is_connect() {
        return ClientError::Lost { url, why };
    }
    if find::<ProxyFailed>(error).is_some() {
        let advice = Some("look at HTTPS_PROXY and NO_PROXY in the environment");
        return ClientError::Connect { url, why: advised(why, advice) };
    }
    match find::<rustls::Error>(error) {
        Some(tls) => ClientError::Tls { url, why: advised(tls.to_string(), tls_advice(tls)) },
        None => ClientError::Connect { url, why: advised(why, tcp_advice(error)) },
    }
}

impl ClientError {
    /// The error without what to try: that is for the flags of a command, which not everybody has
    /// who reads it.
    pub fn without_advice(&self) -> String {
        let text = self.to_string();
        text.split_once("; ").map_or(text.as_str(), |(what, _)| what).to_owned()
    }
}

fn advised(why: String, advice: Option<&str>) -> String {
    match advice {
        Some(advice) => format!("{why}; {advice}"),
        None => why,
    }
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "if the server is yours, give its certificate or its CA's with --cacert, \
             or do without verification with --insecure",
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

const PLAIN: &str = "perhaps the server speaks plain http there";

/// The first error in the chain that is a `T`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// What an error and its causes say, each once.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    for cause in causes(error).map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.ends_with(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

/// An error and its causes. An I/O error hides the one that it was made from.
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
    fn advice_can_be_left_out() {
        let check = |why: &str| {
            let error = ClientError::Tls { url: "https://a.test/".into(), why: why.into() };
            assert_eq!(error.without_advice(), "no TLS with https://a.test/: UnknownIssuer");
        };
        check("UnknownIssuer");
        check(&advised("UnknownIssuer".into(), Some("try --insecure")));
    }
}
