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

use crate::net::{self, ClientError, TlsError};

/// The time for a call. The journal has shorter ones of its own.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest response, in bytes. A file of the archive is read in parts that are smaller.
const MAX_RESPONSE: usize = 256 << 20;

/// Makes the clients of a store: one for https, and one that may use plain http. The stores themselves
/// use the second if the environment allows it (`AWS_ALLOW_HTTP`), and to fetch credentials from the
/// machine that they run on.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: net::Client,
    http: net::Client,
}

impl Connector {
    /// Trusts the certificates in the file that `AWS_CA_BUNDLE` names, beside those of the system.
    pub(super) fn from_env() -> Result<Connector, TlsError> {
        let options = |allow_plain_http| net::ClientOptions {
            ca_file: std::env::var_os("AWS_CA_BUNDLE").map(Into::into),
            allow_plain_http,
            ..net::ClientOptions::default()
        };
        Ok(Connector {
            https: net::Client::new(options(false))?,
            http: net::Client::new(options(true))?,
        })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        let client = match allowed.as_deref() {
            Some("true") => self.http.clone(),
            _ => self.https.clone(),
        };
        Ok(HttpClient::new(Service(client)))
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
        let response = self.0.send(request, MAX_RESPONSE, TIMEOUT).await.map_err(failed)?;
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
