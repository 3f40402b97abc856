//! `vidimus serve`: receive, verify and store deliveries.

mod banner;
pub(super) mod demo;
pub(super) mod display;
mod reload;
pub(super) mod service_manager;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{Exit, Failure};
use super::logging::{self, Style, Verbosity};
use super::terminal::{StandardOutput, stderr_is_terminal, tell};
use crate::config::{self, Config, Flags, Region, SourceType, listen_address};
use crate::konnect::client::{Client, Hosts};
use crate::net::{self, Shutdown, Trigger, activation_socket, shutdown};
use crate::output::MakeStdout;
use crate::private_file;
use crate::receiver::DeliveryObserver;
use crate::server::Server;
use demo::Demo;
use reload::Reloader;

/// The time limit for requests in flight during a shutdown. Container engines kill after 10
/// seconds, so the rest is for closing the store.
const GRACE: Duration = Duration::from_secs(8);

/// Receive, verify and store deliveries.
#[derive(Args)]
pub(crate) struct Serve {
    /// Run a demo: a simulated Konnect in the same process delivers signed entries, some of them
    /// tampered with. Everything is stored in ./vidimus-demo
    #[arg(long, conflicts_with_all = ["config", "public_url", "jwks", "region"])]
    demo: bool,

    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data directory [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Receive nothing: take entries from the sources of the configuration alone
    #[arg(long, requires = "config", conflicts_with_all = ["demo", "listen", "path", "public_url",
        "authorization", "authorization_file", "tls_cert", "tls_key", "no_tls"])]
    no_receiver: bool,

    /// Receive deliveries on this address and port, such as localhost:8443, or :8443 for all IPv4
    /// addresses [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,

    /// Receive deliveries at this path [default: /audit-logs]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// The public URL of the receiver, if a tunnel or proxy is in front
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// The expected Authorization header, in full [env: VIDIMUS_AUTHORIZATION]
    #[arg(long, value_name = "VALUE")]
    authorization: Option<String>,

    /// Read the expected Authorization value from this file
    #[arg(long, value_name = "FILE")]
    authorization_file: Option<PathBuf>,

    /// The certificate chain in PEM [default: a self-signed certificate]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Serve plain HTTP, for use behind a TLS proxy or tunnel
    #[arg(long)]
    no_tls: bool,

    /// Serve the console, its API and the metrics on this address [default: 127.0.0.1:8480]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    console: Option<SocketAddr>,

    /// Verify with the JWK set in this file or at this URL. Can be repeated
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Vec<String>,

    /// Verify with Konnect's keys for this region: us, eu, au, me, in, sg, or auto for all
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,

    /// Write the addresses to this file, as JSON, once the server is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// The log format. With json, all messages are JSON. On a terminal without this flag, each
    /// delivery is shown as a line
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Style>,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    pub(crate) fn run(self, verbosity: Verbosity) -> Result<Exit, Failure> {
        let on_terminal = stderr_is_terminal() && self.log_format.is_none();
        // On a terminal, deliveries are shown as lines instead.
        let default = match on_terminal {
            true => {
                "warn,vidimus::keys=info,vidimus::store=info,vidimus::output=info,vidimus::cli=info"
            }
            false => "info",
        };
        let style = self.log_format.unwrap_or_default();
        let log = config::log(&Flags { config: self.config.clone(), ..Flags::default() });
        let level = log.as_ref().ok().and_then(|log| log.level);
        logging::start(verbosity, level, default, style)?;
        log.map_err(Failure::usage)?;
        let display = DisplayOptions {
            deliveries: on_terminal && !verbosity.is_quiet(),
            secrets: on_terminal,
            is_json: style == Style::Json,
        };
        let socket = activation_socket()?;
        if socket.is_some() && self.no_receiver {
            return Err(Failure::usage(
                "the service manager passed a socket for deliveries, and --no-receiver receives none",
            ));
        }
        let (ready_file, is_demo) = (self.ready_file.clone(), self.demo);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let served = runtime.block_on(async {
            let mut flags = Flags::from(self);
            let (trigger, shutdown) = shutdown();
            let demo = match is_demo {
                false => None,
                true => {
                    let demo = Demo::start(shutdown.clone()).await?;
                    flags.jwks = vec![demo.key_set()];
                    flags.keep_requests = Some(demo::KEEP_REQUESTS);
                    // Ignore the environment, so that simulated entries never mix with real ones.
                    flags.data_dir.get_or_insert_with(|| demo::DATA_DIR.into());
                    Some(demo)
                }
            };
            let env = |name: &str| std::env::var(name).ok();
            let mut config = Config::load(&flags, &env).map_err(Failure::usage)?;
            let mut warnings = std::mem::take(&mut config.warnings);
            let konnect = source_client(&config, &env, &mut warnings)?;
            config.warnings = warnings;
            let running =
                Startup { demo, socket, ready_file, display, trigger, shutdown, flags, konnect };
            running.serve(&config).await
        });
        // Do not wait for a running DNS look-up or key fetch.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    }
}

impl From<Serve> for Flags {
    fn from(serve: Serve) -> Flags {
        Flags {
            config: serve.config,
            data_dir: serve.data_dir,
            listen: serve.listen,
            path: serve.path,
            public_url: serve.public_url,
            authorization: serve.authorization,
            authorization_file: serve.authorization_file,
            tls_cert: serve.tls_cert,
            tls_key: serve.tls_key,
            no_tls: serve.no_tls,
            no_receiver: serve.no_receiver,
            console: serve.console,
            keep_requests: None,
            jwks: serve.jwks,
            region: serve.region,
        }
    }
}

/// What to print besides the log.
#[derive(Clone, Copy)]
struct DisplayOptions {
    /// Print deliveries as lines, instead of logging them.
    deliveries: bool,
    /// Print the generated authorization value.
    secrets: bool,
    /// Print nothing: all messages are JSON log events.
    is_json: bool,
}

/// The client for Konnect's API that the sources of `serve` use; `None` if there are none. The token
/// comes from the environment, or else from its file, which may add to `warnings`.
pub(super) fn source_client(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    warnings: &mut Vec<String>,
) -> Result<Option<Client>, Failure> {
    if config.sources.iter().all(|source| source.r#type != SourceType::KonnectPull) {
        return Ok(None);
    }
    let settings = &config.konnect;
    let missing = |what: &str, or: &str| {
        Failure::usage(format!("konnect.{what} is missing: a source needs it{or}"))
    };
    let token = settings.token(env, warnings).map_err(Failure::usage)?;
    let token = token.ok_or_else(|| missing("token_file", ", or KONNECT_TOKEN"))?;
    let hosts = Hosts::chosen(settings.base_url.as_ref(), settings.region.as_ref());
    let hosts = hosts.ok_or_else(|| missing("region", ""))?;
    let net = net::Client::new(net::ClientOptions::default()).map_err(Failure::usage)?;
    Ok(Some(Client::new(net, hosts, token)))
}

/// The parts that a server needs to run.
struct Startup {
    demo: Option<Demo>,
    /// The socket for deliveries that the service manager passed.
    socket: Option<TcpListener>,
    ready_file: Option<PathBuf>,
    display: DisplayOptions,
    trigger: Trigger,
    shutdown: Shutdown,
    flags: Flags,
    /// The client of the sources.
    konnect: Option<Client>,
}

impl Startup {
    async fn serve(self, config: &Config) -> Result<Exit, Failure> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let mut terminate = listen_for(SignalKind::terminate())?;
        let mut interrupt = listen_for(SignalKind::interrupt())?;
        let mut hang_up = listen_for(SignalKind::hangup())?;
        // Ignore the signal of a file size limit, so that the write fails like on a full disk.
        let _file_too_large = listen_for(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;

        let observer: Arc<dyn DeliveryObserver> = match self.display.deliveries {
            true => Arc::new(display::DeliveryLines::default()),
            false => Arc::new(display::DeliveryLog::default()),
        };
        let stdout: MakeStdout = Box::new(|| Box::new(StandardOutput::new()));
        let server = Server::start(config, self.socket, self.konnect, observer, stdout).await?;
        server.read_key_files().await;
        server.start_outputs(&config.outputs)?;
        let reloader =
            Reloader::new(Arc::clone(server.outputs()), self.flags.clone(), config.clone());
        let scheme = if server.certificate.is_some() { "https" } else { "http" };
        let receiver = server.receiver_address().map(|address| format!("{scheme}://{address}"));
        let scheme = if server.console_has_tls() { "https" } else { "http" };
        let console = format!("{scheme}://{}", server.console_address());
        match (&self.demo, self.display.is_json) {
            (Some(_), false) => demo::banner(config, &console),
            (None, false) => banner::print(config, &server, self.display.secrets),
            (_, true) => banner::log(config, &server),
        }

        let mut pulse = server.pulse();
        service_manager::feed_watchdog(move || pulse.is_alive(), self.shutdown.clone());
        let refresh = server.refresh_trigger();
        let ring = Arc::clone(server.ring());
        let authorization = self.demo.as_ref().map(|_| demo::authorization(config, &server));
        let mut running = tokio::spawn(server.run(self.shutdown));
        if let (Some(demo), Some(authorization)) = (&self.demo, authorization) {
            let path = config.inputs.first().map_or("", |input| input.path.as_str());
            let receiver = receiver.as_deref().unwrap_or_default();
            demo.set_up(format!("{receiver}{path}"), authorization?, &ring).await?;
        }
        match (self.display.is_json, &receiver) {
            (true, _) => tracing::info!(receiver, console, "ready"),
            (false, Some(receiver)) => {
                tell(format_args!("ready: deliveries at {receiver}, console at {console}"));
            }
            (false, None) => tell(format_args!("ready: no receiver, console at {console}")),
        }
        // After the message, so that a script that waits for the file finds the message in the log.
        if let Some(path) = &self.ready_file {
            let mut addresses = serde_json::json!({"receiver": receiver, "console": console});
            for (name, value) in self.demo.iter().flat_map(Demo::ready) {
                addresses[name] = value;
            }
            private_file::write(path, format!("{addresses}\n")).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        service_manager::ready();

        loop {
            tokio::select! {
                ended = &mut running => {
                    ended?;
                    break;
                }
                _ = terminate.recv() => stop(&self.trigger),
                _ = interrupt.recv() => stop(&self.trigger),
                // The certificate is checked regularly anyway.
                _ = hang_up.recv() => {
                    refresh.trigger();
                    reloader.reload();
                }
            }
        }
        if let Some(demo) = self.demo {
            demo.ended().await;
        }
        Ok(Exit::Done)
    }
}

pub(super) fn stop(trigger: &Trigger) {
    service_manager::stopping();
    trigger.begin(GRACE);
}

pub(super) fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(Failure::failed)
}
