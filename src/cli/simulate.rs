//! `vidimus simulate`: run the Konnect simulator.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};
use super::logging::{self, Style, Verbosity};
use super::terminal::{stderr_is_terminal, tell};
use crate::config::listen_address;
use crate::konnect::batch::Encoding;
use crate::konnect::event::JsonTypes;
use crate::konnect::request::EntryStyle;
use crate::konnect::simulator::{MOST_ENTRIES, Options, Portal, Simulator, is_id};
use crate::konnect::tampering::{Share, TamperingPlan};
use crate::net::shutdown;
use crate::private_file;
use crate::settings::Secret;
use crate::settings::units::duration;

/// The time limit for calls in flight during a shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// The file with the self-signed certificate.
const CERTIFICATE: &str = "vidimus-simulate.pem";

/// Simulate Konnect: the audit log API, the key set, deliveries and retries
///
/// One address serves the global and the regional API, /v2 and /v3. The simulated organization is
/// kept in memory and is gone when the program ends.
#[derive(Args)]
pub(crate) struct Simulate {
    /// Listen on this address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8490",
          value_parser = listen_address)]
    listen: SocketAddr,
    /// Serve TLS with a self-signed certificate, created in ./vidimus-simulate.pem
    #[arg(long)]
    tls: bool,
    /// Serve TLS with a certificate for this name too, such as global.api.konghq.com, for clients
    /// with a fixed host. Can be repeated
    #[arg(long, value_name = "NAME")]
    tls_name: Vec<String>,
    /// The access token of the API, starting with kpat_ or spat_ [default: random]
    #[arg(long, value_name = "VALUE")]
    token: Option<String>,
    /// Write the address, the token and the Dev Portal ids to this file, as JSON, once the API is
    /// ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// The number of entries to generate per second
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(..=10_000))]
    rate: u32,
    /// The random seed; the same seed makes the same organization and traffic [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The Content-Encoding of the deliveries
    #[arg(long, default_value = Encoding::ApplicationGzip.as_str(), value_parser = encoding())]
    encoding: Encoding,
    /// The share of entries to tamper with after signing, such as 1% or 0.01
    #[arg(long, value_name = "SHARE", default_value_t)]
    tamper: Share,
    /// The share of entries without a signature
    #[arg(long, value_name = "SHARE", default_value_t)]
    unsigned: Share,
    /// The share of entries to send twice
    #[arg(long, value_name = "SHARE", default_value_t)]
    duplicate: Share,
    /// The types of the values in JSON entries: those of Kong's examples, those of its
    /// descriptions, or strings
    #[arg(long, default_value = JsonTypes::Examples.as_str(), value_parser = json_types())]
    json_types: JsonTypes,
    /// Write the principal_name, as organizations can configure
    #[arg(long)]
    principal_names: bool,
    /// The id of a Dev Portal, or its name and id as NAME=ID. Can be repeated [default: one random
    /// id]
    #[arg(long, value_name = "ID", value_parser = portal)]
    portal: Vec<(Option<String>, String)>,
    /// The id of the organization [default: random]
    #[arg(long, value_name = "ID", value_parser = id)]
    org_id: Option<String>,
    /// How long to keep entries for replay and pull, such as 7d, 12h or 365d
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = retention)]
    retention: Duration,
    /// How many entries to keep at most. A million take about 1.5 GB of memory
    #[arg(long, value_name = "N", default_value_t = MOST_ENTRIES,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=20_000_000))]
    max_entries: usize,
}

impl Simulate {
    /// Runs until SIGTERM or SIGINT.
    pub(crate) fn run(self, verbosity: Verbosity) -> Result<Exit, Failure> {
        logging::start(verbosity, None, "warn,vidimus::konnect=info", Style::Text)?;
        let ready_file = self.ready_file.clone();
        let options = self.options()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(simulate(options, ready_file));
        // Do not wait for a running delivery attempt.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }

    fn options(self) -> Result<Options, Failure> {
        let token = self.token.as_deref().map(Secret::new).transpose();
        let token = token.map_err(|error| Failure::usage(format!("--token: {error}")))?;
        let tampering = TamperingPlan::new(self.tamper, self.unsigned, self.duplicate)
            .map_err(Failure::usage)?;
        let mut portals: Vec<Portal> = Vec::new();
        for (name, id) in self.portal {
            let is_new = portals.iter().all(|portal| portal.id != id);
            let portal = match name {
                Some(name) => Portal { id, name },
                None => Portal::unnamed(id, portals.len() + 1),
            };
            portals.extend(is_new.then_some(portal));
        }
        Ok(Options {
            listen: self.listen,
            tls: (self.tls || !self.tls_name.is_empty()).then(|| PathBuf::from(CERTIFICATE)),
            tls_names: self.tls_name,
            token,
            rate: self.rate,
            seed: self.seed,
            encoding: self.encoding,
            tampering,
            portals,
            org_id: self.org_id,
            retention: self.retention,
            most: self.max_entries,
            style: EntryStyle {
                json_types: self.json_types,
                principal_names: self.principal_names,
            },
            ..Options::default()
        })
    }
}

async fn simulate(options: Options, ready_file: Option<PathBuf>) -> Result<Exit, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let given = options.token.is_some();
    let simulator = Simulator::start(options).await?;
    banner(&simulator, given, ready_file.as_deref());

    let (api, token) = (simulator.url(), simulator.token().expose().to_owned());
    let portals: Vec<_> = simulator.portals().iter().map(|portal| portal.id.clone()).collect();
    let (trigger, shutdown) = shutdown();
    let mut running = tokio::spawn(simulator.run(shutdown));
    if let Some(path) = &ready_file {
        let ready = serde_json::json!({"api": api, "token": token, "portals": portals});
        private_file::write(path, format!("{ready}\n")).map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    tell(format_args!("ready: the API at {api}"));
    loop {
        tokio::select! {
            ended = &mut running => {
                ended?;
                return Ok(Exit::Done);
            }
            _ = terminate.recv() => trigger.begin(GRACE),
            _ = interrupt.recv() => trigger.begin(GRACE),
        }
    }
}

/// Prints the addresses and ids on standard error. The token is printed on a terminal only.
fn banner(simulator: &Simulator, given: bool, ready_file: Option<&std::path::Path>) {
    let api = simulator.url();
    let token = match ready_file {
        _ if given => "the given token".to_owned(),
        _ if stderr_is_terminal() => simulator.token().expose().to_owned(),
        Some(path) => format!("the token in {}", path.display()),
        None => "not shown, because this is not a terminal: use --token or --ready-file".to_owned(),
    };
    tell("");
    tell(format_args!("  API           {api}"));
    tell(format_args!("  Token         {token}"));
    tell(format_args!("  Organization  {}", simulator.org_id()));
    for portal in simulator.portals() {
        tell(format_args!("  Dev Portal    {} ({})", portal.id, portal.name));
    }
    if let Some(path) = simulator.certificate() {
        tell(format_args!("  Certificate   {}", path.display()));
    }
    tell("");
    tell("To start a receiver with these keys:");
    tell("");
    // Other programs do not trust a self-signed certificate.
    let trust = simulator.certificate().map(|path| format!("SSL_CERT_FILE={} ", path.display()));
    let trust = trust.unwrap_or_default();
    tell(format_args!("  {trust}vidimus serve --jwks {api}/v2/audit-log-webhook/jwks.json"));
    tell("");
}

fn encoding() -> impl TypedValueParser<Value = Encoding> {
    let words = [Encoding::Gzip, Encoding::ApplicationGzip].map(Encoding::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Encoding>())
}

fn json_types() -> impl TypedValueParser<Value = JsonTypes> {
    let words: Vec<_> = JsonTypes::ALL.iter().map(|one| one.as_str()).collect();
    PossibleValuesParser::new(words).try_map(|word| word.parse::<JsonTypes>())
}

/// The name, if there is one, and the id of a Dev Portal.
fn portal(text: &str) -> Result<(Option<String>, String), String> {
    match text.rsplit_once('=') {
        Some(("", _)) => Err("expected a name before the =".to_owned()),
        Some((name, of)) => Ok((Some(name.to_owned()), id(of)?)),
        None => Ok((None, id(text)?)),
    }
}

fn id(text: &str) -> Result<String, String> {
    let expected = "expected 1 to 100 letters, digits, -, _ and ., such as a UUID";
    if is_id(text) { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

fn retention(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|error| error.to_string())
}
