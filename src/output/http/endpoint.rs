//! Sends a request to the endpoint and waits for the response.
//!
//! The thread of the output waits at most for the configured time-out, or until the shutdown is
//! over. Redirections are not followed, so entries go only where they were configured to go.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, Uri};
use tokio::runtime::{Builder, Runtime};

use super::answer::{Answer, Redactor};
use super::settings::{Body, HttpSettings};
use super::splunk;
use crate::clock::now;
use crate::net::{Client, ClientError, ClientOptions, Proxies, Shutdown, TlsError, retry_after};
use crate::output::OutputFormat;
use crate::output::error::{IoContext, OutputError};
use crate::settings::Secret;

/// The maximum size of a response in bytes, and what is added for each entry of the request.
const MAX_ANSWER: usize = 1 << 20;
const MAX_ANSWER_FOR_EACH: usize = 4 << 10;

/// Konnect's name for gzip (documentation, "Konnect and Dev Portal audit logs").
const KONNECTS_GZIP: HeaderValue = HeaderValue::from_static("application/gzip");

/// Splunk's header for the channel.
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// An endpoint and the client for it.
pub(super) struct Endpoint {
    settings: HttpSettings,
    uri: Uri,
    /// The URL without the query.
    shown: String,
    headers: HeaderMap,
    redactor: Redactor,
    /// It has a thread of its own, which notices when the endpoint closes an idle connection, so
    /// that the connection is not used again. `None` while dropping.
    runtime: Option<Runtime>,
    /// `None` if the next request needs a new client.
    client: Option<Client>,
    shutdown: Shutdown,
}

impl Endpoint {
    pub(super) fn new(
        settings: &HttpSettings,
        format: OutputFormat,
        shutdown: Shutdown,
    ) -> Result<Endpoint, OutputError> {
        let client = client(settings)?;
        let shown = settings.url.shown();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Endpoint {
            uri: uri(settings),
            headers: headers(settings, format),
            redactor: Redactor::hiding(secrets(settings)),
            runtime: Some(runtime.doing("start a thread for", shown.as_ref())?),
            client: Some(client),
            shown,
            settings: settings.clone(),
            shutdown,
        })
    }

    /// The URL without the query.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends `body`, which has so many entries. Returns the response, whatever its status.
    pub(super) fn send(&mut self, body: Vec<u8>, entries: usize) -> Result<Answer, OutputError> {
        let body = match self.settings.compress {
            true => gzip(&body).doing("compress a request to", self.shown.as_ref())?,
            false => body,
        };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.settings)?).clone(),
        };
        let start = Instant::now();
        let max = MAX_ANSWER.saturating_add(entries.saturating_mul(MAX_ANSWER_FOR_EACH));
        let (timeout, shutdown) = (self.settings.timeout, &mut self.shutdown);
        let asked = async {
            tokio::select! {
                answer = client.send(request, max, timeout) => Some(answer),
                () = shutdown.over() => None,
            }
        };
        let answer = self.runtime.as_ref().and_then(|runtime| runtime.block_on(asked));
        match answer {
            Some(Ok(answer)) => Ok(self.answer(answer, start)),
            Some(Err(error)) => {
                let plain_http = self.uri.scheme_str() == Some("http");
                Err(self.peer(&why_none(&error, plain_http), None))
            }
            None => Err(self.peer("the program stopped before there was an answer", None)),
        }
    }

    /// Closes the connections. The files of certificates are read again before the next request.
    pub(super) fn disconnect(&mut self) {
        self.client = None;
    }

    /// The error that the endpoint does not take the entries.
    pub(super) fn peer(&self, why: &str, retry_after: Option<Duration>) -> OutputError {
        OutputError::Peer { to: self.shown.clone(), why: self.redactor.all(why), retry_after }
    }

    fn answer(&self, answer: Response<Bytes>, start: Instant) -> Answer {
        let (head, body) = answer.into_parts();
        Answer {
            status: head.status,
            retry_after: retry_after(&head.headers, now().get()),
            headers: head.headers,
            body,
            took: start.elapsed(),
            redactor: self.redactor.clone(),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It may be looking up a name, which is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn client(settings: &HttpSettings) -> Result<Client, TlsError> {
    Client::new(ClientOptions {
        ca_file: settings.ca_file.clone(),
        pair: settings.certificate.clone(),
        allow_plain_http: settings.allow_plain_http,
        insecure: false,
        proxies: Proxies::from_env(),
    })
}

/// The URL, with Splunk's labels in the query.
fn uri(settings: &HttpSettings) -> Uri {
    let uri = settings.url.uri();
    let query = splunk::query(settings);
    if settings.body != Body::HecRaw || query.is_empty() {
        return uri.clone();
    }
    let separator = if uri.query().is_some() { '&' } else { '?' };
    // Only letters, digits and escapes were added.
    format!("{uri}{separator}{query}").parse().unwrap_or_else(|_| uri.clone())
}

fn headers(settings: &HttpSettings, format: OutputFormat) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kind = match (settings.body, format) {
        (Body::Lines, OutputFormat::Raw) | (Body::HecRaw, _) => "text/plain",
        (Body::Lines | Body::Bulk, _) => "application/x-ndjson",
        (Body::Array | Body::HecEvent, _) => "application/json",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if settings.compress {
        let encoding = match (settings.body, format) {
            (Body::Lines, OutputFormat::Raw) => KONNECTS_GZIP,
            _ => HeaderValue::from_static("gzip"),
        };
        headers.insert(CONTENT_ENCODING, encoding);
    }
    if matches!(settings.body, Body::HecEvent | Body::HecRaw)
        && let Ok(channel) = splunk::channel().parse()
    {
        headers.insert(CHANNEL, channel);
    }
    if let Some(value) = settings.authorization.as_ref().and_then(value) {
        headers.insert(AUTHORIZATION, value);
    }
    for (name, secret) in &settings.headers {
        if let Some(value) = value(secret) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A secret as a header value. Every secret can be one. Its `Debug` hides it.
fn value(secret: &Secret) -> Option<HeaderValue> {
    let mut value: HeaderValue = secret.expose().parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The secrets that an endpoint may repeat, which nobody else may see.
fn secrets(settings: &HttpSettings) -> Vec<String> {
    let whole = settings.authorization.iter().map(Secret::expose);
    // The token without `Bearer`.
    let parts = whole.clone().filter_map(|value| Some(value.split_once(' ')?.1));
    let headers = settings.headers.iter().map(|(_, value)| value.expose());
    let query = settings.url.uri().query();
    let values = query.into_iter().flat_map(|query| query.split(['&', '=']));
    whole.chain(parts).chain(headers).chain(query).chain(values).map(str::to_owned).collect()
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

/// The reason for having no response, without the URL, and with the settings to check.
fn why_none(error: &ClientError, plain_http: bool) -> String {
    let plain = |why: &str| why.split("; ").next().unwrap_or_default().to_owned();
    match error {
        ClientError::Url { why, .. } => (*why).to_owned(),
        ClientError::Connect { why, .. } => format!("cannot connect: {}", plain(why)),
        ClientError::Tls { why, .. } => {
            let advice = if why.contains("UnknownIssuer") {
                "; if the endpoint is yours, give its certificate or its CA's as ca_file"
            } else if why.contains("InvalidContentType") {
                "; it may speak plain HTTP there"
            } else {
                ""
            };
            format!("cannot agree on TLS: {}{advice}", plain(why))
        }
        ClientError::Lost { why, .. } if plain_http => {
            format!("the connection failed: {why}; does it expect https?")
        }
        ClientError::Lost { why, .. } => format!("the connection failed: {why}"),
        ClientError::Timeout { after, .. } => format!("no complete answer within {after:?}"),
        ClientError::TooLarge { max, .. } => format!("it answered with more than {max} bytes"),
        // Only fetching has these.
        ClientError::Status { .. } | ClientError::Redirect { .. } => error.to_string(),
    }
}
