//! Why the client has no answer: what failed, in the words of whatever failed, and what to try.

use std::error::Error;
use std::io;
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
        let why = format!("{why}; look at HTTPS_PROXY and NO_PROXY in the environment");
        return ClientError::Connect { url, why };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        let why = match tls_advice(tls) {
            Some(advice) => format!("{tls}; {advice}"),
            None => tls.to_string(),
        };
        return ClientError::Tls { url, why };
    }
    let refused = find::<io::Error>(error)
        .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    match refused {
        true => ClientError::Connect { url, why: format!("{why}; is the port right?") },
        false => ClientError::Connect { url, why },
    }
}

fn tls_advice(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "if the server is yours, give its certificate or its CA's with --cacert, or do not verify it with --insecure",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("use a name that is in the certificate"),
        rustls::Error::InvalidMessage(_) => Some("perhaps the server speaks plain http there"),
        _ => None,
    }
}

/// The first error in the chain that is a `T`, looking into I/O errors, too.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error
        .downcast_ref::<T>()
        .or_else(|| inner.and_then(|inner| find(inner)))
        .or_else(|| error.source().and_then(find))
}

/// What an error and its causes say, each once.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_words = cause.to_string();
        if !all.ends_with(&cause_words) {
            all = format!("{all}: {cause_words}");
        }
        next = cause.source();
    }
    all
}
