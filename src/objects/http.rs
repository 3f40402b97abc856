//! Gives the crate `object_store` the project's own HTTP client.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use object_store::ClientConfigKey;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};

use super::MOST_READ;
use crate::net::{self, ClientError, TlsError};

/// The longest that one request may take: 512 MiB come in time at 18 MB a second. A receiver has a
/// shorter limit of its own.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Gives a store its client. Plain http is for stores if the environment allows it (`AWS_ALLOW_HTTP`),
/// and for credentials, which come from the machine that the program runs on.
#[derive(Clone, Debug)]
pub(super) struct Connector(net::Client);

impl Connector {
    /// Trusts the certificates in the file that `AWS_CA_BUNDLE` names, beside those of the system.
    pub(super) fn from_env() -> Result<Connector, TlsError> {
        let ca_file = std::env::var_os("AWS_CA_BUNDLE").map(Into::into);
        let options = net::ClientOptions { ca_file, ..net::ClientOptions::default() };
        Ok(Connector(net::Client::new(options)?))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Service(match allowed.as_deref() {
            Some("true") => self.0.allowing_plain_http(),
            _ => self.0.clone(),
        })))
    }
}

#[derive(Debug)]
struct Service(net::Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = match body.as_bytes() {
            Some(whole) => whole.clone(),
            None => body.collect().await?.to_bytes(),
        };
        let request = hyper::Request::from_parts(head, Full::<Bytes>::new(body));
        let response = self.0.send(request, MOST_READ, TIMEOUT).await.map_err(failed)?;
        Ok(response.map(HttpResponseBody::from))
    }
}

fn failed(error: ClientError) -> HttpError {
    let kind = match &error {
        ClientError::Connect { .. } | ClientError::Tls { .. } => HttpErrorKind::Connect,
        ClientError::Lost { .. } => HttpErrorKind::Interrupted,
        ClientError::Timeout { .. } => HttpErrorKind::Timeout,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
