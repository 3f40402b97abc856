//! `vidimus send`: deliver entries to an endpoint like Konnect does, for tests and load. The
//! entries are generated and signed, or read from a file.
//!
//! `lines` creates the batches, `deliveries` sends them, and `report` prints the result.

mod deliveries;
mod files;
mod lines;
mod report;

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use fastrand::Rng;
use hyper::Uri;
use hyper::header::HeaderValue;

use super::exit::{Exit, Failure, ignore_closed};
use super::input::Input;
use super::print::PrintFormat;
use super::terminal::{Output, tell};
use crate::config::AUTHORIZATION_VARIABLE;
use crate::entry::Format;
use crate::entry::Millis;
use crate::entry::time::{self, ParsedTime};
use crate::konnect::batch::{Encoding, LineMaker};
use crate::konnect::deliver::headers;
use crate::konnect::generate::Generator;
use crate::konnect::sign::Signer;
use crate::konnect::tampering::{Share, TamperingPlan};
use crate::net::ClientOptions;
use crate::settings::Secret;
use deliveries::{Deliveries, Target};
use lines::{Batches, Lines};

/// Sign entries and deliver them to an endpoint, for tests and load
///
/// Batches are retried like Konnect retries them: after a connection error, 429 or 500, at most
/// four times, after 1, 2, 4 and 8 seconds. An untrusted certificate is not retried.
///
/// Exit codes: 0 all batches were acknowledged, 1 some were not, 2 usage error, 3 no batch was
/// answered.
#[derive(Args)]
pub(crate) struct Send {
    /// The endpoint [default: https://127.0.0.1:8443/audit-logs]
    #[arg(value_name = "URL", id = "endpoint")]
    endpoint: Option<String>,
    /// The endpoint, as a flag
    #[arg(long, value_name = "URL", conflicts_with = "endpoint")]
    url: Option<String>,
    /// The full Authorization header [env: VIDIMUS_AUTHORIZATION]
    #[arg(long, value_name = "VALUE")]
    authorization: Option<String>,
    /// Read the Authorization value from this file
    #[arg(long, value_name = "FILE", conflicts_with = "authorization")]
    authorization_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file: a CA, or the receiver's self-signed certificate
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Accept any certificate, and allow plain http to any host
    #[arg(long, conflicts_with = "cacert")]
    insecure: bool,

    /// The number of entries to send [default: 100, or all with --input]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    entries: Option<u64>,
    /// The number of entries per batch
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Send at most N entries per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// The number of parallel connections
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// The Content-Encoding of the bodies
    #[arg(long, default_value = Encoding::ApplicationGzip.as_str(), value_parser = encoding())]
    encoding: Encoding,
    /// Sign and compress all batches before sending, to measure the receiver only
    #[arg(long)]
    prepare: bool,

    /// The log format of the entries
    #[arg(long, default_value = Format::Cef.as_str(), value_parser = format())]
    format: Format,
    /// The share of entries to tamper with after signing, such as 1% or 0.01. Shares are exact
    #[arg(long, value_name = "SHARE", default_value_t)]
    tamper: Share,
    /// The share of entries without a signature
    #[arg(long, value_name = "SHARE", default_value_t)]
    unsigned: Share,
    /// The share of entries that repeat an earlier, genuine line
    #[arg(long, value_name = "SHARE", default_value_t)]
    duplicate: Share,
    /// The organization id in the entries [default: random]
    #[arg(long, value_name = "ID")]
    org_id: Option<String>,
    /// The random seed; the same seed makes the same entries, except for times and signatures
    /// [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The time of the first entry, in RFC 3339; each further entry is one millisecond later
    /// [default: the current time of each entry]
    #[arg(long, value_name = "TIME", value_parser = full_time)]
    time: Option<Millis>,
    /// The private key: PKCS#8 (PEM or DER) or a JWK [default: a new key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Save the new key in this file, which must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_out: Option<PathBuf>,
    /// Write the JWK set for the receiver to this file, before the first delivery
    #[arg(long, value_name = "FILE")]
    jwks_out: Option<PathBuf>,
    /// Send the lines of this file unchanged; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "format", "tamper", "unsigned", "duplicate", "org_id", "seed", "time", "key", "key_out", "jwks_out"])]
    input: Option<PathBuf>,

    /// Append each acknowledged line to this file
    ///
    /// The lines are written as sent, so they can be compared with `vidimus export -o raw`. A line
    /// that was sent twice is written twice.
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// The format of the report
    #[arg(short, long, value_enum, default_value_t)]
    output: PrintFormat,
}

fn encoding() -> impl TypedValueParser<Value = Encoding> {
    let words: Vec<_> = Encoding::ALL.iter().map(|encoding| encoding.as_str()).collect();
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

fn format() -> impl TypedValueParser<Value = Format> {
    let words: Vec<_> = Format::DELIVERED.iter().map(|format| format.as_str()).collect();
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

fn full_time(text: &str) -> Result<Millis, &'static str> {
    match time::parse(text) {
        ParsedTime::Full(time) => Ok(time),
        ParsedTime::OutOfRange => Err("outside the years 1970 to 9999"),
        ParsedTime::NoYear(_) | ParsedTime::NotATime => {
            Err("expected RFC 3339: 2025-06-18T21:02:36Z")
        }
    }
}

/// The endpoint of a receiver without configuration.
const DEFAULT_URL: &str = "https://127.0.0.1:8443/audit-logs";

/// Parses a URL with scheme and host.
fn endpoint(text: &str) -> Result<Uri, Failure> {
    let bad = |why: &str| {
        let expected = format!("expected a URL such as {DEFAULT_URL}");
        Failure::usage(format!("the URL is {text:?}, {expected}{why}"))
    };
    let url: Uri = text.parse().map_err(|why| bad(&format!(": {why}")))?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        (None, _) => Err(bad(", with http:// or https://")),
        _ => Err(bad("")),
    }
}

impl Send {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let url = self.endpoint.as_ref().or(self.url.as_ref());
        let url = url.map_or(DEFAULT_URL, String::as_str);
        let url = endpoint(url)?;
        let authorization = self.authorization()?;
        let lines = self.lines()?;
        let seed = lines.seed();
        let batches = Batches {
            lines,
            entries: self.entries.unwrap_or(if self.input.is_some() { u64::MAX } else { 100 }),
            batch: self.batch,
            encoding: self.encoding,
            keep_lines: self.acknowledged.is_some(),
            sent: 0,
        };
        let target = Target {
            url,
            headers: headers(self.encoding, authorization),
            options: ClientOptions {
                ca_file: self.cacert,
                insecure: self.insecure,
                ..ClientOptions::default()
            },
            connections: self.connections,
            rate: self.rate,
        };
        let acknowledged = self.acknowledged.as_deref().map(files::appending).transpose()?;
        let deliveries = Deliveries::new(target, acknowledged);
        let mut report = if self.prepare {
            let bodies = batches.collect::<Result<Vec<_>, _>>()?;
            tell(format_args!("prepared {} batches", bodies.len()));
            deliveries.run(bodies.into_iter().map(Ok))?
        } else {
            deliveries.run(batches)?
        };
        report.seed = seed;
        let mut output = Output::new();
        let printed = match self.output {
            PrintFormat::Text => output.text(&report),
            PrintFormat::Jsonl => output.json(&report),
        };
        ignore_closed(printed.and_then(|()| output.flush()))?;
        Ok(report.exit())
    }

    /// The header value from the flag, the file or the environment, in this order.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let secret = match (&self.authorization, &self.authorization_file) {
            (Some(value), _) => Secret::new(value)
                .map_err(|why| Failure::usage(format!("--authorization: {why}")))?,
            (None, Some(path)) => {
                let mut warnings = Vec::new();
                let secret = Secret::read("--authorization-file", path, &mut warnings);
                warnings.iter().for_each(|warning| tell(format_args!("warning: {warning}")));
                secret.map_err(Failure::usage)?
            }
            (None, None) => match std::env::var(AUTHORIZATION_VARIABLE) {
                Ok(value) => Secret::new(&value)
                    .map_err(|why| Failure::usage(format!("{AUTHORIZATION_VARIABLE}: {why}")))?,
                Err(_) => return Ok(None),
            },
        };
        HeaderValue::from_str(secret.expose()).map(Some).map_err(Failure::usage)
    }

    /// The lines to send. Writes the files that the receiver needs to verify them.
    fn lines(&self) -> Result<Lines, Failure> {
        if let Some(path) = &self.input {
            return Lines::read(&Input::new(path.clone()));
        }
        let tampering = TamperingPlan::new(self.tamper, self.unsigned, self.duplicate)
            .map_err(Failure::usage)?;
        let signer = match &self.key {
            Some(path) => files::read_key(path)?,
            None => {
                let (signer, pem) = Signer::generate(None)?;
                if let Some(path) = &self.key_out {
                    files::write_key(path, &pem)?;
                }
                signer
            }
        };
        if let Some(path) = &self.jwks_out {
            files::write_by_rename(path, signer.jwk_set().as_bytes())?;
        }
        // Short enough to be typed.
        let seed = self.seed.unwrap_or_else(|| fastrand::u32(..).into());
        let mut seeds = Rng::with_seed(seed);
        let generator = Generator::new(seeds.u64(..), self.org_id.clone());
        let maker = LineMaker::new(generator, signer, self.format, tampering, seeds.u64(..));
        Ok(Lines::Made { maker: Box::new(maker), seed, time: self.time })
    }
}
