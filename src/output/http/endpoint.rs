//! Sends a request to the endpoint and waits for the response.
//!
//! The thread of the output waits at most for the configured time-out, or until the shutdown is
//! over. Redirections are not followed, so entries go only where they were configured to go.
//!
//! If the credentials are those of an OAuth client, a token is fetched first, and kept.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::runtime::{Builder, Runtime};

use super::answer::{Answer, Redactor};
use super::oauth::{ClientCredentials, Token};
use super::settings::{Body, HttpSettings};
use super::splunk;
use crate::clock::now;
use crate::net::{Client, ClientError, ClientOptions, Proxies, Shutdown, TlsError, retry_after};
use crate::output::OutputFormat;
use crate::output::activity::{LastRequest, SharedActivity};
use crate::output::error::{IoContext, OutputError};
use crate::settings::Secret;

/// The maximum size of a response in bytes, and what is added for each entry of the request.
const MAX_ANSWER: usize = 1 << 20;
const MAX_ANSWER_FOR_EACH: usize = 4 << 10;

/// The maximum size of a response with a token in bytes.
const MAX_TOKEN_ANSWER: usize = 64 << 10;

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
    /// The token of an OAuth client.
    token: Option<Token>,
    redactor: Redactor,
    /// It has a thread of its own, which notices when the endpoint closes an idle connection, so
    /// that the connection is not used again. `None` while dropping.
    runtime: Option<Runtime>,
    /// `None` if the next request needs a new client.
    client: Option<Client>,
    shutdown: Shutdown,
    activity: SharedActivity,
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
            token: None,
            redactor: Redactor::hiding(secrets(settings)),
            runtime: Some(runtime.doing("start a thread for", shown.as_ref())?),
            client: Some(client),
            shown,
            settings: settings.clone(),
            shutdown,
            activity: SharedActivity::default(),
        })
    }

    /// Reports each request to `activity`.
    pub(super) fn reporting_to(mut self, activity: SharedActivity) -> Endpoint {
        self.activity = activity;
        self
    }

    /// The URL without the query.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends `body`, which has so many entries. Returns the response, whatever its status.
    ///
    /// If the endpoint refuses a token that was kept, the body is sent once more with a new one.
    pub(super) fn send(&mut self, body: Vec<u8>, entries: usize) -> Result<Answer, OutputError> {
        let body = match self.settings.compress {
            true => gzip(&body).doing("compress a request to", self.shown.as_ref())?,
            false => body,
        };
        let body = Bytes::from(body);
        let max = MAX_ANSWER.saturating_add(entries.saturating_mul(MAX_ANSWER_FOR_EACH));
        loop {
            let is_kept = !self.fetch_token_if_due()?;
            let mut request = Request::new(Full::new(body.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.uri.clone();
            *request.headers_mut() = self.headers.clone();
            if let Some(token) = &self.token {
                request.headers_mut().insert(AUTHORIZATION, token.header.clone());
            }
            let start = Instant::now();
            let answer = self.exchange(request, max)?;
            self.activity.requested(LastRequest {
                at: now(),
                bytes: body.len(),
                entries,
                took: start.elapsed(),
                answer: match &answer {
                    Ok(answer) => Ok(answer.status.as_u16()),
                    Err(why) => Err(self.redactor.all(why)),
                },
            });
            let answer = answer.map_err(|why| self.peer(&why, None))?;
            // Tokens can be revoked before they expire.
            let was_refused = answer.status == StatusCode::UNAUTHORIZED && self.token.is_some();
            if was_refused {
                self.token = None;
            }
            if !was_refused || !is_kept {
                return Ok(answer);
            }
        }
    }

    /// Fetches a token if one is needed and the present one is no longer good. Returns whether it
    /// did.
    fn fetch_token_if_due(&mut self) -> Result<bool, OutputError> {
        let Some(client) = self.settings.client.clone() else { return Ok(false) };
        if self.token.as_ref().is_some_and(|token| token.is_good(Instant::now())) {
            return Ok(false);
        }
        let token = self.fetch_token(&client)?;
        let mut secrets = secrets(&self.settings);
        secrets.push(token.text.clone());
        self.redactor = Redactor::hiding(secrets);
        self.token = Some(token);
        Ok(true)
    }

    fn fetch_token(&mut self, client: &ClientCredentials) -> Result<Token, OutputError> {
        let asked_at = Instant::now();
        let (why, retry_after) = match self.exchange(client.request(), MAX_TOKEN_ANSWER)? {
            Err(why) => (why, None),
            Ok(answer) if answer.status == StatusCode::OK => {
                match Token::read(&answer.body, asked_at) {
                    Some(token) => return Ok(token),
                    // The body is not shown, since it may have a token all the same.
                    None => ("it answered 200 OK without a bearer token".to_owned(), None),
                }
            }
            Ok(answer) => {
                let is_about_us = answer.status.is_client_error()
                    && answer.status != StatusCode::TOO_MANY_REQUESTS;
                let advice = match is_about_us {
                    true => "; look at client_id, client_secret_file, tenant_id, token_url, scope",
                    false => "",
                };
                (format!("it answered {}{advice}", answer.shown()), answer.retry_after)
            }
        };
        let why = self.redactor.all(&format!("cannot get a token: {why}"));
        Err(OutputError::Peer { to: client.token_url.shown(), why, retry_after })
    }

    /// Sends a request, and waits for the response. The inner error is the reason that there is
    /// none.
    fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        max: usize,
    ) -> Result<Result<Answer, String>, OutputError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.settings)?).clone(),
        };
        let start = Instant::now();
        let plain_http = request.uri().scheme_str() == Some("http");
        let (timeout, shutdown) = (self.settings.timeout, &mut self.shutdown);
        let asked = async {
            tokio::select! {
                answer = client.send(request, max, timeout) => Some(answer),
                () = shutdown.over() => None,
            }
        };
        let answer = self.runtime.as_ref().and_then(|runtime| runtime.block_on(asked));
        Ok(match answer {
            Some(Ok(answer)) => Ok(self.answer(answer, start)),
            Some(Err(error)) => Err(why_none(&error, plain_http)),
            None => Err("the program stopped before there was an answer".to_owned()),
        })
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
        (Body::Array | Body::HecEvent | Body::LogsIngestion, _) => "application/json",
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
    let client = settings.client.as_ref();
    // That of the Logs Ingestion API has only the version, which an error may be about.
    let url = Some(&settings.url).filter(|_| settings.body != Body::LogsIngestion);
    let urls = [url, client.map(|client| &client.token_url)];
    let queries = urls.into_iter().flatten().filter_map(|url| url.uri().query());
    let values = queries.clone().flat_map(|query| query.split(['&', '=']));
    let texts = whole.chain(parts).chain(headers).chain(queries).chain(values);
    texts.map(str::to_owned).chain(client.into_iter().flat_map(|one| one.secrets())).collect()
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
