//! `vidimus serve`: receive, verify and store deliveries.

mod banner;
pub(super) mod demo;
mod reload;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Failure};
use super::logging::Verbosity;
use super::receiving::{ReceivingArgs, Shown, Signals, write_addresses};
use super::service_manager;
use super::terminal::{StandardOutput, tell};
use crate::config::{Config, Flags, Region, listen_address};
use crate::konnect::client::{Client, Hosts};
use crate::net::{self, Shutdown, Trigger, activation_socket, shutdown};
use crate::output::MakeStdout;
use crate::server::Server;
use demo::Demo;
use reload::Reloader;

/// Receive, verify and store deliveries.
#[derive(Args)]
pub(crate) struct Serve {
    /// Run a demo: a simulated Konnect in the same process delivers signed entries, some of them
    /// tampered with. Everything is stored in ./vidimus-demo
    #[arg(long, conflicts_with_all = ["config", "public_url", "jwks", "region"])]
    demo: bool,

    #[command(flatten)]
    receiving: ReceivingArgs,

    /// The data directory [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Receive nothing: take entries from the sources of the configuration alone
    #[arg(long, requires = "config", conflicts_with_all = ["demo", "listen", "path", "public_url",
        "authorization", "authorization_file", "tls_cert", "tls_key", "no_tls"])]
    no_receiver: bool,

    /// Serve the console, its API and the metrics on this address [default: 127.0.0.1:8480]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    console: Option<SocketAddr>,

    /// Verify with the JWK set in this file or at this URL. Can be repeated
    #[arg(long, value_name = "FILE-OR-URL")]
    jwks: Vec<String>,

    /// Verify with Konnect's keys for this region: us, eu, au, me, in, sg, or auto for all
    #[arg(long, value_name = "REGION")]
    region: Option<Region>,
}

impl Serve {
    /// Runs until SIGTERM or SIGINT.
    pub(crate) fn run(self, verbosity: Verbosity) -> Result<Exit, Failure> {
        const QUIETER: &str =
            "warn,vidimus::keys=info,vidimus::store=info,vidimus::output=info,vidimus::cli=info";
        let shown = self.receiving.start_log(verbosity, QUIETER)?;
        let socket = activation_socket()?;
        if socket.is_some() && self.no_receiver {
            return Err(Failure::usage(
                "the service manager passed a socket for deliveries, and --no-receiver receives none",
            ));
        }
        let (ready_file, is_demo) = (self.receiving.ready_file(), self.demo);
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
                Startup { demo, socket, ready_file, shown, trigger, shutdown, flags, konnect };
            running.serve(&config).await
        });
        // Do not wait for a running DNS look-up or key fetch.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    }
}

impl From<Serve> for Flags {
    fn from(serve: Serve) -> Flags {
        let Serve { demo: _, receiving, data_dir, no_receiver, console, jwks, region } = serve;
        Flags { data_dir, no_receiver, console, jwks, region, ..receiving.into_flags() }
    }
}

/// The client for Konnect's API that `serve` uses; `None` if it does not use it. The token comes from
/// the environment, or else from its file, which may add to `warnings`.
pub(super) fn source_client(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    warnings: &mut Vec<String>,
) -> Result<Option<Client>, Failure> {
    if !config.uses_konnect() {
        return Ok(None);
    }
    let settings = &config.konnect;
    let missing = |what: &str, or: &str| {
        Failure::usage(format!(
            "konnect.{what} is missing: a source or reconcile_every needs it{or}"
        ))
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
    shown: Shown,
    trigger: Trigger,
    shutdown: Shutdown,
    flags: Flags,
    /// The client for Konnect's API, if it is used.
    konnect: Option<Client>,
}

impl Startup {
    async fn serve(self, config: &Config) -> Result<Exit, Failure> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let signals = Signals::listen()?;
        let observer = self.shown.observer();
        let stdout: MakeStdout = Box::new(|| Box::new(StandardOutput::new()));
        let server = Server::start(config, self.socket, self.konnect, observer, stdout).await?;
        server.read_key_files().await;
        server.start_outputs(&config.outputs)?;
        let reloader =
            Reloader::new(Arc::clone(server.outputs()), self.flags.clone(), config.clone());
        let receiver = server.listeners.receiver_url();
        let console = server.listeners.console_url();
        let log = server.listeners.log_url();
        match (&self.demo, self.shown.is_json) {
            (Some(_), false) => demo::banner(config, &console),
            (None, false) => banner::print(config, &server, self.shown.secrets),
            (_, true) => banner::log(config, &server),
        }

        let mut pulse = server.pulse();
        service_manager::feed_watchdog(move || pulse.is_alive(), self.shutdown.clone());
        let refresh = server.refresh_trigger();
        let ring = Arc::clone(server.ring());
        let authorization = self.demo.as_ref().map(|_| demo::authorization(config, &server));
        let running = tokio::spawn(server.run(self.shutdown));
        if let (Some(demo), Some(authorization)) = (&self.demo, authorization) {
            let path = config.inputs.first().map_or("", |input| input.path.as_str());
            let receiver = receiver.as_deref().unwrap_or_default();
            demo.set_up(format!("{receiver}{path}"), authorization?, &ring).await?;
        }
        match (self.shown.is_json, &receiver) {
            (true, _) => tracing::info!(receiver, console, "ready"),
            (false, Some(receiver)) => {
                tell(format_args!("ready: deliveries at {receiver}, console at {console}"));
            }
            (false, None) => tell(format_args!("ready: no receiver, console at {console}")),
        }
        if let Some(log) = &log {
            tracing::info!("the transparency log is served to everybody at {log}/log/");
        }
        // After the message, so that a script that waits for the file finds the message in the log.
        let mut addresses = serde_json::json!({"receiver": receiver, "console": console});
        if let Some(log) = log {
            addresses["log"] = log.into();
        }
        for (name, value) in self.demo.iter().flat_map(Demo::ready) {
            addresses[name] = value;
        }
        write_addresses(self.ready_file.as_deref(), &addresses)?;
        service_manager::ready();

        // The certificate is checked regularly anyway.
        let reload = || {
            refresh.trigger();
            reloader.reload();
        };
        signals.until_ended(running, &self.trigger, reload).await?;
        if let Some(demo) = self.demo {
            demo.ended().await;
        }
        Ok(Exit::Done)
    }
}
