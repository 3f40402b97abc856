//! `vidimus health`: whether a server answers, for whoever watches it and has no other HTTP client.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri};

use super::exit::{Exit, Failure};
use super::terminal::{Output, tell};
use crate::net::{Client, ClientOptions};

/// The most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Ask a running server whether it is well: for the health check of a container
///
/// `/healthz` is answered as long as the program is alive, by the console and by the receiver.
/// `/readyz`, of the console, is 200 if the store can be written and the keys are there. A full disk
/// does not get better by a new start, so let `/healthz` decide about one.
///
/// Exit codes: 0 it is well, 1 it answers that it is not, 2 wrong usage, 3 there is no answer.
#[derive(Args)]
pub struct Health {
    /// What to ask
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8480/healthz")]
    url: Uri,

    /// A PEM file of certificates to trust: a CA's, or the server's own self-signed one
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,

    /// Trust any certificate, and speak plain http to any host
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,

    /// How many seconds the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..))]
    timeout: u16,
}

impl Health {
    /// Asks, and prints what is answered.
    pub fn run(self) -> Result<Exit, Failure> {
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
                Ok(Exit::BadNews)
            }
        }
    }
}
