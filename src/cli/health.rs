//! `vidimus health`: check a running server, for health checks without another HTTP client.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri};

use super::exit::{Exit, Failure};
use super::terminal::{Output, tell};
use crate::net::{Client, ClientOptions};

/// The maximum size of a response in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Check the health of a running server, for example from a container health check
///
/// The console and the receiver answer `/healthz` as long as the process is alive. The console
/// answers `/readyz` with 200 if the store is writable and the keys are loaded. Use `/healthz` to
/// decide about restarts, because a restart does not fix a full disk.
///
/// Exit codes: 0 healthy, 1 not healthy, 2 usage error, 3 no answer.
#[derive(Args)]
pub(crate) struct Health {
    /// The URL to request
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8480/healthz")]
    url: Uri,

    /// Trust the certificates in this PEM file: a CA, or the server's self-signed certificate
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// Accept any certificate, and allow plain http to any host
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,

    /// Wait at most this many seconds for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
}

impl Health {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let options = ClientOptions {
            ca_file: self.cacert,
            insecure: self.insecure,
            ..ClientOptions::default()
        };
        let client = Client::new(options).map_err(Failure::usage)?;
        let request = Request::get(&self.url).body(Full::<Bytes>::default());
        let request = request.map_err(Failure::usage)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let timeout = Duration::from_secs(self.timeout.into());
        let answer = runtime?.block_on(client.send(request, MAX_ANSWER, timeout))?;
        let text = String::from_utf8_lossy(answer.body());
        let text = text.trim_end();
        match answer.status() {
            StatusCode::OK => {
                let mut output = Output::new();
                output.line(text)?;
                output.flush()?;
                Ok(Exit::Done)
            }
            status => {
                tell(format_args!("{} is answered {}: {text}", self.url, status.as_u16()));
                Ok(Exit::Negative)
            }
        }
    }
}
